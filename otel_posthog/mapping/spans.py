"""Spans to events: the exception of a failed local root span, and spans that name an event.

Why so narrow: a handled exception stands on a span as well as a fatal one, and nested spans tell
the same one again, so only a local root span whose status is ERROR speaks for a request.
"""

from __future__ import annotations

from uuid import uuid5

from otel_posthog import attributes
from otel_posthog.events import Event, time_from_ns
from otel_posthog.records import SpanEventView, SpanView
from otel_posthog.registry import EXCEPTION, Kind, Registry, kind_of

from .base import BaseProperties
from .exceptions import UUID_NAMESPACE, added_by_caller, exception_properties, exception_uuid

_SPAN_EVENT_NAME = "exception"  # OpenTelemetry semantic conventions, exceptions on spans


def kinds_of_span(span: SpanView) -> frozenset[Kind]:
    """Return which consents the span's events need; empty where it becomes nothing."""
    kinds = set()
    if _fatal_exceptions(span):
        kinds.add(Kind.ERRORS)
    if _event_name(span) is not None:
        kinds.add(Kind.TELEMETRY)
    return frozenset(kinds)


def events_from_span(span: SpanView, base: BaseProperties, registry: Registry) -> list[Event]:
    """Return the events that an ended span becomes."""
    events = [_exception(span, recorded, base) for recorded in _fatal_exceptions(span)]
    name = _event_name(span)
    if name is not None:
        events.append(_named(span, name, base, registry))
    return events


def _fatal_exceptions(span: SpanView) -> list[SpanEventView]:
    if not (span.is_error and span.is_local_root):
        return []
    return [recorded for recorded in span.events if recorded.name == _SPAN_EVENT_NAME][-1:]


def _event_name(span: SpanView) -> str | None:
    """Return the event that the span names; an exception is told by its span event alone."""
    name = span.attributes.get(attributes.EVENT_NAME)
    return name if isinstance(name, str) and kind_of(name) is Kind.TELEMETRY else None


def _exception(span: SpanView, recorded: SpanEventView, base: BaseProperties) -> Event:
    combined = dict(span.attributes) | dict(recorded.attributes)
    return Event(
        name=EXCEPTION,
        properties=exception_properties(combined, base, trace_id=span.trace_id, span_id=span.span_id),
        timestamp=time_from_ns(recorded.time_ns),
        uuid=exception_uuid(combined, span.trace_id),
        accepted_ns=span.end_ns,
    )


def _named(span: SpanView, name: str, base: BaseProperties, registry: Registry) -> Event:
    """Build the event a span names; an undeclared one takes no attribute that was not meant for it."""
    recorded = span.attributes
    own = dict(recorded) if registry.knows(name) else added_by_caller(recorded)
    duration = {"duration_ms": max(0, span.end_ns - span.start_ns) // 1_000_000}
    return Event(
        name=name,
        properties=base.over(own | duration),
        timestamp=time_from_ns(span.end_ns),
        uuid=uuid5(UUID_NAMESPACE, f"{span.trace_id:032x}:{span.span_id:016x}:{name}"),
        accepted_ns=span.end_ns,
    )
