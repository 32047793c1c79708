"""The switch that starts and stops an inner batch processor."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog._runtime.reporting import Counts
from otel_posthog.otel.records import claim
from otel_posthog.pipeline.processors import Inner, Switch
from otel_posthog.registry import Kind

WAIT_S = 5
KINDS = (Kind.TELEMETRY,)


class Nothing:
    """An exporter that notes what it is given at the end."""

    def __init__(self):
        self.held = []
        self.dropped = []

    def hold(self, records, *, until_s):
        self.held += records

    def drop(self, records, reason):
        self.dropped += [(record, reason) for record in records]


@pytest.fixture
def made():
    """Return the inner processors that a switch made; they are stopped after the test."""
    processors = []
    yield processors
    for processor in processors:
        processor.shutdown()


@pytest.fixture
def make(made):
    def make(waiting):
        made.append(BatchSpanProcessor(InMemorySpanExporter()))
        return Inner(processor=made[-1], exporter=Nothing(), waiting=waiting)

    return make


def test_switch_makes_nothing_before_it_is_opened(make, made):
    """A closed switch has no place and no inner processor."""
    switch = Switch(make, max_records=10, counts=Counts())

    assert switch.put(lambda _processor: None, KINDS) is False
    assert made == []


def test_full_switch_counts_what_it_turns_away(make):
    """Where the queue is full there is no place, and that is counted."""
    counts = Counts()
    switch = Switch(make, max_records=2, counts=counts)
    switch.open()

    places = [switch.put(lambda _processor: None, KINDS) for _ in range(3)]

    assert places == [True, True, False]
    assert counts.as_dict() == {"queue_full": 1}


@pytest.mark.parametrize("reason", ["not opened", "closed", "closing", "full"])
def test_only_a_closed_switch_leaves_a_record_to_others(make, reason):
    """What has no place because of the end may be claimed again; what is dropped and counted may not."""
    waits = []
    switch = Switch(lambda waiting: make(waits.append(waiting) or waiting), max_records=1, counts=Counts())
    if reason != "not opened":
        switch.open()
        switch.put(lambda _processor: None, KINDS)
    if reason == "closed":
        switch.close(timeout_s=0)
    if reason == "closing":
        waits[0].close()
    span = _span("late")
    assert claim(span)

    assert not switch.put(lambda processor: processor.on_end(span), KINDS, span)

    assert claim(span) == (reason != "full")


def test_place_of_what_cannot_be_queued_is_free_again(make):
    """Records that fail on their way into the queue take no places from later ones."""
    switch = Switch(make, max_records=1, counts=Counts())
    switch.open()

    def fail(_processor):
        raise RecursionError

    for _ in range(3):
        with pytest.raises(RecursionError):
            switch.put(fail, KINDS)

    assert switch.put(lambda _processor: None, KINDS)


def test_signal_handler_may_enter_while_the_switch_starts(make, made):
    """Who interrupts the making of the inner processor gets a place, and one processor serves both."""
    places = []

    def make_while_interrupted(waiting):
        if not places:
            places.append("interrupted")
            switch.put(places.append, KINDS)
        return make(waiting)

    switch = Switch(make_while_interrupted, max_records=10, counts=Counts())
    switch.open()
    caller = threading.Thread(target=lambda: switch.put(places.append, KINDS), daemon=True)

    caller.start()
    caller.join(WAIT_S)

    assert not caller.is_alive()
    _, of_the_handler, of_the_caller = places
    assert of_the_handler is of_the_caller is made[0]


class Slow(InMemorySpanExporter):
    """An exporter that is busy with its first batch until it is released, and remembers what it holds."""

    def __init__(self):
        super().__init__()
        self.has_begun = threading.Event()
        self.released = threading.Event()
        self.held = []

    def export(self, spans):
        self.has_begun.set()
        self.released.wait(WAIT_S)
        return super().export(spans)

    def hold(self, records, *, until_s):
        self.held += records


def test_closing_holds_what_there_is_no_time_to_export(made):
    """What waits behind an export that does not return is handed over to be spooled."""
    exporter, counts = Slow(), Counts()

    def make(waiting):
        made.append(BatchSpanProcessor(exporter, schedule_delay_millis=60_000, max_export_batch_size=1))
        return Inner(processor=made[-1], exporter=exporter, waiting=waiting)

    switch = Switch(make, max_records=10, counts=counts)
    switch.open()
    spans = [_span(f"span {number}") for number in range(3)]
    for span in spans:
        switch.put(lambda processor, span=span: processor.on_end(span), KINDS)
    assert exporter.has_begun.wait(WAIT_S)

    switch.close(timeout_s=0.1)

    exporter.released.set()
    assert [span.name for span in exporter.held] == ["span 1", "span 2"]
    assert counts.as_dict() == {}


def test_stopping_drops_the_queue_as_withdrawn(made):
    """The exporter counts what was queued when both kinds were withdrawn."""
    exporter = Nothing()

    def make(waiting):
        made.append(BatchSpanProcessor(InMemorySpanExporter(), schedule_delay_millis=60_000))
        return Inner(processor=made[-1], exporter=exporter, waiting=waiting)

    switch = Switch(make, max_records=10, counts=Counts())
    switch.open()
    processors = []
    switch.put(processors.append, KINDS)
    [processor] = processors
    processor.shutdown()
    processor._batch_processor._queue.append("a record that its thread did not get to")

    switch.stop()

    assert exporter.dropped == [("a record that its thread did not get to", "withdrawn")]


def test_each_event_of_a_record_is_accepted_or_dropped(make):
    """A record of two events counts as two accepted ones, and as two dropped ones if there is no place."""
    counts = Counts()
    switch = Switch(make, max_records=1, counts=counts)
    switch.open()

    places = [switch.put(lambda _processor: None, tuple(Kind)) for _ in range(2)]

    assert places == [True, False]
    assert counts.totals() == {kind.value: {"accepted": 2, "queue_full": 1} for kind in Kind}


@pytest.mark.parametrize("end", ["close", "stop"])
def test_record_is_not_accepted_once_its_queue_is_closed(make, end):
    """A record whose queue is closed before it gets there counts nowhere, and the caller knows."""

    class Interrupted(Counts):
        """Counts during which the switch is closed."""

        def accept_each(self, kinds, number=1):
            super().accept_each(kinds, number)
            if number > 0:
                ends[end]()

    counts = Interrupted()
    switch = Switch(make, max_records=10, counts=counts)
    ends = {"close": lambda: switch.close(timeout_s=0.1), "stop": switch.stop}
    switch.open()

    place = switch.put(lambda processor: processor.on_end(_span("late")), KINDS)

    assert place is False
    assert counts.totals() == {"telemetry": {"accepted": 0}}


def test_record_is_queued_before_its_queue_is_closed(make, made):
    """A record that has its place when another thread closes the switch is exported."""
    switch = Switch(make, max_records=10, counts=Counts())
    switch.open()
    closing = threading.Thread(target=switch.close, args=(WAIT_S,), daemon=True)

    def emit(processor):
        closing.start()
        closing.join(0.2)  # enough for an end that does not wait
        processor.on_end(_span("in time"))

    place = switch.put(emit, KINDS)

    closing.join(WAIT_S)
    assert place is True
    assert [span.name for span in made[0].span_exporter.get_finished_spans()] == ["in time"]


def test_record_that_is_stuck_does_not_keep_a_queue_from_closing(make, made):
    """A thread that a signal has stopped on its way into the queue does not block the end."""
    switch = Switch(make, max_records=10, counts=Counts())
    switch.open()
    switch.put(lambda processor: processor.on_end(_span("before")), KINDS)
    is_stuck, is_released = threading.Event(), threading.Event()

    def emit(_processor):
        is_stuck.set()
        is_released.wait(2 * WAIT_S)

    stuck = threading.Thread(target=switch.put, args=(emit, KINDS), daemon=True)
    stuck.start()
    assert is_stuck.wait(WAIT_S)
    closing = threading.Thread(target=switch.close, args=(WAIT_S,), daemon=True)
    closing.start()

    closing.join(WAIT_S)

    is_closed = not closing.is_alive()
    is_released.set()
    stuck.join(WAIT_S)
    assert is_closed
    assert [span.name for span in made[0].span_exporter.get_finished_spans()] == ["before"]


def _span(name):
    return TracerProvider().get_tracer("test").start_span(name)
