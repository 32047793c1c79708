"""What waits to be sent, in memory; and the folder for what waits on disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from logs import warnings
from samples import some_event
from spools import withdrawn

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.delivery.prepare import Batch
from otel_posthog.delivery.spool import Spool, make_spool, spool_folder
from otel_posthog.delivery.spool_file import SpoolFile
from otel_posthog.events import Event
from otel_posthog.registry import Kind


def some_batch(size_bytes=10, kind=Kind.TELEMETRY, accepted_ns=(1,)):
    name = "$exception" if kind is Kind.ERRORS else "something"
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    events = tuple(
        Event(name=name, properties={}, timestamp=moment, uuid=UUID(int=at), accepted_ns=at)
        for at in accepted_ns
    )
    return Batch(kind=kind, events=events, size_bytes=size_bytes)


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def spool(counts):
    return Spool(None, memory_max_bytes=100, counts=counts, log_limiter=LogLimiter())


def _emptied(spool):
    batches = []
    while (batch := spool.first()) is not None:
        batches.append(batch)
        spool.remove(batch)
    return batches


def test_oldest_comes_first(spool):
    """Batches leave in the order in which they came."""
    batches = [some_batch() for _ in range(3)]
    for batch in batches:
        spool.put(batch)

    assert _emptied(spool) == batches


def test_oldest_make_room(spool, counts, caplog):
    """Where the bound would be passed the oldest go, and their events are counted."""
    oldest, middle, newest = some_batch(50, accepted_ns=(1, 2)), some_batch(50), some_batch(60)
    spool.put(oldest)
    spool.put(middle)

    is_kept = spool.put(newest)

    assert is_kept
    assert counts.as_dict() == {"spool_full": 3}
    assert warnings(caplog) == ["The spool is full (spool_max_bytes), so events are dropped or rejected"]
    assert _emptied(spool) == [newest]


def test_bound_is_included(spool):
    """Exactly as many bytes as allowed fit."""
    batches = [some_batch(50), some_batch(50)]

    are_kept = [spool.put(batch) for batch in batches]

    assert are_kept == [True, True]
    assert _emptied(spool) == batches


def test_batch_larger_than_the_spool_is_lost_alone(spool, counts):
    """A batch that can never fit drives nothing else out."""
    kept = some_batch()
    spool.put(kept)

    is_kept = spool.put(some_batch(101, accepted_ns=(1, 2)))

    assert not is_kept
    assert counts.as_dict() == {"spool_full": 2}
    assert _emptied(spool) == [kept]


@pytest.mark.parametrize(
    "leave",
    [lambda s, b: s.remove(b), lambda s, b: s.purge(withdrawn(before_ns=2))],
    ids=["removed", "purged"],
)
def test_room_is_given_back(spool, counts, leave):
    """What has left takes no room any more."""
    gone = some_batch(100)
    spool.put(gone)
    leave(spool, gone)

    assert spool.put(some_batch(100))
    assert "spool_full" not in counts.as_dict()


def test_removing_twice_is_no_error(spool, counts):
    """A batch that is gone already stays gone, and its room is given back once."""
    gone, kept = some_batch(10), some_batch(90)
    spool.put(gone)
    spool.put(kept)

    spool.remove(gone)
    spool.remove(gone)

    assert spool.put(some_batch(11))
    assert counts.as_dict() == {"spool_full": 1}


def test_purge_takes_the_kind_accepted_before_the_moment(spool, counts):
    """A withdrawal deletes what was accepted before it, of its kind alone."""
    old, new = some_batch(accepted_ns=(4, 3)), some_batch(accepted_ns=(5,))
    other = some_batch(kind=Kind.ERRORS, accepted_ns=(1,))
    for batch in (old, other, new):
        spool.put(batch)

    spool.purge(withdrawn(before_ns=5))

    assert counts.as_dict() == {"withdrawn": 2}
    assert _emptied(spool) == [other, new]


def test_purge_of_nothing_counts_nothing(spool, counts):
    """A withdrawal while nothing waits is no event."""
    spool.purge(withdrawn(before_ns=5))

    assert counts.as_dict() == {}


def test_drops_from_before_a_withdrawal_are_not_reported(spool, counts):
    """Consent that was withdrawn and given again between two reads shows in its generation."""
    spool.purge(withdrawn(generation=1))
    for kind in Kind:
        counts.accept(kind.value)
        counts.add("queue_full", kind=kind.value)
    assert {reasons["queue_full"] for reasons in spool.unreported().values()} == {1}

    spool.purge(withdrawn(generation=2))

    assert sum(number for reasons in spool.unreported().values() for number in reasons.values()) == 0


def test_what_waits_is_shown_oldest_first(spool):
    """A preview shows the batches in the order of their oldest events, and takes none."""
    younger, older = some_batch(accepted_ns=(4, 3)), some_batch(accepted_ns=(9, 2))
    spool.put(younger)
    spool.put(older)

    shown = spool.waiting()

    assert shown == [older, younger]
    assert _emptied(spool) == [younger, older]


def test_each_kept_batch_is_announced(spool):
    """The drainer is woken for each batch that was kept, and for no other."""
    announced = []
    spool.on_put = lambda: announced.append(1)

    spool.put(some_batch())
    spool.put(some_batch(101))

    assert len(announced) == 1


def test_child_process_starts_empty(spool, counts):
    """What waits is the parent's to send, and the whole room is free."""
    spool.put(some_batch(100))

    spool.after_fork()

    assert spool.first() is None
    assert spool.put(some_batch(100))
    assert counts.as_dict() == {}


