"""The heartbeat end to end: a real database, a real PostHog endpoint, a clock in the test's hand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from logs import warnings
from spools import Disk, some_batch
from waiting import wait_until

from otel_posthog import capture_exception, track
from otel_posthog.delivery.transport import Delivery
from otel_posthog.delivery.transport import Result as Answer
from otel_posthog.heartbeat import Result
from otel_posthog.heartbeat.gauges import Collected
from otel_posthog.registry import Kind
from otel_posthog.registry.domains import canonical_json
from otel_posthog.testing.faults import Fault

CONSENT_AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
THREAD = "otel-posthog-heartbeat"
BOUND_S = 30
ONLY_BY_HAND_S = 3600


class HandClock:
    """A clock that the test sets."""

    def __init__(self):
        self.now = CONSENT_AT

    def __call__(self):
        return self.now.timestamp()

    def to(self, text):
        self.now = datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def make_beating(make_telemetry, clock):
    """Return a function that makes a `Telemetry` with this clock and one gauge."""

    def make(**options):
        defaults = {"clock": clock, "heartbeat_check_s": 0.02, "gauge_timeout_s": 5.0}
        telemetry = make_telemetry(**{**defaults, **options})
        telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
        return telemetry

    return make


@pytest.fixture
def due(make_beating, clock):
    """Return a `Telemetry` that is not started, for which a heartbeat is due."""
    telemetry = make_beating()
    telemetry.update_settings(enable_telemetry=True)
    assert telemetry.heartbeat.send_if_due() is Result.NOT_DUE
    clock.to("2026-11-21 03:00")
    return telemetry


@pytest.fixture
def late(due):
    """Return a function that adds a gauge to the one for which a heartbeat is due, and agrees to it."""

    def add(name, callback):
        due.heartbeat.gauge(name)(callback)
        due.answer(agreed=[Kind.TELEMETRY])

    return add


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("otel-posthog")]


def gauges_of(event):
    """Return what the event holds beside the base properties."""
    ours = ("$", "source", "environment", "service_version")
    return {key: value for key, value in event.properties.items() if not key.startswith(ours)}


def test_heartbeat_goes_out_at_three(make_beating, clock, sink):
    """A running process sends it when its clock reaches the time, with the day's fixed timestamp."""
    telemetry = make_beating(heartbeat_time="03:00")
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        assert telemetry.heartbeat.send_if_due() is Result.NOT_DUE

        clock.to("2026-11-21 03:05:17")

        (event,) = sink.wait_for(timeout_s=BOUND_S)
    assert (event.name, event.timestamp) == ("instance_heartbeat", "2026-11-21T03:00:00.000+00:00")
    assert gauges_of(event) == {"total_pipelines": 3, "failed_gauges": 0}
    assert event.properties["$process_person_profile"] is False
    assert event.issues == ()


def test_uuid_follows_from_instance_and_day(due, sink):
    """Any worker of the installation would give the day's heartbeat the same uuid."""
    due.heartbeat.send_if_due()

    (event,) = sink.events
    assert event.uuid == str(uuid.uuid5(uuid.UUID(event.distinct_id), "instance_heartbeat:2026-11-21"))


def test_day_of_consent_has_none(make_beating, clock, sink):
    """Consent given at ten in the morning catches nothing up; the next three o'clock is the first."""
    telemetry = make_beating()
    telemetry.update_settings(enable_telemetry=True)

    results = []
    for moment in ("2026-11-20 10:00", "2026-11-20 23:59", "2026-11-21 02:59", "2026-11-21 03:00"):
        clock.to(moment)
        results.append(telemetry.heartbeat.send_if_due())

    assert results == [Result.NOT_DUE] * 3 + [Result.SENT]
    assert len(sink.events) == 1


def test_downtime_is_caught_up_once(due, make_beating, clock, sink):
    """A process that comes back after days sends one heartbeat, that of the latest day."""
    clock.to("2026-11-24 11:00")
    fresh = make_beating()

    results = [fresh.heartbeat.send_if_due() for _ in range(3)]

    assert results == [Result.SENT, Result.NOT_DUE, Result.NOT_DUE]
    assert [event.timestamp[:10] for event in sink.events] == ["2026-11-24"]


