"""Deliver the SDK's records to PostHog.

Consent, registry and scrubbing hold behind any processor, the stock ones too. `export` makes one bounded
attempt, returns FAILURE only for records that are lost, and never raises.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.delivery.gate import Gate, Outcome
from otel_posthog.events import Event
from otel_posthog.mapping import (
    BaseProperties,
    event_from_log,
    events_from_span,
    kind_of_log,
)
from otel_posthog.otel import attributes
from otel_posthog.otel.api import process_meter_provider
from otel_posthog.otel.records import (
    Acceptance,
    RecordedLog,
    RecordedSpan,
    RecordedSpanEvent,
    acceptance_of,
)
from otel_posthog.otel.sdk import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
    ReadWriteLogRecord,
    attributes_of,
    shut_down_within,
    take_what_waits,
)
from otel_posthog.registry import Kind, Registry
from otel_posthog.span_rules import SpanRules

Signal = Literal["log", "span", "metric_data_point"]
_UNITS = {"log": "{log_record}", "span": "{span}", "metric_data_point": "{data_point}"}
_TYPES = {  # public values of a metric attribute, so they stay when a module moves
    "log": "otel_posthog.exporters.PostHogLogExporter",
    "span": "otel_posthog.exporters.PostHogSpanExporter",
    "metric_data_point": "otel_posthog.heartbeat.exporter.PostHogMetricExporter",
}
_ERRORS = {Outcome.HELD: "held", Outcome.LOST: "rejected"}
_numbers = itertools.count()
_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_P = TypeVar("_P", bound=BatchLogRecordProcessor | BatchSpanProcessor)
_HELD_PER_S = 3_000  # records mapped, scrubbed and spooled in a second, on a core shared with others
NEARLY_FULL = 0.75  # of the queue
_EMIT_S = 0.5  # to put a record into the queue takes microseconds
_HELD_AT_ONCE = 100  # records between two readings of the clock
_KINDS = {id(kind): kind.name.lower() for kind in SpanKind}  # an enum's members are slow to hash
_STATUSES = {id(status): status.name.lower() for status in StatusCode}
_ERROR = StatusCode.ERROR  # and slow to look up


def recorded_span(span: ReadableSpan, accepted_ns: int = 0) -> RecordedSpan:
    """Return an ended span as the mapping reads it; `accepted_ns` is 0 until it is accepted."""
    status, context, parent = span.status.status_code, span.context, span.parent
    is_error = status is _ERROR
    trace_id, span_id = context[:2] if context else (0, 0)  # a slice: its properties cost twice as much
    # This runs on a request's thread: keywords take three times as long as `_make`, arguments a third more.
    return RecordedSpan._make(
        (
            span.name,
            scope_of(span),
            _KINDS[id(span.kind)],
            _STATUSES[id(status)],
            attributes_of(span),
            [RecordedSpanEvent(e.name, e.attributes or {}, e.timestamp) for e in span.events]
            if is_error
            else (),
            parent is None or parent.is_remote,
            is_error,
            span.start_time or 0,
            span.end_time or 0,
            accepted_ns,
            trace_id,
            span_id,
        )
    )


def scope_of(record: ReadableLogRecord | ReadWriteLogRecord | ReadableSpan) -> str:
    """Return the name of the instrumentation scope, empty if there is none."""
    scope = record.instrumentation_scope  # read once: it is a property
    return scope.name if scope is not None else ""


def severity_of(record: ReadableLogRecord | ReadWriteLogRecord) -> int:
    """Return OpenTelemetry's number of the severity, 0 for none."""
    return getattr(record.log_record.severity_number, "value", 0)


def kind_of_record(record: ReadableLogRecord | ReadWriteLogRecord, registry: Registry) -> Kind | None:
    """Return the consent that the record needs, or None if it becomes no event."""
    log, scope = record.log_record, scope_of(record)
    return kind_of_log(scope, log.event_name, log.attributes or {}, registry, severity_of(record))


def may_become_event(span: ReadableSpan, rules: SpanRules) -> bool:
    """Return False for most spans that cannot become events, cheaply."""
    return bool(
        rules.names.matching(span.name)
        or attributes.EVENT_NAME in attributes_of(span)
        or span.status.status_code is _ERROR
    )


