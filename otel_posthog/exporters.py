"""OpenTelemetry exporters that deliver to PostHog.

Each stands by itself: consent, registry and scrubbing hold behind any processor, the stock ones too.
`export` makes one bounded attempt, answers FAILURE only for what is lost, and never raises.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from . import acceptance, attributes
from ._otel_sdk import (
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
    ReadWriteLogRecord,
    attributes_of,
)
from .events import Event
from .exporter_metrics import ExporterMetrics
from .foreign import noted_request
from .gate import Gate, Outcome
from .mapping import BaseProperties, event_from_log, events_from_span
from .notices import Notices
from .records import SpanEventView
from .registry import Registry
from .span_rules import SpanRules

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_KINDS = {id(kind): kind.name.lower() for kind in SpanKind}  # an enum's members are slow to hash
_ERROR = StatusCode.ERROR  # and slow to look up
_STATUSES = {status: status.name.lower() for status in StatusCode}
_HELD_AT_ONCE = 100  # records between two looks at the clock


class SdkLog:
    """A log record of the SDK, seen as a `LogView`."""

    __slots__ = ("_record", "scope")

    def __init__(self, record: ReadableLogRecord | ReadWriteLogRecord) -> None:
        self._record = record.log_record
        self.scope = record.instrumentation_scope.name if record.instrumentation_scope else ""

    @property
    def event_name(self) -> str | None:
        """Name of the event, if the record is one."""
        return self._record.event_name

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded, and the request in which that was."""
        recorded, noted = self._record.attributes or {}, noted_request(self._record)
        return {**noted, **recorded} if noted else recorded

    @property
    def time_ns(self) -> int:
        """When it happened, or when it was recorded."""
        return self._record.timestamp or self.observed_ns

    @property
    def observed_ns(self) -> int:
        """When it was recorded."""
        return self._record.observed_timestamp or 0

    @property
    def accepted_ns(self) -> int:
        """When it was taken over."""
        return acceptance.accepted_ns(self._record, self.observed_ns)

    @property
    def trace_id(self) -> int:
        """Trace in which it was recorded, 0 for none."""
        return self._record.trace_id or 0

    @property
    def span_id(self) -> int:
        """Span in which it was recorded, 0 for none."""
        return self._record.span_id or 0


class SdkSpanEvent:
    """An event of a span of the SDK, seen as a `SpanEventView`."""

    __slots__ = ("attributes", "name", "time_ns")

    def __init__(self, name: str, attributes: Mapping[str, object], time_ns: int) -> None:
        self.name = name
        self.attributes = attributes
        self.time_ns = time_ns


class SdkSpan:
    """An ended span of the SDK, seen as a `SpanView`."""

    __slots__ = ("_span", "attributes", "end_ns", "is_error", "name", "span_id", "start_ns", "trace_id")

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span
        self.name = span.name
        self.attributes = attributes_of(span)
        self.is_error = span.status.status_code is _ERROR
        self.start_ns = span.start_time or 0
        self.end_ns = span.end_time or 0
        context = span.context
        self.trace_id: int = context.trace_id if context else 0
        self.span_id: int = context.span_id if context else 0

    @property
    def scope(self) -> str:
        """Name of the instrumentation scope."""
        return self._span.instrumentation_scope.name if self._span.instrumentation_scope else ""

    @property
    def kind(self) -> str:
        """Kind in small letters."""
        return _KINDS[id(self._span.kind)]

    @property
    def status(self) -> str:
        """Status in small letters."""
        return _STATUSES[self._span.status.status_code]

    @property
    def events(self) -> Sequence[SpanEventView]:
        """Events in order of time."""
        return [SdkSpanEvent(e.name, e.attributes or {}, e.timestamp) for e in self._span.events]

    @property
    def is_local_root(self) -> bool:
        """Whether the span has no parent, or one in another process."""
        return self._span.parent is None or self._span.parent.is_remote

    @property
    def accepted_ns(self) -> int:
        """When it was taken over."""
        return acceptance.accepted_ns(self._span, self.end_ns)


