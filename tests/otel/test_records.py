"""When a record was taken over, by our own clock."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from textwrap import dedent

import pytest
from opentelemetry._logs import LogRecord

from otel_posthog.otel.records import accept, acceptance_of, claim, now_ns, release

LATER_NS = 10**15
A_MINUTE_NS = 60 * 10**9


def test_own_note_counts():
    """Whatever time the record's maker set, the moment at which we took it counts."""
    record = LogRecord(observed_timestamp=time.time_ns() + LATER_NS)
    before_ns = now_ns()

    accept(record)

    assert before_ns <= acceptance_of(record, record.observed_timestamp).at_ns <= now_ns()


def test_record_without_a_note_is_never_of_the_future():
    """Behind stock processors the record's own time counts, but a later one than now does not."""
    own_ns = time.time_ns()

    assert own_ns - A_MINUTE_NS < acceptance_of(LogRecord(), own_ns).at_ns <= own_ns
    assert acceptance_of(LogRecord(), time.time_ns() + LATER_NS).at_ns <= now_ns()


def test_object_that_takes_no_note_is_no_error():
    """What cannot be noted keeps its own time."""
    record, own_ns = object(), time.time_ns()

    accept(record)

    assert own_ns - A_MINUTE_NS < acceptance_of(record, own_ns).at_ns <= own_ns


PROGRAM = """
    import json, sys, time

    shift_s, real = 0, time.time_ns
    time.time_ns = lambda: real() + shift_s * 10**9
    time.time = lambda: time.time_ns() / 1e9

    from opentelemetry._logs import LogRecord
    from otel_posthog import Telemetry, track
    from otel_posthog.otel.records import acceptance_of, now_ns

    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=60)
    own_ns = time.time_ns()  # long before: the machine's clock is slewed, so the two differ by microseconds
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True, enable_error_reporting=True)
    track("before_the_withdrawal")
    shift_s = int(sys.argv[3])
    boundary_ns = now_ns()
    telemetry.update_settings(enable_telemetry=False)
    telemetry.update_settings(enable_telemetry=True)
    track("afterwards")
    assert telemetry.flush(30)
    print(json.dumps({
        "withdrawn": telemetry.delivery()["withdrawn"],
        "is_before": acceptance_of(LogRecord(), own_ns).at_ns < boundary_ns,
        "is_after": acceptance_of(LogRecord(), time.time_ns()).at_ns >= boundary_ns,
    }))
"""


@pytest.mark.parametrize("shift_s", [-3600, 3600])
def test_clock_that_is_set_brings_nothing_back(shift_s, sink, sink_url, database_url):
    """Whichever way the machine's clock is set, a withdrawal divides before from after (R4)."""
    command = [sys.executable, "-c", dedent(PROGRAM), sink_url, database_url, str(shift_s)]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert [event.name for event in sink.events] == ["afterwards"]
    assert (answer["withdrawn"], answer["is_before"]) == (1, True)
    assert answer["is_after"] or shift_s < 0  # by a clock set back, the earlier reading of it counts


class Slow:
    """A record that lets two threads find nothing on it before either of them goes on."""

    def __init__(self):
        self._both = threading.Barrier(2)

    def __getattr__(self, name):
        """Wait for the other thread, at most for a second."""
        with suppress(threading.BrokenBarrierError):
            self._both.wait(1)
        raise AttributeError(name)


def test_one_of_two_threads_claims_a_record():
    """A processor and an exporter on different threads never both send a record."""
    record = Slow()

    with ThreadPoolExecutor(2) as pool:
        claims = list(pool.map(lambda _: claim(record), range(2)))

    assert sorted(claims) == [False, True]


def test_released_record_can_be_claimed():
    """What could not be queued is left to the next one; a record that takes no attribute is never held up."""
    record, plain = LogRecord(), object()

    for each in (record, plain):
        assert claim(each)
        release(each)

    assert claim(record)
    assert claim(plain)
