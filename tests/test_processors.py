"""The switch that starts and stops an inner batch processor."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog.counts import Counts
from otel_posthog.processors import Switch

WAIT_S = 5


@pytest.fixture
def made():
    """Return the inner processors that a switch made; they are stopped after the test."""
    processors = []
    yield processors
    for processor in processors:
        processor.shutdown()


@pytest.fixture
def make(made):
    def make(_waiting):
        made.append(BatchSpanProcessor(InMemorySpanExporter()))
        return made[-1]

    return make


def test_switch_makes_nothing_before_it_is_opened(make, made):
    """A closed switch has no place and no inner processor."""
    switch = Switch(make, max_records=10, counts=Counts())

    assert switch.enter() is None
    assert made == []


def test_full_switch_counts_what_it_turns_away(make):
    """Where the queue is full there is no place, and that is counted."""
    counts = Counts()
    switch = Switch(make, max_records=2, counts=counts)
    switch.open()

    places = [switch.enter() is not None for _ in range(3)]

    assert places == [True, True, False]
    assert counts.as_dict() == {"queue_full": 1}


def test_signal_handler_may_enter_while_the_switch_starts(make, made):
    """Who interrupts the making of the inner processor gets a place, and one processor serves both."""
    places = []

    def make_while_interrupted(waiting):
        if not places:
            places.append("interrupted")
            places.append(switch.enter())
        return make(waiting)

    switch = Switch(make_while_interrupted, max_records=10, counts=Counts())
    switch.open()
    caller = threading.Thread(target=lambda: places.append(switch.enter()), daemon=True)

    caller.start()
    caller.join(WAIT_S)

    assert not caller.is_alive()
    _, of_the_handler, of_the_caller = places
    assert of_the_handler is of_the_caller is made[0]
