"""How mapping sees a record, wherever it comes from.

The SDK's objects and OTLP messages differ in shape; each door has small adapters to these
protocols, so that one mapping serves all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class LogView(Protocol):
    """One log record."""

    @property
    def scope(self) -> str:
        """Name of the instrumentation scope."""

    @property
    def event_name(self) -> str | None:
        """Name of the event, if the record is one."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded."""

    @property
    def time_ns(self) -> int:
        """When it happened."""

    @property
    def accepted_ns(self) -> int:
        """When it was taken over, on this process's clock; withdrawals compare with it."""

    @property
    def trace_id(self) -> int:
        """Trace in which it was recorded, 0 for none."""

    @property
    def span_id(self) -> int:
        """Span in which it was recorded, 0 for none."""


class SpanEventView(Protocol):
    """One event of a span."""

    @property
    def name(self) -> str:
        """Name of the event."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded."""

    @property
    def time_ns(self) -> int:
        """When it happened."""


class SpanView(Protocol):
    """One ended span."""

    @property
    def name(self) -> str:
        """Name of the span."""

    @property
    def scope(self) -> str:
        """Name of the instrumentation scope."""

    @property
    def kind(self) -> str:
        """One of `span_rules.rule.KINDS`."""

    @property
    def status(self) -> str:
        """One of `span_rules.rule.STATUSES`."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded."""

    @property
    def events(self) -> Sequence[SpanEventView]:
        """Events in order of time."""

    @property
    def is_local_root(self) -> bool:
        """Whether the span has no parent, or one in another process."""

    @property
    def is_error(self) -> bool:
        """Whether the span's status is ERROR."""

    @property
    def start_ns(self) -> int:
        """When it began."""

    @property
    def end_ns(self) -> int:
        """When it ended."""

    @property
    def accepted_ns(self) -> int:
        """When it was taken over, on this process's clock; withdrawals compare with it."""

    @property
    def trace_id(self) -> int:
        """The span's trace."""

    @property
    def span_id(self) -> int:
        """The span's id."""


class MetricView(Protocol):
    """One metric, collected once."""

    @property
    def scope(self) -> str:
        """Name of the meter."""

    @property
    def name(self) -> str:
        """Name of the instrument."""

    @property
    def value(self) -> float:
        """Its latest number."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes of that number."""
