"""Repeated errors are limited for each failure, and summarized once a minute (R16)."""

from __future__ import annotations

import threading

import pytest
from asgi import client_of, some_app
from raising import caught
from waiting import wait_until

from otel_posthog import capture_exception
from otel_posthog._runtime.reporting import Counts
from otel_posthog.emit.failures import MAX_FAILURES, MAX_SUMMARIZED, SUMMARY_INTERVAL_S, RateLimit
from otel_posthog.emit.tracebacks import failure_of
from otel_posthog.registry import SUPPRESSED

WAIT_S = 60


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now_s = 1_000.0

    def __call__(self):
        return self.now_s


class Logged:
    """A logger that keeps what is emitted."""

    def __init__(self):
        self.records = []

    def emit(self, **record):
        self.records.append(record)


@pytest.fixture
def clock():
    """Return a clock that the test moves."""
    return Clock()


def _rate_limit(clock, counts=None, **limits):
    return RateLimit(counts or Counts(), **{"burst": 3, "refill_per_minute": 6, **limits}, clock=clock)


def _fail():
    raise ValueError("here")


def _fail_elsewhere():
    raise ValueError("there")


def test_burst_passes_and_the_rest_is_counted(clock):
    """The first so many reports of one failure pass at once."""
    counts = Counts()
    rate_limit = _rate_limit(clock, counts)

    admitted = [rate_limit.admits(failure_of(caught(_fail))) for _ in range(5)]

    assert admitted == [True, True, True, False, False]
    assert counts.as_dict() == {"suppressed": 2}


def test_refill_lets_further_ones_pass(clock):
    """Each minute allows so many more, and quiet hours save up no more than a burst."""
    rate_limit = _rate_limit(clock)
    for _ in range(3):
        rate_limit.admits(failure_of(caught(_fail)))

    clock.now_s += 10
    assert [rate_limit.admits(failure_of(caught(_fail))) for _ in range(2)] == [True, False]
    clock.now_s += 86_400
    assert [rate_limit.admits(failure_of(caught(_fail))) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("other", [_fail_elsewhere, lambda: {}["k"]], ids=["place", "type"])
def test_other_failures_are_not_held_up(clock, other):
    """A storm of one failure leaves the reports of another place or type alone."""
    rate_limit = _rate_limit(clock, burst=1)
    rate_limit.admits(failure_of(caught(_fail)))

    assert not rate_limit.admits(failure_of(caught(_fail)))
    assert rate_limit.admits(failure_of(caught(other)))


def test_foreign_records_are_told_apart_by_type_and_last_line(clock):
    """Of a record by others, the type and the last call of its stack text name the failure."""
    rate_limit = _rate_limit(clock, burst=1)
    record = {
        "exception.type": "ValueError",
        "exception.stacktrace": 'T:\n  File "a.py", line 1, in f\n    x\n',
    }
    elsewhere = record | {"exception.stacktrace": 'T:\n  File "a.py", line 2, in f\n    x\n'}

    assert rate_limit.admits_record(record)
    assert not rate_limit.admits_record(record)
    assert rate_limit.admits_record(elsewhere)
    assert rate_limit.admits_record({"exception.type": "ValueError"})


def test_nothing_is_told_of_a_quiet_minute(clock):
    """Where everything passed, there is no summary."""
    rate_limit, logged = _rate_limit(clock), Logged()
    rate_limit.admits(failure_of(caught(_fail)))

    clock.now_s += SUMMARY_INTERVAL_S
    rate_limit.emit_summary(logged)

    assert logged.records == []


def test_summary_comes_once_a_minute(clock):
    """The first one a minute after the first report that was left out, and each counts anew."""
    rate_limit, logged = _rate_limit(clock), Logged()
    for _ in range(5):
        rate_limit.admits(failure_of(caught(_fail)))

    rate_limit.emit_summary(logged)
    assert logged.records == []
    clock.now_s += SUMMARY_INTERVAL_S
    rate_limit.emit_summary(logged)
    rate_limit.emit_summary(logged)

    [record] = logged.records
    told = record["attributes"]
    assert record["event_name"] == SUPPRESSED
    assert (told["suppressed"], told["failures"], told["seconds"]) == (2, 1, 60)


def test_failures_that_are_remembered_are_bounded(clock):
    """Ever new failures do not fill the memory, and the summary names the worst ones only."""
    rate_limit, logged = _rate_limit(clock, burst=1), Logged()
    for number in range(2 * MAX_FAILURES):
        for _ in range(2):
            rate_limit.admits_record({"exception.type": f"Error{number}"})

    rate_limit.emit_summary(logged, is_final=True)

    told = logged.records[0]["attributes"]
    assert told["suppressed"] == 2 * MAX_FAILURES
    assert told["failures"] <= MAX_FAILURES + 1
    assert told["worst"].count("[") == MAX_SUMMARIZED + 1


def test_threads_lose_no_count(clock):
    """However many threads fail at once, what passes and what is counted adds up."""
    counts = Counts()
    rate_limit = _rate_limit(clock, counts, burst=100)
    admitted = []

    def fail():
        for _ in range(500):
            admitted.append(rate_limit.admits(failure_of(caught(_fail))))  # noqa: PERF401 - from several threads

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)

    assert admitted.count(True) == 100
    assert counts.as_dict() == {"suppressed": 1900}


