"""Nothing that can be read is lost, whatever happens to the spool's files while it is in use."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
from logs import warnings
from spools import World, some_batch, telemetry_consent

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.consent.state import Answer
from otel_posthog.delivery.salvage import move
from otel_posthog.delivery.spool import RETRY_DISK_S, Spool
from otel_posthog.delivery.stored_batch import Reading, encoded
from otel_posthog.registry import Kind


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "spool") as made:
        yield made


def _accepted(spool):
    found = []
    while (batch := spool.first()) is not None:
        found += [event.accepted_ns for event in batch.events]
        spool.remove(batch)
    return found


def _delete_all(world):
    for path in world.folder.glob("spool.db*"):
        if path.is_file():
            path.unlink()


def _delete_file(world):
    world.path.unlink()


def _delete_folder(world):
    shutil.rmtree(world.folder)


def _replace_by_folder(world):
    _delete_all(world)
    (world.path / "inside").mkdir(parents=True)


def _replace_by_garbage(world):
    other = world.folder / "other"
    other.write_bytes(b"garbage" * 1_000)
    other.replace(world.path)


def _empty(world):
    os.truncate(world.path, 0)


DELETIONS = [_delete_all, _delete_file, _delete_folder, _replace_by_folder, _replace_by_garbage, _empty]
NAMES = [act.__name__.strip("_").replace("_", " ") for act in DELETIONS]


@pytest.mark.parametrize("delete", DELETIONS, ids=NAMES)
@pytest.mark.parametrize("then", ["put", "first", "purge", "close", "fork"])
def test_file_that_is_deleted_in_use_loses_nothing(world, delete, then):
    """What a process still has open is moved to a new file, whatever it does next."""
    spool = world.spool()
    for number in range(1, 20):
        spool.put(some_batch(number, text=os.urandom(1_000).hex()))
    spool.remove(spool.first())
    delete(world)

    match then:
        case "put":
            spool.put(some_batch(20))
        case "first":
            spool.put(some_batch(20)) if spool.first() else None
        case "purge":
            spool.purge(Kind.ERRORS, telemetry_consent(answer=Answer.DENIED))
        case "close":
            spool.close()
        case "fork":
            spool.before_fork()
            spool.after_fork_in_parent()
    last = [20] if then in ("put", "first") else []

    assert _accepted(world.spool()) == [*range(2, 20), *last]
    assert world.counts.as_dict() == {}


def test_processes_that_lost_one_file_move_its_batches_once(world, caplog):
    """Of several processes that still have the deleted file open one moves what is in it."""
    spools = [world.spool() for _ in range(3)]
    for number, spool in enumerate(spools):
        spool.put(some_batch(number + 1))
    _delete_all(world)

    for number, spool in enumerate(spools):
        spool.put(some_batch(number + 4))

    assert _accepted(world.spool()) == [1, 2, 3, 4, 5, 6]
    [message] = warnings(caplog)
    assert "3 events were moved to it, 0 cannot be read" in message


def test_move_that_fails_changes_neither_file(tmp_path):
    """Batches are moved together with what belongs to them, and their file is marked only then."""
    with World(tmp_path / "old") as old, World(tmp_path / "new") as new:
        old.spool().put(some_batch(1, 2))
        source, target = old.made[0].open(), new.spool().open()
        options = {"version": 1, "now": Reading(new.wall_s, new.now_s, new.boot_id), "without": {}}

        def fail(_moved):
            raise sqlite3.DatabaseError("planted")

        with pytest.raises(sqlite3.DatabaseError, match="planted"):
            move(source, target, **options, carry=fail)
        assert new.made[0].first() is None
        carried = []
        moved = move(source, target, **options, carry=carried.append)

        assert (moved.events, moved.is_emptied, len(carried)) == (2, False, 1)
        assert _accepted(new.made[0]) == [1, 2]


def test_batch_that_is_sent_while_the_file_is_deleted_is_not_sent_again(world):
    """A moved row keeps its number, so that the batch in progress is removed from the new file."""
    spool = world.spool()
    spool.put(some_batch(1))
    spool.put(some_batch(2))
    in_progress = spool.first()
    _delete_all(world)
    spool.put(some_batch(3))

    spool.remove(in_progress)

    assert _accepted(world.spool()) == [2, 3]


def test_withdrawal_leaves_nothing_to_move(world):
    """What another process has deleted for a withdrawal is not moved, though it is still open here."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    other.delete()

    assert spool.first() is None
    spool.put(some_batch(2))

    assert _accepted(spool) == [2]


@pytest.mark.parametrize(("generation", "logged"), [(3, 1), (4, 0)])
def test_instance_id_that_was_changed_by_hand_is_logged(world, caplog, generation, logged):
    """Events of another installation are dropped, with a line in the log unless consent was withdrawn."""
    spool = world.spool()
    spool.put(some_batch(1))

    purged = spool.purge(Kind.TELEMETRY, telemetry_consent(generation=generation, instance_id="another"))

    assert purged == 1
    assert ["another installation" in message for message in warnings(caplog)] == [True] * logged