def test_new_consent_has_another_first_day(due, clock, sink):
    """Withdrawn and given again, telemetry owes nothing for that day."""
    clock.to("2026-11-23 12:00")
    due.update_settings(enable_telemetry=False)
    due.update_settings(enable_telemetry=True)

    assert due.heartbeat.send_if_due() is Result.NOT_DUE
    clock.to("2026-11-24 03:00")
    assert due.heartbeat.send_if_due() is Result.SENT


def test_without_consent_there_is_none(make_beating, clock, sink):
    """Error reporting alone neither starts the thread nor sends a heartbeat (R2)."""
    telemetry = make_beating()
    with telemetry:
        telemetry.update_settings(enable_error_reporting=True)
        clock.to("2026-11-22 04:00")

        assert telemetry.heartbeat.send_if_due() is Result.OFF
        assert THREAD not in threads()
    assert sink.events == []


def test_without_gauges_there_is_none(make_telemetry, clock):
    """A product that registered no gauge has no thread for it and no table."""
    telemetry = make_telemetry(clock=clock)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)

        assert telemetry.heartbeat.send_if_due() is Result.OFF
        assert THREAD not in threads()


def test_gauge_registered_later_is_noticed(granted):
    """The thread begins within a look at consent once there is a gauge."""
    granted.heartbeat.gauge("total_pipelines")(lambda: 3)

    wait_until(lambda: THREAD in threads())


def test_thread_exists_only_while_telemetry_is_on(make_beating):
    """Withdrawal ends the sleeping thread, a new grant starts one, shutdown ends it (R4)."""
    telemetry = make_beating(heartbeat_check_s=3600)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True, enable_error_reporting=True)
        wait_until(lambda: THREAD in threads())
        telemetry.update_settings(enable_telemetry=False)
        wait_until(lambda: THREAD not in threads())
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: THREAD in threads())

    assert THREAD not in threads()


def test_withdrawal_while_gauges_are_read_sends_nothing(due, sink):
    """A gauge that is read when consent goes is the last one, and the event stays behind."""
    asked = []
    due.heartbeat.gauge("withdrawing")(lambda: due.update_settings(enable_telemetry=False) and None)
    due.heartbeat.gauge("too_late")(lambda: asked.append(1))

    due.heartbeat.send_if_due()

    assert (asked, sink.requests) == ([], [])


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [(5, True), (0, True), (2.5, True), (True, True), (False, True), ("sqlite", True), (None, False)],
)
def test_value_arrives_as_it_is(due, late, sink, value, is_kept):
    """Numbers, booleans and texts keep their type; None leaves the property out and is no failure."""
    late("value", lambda: value)

    due.heartbeat.send_if_due()

    (event,) = sink.events
    assert ("value" in event.properties) is is_kept
    if is_kept:
        assert (event.properties["value"], type(event.properties["value"])) == (value, type(value))
    assert event.properties["failed_gauges"] == 0


def test_text_is_scrubbed(due, late, sink):
    """A secret in a gauge's text does not leave (R21)."""
    token = "ghp" + "_" + "0" * 36
    late("label", lambda: f"uses {token}")

    due.heartbeat.send_if_due()

    assert not sink.contains(token)
    assert "[scrubbed:" in sink.events[0].properties["label"]


def _raise():
    raise ValueError("planted-value")


class Hostile(int):
    """A number that cannot be looked at."""

    def __abs__(self):
        raise RuntimeError("planted-value")


@pytest.mark.parametrize(
    "broken",
    [
        _raise,
        Hostile,
        lambda: float("nan"),
        lambda: float("-inf"),
        lambda: 10**300,
        lambda: "x" * 1000,
        lambda: ["a", "list"],
        lambda: asyncio.sleep(0),
        lambda: (_ for _ in ()).throw(SystemExit(3)),
        lambda: (_ for _ in ()).throw(KeyboardInterrupt),
    ],
    ids=["raises", "hostile", "nan", "inf", "huge", "long", "list", "coroutine", "exit", "interrupt"],
)
def test_broken_gauge_costs_itself_only(due, late, sink, caplog, broken):
    """It is left out, named in one log line without its value, and counted in the event (R20)."""
    late("broken", broken)
    late("after_it", lambda: 4)

    with caplog.at_level(logging.WARNING, "otel_posthog"):
        due.heartbeat.send_if_due()

    (event,) = sink.events
    assert gauges_of(event) == {"total_pipelines": 3, "after_it": 4, "failed_gauges": 1}
    (line,) = warnings(caplog)
    assert "broken" in line
    assert "planted" not in line


