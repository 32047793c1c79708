"""Faults that really happen, met by real processes: nothing is lost, nothing comes twice."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import Counter
from contextlib import closing

import pytest
from ports import free_port
from thoroughness import IS_FULL
from trackers import WAIT_S, spooled_numbers, tracking
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.registry import Kind
from otel_posthog.testing import Fault, PostHogSink, serve

EVENTS = 10_000 if IS_FULL else 500
KILLS = 20 if IS_FULL else 4
FAR_TOO_MANY = 1_000_000


@pytest.fixture
def granted_database(database_url):
    """Return the URL of a database in which product events have been granted."""
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_telemetry=True)
    telemetry.shutdown()
    return database_url


@pytest.fixture
def spool_folder(tmp_path):
    return tmp_path / "data" / "app.db-spool"


def _balance(database_url):
    """Return the balance that an operator reads after all processes have ended."""
    telemetry = Telemetry(database=database_url, environ={})
    balance = telemetry.delivery().by_kind()[Kind.TELEMETRY]
    telemetry.shutdown()
    return balance


def _numbers(sink):
    return {event.properties["number"] for event in sink.events}


def test_scripted_day(granted_database, record_property):
    """Through all kinds of trouble each event arrives, twice only where the line was cut after storing."""
    sink = PostHogSink(max_events=2 * EVENTS, max_requests=FAR_TOO_MANY)
    port, phases = free_port(), iter(range(8))
    share = EVENTS // 8
    script = [
        [Fault(delay_s=0.1, times=5)],
        [Fault(status=429, retry_after="1", times=2)],
        [Fault(status=503, times=4)],
        [Fault(cut="before", times=2)],
        [Fault(cut="after", times=2)],
        [Fault(redirect="http://127.0.0.1:9/", times=3)],
    ]
    with tracking(f"http://127.0.0.1:{port}", granted_database, batch_max_events=10) as product:
        product.ask(f"track {next(phases) * share} {share}")  # down: nobody listens
        assert product.ask("flush 5") is False
        for faults in script:
            with serve(sink, port=port):
                sink.script(faults)
                met = len(sink.requests) + faults[0].times
                product.ask(f"track {next(phases) * share} {share}")
                wait_until(lambda met=met: len(sink.requests) >= met, timeout_s=WAIT_S)
        with serve(sink, port=port):
            product.ask(f"track {next(phases) * share} {share}")
            wait_until(lambda: len(_numbers(sink)) == 8 * share, timeout_s=2 * WAIT_S)
            product.exit()

    assert _numbers(sink) == set(range(8 * share))
    twice = [uuid for uuid, times in Counter(event.uuid for event in sink.events).items() if times > 1]
    cut = b"".join(request.decoded for request in sink.requests if request.status is None)
    record_property("tracked", 8 * share)
    balance = _balance(granted_database)
    assert (balance.accepted, balance.sent, balance.waiting, balance.dropped) == (8 * share, 8 * share, 0, {})
    record_property("twice", len(twice))
    assert len({event.uuid for event in sink.events}) == 8 * share
    assert [uuid for uuid in twice if uuid.encode() not in cut] == []


def test_killed_processes_lose_nothing_that_was_spooled(granted_database, spool_folder, record_property):
    """Killed at any moment of an outage, again and again, the spool is sound and keeps what it has."""
    sink, port, safe, first = PostHogSink(), free_port(), set(), 0
    chance = random.Random(20261124)
    url = f"http://127.0.0.1:{port}"
    for _ in range(KILLS):
        with tracking(url, granted_database) as product:
            product.ask(f"track {first} 50")
            assert product.ask("flush 10") is False
            safe |= set(range(first, first + 50))
            first += 50
            product.tell(f"track {first} 100000 2000")
            time.sleep(chance.uniform(0, 0.3))  # the moment of the kill is the point, nothing is awaited
            product.kill()
        spooled = set(spooled_numbers(spool_folder))
        assert safe <= spooled
        safe |= spooled
        first += 100_000

    with serve(sink, port=port), tracking(url, granted_database):
        wait_until(lambda: safe <= _numbers(sink), timeout_s=WAIT_S)

    record_property("spooled by processes that were killed", len(safe))
    assert len({event.distinct_id for event in sink.events}) == 1


def test_poisoned_event_in_a_batch(granted_database, sink, sink_url):
    """Of 500 events in one batch the one that PostHog refuses is set aside, and 499 arrive."""
    sink.script([Fault(status=400, holding='"number": 217', times=None)])
    settings = {"batch_max_events": 500, "batch_delay_s": 60}

    with tracking(sink_url, granted_database, **settings) as product:
        product.ask("track 0 500")
        assert product.ask("flush 30") is True
        counts = product.ask("counts")

    assert _numbers(sink) == set(range(500)) - {217}
    assert len(sink.events) == 499
    assert counts == {"sent": 499, "refused": 1}


@pytest.mark.parametrize("ending", ["exit", signal.SIGINT])
def test_end_of_a_process_spools_what_cannot_be_sent(granted_database, spool_folder, ending):
    """A host that takes connections and never answers costs no event and no more than the timeout."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"shutdown_timeout_s": 5.0, "http_timeout_s": 120.0}
        with tracking(url, granted_database, **settings) as product:
            product.ask("track 0 500")
            began_s = time.monotonic()
            if ending != "exit":
                product.process.send_signal(ending)
            product.process.communicate("exit\n" if ending == "exit" else None, timeout=WAIT_S)
            took_s = time.monotonic() - began_s

    assert took_s < 60  # far from the 120 s that an answer is waited for
    assert sorted(spooled_numbers(spool_folder)) == list(range(500))


