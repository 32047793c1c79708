"""Databases and networks that fail: the application answers as before, and nothing accepted is lost."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from asgi import client_of, some_app
from logs import warning_records, warnings
from ports import free_port
from waiting import wait_until

from otel_posthog import track
from otel_posthog.delivery.transport import Delivery, PostHogTransport, Result
from otel_posthog.testing import Fault

DATABASE_TIMEOUT_S = 0.1


@pytest.fixture
def locked_file(tmp_path):
    """Return a function that locks the SQLite file against every reader, and one that lets it go."""
    connection = None

    def lock():
        nonlocal connection
        connection = sqlite3.connect(tmp_path / "data" / "app.db", check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")

    def unlock():
        connection.rollback()

    yield lock, unlock
    if connection is not None:
        connection.close()


def test_events_are_held_while_the_database_is_locked(make_telemetry, sink, locked_file):
    """What was accepted while consent was unknown is sent once it is known (R2)."""
    lock, unlock = locked_file
    telemetry = make_telemetry(database_timeout_s=DATABASE_TIMEOUT_S, consent_max_age_s=0.05)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    lock()
    track("accepted_while_unknown")
    assert not telemetry.flush()
    assert sink.requests == []

    unlock()

    [event] = sink.wait_for(count=1)
    assert event.name == "accepted_while_unknown"


def test_application_answers_as_before_with_a_locked_database(make_telemetry, sink, locked_file, caplog):
    """With a locked database requests are answered, and the log says what to do in one line."""
    lock, _unlock = locked_file
    telemetry = make_telemetry(database_timeout_s=DATABASE_TIMEOUT_S, consent_max_age_s=0.01)
    client = client_of(telemetry.wrap(some_app()))
    telemetry.update_settings(enable_error_reporting=True)
    lock()

    answers = [client.get(path).status_code for path in ("/fine", "/fail/1", "/teapot") * 5]

    telemetry.flush()
    assert answers == [200, 500, 418] * 5
    assert sink.requests == []
    assert len(warnings(caplog)) == 1
    assert "locked" in caplog.text


def test_what_is_held_is_discarded_if_the_answer_is_no(make_telemetry, sink, locked_file):
    """What was held while consent was unknown is dropped when it turns out to be denied (R2)."""
    lock, unlock = locked_file
    telemetry = make_telemetry(database_timeout_s=DATABASE_TIMEOUT_S, consent_max_age_s=0.05)
    telemetry.settings()
    lock()
    telemetry.start()
    track("accepted_while_unknown")
    telemetry.flush()

    unlock()

    wait_until(telemetry.flush)
    assert sink.requests == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE system_settings",
        "DELETE FROM system_settings",
        "UPDATE system_settings SET enable_telemetry = 'banana'",
        "UPDATE system_settings SET instance_id = 'nobody'",
    ],
)
def test_damaged_row_means_unknown(make_telemetry, sink, tmp_path, caplog, statement):
    """A missing table, a missing row or a bad value sends nothing, deletes nothing, and says so (R2)."""
    telemetry = make_telemetry(consent_max_age_s=0.01)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)
        connection.commit()

    track("held")

    assert not telemetry.flush()
    assert sink.requests == []
    assert telemetry.delivery() == {}
    assert "Consent is unknown, so nothing is sent" in caplog.text


def test_read_only_database_without_the_table(make_telemetry, sink, tmp_path, caplog):
    """A read-only database that lacks the table means unknown, and the application goes on."""
    sqlite3.connect(tmp_path / "empty.db").close()
    telemetry = make_telemetry(database=f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")
    client = client_of(telemetry.wrap(some_app()))

    answer = client.get("/fail/1")

    telemetry.flush()
    assert answer.status_code == 500
    assert sink.requests == []
    assert len(warnings(caplog)) == 1


def test_database_that_cannot_be_made(make_telemetry, sink, caplog):
    """Where neither database nor spool can be created both are told once, and the application goes on."""
    telemetry = make_telemetry(database="sqlite:////proc/no-such-folder/app.db", consent_max_age_s=0.01)
    client = client_of(telemetry.wrap(some_app()))

    answers = [client.get(path).status_code for path in ("/fine", "/fail/1") * 5]

    telemetry.flush()
    assert answers == [200, 500] * 5
    assert sink.requests == []
    loggers = [record.name for record in warning_records(caplog)]
    assert loggers == ["otel_posthog.consent.watch", "otel_posthog.delivery.spool"]


def test_read_only_database_with_the_row_is_enough_to_send(make_telemetry, sink, tmp_path):
    """A row that can only be read still gives consent."""
    make_telemetry().update_settings(enable_telemetry=True)
    telemetry = make_telemetry(database=f"sqlite:///file:{tmp_path}/data/app.db?mode=ro&uri=true")

    with telemetry:
        track("sent")

    assert [event.name for event in sink.events] == ["sent"]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=401, times=None), "check the project api key"),
        (Fault(status=404, times=None), "check the host setting"),
        (Fault(status=407, times=None), "proxy"),
        (Fault(body="<html>Please log in</html>", times=None), "a web page"),
        (Fault(body="<p>", is_endless=True, times=None), "a web page"),
        (Fault(body='{"status": 0}', times=None), "does not say that it accepted"),
        (Fault(status=204, times=None), "status 204"),
        (Fault(status=400, body="no", times=None), "status 400"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answer_of_something_else_loses_nothing(make_telemetry, sink, caplog, fault, cause):
    """What PostHog has not answered itself waits, and one log line names the likely cause."""
    telemetry = make_telemetry(probe_interval_s=30, http_timeout_s=60)  # an endless page has tiny pieces
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([fault])

    for number in range(3):
        track("numbered", {"number": number})
        telemetry.flush(60)

    assert telemetry.delivery() == {}
    assert len(sink.requests) == 1  # then there is a pause
    assert [cause in message.lower() for message in warnings(caplog)] == [True]


def test_phases_of_wrong_answers_lose_nothing(make_telemetry, sink):
    """5,000 events that wait through 503, 404, 401 and a login page all arrive once PostHog answers."""
    telemetry = make_telemetry(
        retry_initial_s=0.02, retry_max_s=0.02, probe_interval_s=0.02, http_timeout_s=60.0
    )
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    phases = [
        Fault(status=503, times=2),
        Fault(status=404, times=3),
        Fault(status=401, times=3),
        Fault(body="<html>Please log in</html>", times=3),
    ]
    sink.script(phases)

    for number in range(5_000):
        track("numbered", {"number": number})

    events = sink.wait_for(count=5_000, timeout_s=60)
    assert {event.properties["number"] for event in events} == set(range(5_000))
    wait_until(lambda: telemetry.delivery() == {"sent": 5_000})
    assert len(sink.events) == 5_000


def test_quota_is_counted(make_telemetry, sink, caplog):
    """What PostHog does not take because of its quota is counted as that, and the log says what to do."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(body='{"status": "Ok", "quota_limited": ["events"]}')])

    track("beyond_the_quota")

    telemetry.flush()
    assert telemetry.delivery() == {"quota": 1}
    assert "billing limit" in caplog.text


