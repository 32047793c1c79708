"""Underscored interfaces of OpenTelemetry: these fail when one moves."""

from __future__ import annotations

import inspect
import threading
from types import SimpleNamespace

import opentelemetry.context as otel_context
import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog.otel.api import LogRecord, SeverityNumber, suppressed_instrumentation
from otel_posthog.otel.records import accept, acceptance_of
from otel_posthog.otel.sdk import (
    BatchLogRecordProcessor,
    LoggerProvider,
    LogRecordExporter,
    LogRecordExportResult,
    LogRecordLimits,
    LogRecordProcessor,
    attributes_of,
    put_span_processor_first,
    shut_down_within,
    take_what_waits,
    without_events,
)


class KeptLogs(LogRecordExporter):
    """An exporter that keeps what it gets."""

    def __init__(self):
        self.records = []

    def export(self, batch):
        self.records += batch
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis=30_000):
        return True

    def shutdown(self):
        pass


class KeptSpans(SpanExporter):
    """An exporter of spans that keeps nothing."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


class Picky(LogRecordProcessor):
    """A processor that says whether it wants a record."""

    def __init__(self, *, is_wanted):
        self._is_wanted = is_wanted

    def on_emit(self, log_record):
        pass

    def enabled(self, **_):
        return self._is_wanted

    def force_flush(self, timeout_millis=30_000):
        return True

    def shutdown(self):
        pass


@pytest.mark.parametrize(
    ("processor_type", "exporter_type"),
    [(BatchLogRecordProcessor, KeptLogs), (BatchSpanProcessor, KeptSpans)],
)
def test_batch_processors_take_a_shutdown_timeout_inside(processor_type, exporter_type):
    """`_batch_processor.shutdown(timeout_millis=)` exists on both and ends the thread."""
    processor = processor_type(exporter_type())

    shut_down_within(processor, 5)

    assert "timeout_millis" in inspect.signature(processor._batch_processor.shutdown).parameters
    assert not processor._batch_processor._worker_thread.is_alive()


def test_shutdown_exports_what_is_queued():
    """What was queued reaches the exporter before the thread ends."""
    exporter = KeptLogs()
    provider = LoggerProvider(shutdown_on_exit=False)
    processor = BatchLogRecordProcessor(exporter, schedule_delay_millis=60_000)
    provider.add_log_record_processor(processor)
    provider.get_logger("x").emit(LogRecord(body="b", severity_number=SeverityNumber.INFO))

    shut_down_within(processor, 5)

    assert [record.log_record.body for record in exporter.records] == ["b"]


@pytest.mark.parametrize(
    ("processor_type", "exporter_type"),
    [(BatchLogRecordProcessor, KeptLogs), (BatchSpanProcessor, KeptSpans)],
)
def test_queue_can_be_emptied_oldest_first(processor_type, exporter_type):
    """`_batch_processor._queue` is where records wait, the oldest at its end."""
    processor = processor_type(exporter_type(), schedule_delay_millis=60_000)
    for number in range(3):
        processor._batch_processor.emit(number)

    taken = take_what_waits(processor)

    shut_down_within(processor, 5)
    assert taken == [0, 1, 2]
    assert take_what_waits(processor) == []


def test_attribute_on_a_record_survives_the_queue():
    """The copy that the batch processor makes of a log record keeps the note of when it was accepted."""
    exporter = KeptLogs()
    provider = LoggerProvider(shutdown_on_exit=False)
    processor = BatchLogRecordProcessor(exporter)

    class Noting(LogRecordProcessor):
        """A processor in front that notes and passes on, as ours does."""

        def on_emit(self, log_record):
            accept(log_record.log_record)
            processor.on_emit(log_record)

        def shutdown(self):
            pass

        def force_flush(self, timeout_millis=30_000):
            return True

    provider.add_log_record_processor(Noting())
    provider.get_logger("x").emit(LogRecord(body="b", severity_number=SeverityNumber.INFO))

    shut_down_within(processor, 5)
    [record] = exporter.records
    assert acceptance_of(record.log_record, 0).at_ns > 0


@pytest.mark.parametrize("key", ["_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"])
def test_suppression_keys_are_set_and_taken_back(key):
    """Within the block instrumentation is told to look away, afterwards no more."""
    name = getattr(otel_context, key)

    with suppressed_instrumentation():
        within = otel_context.get_value(name)

    assert (within, otel_context.get_value(name)) == (True, None)


def test_suppression_is_taken_back_after_an_error():
    """An error within the block leaves nothing behind."""
    before = otel_context.get_current()

    with pytest.raises(ValueError, match="x"), suppressed_instrumentation():
        raise ValueError("x")

    assert otel_context.get_current() == before


@pytest.mark.parametrize("is_wanted", [True, False])
def test_processors_decide_whether_a_logger_is_enabled(is_wanted):
    """`Logger.enabled` asks the processors, so that a caller need not build a record nobody wants."""
    processor = Picky(is_wanted=is_wanted)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("x")

    assert logger.enabled(severity_number=SeverityNumber.INFO, event_name="e") is is_wanted


def test_record_has_the_fields_that_mapping_reads():
    """Event name, times and ids are attributes of the record."""
    record = LogRecord(event_name="e", attributes={"a": 1}, timestamp=1, observed_timestamp=2)

    assert (record.event_name, record.timestamp, record.observed_timestamp, dict(record.attributes)) == (
        "e",
        1,
        2,
        {"a": 1},
    )
    assert hasattr(record, "trace_id")
    assert hasattr(record, "span_id")


def test_metrics_are_collected_on_demand():
    """A reader of our own gets what it asks for in `_receive_metrics`, without a thread."""
    asked = []

    class Reader(MetricReader):
        def _receive_metrics(self, metrics_data, timeout_millis=10_000, **kwargs):
            asked.append([m.name for m in metrics_data.resource_metrics[0].scope_metrics[0].metrics])

        def shutdown(self, timeout_millis=30_000, **kwargs):
            pass

    reader, before = Reader(), set(threading.enumerate())
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    provider.get_meter("m").create_observable_gauge("g", callbacks=[lambda _: [Observation(1)]])

    reader.collect()

    assert asked == [["g"]]
    assert set(threading.enumerate()) <= before


def test_limits_can_be_set_by_hand():
    """The limits take a length, so that the environment does not decide over our own attribute."""
    assert "max_attribute_length" in inspect.signature(LogRecordLimits).parameters


@pytest.fixture
def ended_span():
    """Return a span as an exporter gets it, with an attribute and an exception."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("x", "1").start_as_current_span("s", attributes={"a": 1}) as span:
        span.record_exception(ValueError("x"))
    return exporter.get_finished_spans()[0]


