"""OTLP messages, seen as the records that mapping knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from otel_posthog.records import SpanEventView

_PLAIN = frozenset({"string_value", "bool_value", "int_value", "double_value", "bytes_value"})
_KINDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}
_STATUSES = {Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}
_KNOWS_IF_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def values_of(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """Return attributes as Python values."""
    found: dict[str, object] = {}
    for pair in pairs:
        value = pair.value
        name = value.WhichOneof("value")
        found[pair.key] = getattr(value, name) if name in _PLAIN else _nested(value, name)
    return found


def _nested(value: AnyValue, name: str | None) -> object:
    """Return a list, a mapping, or None for an empty value."""
    if name == "kvlist_value":
        return values_of(value.kvlist_value.values)
    if name != "array_value":
        return None
    items = ((item, item.WhichOneof("value")) for item in value.array_value.values)
    return tuple(getattr(item, kind) if kind in _PLAIN else _nested(item, kind) for item, kind in items)


class OtlpLog:
    """A log record of OTLP, seen as a `LogView`."""

    def __init__(self, record: LogRecord, scope: str) -> None:
        self._record = record
        self.scope = scope
        self.attributes: Mapping[str, object] = values_of(record.attributes)

    @property
    def event_name(self) -> str | None:
        """Name of the event, if the record is one."""
        return self._record.event_name or None

    @property
    def time_ns(self) -> int:
        """When it happened, or when it was recorded."""
        return self._record.time_unix_nano or self.observed_ns

    @property
    def observed_ns(self) -> int:
        """When it was recorded."""
        return self._record.observed_time_unix_nano

    @property
    def accepted_ns(self) -> int:
        """When it was recorded."""
        return self.observed_ns

    @property
    def trace_id(self) -> int:
        """Trace in which it was recorded, 0 for none."""
        return int.from_bytes(self._record.trace_id)

    @property
    def span_id(self) -> int:
        """Span in which it was recorded, 0 for none."""
        return int.from_bytes(self._record.span_id)


class OtlpSpanEvent:
    """An event of a span of OTLP, seen as a `SpanEventView`."""

    def __init__(self, event: Span.Event) -> None:
        self.name = event.name
        self.attributes = values_of(event.attributes)
        self.time_ns = event.time_unix_nano


class OtlpSpan:
    """A span of OTLP, seen as a `SpanView`."""

    def __init__(self, span: Span, scope: str) -> None:
        self._span = span
        self.scope = scope
        self.attributes: Mapping[str, object] = values_of(span.attributes)

    @property
    def name(self) -> str:
        """Name of the span."""
        return self._span.name

    @property
    def kind(self) -> str:
        """Kind in small letters."""
        return _KINDS.get(self._span.kind, "internal")

    @property
    def status(self) -> str:
        """Status in small letters."""
        return _STATUSES.get(self._span.status.code, "unset")

    @property
    def events(self) -> Sequence[SpanEventView]:
        """Events in order of time."""
        return [OtlpSpanEvent(event) for event in self._span.events]

    @property
    def is_local_root(self) -> bool:
        """Whether the span has no parent, or one that is known to be in another process."""
        flags = self._span.flags
        return not self._span.parent_span_id or bool(flags & _KNOWS_IF_REMOTE and flags & _IS_REMOTE)

    @property
    def is_error(self) -> bool:
        """Whether the span's status is ERROR."""
        return self._span.status.code == Status.STATUS_CODE_ERROR

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self._span.start_time_unix_nano

    @property
    def end_ns(self) -> int:
        """When it ended."""
        return self._span.end_time_unix_nano

    @property
    def accepted_ns(self) -> int:
        """When it was over."""
        return self.end_ns

    @property
    def trace_id(self) -> int:
        """The span's trace."""
        return int.from_bytes(self._span.trace_id)

    @property
    def span_id(self) -> int:
        """The span's id."""
        return int.from_bytes(self._span.span_id)