def test_batch_is_on_disk_before_it_is_sent(granted_database, spool_folder):
    """With `spool_first` a process that is killed while PostHog is silent has kept each batch."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with tracking(url, granted_database, spool_first=True, http_timeout_s=120.0) as product:
            product.ask("track 0 300")
            wait_until(lambda: len(spooled_numbers(spool_folder)) == 300, timeout_s=WAIT_S)
            product.kill()

    assert sorted(spooled_numbers(spool_folder)) == list(range(300))


def test_batch_that_was_sent_leaves_the_disk(granted_database, spool_folder, sink, sink_url):
    """With `spool_first` each event arrives once, and nothing stays in the spool."""
    with tracking(sink_url, granted_database, spool_first=True) as product:
        product.ask("track 0 300")
        is_flushed = product.ask("flush 30")
        product.ask("track 300 1")
        product.exit()

    assert is_flushed is True
    assert sorted(event.properties["number"] for event in sink.events) == list(range(301))
    assert spooled_numbers(spool_folder) == []


def test_next_process_sends_what_the_last_one_left(granted_database, spool_folder):
    """What one process spooled arrives through the next, once, under the same identity."""
    sink, port = PostHogSink(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tracking(url, granted_database) as product:
        product.ask("track 0 300")
        product.exit()

    with serve(sink, port=port), tracking(url, granted_database):
        wait_until(lambda: len(sink.events) >= 300, timeout_s=WAIT_S)
        wait_until(lambda: spooled_numbers(spool_folder) == [])

    assert [len(sink.events), len(_numbers(sink))] == [300, 300]


def test_withdrawal_while_nobody_ran(granted_database, spool_folder):
    """What a process left is dropped where consent was withdrawn before the next one, though it is back."""
    sink, port = PostHogSink(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tracking(url, granted_database) as product:
        product.ask("track 0 100")
        product.exit()
    settings = Telemetry(database=granted_database, environ={}, spool_dir=":memory:")
    settings.update_settings(enable_telemetry=False)
    settings.update_settings(enable_telemetry=True)
    settings.shutdown()
    assert len(spooled_numbers(spool_folder)) == 100

    with serve(sink, port=port), tracking(url, granted_database) as product:
        product.ask("track 1000 1")
        sink.wait_for(count=1, timeout_s=WAIT_S)
        wait_until(lambda: spooled_numbers(spool_folder) == [])

    assert _numbers(sink) == {1000}