class _Marking(SpanProcessor):
    """Keep who was called, in order."""

    def __init__(self, name, calls):
        self._name, self._calls = name, calls

    def on_end(self, span):
        self._calls.append(self._name)


def test_span_processor_comes_before_those_of_the_host():
    """It sees a span first, however many the host has added before."""
    calls, provider = [], TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Marking("host", calls))

    put_span_processor_first(provider, _Marking("ours", calls))
    provider.get_tracer("x").start_span("s").end()

    assert calls == ["ours", "host"]


@pytest.mark.parametrize(
    "kept", [{}, {"_active_span_processor": object()}], ids=["no list", "a list of its own"]
)
def test_vendors_provider_keeps_its_own_order(kept):
    """A provider that only resembles the SDK's gets the processor, and nothing of it is touched."""
    added = []
    provider = SimpleNamespace(add_span_processor=added.append, **kept)

    put_span_processor_first(provider, "ours")

    assert added == ["ours"]


def test_attributes_of_an_ended_span_are_a_plain_dict(ended_span):
    """The dict behind the wrappers is still where it was, so that an unmatched span costs little."""
    found = attributes_of(ended_span)

    assert found == {"a": 1}
    assert type(found) is dict


def test_span_without_events_is_the_same_otherwise(ended_span):
    """The copy has all that mapping reads, but no events."""
    copy = without_events(ended_span)

    compared = ("name", "context", "parent", "attributes", "kind", "status", "start_time", "end_time")
    assert copy.events == ()
    assert [getattr(copy, name) for name in compared] == [getattr(ended_span, name) for name in compared]
    assert copy.instrumentation_scope == ended_span.instrumentation_scope