def test_broken_gauges_are_named_together(due, caplog):
    """Two failures of one day are one line with both names."""
    due.heartbeat.gauge("first")(_raise)
    due.heartbeat.gauge("second")(_raise)

    due.heartbeat.send_if_due()

    (line,) = warnings(caplog)
    assert "first raised ValueError, second raised ValueError" in line


@pytest.fixture
def never():
    """Return an event that is set after the test, so that no thread outlives it."""
    released = threading.Event()
    yield released
    released.set()
    wait_until(lambda: "otel-posthog-gauge" not in threads())


def test_hanging_gauge_costs_its_timeout(make_beating, clock, sink, never):
    """A gauge that does not return is given up after its timeout; the others arrive."""
    telemetry = make_beating(gauge_timeout_s=0.5)
    telemetry.heartbeat.gauge("hanging")(lambda: never.wait(BOUND_S))
    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 03:00")

    telemetry.heartbeat.send_if_due()

    assert gauges_of(sink.events[0]) == {"total_pipelines": 3, "failed_gauges": 1}


def test_hanging_gauge_does_not_pile_up(make_beating, clock, sink, never):
    """While an earlier reading still hangs no second one begins, however many days pass."""
    telemetry = make_beating(gauge_timeout_s=0.5)
    telemetry.heartbeat.gauge("hanging")(lambda: never.wait(BOUND_S))
    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()

    for day in range(21, 26):
        clock.to(f"2026-11-{day} 03:00")
        telemetry.heartbeat.send_if_due()

    assert threads().count("otel-posthog-gauge") == 1
    assert [event.properties["failed_gauges"] for event in sink.events] == [1] * 5


def test_hanging_gauge_costs_no_event_at_the_end(make_beating, clock, sink, never):
    """At shutdown what was tracked goes out, though a gauge is still being waited for."""
    begun = threading.Event()
    telemetry = make_beating(batch_delay_s=60, gauge_timeout_s=BOUND_S)
    telemetry.heartbeat.gauge("hanging")(lambda: begun.set() or never.wait(BOUND_S))
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 03:00")
    assert begun.wait(BOUND_S)
    track("last_words")

    telemetry.shutdown(timeout_s=1)

    never.set()
    wait_until(lambda: THREAD not in threads())
    assert [event.name for event in sink.events] == ["last_words"]


def test_gauges_are_read_only_when_due(make_beating, clock):
    """On a day that is done no callback is called."""
    telemetry = make_beating()
    calls = []
    telemetry.heartbeat.gauge("counting")(lambda: calls.append(1) or 1)
    telemetry.update_settings(enable_telemetry=True)
    for moment in ("2026-11-20 11:00", "2026-11-21 02:59", "2026-11-21 03:00", "2026-11-21 03:01"):
        clock.to(moment)
        telemetry.heartbeat.send_if_due()

    assert calls == [1]


def test_async_gauge_without_a_loop_of_the_application(due, late, sink):
    """In a script an async callback runs on a private event loop."""

    async def soon():
        await asyncio.sleep(0)
        return 7

    late("soon", soon)

    due.heartbeat.send_if_due()

    assert gauges_of(sink.events[0])["soon"] == 7


def test_async_gauge_without_a_loop_has_the_same_timeout(make_beating, clock, sink):
    """An async callback that never ends is given up, and its private loop ends with it."""
    telemetry = make_beating(gauge_timeout_s=0.5)

    @telemetry.heartbeat.gauge("never")
    async def never():
        await asyncio.Event().wait()

    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 03:00")

    telemetry.heartbeat.send_if_due()

    assert gauges_of(sink.events[0]) == {"total_pipelines": 3, "failed_gauges": 1}
    wait_until(lambda: "otel-posthog-gauge" not in threads())


def test_async_gauge_runs_on_the_applications_loop(due, late, sink):
    """With `async with` the callback runs where the application's own pools live."""

    async def on_its_loop():
        return id(asyncio.get_running_loop()) == application[0]

    late("on_its_loop", on_its_loop)
    application = []

    async def run():
        application.append(id(asyncio.get_running_loop()))
        async with due:
            await asyncio.to_thread(sink.wait_for, timeout_s=BOUND_S)

    asyncio.run(run())

    assert gauges_of(sink.events[0])["on_its_loop"] is True