@dataclass(eq=False)
class ExporterMetrics:
    """Count and time an exporter's exports: `otel.sdk.exporter.*` of the semantic conventions.

    An export fails with `held` if its records wait in the spool, to be delivered later and uncounted, and
    with `rejected` if any of them is lost. Nothing is measured unless the host collects metrics.
    """

    # None for the process's own, which a host may set after it made exporters.
    _provider: AnyMeterProvider | None
    _signal: Signal
    _attributes: dict[str, str] = field(default_factory=dict, init=False)

    def measured(self, number: int, export: Callable[[], Outcome]) -> Outcome:
        """Export so many records, measure it and return the outcome."""
        if not self._attributes and not self._begin():
            return export()
        self._inflight.add(number, self._attributes)
        began_s = time.monotonic()
        outcome = Outcome.LOST
        try:
            outcome = export()
        finally:
            error = {"error.type": _ERRORS[outcome]} if outcome in _ERRORS else {}
            self._duration.record(time.monotonic() - began_s, self._attributes | error)
            self._inflight.add(-number, self._attributes)
            self._exported.add(number, self._attributes | error)
        return outcome

    def _begin(self) -> bool:
        """Create the instruments; return False if the host collects no metrics."""
        provider, name, unit = self._provider or process_meter_provider(), self._signal, _UNITS[self._signal]
        if not collects(provider):
            return False
        meter = provider.get_meter(attributes.SCOPE)
        self._inflight = meter.create_up_down_counter(
            f"otel.sdk.exporter.{name}.inflight", unit, "Passed to the exporter and not yet processed."
        )
        self._exported = meter.create_counter(
            f"otel.sdk.exporter.{name}.exported", unit, "Processed by the exporter, successfully or not."
        )
        self._duration = meter.create_histogram(
            "otel.sdk.exporter.operation.duration", "s", "How long the export of a batch took."
        )
        self._attributes = {
            "otel.component.type": _TYPES[name],
            "otel.component.name": f"{_TYPES[name]}/{next(_numbers)}",
        }
        return True


def collects(provider: AnyMeterProvider) -> bool:
    """Return whether the provider is the SDK's; if one exists, its module is loaded."""
    sdk = sys.modules.get("opentelemetry.sdk.metrics")
    return sdk is not None and isinstance(provider, sdk.MeterProvider)


class Waiting:
    """Count the records in one inner processor: the stock one drops silently when it is full."""

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self.is_closed = False
        self._is_over = False
        self.after_fork()
        follow_forks(self)

    def after_fork(self) -> None:
        """Count from zero in a child."""
        self.number = 0
        # Reentrant: a signal handler may call track() while this very thread holds the locks.
        self._lock = threading.RLock()
        self._emitting = threading.RLock()

    def enter(self, emit: Callable[[], object]) -> bool:
        """Queue a record by `emit`; return False if there is no place, or the queue is closed."""
        with self._emitting:
            with self._lock:
                if self.is_closed or self.number >= self._max_records:
                    return False
                self.number += 1  # first, since the exporter may take the record at once
            try:
                emit()
            except BaseException:
                with self._lock:
                    self.number -= 1
                raise
            return True

    def close(self) -> None:
        """Queue no further record; the stock processor would ignore it once it is shut down."""
        # At a signal the main thread may be in `emit`, and waits there for the end of what closes.
        is_idle = self._emitting.acquire(timeout=_EMIT_S)
        self.is_closed = True
        if is_idle:
            self._emitting.release()

    def leave(self, number: int) -> None:
        """Free places."""
        with self._lock:
            self.number = max(0, self.number - number)

    def end(self) -> None:
        """Send nothing more from here; what is left has to be spooled."""
        self._is_over = True

    def is_pressing(self) -> bool:
        """Return whether there is no time to send: the queue is nearly full, or ended."""
        return self._is_over or self.number > NEARLY_FULL * self._max_records