@pytest.mark.parametrize(
    ("spool_max_bytes", "options", "most"),
    [(100_000, {}, 100_000), (100_000_000, {"memory_max_bytes": 50}, 50), (100_000_000, {}, 16_000_000)],
    ids=["setting", "caller", "default"],
)
def test_memory_holds_no_more_than_the_lower_bound(counts, spool_max_bytes, options, most):
    """The setting bounds the memory too, and a high one does not fill it."""
    config = Config.resolve({"spool_max_bytes": spool_max_bytes}, {})
    spool = make_spool(None, config, counts=counts, log_limiter=LogLimiter(), **options)

    are_kept = [spool.put(some_batch(most)), spool.put(some_batch(most + 1))]

    assert are_kept == [True, False]
    assert counts.as_dict() == {"spool_full": 1}


def test_file_has_the_settings(tmp_path, counts, caplog):
    """A spool in a folder has a file there, bounded in bytes and in age as the settings have it."""
    config, limiter, made = Config.resolve({"spool_max_bytes": 200_000}, {}), LogLimiter(), []

    class KnownFile(SpoolFile):
        def __init__(self, folder, **given):
            super().__init__(folder, **given)
            made.append((self, given))

    spool = make_spool(tmp_path, config, counts=counts, log_limiter=limiter, file_type=KnownFile)
    too_large = some_event({"text": os.urandom(200_000).hex()})
    spool.put(some_batch(200_000))
    is_kept = spool.put(Batch(kind=Kind.TELEMETRY, events=(too_large,), size_bytes=1))
    [(file, given)] = made

    assert given == {"max_bytes": 200_000, "max_age_s": 604_800, "counts": counts, "log_limiter": limiter}
    assert [batch.size_bytes for batch in file.waiting()] == [200_000]
    assert (is_kept, counts.as_dict()) == (False, {"spool_full": 1})
    assert len(warnings(caplog)) == 1
    spool.close()


SQLITE = {"database_file": Path("/srv/app/data/app.db"), "database_name": "sqlite:///srv/app/data/app.db"}
POSTGRESQL = {"database_file": None, "database_name": "postgresql://db:5432/app"}
HOME = {"HOME": "/home/app"}


WINDOWS = {**HOME, "LOCALAPPDATA": "/Users/app/AppData/Local"}


def test_beside_the_sqlite_file():
    """The volume that keeps the consent keeps the events."""
    assert spool_folder(None, environ=HOME, **SQLITE) == Path("/srv/app/data/app.db-spool")


@pytest.mark.parametrize(
    ("environ", "parent"),
    [
        (HOME, "/home/app/.local/state/otel-posthog"),
        ({**HOME, "XDG_STATE_HOME": "/state"}, "/state/otel-posthog"),
        ({**HOME, "STATE_DIRECTORY": "/var/lib/app:/var/lib/other"}, "/var/lib/app/otel-posthog"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, "/home/app/.local/state/otel-posthog"),
    ],
)
def test_in_the_state_folder_for_postgresql(environ, parent):
    """With a database elsewhere the user's folder for state is taken."""
    assert spool_folder(None, environ=environ, **POSTGRESQL).parent == Path(parent)


def test_in_local_application_data_on_windows():
    """Windows has a folder for state of its own."""
    folder = spool_folder(None, environ=WINDOWS, platform="win32", **POSTGRESQL)

    assert folder.parent == Path("/Users/app/AppData/Local/otel-posthog")


def test_folder_stays_the_same_in_each_version():
    """What one version left is found by the next: the name is a part of the database's SHA-256."""
    folder = spool_folder(None, environ=HOME, **POSTGRESQL)

    assert folder.name == "769008bbbf87cf17"


def test_two_databases_never_share_a_folder():
    """Two products of one user keep apart what waits."""
    other = {"database_file": None, "database_name": "postgresql://db:5432/other"}

    assert spool_folder(None, environ=HOME, **POSTGRESQL) != spool_folder(None, environ=HOME, **other)


@pytest.mark.parametrize(
    ("spool_dir", "database", "environ"),
    [
        (":memory:", SQLITE, HOME),
        (None, {"database_file": None, "database_name": None}, HOME),
        (None, POSTGRESQL, {}),
    ],
    ids=["wished", "database in memory", "no home"],
)
def test_memory_has_to_do(spool_dir, database, environ):
    """Where nothing durable is wanted or known, there is no folder."""
    assert spool_folder(spool_dir, environ=environ, **database) is None


@pytest.mark.parametrize("environ", [HOME, {**HOME, "LOCALAPPDATA": ""}], ids=["unset", "empty"])
def test_memory_has_to_do_on_windows(environ):
    """Without its own variable Windows has no folder for state, whatever other ones say."""
    assert spool_folder(None, environ=environ, platform="win32", **POSTGRESQL) is None


def test_given_folder_counts():
    """The setting wins."""
    assert spool_folder("/given", environ=HOME, **SQLITE) == Path("/given")