def test_async_gauge_on_the_applications_loop_is_cancelled(make_beating, clock, sink):
    """One that takes too long is cancelled, and the application's loop goes on."""
    telemetry = make_beating(gauge_timeout_s=0.5)
    forever = asyncio.Event()

    @telemetry.heartbeat.gauge("never")
    async def never():
        await forever.wait()

    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 03:00")

    async def run():
        async with telemetry:
            await asyncio.to_thread(sink.wait_for, timeout_s=BOUND_S)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), BOUND_S)

    asyncio.run(run())

    assert sink.events[0].properties["failed_gauges"] == 1


def test_loop_and_track_go_on_while_a_gauge_is_read(due, late, sink):
    """With a gauge blocked for as long as the test wants, the loop turns and `track` returns."""
    begun, finish = threading.Event(), threading.Event()

    def slow():
        begun.set()
        return 1 if finish.wait(BOUND_S) else 0

    late("slow", slow)

    async def run():
        async with due:
            await asyncio.to_thread(begun.wait, BOUND_S)
            for _ in range(1000):
                await asyncio.sleep(0)
                track("went_on")
            is_still_reading = not any(event.name == "instance_heartbeat" for event in sink.events)
            finish.set()
            await asyncio.to_thread(sink.wait_for, name="instance_heartbeat", timeout_s=BOUND_S)
            return is_still_reading

    is_still_reading = asyncio.run(run())

    (heartbeat,) = [event for event in sink.events if event.name == "instance_heartbeat"]
    assert is_still_reading
    assert heartbeat.properties["slow"] == 1


def test_store_that_is_down_sends_nothing(due, sink, tmp_path, caplog):
    """Without the lease nobody sends, and the reason is logged."""
    database = tmp_path / "data" / "app.db"
    database.rename(tmp_path / "elsewhere")

    result = due.heartbeat.send_if_due()

    assert result is Result.FAILED
    assert sink.requests == []
    assert "heartbeat is not sent" in caplog.text


def test_store_that_stays_down_is_asked_ever_less_often(due, tmp_path):
    """Each failure doubles the pause before the next round, and a success starts again at one minute."""
    database, elsewhere = tmp_path / "data" / "app.db", tmp_path / "elsewhere"
    rounds = due.heartbeat.rounds

    def pauses(number):
        database.rename(elsewhere)
        found = [rounds.run(lambda _: Collected(values={})).pause_s for _ in range(number)]
        elsewhere.rename(database)
        return found

    first = pauses(13)
    wait_until(lambda: rounds.run(lambda _: Collected(values={})).result is Result.SENT, timeout_s=BOUND_S)

    assert first[:4] == [60, 120, 240, 480]
    assert first[-2:] == [60 * 2**10] * 2
    assert pauses(1) == [60]


class SeveringTransport:
    """Accept events, and move the database away before the day can be marked as done."""

    def __init__(self, database, elsewhere):
        self._database = database
        self._elsewhere = elsewhere
        self.events = []

    def send(self, batch, may_leave):
        assert may_leave()
        self.events += batch
        self._database.rename(self._elsewhere)
        return Delivery(result=Answer.ACCEPTED)

    def close(self):
        pass


def test_sent_heartbeat_is_marked_as_done_later(make_beating, clock, tmp_path):
    """If the store fails after the event was sent, the next round marks the day and sends nothing."""
    database, elsewhere = tmp_path / "data" / "app.db", tmp_path / "elsewhere"
    transport = SeveringTransport(database, elsewhere)
    telemetry = make_beating(transport=transport)
    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 03:00")
    assert telemetry.heartbeat.send_if_due() is Result.FAILED
    elsewhere.rename(database)

    clock.to("2026-11-21 03:30")  # the claim of the first attempt has expired
    wait_until(lambda: telemetry.heartbeat.rounds.run(_must_not_collect).result is Result.SENT)

    assert telemetry.heartbeat.send_if_due() is Result.NOT_DUE
    assert len(transport.events) == 1