@dataclass(eq=False, repr=False)
class Delivering(Generic[_T]):
    """Common part of the exporters: map each record, pass the gate, keep nothing."""

    _gate: Gate
    _base: BaseProperties
    _registry: Registry
    _log_limiter: LogLimiter
    _: KW_ONLY
    rules: SpanRules = SpanRules()  # noqa: RUF009 - it never changes
    queue: Waiting | None = None
    metrics: ExporterMetrics | None = None

    def shutdown(self) -> None:
        """Do nothing: gate and transport are shared, their owner closes them."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Return at once: `export` keeps nothing."""
        return True

    def _map(self, record: _T) -> list[Event]:
        raise NotImplementedError

    def _acceptance(self, record: _T) -> Acceptance:
        raise NotImplementedError

    def hold(self, records: Sequence[_T], *, until_s: float) -> None:
        """Spool the records until that monotonic time, without an attempt, and drop the rest."""
        for begin in range(0, len(records), _HELD_AT_ONCE):
            if time.monotonic() >= until_s:
                self.drop(records[begin:], "shutdown")
                return
            self._gate.hold(self._events(records[begin : begin + _HELD_AT_ONCE]))

    def drop(self, records: Sequence[_T], reason: str) -> None:
        """Count the events of accepted records as dropped."""
        for record in records:
            for kind in self._acceptance(record).kinds:
                self._gate.counts.add(reason, kind=kind.value)

    def _deliver(self, records: Sequence[_T]) -> bool:
        """Return False if any record is lost."""
        if self.queue is not None:
            # The batch processor has taken them off its queue, so new ones fit while these are sent.
            self.queue.leave(len(records))
        if self.metrics is None:
            return self._pass_on(records) is not Outcome.LOST
        return self.metrics.measured(len(records), lambda: self._pass_on(records)) is not Outcome.LOST

    def _pass_on(self, records: Sequence[_T]) -> Outcome:
        events = self._events(records)
        if not events:
            return Outcome.NOTHING
        # The disk is faster than the network, and keeps what it has if the process is killed.
        if self._gate.spools_first or (self.queue is not None and self.queue.is_pressing()):
            return self._gate.hold(events)
        return self._gate.send(events)

    def _events(self, records: Sequence[_T]) -> list[Event]:
        events: list[Event] = []
        for record in records:
            try:
                mapped = self._map(record)
            except Exception as error:  # noqa: BLE001 - third-party records hold anything
                self._drop_unmappable(record)
                self._log_limiter.warning(
                    _log, "A record could not be mapped and is dropped (%s)", type(error).__name__
                )
                continue
            if not self._acceptance(record).kinds:  # behind a stock processor it is accepted here
                for event in mapped:
                    self._gate.counts.accept(event.kind.value)
            events += mapped
        return events

    def _drop_unmappable(self, record: _T) -> None:
        if self._acceptance(record).kinds:
            self.drop([record], "unmappable")
        else:  # no event was accepted
            self._gate.counts.add("unmappable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Generic[_P]):
    """A running batch processor, its exporter and its count of records."""

    processor: _P
    exporter: Delivering[Any]
    waiting: Waiting

    def close(self, deadline_s: float) -> None:
        """Export until it is time to spool the rest."""
        self.waiting.close()
        until_s = deadline_s - self.waiting.number / _HELD_PER_S
        # Sending gets half of the time, or less if spooling the rest takes more than the other half.
        half_s = (deadline_s - time.monotonic()) / 2
        shut_down_within(self.processor, max(0.0, min(half_s, until_s - time.monotonic())))
        self.waiting.end()  # its thread may go on, and would begin requests whose answers nobody awaits
        self.exporter.hold(take_what_waits(self.processor), until_s=deadline_s)

    def discard(self) -> None:
        """End without waiting, and drop what is queued: its consent was withdrawn."""
        self.waiting.close()
        # This may be its own thread, which cannot join itself and ends anyway.
        with suppress(RuntimeError):
            shut_down_within(self.processor, 0)
        self.exporter.drop(take_what_waits(self.processor), "withdrawn")


class PostHogLogExporter(Delivering[ReadableLogRecord], LogRecordExporter):
    """Send log records as `$exception` and product events."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send; see the module."""
        return LogRecordExportResult.SUCCESS if self._deliver(batch) else LogRecordExportResult.FAILURE

    def _acceptance(self, record: ReadableLogRecord) -> Acceptance:
        log = record.log_record
        return acceptance_of(log, log.observed_timestamp or 0)

    def _map(self, record: ReadableLogRecord) -> list[Event]:
        scope, log = scope_of(record), record.log_record
        recorded: Mapping[str, object] = log.attributes or {}
        observed_ns = log.observed_timestamp or 0
        accepted = self._acceptance(record)
        # Behind a stock processor the kind is not known yet.
        kind = accepted.kind or kind_of_record(record, self._registry)
        if kind is None:
            return []
        # The middleware knows the request best: its route has no root path.
        recorded = {**recorded, **accepted.known, **accepted.ending}
        view = RecordedLog(
            scope,
            log.event_name,
            recorded,
            log.timestamp or observed_ns,
            accepted.at_ns,
            log.trace_id or 0,
            log.span_id or 0,
            severity_of(record),
        )
        return [event_from_log(view, kind, self._base)]


class PostHogSpanExporter(Delivering[ReadableSpan], SpanExporter):
    """Send failed local root spans, and spans that name an event or match a rule."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send; see the module."""
        return SpanExportResult.SUCCESS if self._deliver(spans) else SpanExportResult.FAILURE

    def _acceptance(self, span: ReadableSpan) -> Acceptance:
        return acceptance_of(span, span.end_time or 0)

    def _map(self, span: ReadableSpan) -> list[Event]:
        if not may_become_event(span, self.rules):  # behind a stock processor this was not asked yet
            return []
        recorded = recorded_span(span, self._acceptance(span).at_ns)
        return events_from_span(recorded, self._base, self._registry, self.rules)
