"""When a record was taken over, by our own clock."""

from __future__ import annotations

import time

from opentelemetry._logs import LogRecord

from otel_posthog.acceptance import accept, accepted_ns

LATER_NS = 10**15


def test_own_note_counts():
    """Whatever time the record's maker set, the moment at which we took it counts."""
    record = LogRecord(observed_timestamp=time.time_ns() + LATER_NS)
    before_ns = time.time_ns()

    accept(record)

    assert before_ns <= accepted_ns(record, record.observed_timestamp) <= time.time_ns()


def test_record_without_a_note_is_never_of_the_future():
    """Behind stock processors the record's own time counts, but a later one than now does not."""
    assert accepted_ns(LogRecord(), 5) == 5
    assert accepted_ns(LogRecord(), time.time_ns() + LATER_NS) <= time.time_ns()


def test_object_that_takes_no_note_is_no_error():
    """What cannot be noted keeps its own time."""
    record = object()

    accept(record)

    assert accepted_ns(record, 5) == 5