def test_storm_in_a_product_is_told_in_one_event(make_telemetry, sink):
    """Of a storm a burst arrives, and then one event that says what else there was and where."""
    telemetry = make_telemetry(error_burst=5)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)

    for _ in range(50):
        capture_exception(caught(_fail))
    telemetry.shutdown(timeout_s=WAIT_S)

    summaries = [event for event in sink.events if event.name == SUPPRESSED]
    assert len([event for event in sink.events if event.name == "$exception"]) == 5
    [summary] = summaries
    assert (summary.properties["suppressed"], summary.properties["failures"]) == (45, 1)
    [worst] = summary.properties["worst"]
    assert worst == {
        "type": "ValueError",
        "filename": "tests/emit/test_rate_limit.py",
        "function": "_fail",
        "module": "tests.emit.test_rate_limit",
        "lineno": _fail.__code__.co_firstlineno + 1,
        "suppressed": 45,
    }
    assert summary.issues == ()
    assert telemetry.delivery()["suppressed"] == 45


def test_storm_of_requests_is_limited(make_telemetry, sink):
    """Requests that fail in the same place are reported so often, and answered as before."""
    telemetry = make_telemetry(error_burst=2)
    client = client_of(telemetry.wrap(some_app()))
    telemetry.update_settings(enable_error_reporting=True)

    answers = [client.get(f"/fail/{number}") for number in range(10)]

    assert {answer.status_code for answer in answers} == {500}
    assert telemetry.flush(timeout_s=60)
    assert len(sink.events) == 2


def test_storm_from_before_a_withdrawal_is_not_told(make_telemetry, sink):
    """How often something failed is data from then, and goes with the rest when consent is withdrawn (R4)."""
    telemetry = make_telemetry(error_burst=1)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    for _ in range(5):
        capture_exception(caught(_fail))

    telemetry.update_settings(enable_error_reporting=False)
    telemetry.update_settings(enable_error_reporting=True)
    telemetry.shutdown(timeout_s=WAIT_S)

    assert [event for event in sink.events if event.name == SUPPRESSED] == []


def test_storm_is_told_while_the_product_runs(make_telemetry, sink, clock):
    """The summary needs neither a further failure nor the end of the process."""
    telemetry = make_telemetry(error_burst=1, consent_max_age_s=0.05)
    telemetry._pipeline.error_capture.rate_limit._clock = clock
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    for _ in range(3):
        capture_exception(caught(_fail))

    watch = telemetry._pipeline.watch
    before_s = watch.current.read_at_s
    wait_until(lambda: watch.cached().read_at_s > before_s, timeout_s=WAIT_S)
    clock.now_s += SUMMARY_INTERVAL_S

    wait_until(lambda: any(event.name == SUPPRESSED for event in sink.events), timeout_s=WAIT_S)