def test_no_key_means_nothing_is_sent(make_telemetry, sink, caplog):
    """Without an API key events are dropped with a line that says what to set."""
    telemetry = make_telemetry(api_key=None)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)

    track("undeliverable")

    assert telemetry.flush()
    assert sink.requests == []
    assert "POSTHOG_API_KEY" in caplog.text


def test_unreachable_host_holds_events(make_telemetry, caplog):
    """With nobody at the host's address events wait, and the log says so once."""
    telemetry = make_telemetry(host=f"http://127.0.0.1:{free_port()}", retry_initial_s=0.01, retry_max_s=0.01)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("waiting")

    assert not telemetry.flush()
    assert not telemetry.flush()

    assert telemetry.delivery() == {}
    assert ["out of reach" in message for message in warnings(caplog)] == [True]


def test_events_arrive_once_posthog_is_back(make_telemetry, sink):
    """After an outage each event arrives, once, with the uuid and time of its capture."""
    telemetry = make_telemetry(retry_initial_s=0.02, retry_max_s=0.02)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(status=503, times=3), Fault(cut="before")])

    for number in range(10):
        track("numbered", {"number": number})
    telemetry.flush()

    events = sink.wait_for(count=10)
    assert telemetry.flush()
    assert sorted(event.properties["number"] for event in events) == list(range(10))
    assert len({event.uuid for event in sink.events}) == 10


def test_poisoned_event_costs_only_itself(make_telemetry, sink, sink_url):
    """One event that PostHog refuses is set aside with a count, the rest of its batch arrives."""

    class Picky:
        """A transport that refuses each batch with the poisoned event in it, as PostHog does."""

        def __init__(self, inner):
            self.inner = inner

        def send(self, batch, may_leave):
            if any(event["properties"].get("number") == 7 for event in batch):
                return Delivery(result=Result.SPLIT, reason="status 400")
            return self.inner.send(batch, may_leave)

        def close(self):
            self.inner.close()

    inner = PostHogTransport(api_key="phc_test", host=sink_url, timeout_s=5)
    telemetry = make_telemetry(transport=Picky(inner), batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)

    for number in range(20):
        track("numbered", {"number": number})

    assert telemetry.flush()
    assert sorted(event.properties["number"] for event in sink.events) == [n for n in range(20) if n != 7]
    assert telemetry.delivery() == {"sent": 19, "refused": 1}


class Busy:
    """A transport that is busy with its first batch until it is released."""

    def __init__(self):
        self.has_begun = threading.Event()
        self.released = threading.Event()
        self.has_ended = threading.Event()

    def send(self, _batch, _may_leave):
        self.has_begun.set()
        self.released.wait(10)
        self.has_ended.set()
        return Delivery(result=Result.ACCEPTED)

    def close(self):
        """Do nothing."""


@pytest.fixture
def busy():
    transport = Busy()
    yield transport
    transport.released.set()


def test_full_queue_drops_and_counts(make_telemetry, busy):
    """More records than the queue holds are dropped and counted, never waited for."""
    telemetry = make_telemetry(transport=busy, queue_max_records=5, batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    for _ in range(5):
        track("fills_the_first_batch")
    assert busy.has_begun.wait(10)

    for _ in range(8):
        track("meets_a_busy_worker")

    busy.released.set()
    assert telemetry.flush()
    assert telemetry.delivery() == {"sent": 10, "queue_full": 3}


def test_queue_that_runs_full_goes_to_disk(make_telemetry, busy, tmp_path):
    """Where PostHog is too slow for what comes in, the disk takes it before the queue has to drop it."""
    telemetry = make_telemetry(transport=busy, queue_max_records=20, batch_max_events=1)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("keeps_the_worker_busy")
    assert busy.has_begun.wait(10)
    for _ in range(20):
        track("fills_the_queue")

    busy.released.set()

    assert telemetry.flush()
    wait_until(lambda: telemetry.delivery() == {"sent": 21})
    assert (tmp_path / "data" / "app.db-spool" / "spool.db").exists()


def test_shutdown_does_not_wait_for_ever(make_telemetry, busy):
    """Shutdown returns at its timeout while a delivery is still under way."""
    telemetry = make_telemetry(transport=busy)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("never_answered")
    assert busy.has_begun.wait(10)

    telemetry.shutdown(timeout_s=0.1)

    assert not busy.has_ended.is_set()