def test_unreachable_posthog_holds_it(due, sink):
    """With PostHog out of reach the event waits in the spool, and the day is done."""
    sink.script([Fault(status=503)])

    results = [due.heartbeat.send_if_due(), due.heartbeat.send_if_due()]

    assert results == [Result.HELD, Result.NOT_DUE]


def test_refused_day_reads_no_gauge_again(due, late, sink, clock):
    """After PostHog's rejection neither the lease nor a gauge is asked again on that day."""
    calls = []
    late("counting", lambda: calls.append(1) or 1)
    sink.script([Fault(status=400, times=None, holding="2026-11-21T03:00:00.000")])
    due.heartbeat.send_if_due()

    clock.to("2026-11-21 03:30")  # the claim of the first attempt has expired
    again = due.heartbeat.rounds.run(_must_not_collect)

    assert (again.result, again.pause_s) == (Result.FAILED, 23.5 * 3600)
    assert calls == [1]


def _must_not_collect(_is_wanted):
    raise AssertionError("the gauges are read")


def test_refused_heartbeat_is_not_repeated_all_day(due, sink, clock):
    """PostHog's no is taken for this day by this process; the next day is tried again."""
    sink.script([Fault(status=400, times=None, holding="2026-11-21T03:00:00.000")])

    results = []
    for moment in ("2026-11-21 03:00", "2026-11-21 03:30", "2026-11-22 03:00"):
        clock.to(moment)
        results.append(due.heartbeat.send_if_due())

    assert results == [Result.FAILED, Result.FAILED, Result.SENT]
    assert [request.status for request in sink.requests] == [400, 200]


def _track_many():
    for _ in range(100):
        track("dropped")


def test_drops_are_reported_once(make_telemetry, clock, sink):
    """Drops by reason go out with the next heartbeat of the process that counted them."""
    telemetry = make_telemetry(clock=clock, queue_max_records=1, batch_delay_s=60)
    telemetry.heartbeat.delay(ONLY_BY_HAND_S)
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: _track_many() or "queue_full" in telemetry.delivery(), timeout_s=BOUND_S)
        dropped = telemetry.delivery()["queue_full"]
        telemetry.heartbeat.send_if_due()
        for day in ("2026-11-21", "2026-11-22"):
            clock.to(f"{day} 03:00")
            assert telemetry.heartbeat.send_if_due() is Result.SENT

    first, second = [event for event in sink.events if event.name == "instance_heartbeat"]
    assert gauges_of(first) == {
        "total_pipelines": 3,
        "failed_gauges": 0,
        "telemetry_dropped_queue_full": dropped,
    }
    assert gauges_of(second) == {"total_pipelines": 3, "failed_gauges": 0}


def test_drops_of_all_processes_are_reported_once(make_telemetry, clock, sink):
    """A heartbeat reports what other processes have dropped, and no other process reports it again."""

    def make(**options):
        telemetry = make_telemetry(clock=clock, **options)
        telemetry.heartbeat.delay(ONLY_BY_HAND_S)
        telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
        return telemetry

    with make(queue_max_records=1, batch_delay_s=60) as worker:
        worker.update_settings(enable_telemetry=True)
        wait_until(lambda: _track_many() or "queue_full" in worker.delivery(), timeout_s=BOUND_S)
        worker.heartbeat.send_if_due()
    for day in ("2026-11-21", "2026-11-22"):
        with make() as later:
            clock.to(f"{day} 03:00")
            assert later.heartbeat.send_if_due() is Result.SENT

    first, second = [event for event in sink.events if event.name == "instance_heartbeat"]
    assert gauges_of(first)["telemetry_dropped_queue_full"] == worker.delivery()["queue_full"]
    assert gauges_of(second) == {"total_pipelines": 3, "failed_gauges": 0}


def test_drops_of_before_a_withdrawal_are_not_told(make_telemetry, clock, sink):
    """What was dropped while an earlier consent stood is in no heartbeat of a new one."""
    telemetry = make_telemetry(clock=clock, queue_max_records=1, batch_delay_s=60)
    telemetry.heartbeat.delay(ONLY_BY_HAND_S)
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: _track_many() or "queue_full" in telemetry.delivery(), timeout_s=BOUND_S)
        telemetry.update_settings(enable_telemetry=False)
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: telemetry.heartbeat.send_if_due() is Result.NOT_DUE, timeout_s=BOUND_S)
        clock.to("2026-11-21 03:00")
        assert telemetry.heartbeat.send_if_due() is Result.SENT

    [event] = [event for event in sink.events if event.name == "instance_heartbeat"]
    assert gauges_of(event) == {"total_pipelines": 3, "failed_gauges": 0}