class Queue(Protocol):
    """Where records wait in front of an exporter."""

    def leave(self, number: int) -> None:
        """Give so many places back."""

    def is_pressing(self) -> bool:
        """Tell whether there will soon be no room."""


class _Delivering(Generic[_T]):
    """What the exporters share: map record by record, pass the gate, keep nothing back."""

    def __init__(
        self,
        gate: Gate,
        base: BaseProperties,
        registry: Registry,
        notices: Notices,
        *,
        queue: Queue | None = None,
        metrics: ExporterMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._queue = queue
        self._gate = gate
        self._base = base
        self._registry = registry
        self._notices = notices

    def shutdown(self) -> None:
        """Do nothing: gate and transport are shared, their owner closes them."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Answer at once: `export` keeps nothing back."""
        return True

    def _map(self, record: _T) -> list[Event]:
        raise NotImplementedError

    def hold(self, records: Sequence[_T], *, until_s: float) -> int:
        """Spool the records without an attempt; return how many that moment of monotonic time left over."""
        for begin in range(0, len(records), _HELD_AT_ONCE):
            if time.monotonic() >= until_s:
                return len(records) - begin
            self._gate.hold(self._events(records[begin : begin + _HELD_AT_ONCE]))
        return 0

    def _deliver(self, records: Sequence[_T]) -> bool:
        """Tell whether nothing was lost."""
        if self._queue is not None:
            self._queue.leave(len(records))
        if self._metrics is None:
            return self._pass_on(records) is not Outcome.LOST
        return self._metrics.measured(len(records), lambda: self._pass_on(records)) is not Outcome.LOST

    def _pass_on(self, records: Sequence[_T]) -> Outcome:
        """Map and pass the gate; where the queue runs full, the disk is faster than the network."""
        events = self._events(records)
        if not events:
            return Outcome.NOTHING
        is_behind = self._queue is not None and self._queue.is_pressing()
        return self._gate.hold(events) if is_behind else self._gate.send(events)

    def _events(self, records: Sequence[_T]) -> list[Event]:
        """Map the records; one that cannot be mapped costs only itself."""
        events: list[Event] = []
        for record in records:
            try:
                events += self._map(record)
            except Exception as error:  # noqa: BLE001 - foreign records hold anything
                self._gate.note_unmappable()
                self._notices.warn(
                    _log, "A record could not be mapped and is dropped (%s)", type(error).__name__
                )
        return events


class PostHogLogExporter(_Delivering[ReadableLogRecord], LogRecordExporter):
    """Turn log records into `$exception` and product events and pass them to the gate."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send; see the module."""
        return LogRecordExportResult.SUCCESS if self._deliver(batch) else LogRecordExportResult.FAILURE

    def _map(self, record: ReadableLogRecord) -> list[Event]:
        event = event_from_log(SdkLog(record), self._base, self._registry)
        return [] if event is None else [event]


class PostHogSpanExporter(_Delivering[ReadableSpan], SpanExporter):
    """Turn failed local root spans and spans that name an event or match a rule into events for the gate."""

    def __init__(  # noqa: PLR0913 - as of what the exporters share, and the rules
        self,
        gate: Gate,
        base: BaseProperties,
        registry: Registry,
        notices: Notices,
        *,
        rules: SpanRules | None = None,
        queue: Queue | None = None,
        metrics: ExporterMetrics | None = None,
    ) -> None:
        super().__init__(gate, base, registry, notices, queue=queue, metrics=metrics)
        self._rules = rules or SpanRules()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send; see the module."""
        return SpanExportResult.SUCCESS if self._deliver(spans) else SpanExportResult.FAILURE

    def _map(self, span: ReadableSpan) -> list[Event]:
        if not may_become_event(span, self._rules):  # behind a stock processor nobody has asked yet
            return []
        return events_from_span(SdkSpan(span), self._base, self._registry, self._rules)


def may_become_event(span: ReadableSpan, rules: SpanRules) -> bool:
    """Sort out most spans at a fraction of what it costs to say what they become."""
    return bool(
        rules.names.matching(span.name)
        or attributes.EVENT_NAME in attributes_of(span)
        or span.status.status_code is _ERROR
    )
