"""What a change of consent does to events under way."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from logs import warnings
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from waiting import wait_until

from otel_posthog import track
from otel_posthog.delivery.transport import Delivery, Result
from otel_posthog.testing import Fault


def _names(sink):
    return [event.name for event in sink.events]


def _our_threads():
    names = [thread.name for thread in threading.enumerate()]
    ours = [name for name in names if name.startswith(("otel-posthog", "OtelBatch"))]
    return [name for name in ours if name != "otel-posthog-serve"]  # the local PostHog's


def test_nothing_leaves_before_consent(telemetry, sink):
    """While nothing is granted, tracked events are not even kept."""
    track("before_consent")

    telemetry.update_settings(enable_telemetry=True)
    track("after_consent")

    assert telemetry.flush()
    assert _names(sink) == ["after_consent"]


def test_withdrawal_discards_what_waits(make_telemetry, sink):
    """What was queued before a flag went off never arrives (R4)."""
    telemetry = make_telemetry(batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    track("queued")

    telemetry.update_settings(enable_telemetry=False)

    assert telemetry.flush()
    assert sink.requests == []
    assert telemetry.delivery() == {"withdrawn": 1}


def test_off_and_on_again_brings_nothing_back(make_telemetry, sink):
    """What was queued before a withdrawal never arrives, even if consent returns at once (R4)."""
    telemetry = make_telemetry(batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("before_the_withdrawal")

    telemetry.update_settings(enable_telemetry=False)
    telemetry.update_settings(enable_telemetry=True)
    track("after_the_return")

    assert telemetry.flush()
    assert _names(sink) == ["after_the_return"]


def test_off_and_on_by_another_worker_brings_nothing_back(make_telemetry, sink):
    """A withdrawal between two looks is noticed by its generation (R4)."""
    telemetry, other_worker = make_telemetry(batch_delay_s=60), make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("before_the_withdrawal")

    other_worker.update_settings(enable_telemetry=False)
    other_worker.update_settings(enable_telemetry=True)

    assert telemetry.flush()
    assert sink.requests == []


def test_withdrawal_by_another_worker_is_followed(make_telemetry, sink):
    """What another worker has withdrawn is not sent here."""
    telemetry, other_worker = make_telemetry(batch_delay_s=60), make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    track("queued")

    other_worker.update_settings(enable_telemetry=False)

    assert telemetry.flush()
    assert sink.requests == []


def test_idle_worker_follows_a_withdrawal(make_telemetry):
    """A worker without requests ends its threads too, once another one has switched all off (R4)."""
    telemetry, other_worker = make_telemetry(consent_max_age_s=0.05), make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("sent")
    assert telemetry.flush()

    other_worker.update_settings(enable_telemetry=False)

    wait_until(lambda: not _our_threads())


def test_exporters_own_thread_may_find_the_withdrawal(make_telemetry, sink, caplog):
    """When a delivery finds that another worker has switched all off, the thread ends without a word."""
    telemetry, other_worker = make_telemetry(consent_max_age_s=1, batch_delay_s=0.1), make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    other_worker.update_settings(enable_telemetry=False)

    track("accepted_before_the_look")

    wait_until(lambda: not _our_threads())
    assert sink.requests == []
    assert warnings(caplog) == []


def test_grant_by_another_worker_is_followed(make_telemetry, sink):
    """A worker that is off learns of a grant with the next things that happen in it (R4)."""
    telemetry, other_worker = make_telemetry(consent_max_age_s=0.02), make_telemetry()
    telemetry.start()
    other_worker.update_settings(enable_telemetry=True)

    def is_granted():
        track("probe")
        return telemetry.flush() and "probe" in _names(sink)

    wait_until(is_granted)


def test_all_off_leaves_no_thread(granted):
    """With both flags off there is no thread of ours (R4)."""
    track("sent")
    assert granted.flush()

    granted.update_settings(enable_error_reporting=False, enable_telemetry=False)

    wait_until(lambda: not _our_threads())


def test_one_withdrawn_kind_leaves_the_other(make_telemetry, sink):
    """A withdrawal discards its own kind only."""
    telemetry = make_telemetry(batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    track("stays")

    telemetry.update_settings(enable_error_reporting=False)

    assert telemetry.flush()
    assert _names(sink) == ["stays"]


def test_spooled_events_are_discarded_too(make_telemetry, sink):
    """What waits for PostHog to come back is discarded with the withdrawal (R4)."""
    telemetry = make_telemetry(retry_initial_s=0.05, retry_max_s=0.05)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(status=503, times=None)])
    track("spooled")
    telemetry.flush()

    telemetry.update_settings(enable_telemetry=False)
    telemetry.update_settings(enable_telemetry=True)
    sink.script([])
    track("fresh")

    sink.wait_for(count=1)
    assert telemetry.flush()
    assert _names(sink) == ["fresh"]


class _SlowTransport:
    """A transport whose delivery takes a while, and says when it began and when it ended."""

    def __init__(self):
        self.has_begun = threading.Event()
        self.has_ended = threading.Event()

    def send(self, _batch, _may_leave):
        self.has_begun.set()
        self.has_ended.wait(0.3)
        self.has_ended.set()
        return Delivery(result=Result.ACCEPTED)

    def close(self):
        """Do nothing."""


def test_no_delivery_is_under_way_after_a_withdrawal(make_telemetry):
    """The call that withdraws waits for a delivery that has begun, so that none is seen after it."""
    transport = _SlowTransport()
    telemetry = make_telemetry(transport=transport)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("under_way")
    assert transport.has_begun.wait(5)

    telemetry.update_settings(enable_telemetry=False)

    assert transport.has_ended.is_set()


@pytest.mark.parametrize("switch", ["DO_NOT_TRACK", "OTEL_POSTHOG_DISABLED"])
def test_kill_switch_wins_over_the_database(make_telemetry, sink, switch):
    """With a kill switch set nothing leaves, whatever the database says (R2)."""
    granting = make_telemetry()
    granting.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry = make_telemetry(environ={switch: "1"}, environment="development")

    with telemetry:
        track("switched_off")
        telemetry.send_test_exception()

    assert sink.requests == []


def test_startup_test_leaves_in_development_whatever_consent_says(make_telemetry, sink):
    """In development one marked test exception is sent at the start (R19)."""
    telemetry = make_telemetry(environment="development")

    telemetry.start()

    [event] = sink.wait_for(count=1)
    assert event.properties["$fastflow_startup_test"] is True
    assert event.issues == ()
    assert telemetry.settings().instance_id is None


def test_startup_test_has_another_identity_each_time(make_telemetry, sink):
    """The test's distinct_id is random and kept nowhere (R19)."""
    make_telemetry(environment="development").start()
    make_telemetry(environment="development").start()

    first, second = sink.wait_for(count=2)
    assert first.distinct_id != second.distinct_id