def test_dropped_errors_of_before_a_withdrawal_are_not_told(make_telemetry, clock, sink):
    """While errors stay granted, their drops from before a withdrawal of telemetry are in no heartbeat."""
    telemetry = make_telemetry(clock=clock, queue_max_records=1, batch_delay_s=60)
    telemetry.heartbeat.delay(ONLY_BY_HAND_S)
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    with telemetry:
        telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
        wait_until(
            lambda: capture_exception(OSError()) or telemetry.delivery().by_kind()[Kind.ERRORS].dropped,
            timeout_s=BOUND_S,
        )
        telemetry.update_settings(enable_telemetry=False)
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: telemetry.heartbeat.send_if_due() is Result.NOT_DUE, timeout_s=BOUND_S)
        clock.to("2026-11-21 03:00")
        assert telemetry.heartbeat.send_if_due() is Result.SENT

    [event] = [event for event in sink.events if event.name == "instance_heartbeat"]
    assert gauges_of(event) == {"total_pipelines": 3, "failed_gauges": 0}


@pytest.mark.parametrize(
    "begin",
    [lambda _: None, lambda off: off.lifecycle.begin(), lambda off: off.lifecycle.touch()],
    ids=["not started", "begun", "touched"],
)
def test_gauge_opens_no_spool_while_everything_is_off(make_beating, tmp_path, begin):
    """A gauge of a product that is switched off neither opens nor writes the spool, nor does its start."""
    with Disk(tmp_path / "spool") as disk:
        disk.durable().put(some_batch())
    off = make_beating(spool_dir=str(disk.folder), environ={"DO_NOT_TRACK": "1"})

    begin(off)

    assert disk.files() == ["file.lock", "spool.db"]


def test_preview_is_what_is_sent(make_telemetry, clock, sink):
    """The heartbeat previewed has the SHA-256 of the batch that then arrives, drops and all."""
    telemetry = make_telemetry(clock=clock, queue_max_records=1, batch_delay_s=60)
    telemetry.heartbeat.delay(ONLY_BY_HAND_S)
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    telemetry.heartbeat.gauge("total_users_bucket")(lambda: 7)
    telemetry.heartbeat.gauge("broken")(lambda: 1 / 0)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: _track_many() or "queue_full" in telemetry.delivery(), timeout_s=BOUND_S)
        assert telemetry.heartbeat.send_if_due() is Result.NOT_DUE
        clock.to("2026-11-21 03:00")

        [shown] = telemetry.preview().heartbeat.requests
        assert telemetry.heartbeat.send_if_due() is Result.SENT

        bodies = [json.loads(request.decoded)["batch"] for request in sink.requests]
    [sent] = [batch for batch in bodies if batch[0]["event"] == "instance_heartbeat"]
    assert _sha256(shown.batch) == _sha256(sent)
    assert sent[0]["properties"].keys() >= {"total_users_bucket", "telemetry_dropped_queue_full"}


def _sha256(batch):
    return hashlib.sha256(canonical_json(batch).encode()).hexdigest()


def test_withdrawn_events_are_not_even_counted(due, sink, clock):
    """After a withdrawal and a new grant the heartbeat does not tell how much was withdrawn."""
    with due:
        track("withdrawn_soon")
        due.update_settings(enable_telemetry=False)
        due.update_settings(enable_telemetry=True)
        wait_until(lambda: due.heartbeat.send_if_due() is Result.NOT_DUE)
        clock.now += timedelta(days=1)
        wait_until(lambda: any(event.name == "instance_heartbeat" for event in sink.events))

    assert not sink.contains("telemetry_dropped_withdrawn")


