"""OpenTelemetry exporters that deliver to PostHog.

Each stands by itself: consent, registry and scrubbing hold behind any processor, the stock ones too.
`export` makes one bounded attempt, answers FAILURE only for what is lost, and never raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from ._otel_sdk import LogRecordExporter, LogRecordExportResult, ReadableLogRecord, ReadWriteLogRecord
from .events import Event
from .gate import Gate, Outcome
from .mapping import BaseProperties, event_from_log, events_from_span
from .notices import Notices
from .records import SpanEventView
from .registry import Registry

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


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
        """Attributes as recorded."""
        return self._record.attributes or {}

    @property
    def time_ns(self) -> int:
        """When it happened, or when it was recorded."""
        return self._record.timestamp or self.observed_ns

    @property
    def observed_ns(self) -> int:
        """When it was recorded."""
        return self._record.observed_timestamp or 0

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

    __slots__ = ("_span",)

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    @property
    def name(self) -> str:
        """Name of the span."""
        return self._span.name

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded."""
        return self._span.attributes or {}

    @property
    def events(self) -> Sequence[SpanEventView]:
        """Events in order of time."""
        return [SdkSpanEvent(e.name, e.attributes or {}, e.timestamp) for e in self._span.events]

    @property
    def is_local_root(self) -> bool:
        """Whether the span has no parent, or one in another process."""
        return self._span.parent is None or self._span.parent.is_remote

    @property
    def is_error(self) -> bool:
        """Whether the span's status is ERROR."""
        return self._span.status.status_code is StatusCode.ERROR

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self._span.start_time or 0

    @property
    def end_ns(self) -> int:
        """When it ended."""
        return self._span.end_time or 0

    @property
    def trace_id(self) -> int:
        """The span's trace."""
        return self._span.context.trace_id if self._span.context else 0

    @property
    def span_id(self) -> int:
        """The span's id."""
        return self._span.context.span_id if self._span.context else 0


class _Delivering:
    """What the exporters share: map record by record, pass the gate, keep nothing back."""

    def __init__(
        self,
        gate: Gate,
        base: BaseProperties,
        registry: Registry,
        notices: Notices,
        *,
        on_taken: Callable[[int], None] | None = None,
    ) -> None:
        self._on_taken = on_taken
        self._gate = gate
        self._base = base
        self._registry = registry
        self._notices = notices

    def shutdown(self) -> None:
        """Do nothing: gate and transport are shared, their owner closes them."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Answer at once: `export` keeps nothing back."""
        return True

    def _deliver(self, records: Sequence[_T], to_events: Callable[[_T], list[Event]]) -> bool:
        """Tell whether nothing was lost; a record that cannot be mapped costs only itself."""
        if self._on_taken is not None:
            self._on_taken(len(records))
        events: list[Event] = []
        for record in records:
            try:
                events += to_events(record)
            except Exception as error:  # noqa: BLE001 - foreign records hold anything
                self._notices.warn(
                    _log, "A record could not be mapped and is dropped (%s)", type(error).__name__
                )
        return not events or self._gate.send(events) is not Outcome.LOST


class PostHogLogExporter(_Delivering, LogRecordExporter):
    """Turn log records into `$exception` and product events and pass them to the gate."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send; see the module."""
        is_safe = self._deliver(batch, self._map)
        return LogRecordExportResult.SUCCESS if is_safe else LogRecordExportResult.FAILURE

    def _map(self, record: ReadableLogRecord) -> list[Event]:
        event = event_from_log(SdkLog(record), self._base, self._registry)
        return [event] if event is not None else []


class PostHogSpanExporter(_Delivering, SpanExporter):
    """Turn failed local root spans and spans that name an event into events and pass them to the gate."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send; see the module."""
        return SpanExportResult.SUCCESS if self._deliver(spans, self._map) else SpanExportResult.FAILURE

    def _map(self, span: ReadableSpan) -> list[Event]:
        return events_from_span(SdkSpan(span), self._base, self._registry)