@pytest.mark.parametrize("answer", [Answer.DENIED, Answer.GRANTED])
def test_withdrawal_reaches_what_was_set_aside(world, answer):
    """The file that a newer version reads loses its withdrawn batches as well, also their bytes."""
    spool = world.spool()
    batch = some_batch(1)
    spool.put(batch)
    spool.close()
    with closing(sqlite3.connect(world.path)) as connection:
        connection.executescript("UPDATE batches SET body = x'00' || body; PRAGMA user_version = 2")
    spool.put(some_batch(2))
    aside = world.folder / "spool.db.set-aside"
    assert encoded(batch) in aside.read_bytes()

    spool.purge(Kind.TELEMETRY, telemetry_consent(answer=answer, generation=4))

    assert encoded(batch) not in aside.read_bytes()


def test_denial_deletes_what_was_set_aside_and_cannot_be_read(world):
    """Of a file without batches that can be deleted one by one nothing stays."""
    world.folder.mkdir()
    world.path.write_bytes(b"garbage" * 1_000)
    spool = world.spool()
    spool.put(some_batch(1))
    aside = world.folder / "spool.db.set-aside"

    spool.purge(Kind.TELEMETRY, telemetry_consent(generation=4))
    assert aside.exists()
    spool.purge(Kind.ERRORS, telemetry_consent(answer=Answer.DENIED))

    assert not aside.exists()


@pytest.mark.parametrize("name", ["drain.lock", "file.lock"])
@pytest.mark.parametrize("content", [b"garbage" * 1_000, b"x", None, "inside"])
def test_lock_that_is_damaged_is_repaired(world, name, content):
    """Garbage or a folder in the place of a lock keeps nobody from sending."""
    world.spool().put(some_batch(1))
    lock = world.folder / name
    lock.unlink(missing_ok=True)
    if isinstance(content, bytes):
        lock.write_bytes(content)
    else:
        lock.mkdir()
        (lock / (content or ".")).mkdir(exist_ok=True)
    spool, other = world.spool(), world.spool()

    with spool.claim() as ours, other.claim() as theirs:
        assert (ours, theirs) == (True, False)
        assert _accepted(spool) == [1]


def test_claim_ends_with_its_file(world):
    """A process whose lock was deleted stops, since another one may hold the new lock."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))

    with spool.claim() as ours:
        assert (ours, spool.is_claimed()) == (True, True)
        (world.folder / "drain.lock").unlink()
        with other.claim() as theirs:
            assert (theirs, spool.is_claimed(), other.is_claimed()) == (True, False, True)


def _flip(world, chance):
    path = chance.choice([world.path, world.folder / "spool.db-wal"])
    if path.is_file() and path.stat().st_size:
        with path.open("r+b") as file:
            for _ in range(chance.choice([1, 50])):
                file.seek(chance.randrange(path.stat().st_size))
                file.write(chance.randbytes(chance.choice([1, 200])))


def _truncate(world, chance):
    if world.path.is_file():
        os.truncate(world.path, chance.randrange(world.path.stat().st_size + 1))


def _another_version(world, chance):
    try:
        with closing(sqlite3.connect(world.path, timeout=0)) as connection:
            connection.execute(f"PRAGMA user_version = {chance.choice([0, 2])}")
    except sqlite3.Error:
        pass


def _garbage_in_locks(world, chance):
    for name in ("drain.lock", "file.lock"):
        if world.folder.is_dir() and not (world.folder / name).is_dir():
            (world.folder / name).write_bytes(chance.randbytes(chance.choice([10, 5_000])))


def _damages():
    deletions = [
        lambda world, _chance, act=act: act(world) if world.path.is_file() else None for act in DELETIONS
    ]
    return [_flip, _flip, _truncate, _garbage_in_locks, *deletions]


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_is_survived_and_counted(world, seed):
    """Whatever happens to the files between operations, each event is returned once or counted."""
    chance, returned, number = random.Random(seed), [], 0
    file = world.spool()
    spool = Spool(
        file,
        memory_max_bytes=10_000_000,
        counts=world.counts,
        log_limiter=LogLimiter(),
        clock=lambda: world.now_s,
    )
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            number += 1
            spool.put(some_batch(number, text=chance.randbytes(chance.choice([10, 3_000])).hex()))
        if chance.random() < 0.3 and seed % 4:
            chance.choice(_damages())(world, chance)
        elif chance.random() < 0.3 and not seed % 4:
            spool.close()
            _another_version(world, chance)
        world.now_s += chance.choice([0.0, RETRY_DISK_S]) / 100
        if chance.random() < 0.4 and (batch := spool.first()) is not None:
            returned += [event.accepted_ns for event in batch.events]
            spool.remove(batch)
    world.now_s += RETRY_DISK_S
    with spool.claim() as first:
        while (batch := first()) is not None:
            returned += [event.accepted_ns for event in batch.events]
            spool.remove(batch)
    spool.close()

    assert len(returned) == len(set(returned))
    assert set(returned) <= set(range(1, number + 1))
    assert number - len(returned) == world.counts.as_dict().get("unreadable", 0)