def test_two_workers_send_one(due, make_beating, sink):
    """Two objects on one database, asked at the same moment, send one heartbeat between them."""
    workers = [due, *(make_beating() for _ in range(4))]
    results = []
    callers = [
        threading.Thread(target=lambda w=w: results.append(w.heartbeat.send_if_due())) for w in workers
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(BOUND_S)

    assert results.count(Result.SENT) == len(sink.events) == 1


def in_child(check):
    """Run the check in a forked child and return its exit code."""
    child = os.fork()
    if child == 0:
        signal.alarm(BOUND_S)  # a lock that was copied locked would block it for ever
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_fork_leaves_the_thread_to_the_parent(due, clock, sink):
    """A child of a process that sleeps until three gets a thread of its own, and the day has one event."""
    clock.to("2026-11-21 02:58")
    with due:
        wait_until(lambda: THREAD in threads())

        def has_thread_of_its_own():
            due.lifecycle.touch()  # as each request does; the next reading of consent starts the thread
            return THREAD in threads()

        def check():
            clock.to("2026-11-21 03:00")
            wait_until(has_thread_of_its_own)
            wait_until(lambda: due.heartbeat.send_if_due() is Result.NOT_DUE, timeout_s=BOUND_S)

        status = in_child(check)
        clock.to("2026-11-21 03:00")
        wait_until(lambda: due.heartbeat.send_if_due() is Result.NOT_DUE)

    assert status == 0
    assert len({event.uuid for event in sink.events}) == len(sink.events) == 1


def test_fork_while_gauges_are_read(due, late, sink, never):
    """A child of a process whose round hangs in a gauge runs rounds and reads that gauge itself."""
    begun, parent = threading.Event(), os.getpid()

    def hanging():
        if os.getpid() == parent:
            begun.set()
            never.wait(BOUND_S)
        return 5

    late("hanging", hanging)
    caller = threading.Thread(target=due.heartbeat.send_if_due)
    caller.start()
    assert begun.wait(BOUND_S)

    def check():
        assert due.heartbeat.send_if_due() is Result.TAKEN
        event = due.heartbeat.as_of_now(str(uuid.uuid4()))
        assert (event.properties["hanging"], event.properties["failed_gauges"]) == (5, 0)

    code = in_child(check)
    never.set()
    caller.join(BOUND_S)

    assert code == 0


def test_fork_reports_its_own_drops(make_telemetry, clock):
    """A child counts from zero, so what its parent has reported already is not subtracted."""
    telemetry = make_telemetry(clock=clock, queue_max_records=1, batch_delay_s=60)
    telemetry.heartbeat.delay(ONLY_BY_HAND_S)
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        wait_until(lambda: _track_many() or "queue_full" in telemetry.delivery(), timeout_s=BOUND_S)
        telemetry.heartbeat.send_if_due()
        clock.to("2026-11-21 03:00")
        assert telemetry.heartbeat.send_if_due() is Result.SENT

        def check():
            telemetry.lifecycle.touch()
            wait_until(lambda: _track_many() or "queue_full" in telemetry.delivery(), timeout_s=BOUND_S)
            event = telemetry.heartbeat.as_of_now(str(uuid.uuid4()))
            assert event.properties["telemetry_dropped_queue_full"] == telemetry.delivery()["queue_full"]

        assert in_child(check) == 0


@pytest.mark.parametrize("variable", ["DO_NOT_TRACK", "OTEL_POSTHOG_DISABLED"])
def test_kill_switch_stops_it(due, make_beating, sink, variable):
    """Switched off from outside, there is no heartbeat whatever the database says."""
    telemetry = make_beating(environ={variable: "1"})

    assert telemetry.heartbeat.send_if_due() is Result.OFF
    assert sink.requests == []


def test_web_application_gets_time_to_start(make_beating, clock, sink):
    """In a lifespan an due heartbeat waits, since gauges may need the application ready."""
    telemetry = make_beating(heartbeat_delay_s=3600)
    telemetry.update_settings(enable_telemetry=True)
    telemetry.heartbeat.send_if_due()
    clock.to("2026-11-21 04:00")

    async def run():
        await telemetry.lifecycle.astart()
        await asyncio.to_thread(wait_until, lambda: THREAD in threads())
        await telemetry.lifecycle.ashutdown()

    asyncio.run(run())

    assert sink.events == []
    assert THREAD not in threads()


def test_script_catches_up_and_ends(due, sink):
    """A short script sends the due heartbeat before it ends."""
    with due:
        pass

    assert [event.name for event in sink.events] == ["instance_heartbeat"]