def test_pending_events_leave_at_shutdown(make_telemetry, sink):
    """On shutdown what waits is flushed (R4)."""
    telemetry = make_telemetry(batch_delay_s=60)

    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        track("last_words")

    assert _names(sink) == ["last_words"]
    assert not _our_threads()


def test_can_be_started_again(make_telemetry, sink):
    """After a shutdown the same object can start again."""
    telemetry = make_telemetry()
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        track("first_life")

    with telemetry:
        track("second_life")

    assert _names(sink) == ["first_life", "second_life"]


def test_record_that_claims_to_be_of_the_future_is_withdrawn_too(make_telemetry, sink):
    """Our own clock decides what was accepted before a withdrawal, not the record's (R4)."""
    provider = LoggerProvider(shutdown_on_exit=False)
    telemetry = make_telemetry(batch_delay_s=60, logger_provider=provider)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    provider.get_logger("of.the.host").emit(
        LogRecord(
            observed_timestamp=time.time_ns() + 3600 * 10**9, attributes={"exception.type": "FromTheFuture"}
        )
    )

    telemetry.update_settings(enable_error_reporting=False)
    telemetry.update_settings(enable_error_reporting=True)

    assert telemetry.flush()
    assert sink.requests == []


def test_no_spool_file_outlives_consent(make_telemetry, sink, tmp_path):
    """Once both kinds are off nothing of what waited is left on disk (R4)."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(status=503, times=None)])
    track("spooled")
    telemetry.flush()
    assert (tmp_path / "data" / "app.db-spool" / "spool.db").exists()

    telemetry.update_settings(enable_telemetry=False)

    left = [path.name for path in (tmp_path / "data" / "app.db-spool").iterdir() if path.stat().st_size]
    assert left == []


def test_no_event_touches_the_disk_while_posthog_is_up(make_telemetry, sink, tmp_path):
    """Only what could not be sent is spooled; of the rest the file has numbers."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)

    for _ in range(300):
        track("sent")
    assert telemetry.flush()
    telemetry.shutdown()

    assert len(sink.events) == 300
    with closing(sqlite3.connect(tmp_path / "data" / "app.db-spool" / "spool.db")) as spool:
        assert spool.execute("SELECT count(*) FROM sqlite_sequence").fetchone() == (0,)  # never had a row
        assert spool.execute("SELECT events FROM ledger WHERE name = 'sent'").fetchall() == [(300,)]


@pytest.mark.parametrize("was_on_before", [False, True])
def test_worker_that_learns_late_deletes_nothing_of_the_others(make_telemetry, sink, was_on_before):
    """What one worker spooled since consent was given stays when another one learns of it only then."""
    telemetry, late = (
        make_telemetry(retry_initial_s=60, retry_max_s=60),
        make_telemetry(consent_max_age_s=0.01),
    )
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=was_on_before)
    wait_until(late.recent_consent)
    telemetry.update_settings(enable_error_reporting=False, enable_telemetry=False)
    telemetry.update_settings(enable_telemetry=True)
    telemetry.start()
    sink.script([Fault(status=503)])
    track("spooled")
    assert not telemetry.flush()

    late.start()
    assert late.flush()

    assert _names(sink) == ["spooled"]


def test_parked_worker_follows_a_withdrawal(make_telemetry, sink, tmp_path):
    """A `Retry-After` of a day parks deliveries, not the thread: it goes on looking at consent (R4)."""
    telemetry, other_worker = make_telemetry(consent_max_age_s=0.05), make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(status=429, retry_after="86400")])
    track("parked")
    assert not telemetry.flush()

    other_worker.update_settings(enable_telemetry=False)

    wait_until(lambda: not _our_threads())
    assert len(sink.requests) == 1
    assert not (tmp_path / "data" / "app.db-spool" / "spool.db").exists()
