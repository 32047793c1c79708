"""Spans to events: the exception of a failed local root span, and spans that name an event or match a rule.

Why so narrow: a handled exception stands on a span as well as a fatal one, and nested spans tell
the same one again, so only a local root span whose status is ERROR speaks for a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from uuid import UUID

from otel_posthog import attributes
from otel_posthog._uuids import uuid_of
from otel_posthog.events import Event, time_from_ns
from otel_posthog.records import SpanEventView, SpanView
from otel_posthog.registry import EXCEPTION, Kind, Registry, kind_of
from otel_posthog.span_rules import SpanRules
from otel_posthog.span_rules.compiled import properties_of
from otel_posthog.span_rules.rule import DURATION

from .base import BaseProperties
from .exceptions import UUID_NAMESPACE, added_by_caller, exception_properties, exception_uuid

_SPAN_EVENT_NAME = "exception"  # OpenTelemetry semantic conventions, exceptions on spans
_NO_RULES = SpanRules()
_NAMESPACE_HASHED = sha1(UUID_NAMESPACE.bytes, usedforsecurity=False)
_FREE_BITS = ~(0xF << 76 | 0b11 << 62)  # of a uuid: all but its version and variant
_VERSION_5 = 0x5 << 76 | 0b10 << 62
_NONE: frozenset[Kind] = frozenset()
_ERRORS, _TELEMETRY, _BOTH = frozenset({Kind.ERRORS}), frozenset({Kind.TELEMETRY}), frozenset(Kind)


def kinds_of_span(span: SpanView, rules: SpanRules = _NO_RULES) -> frozenset[Kind]:
    """Return which consents the span's events need; empty where it becomes nothing."""
    is_event = _event_name(span) is not None or rules.find(span) is not None
    if not (span.is_error and fatal_exceptions(span)):
        return _TELEMETRY if is_event else _NONE
    return _BOTH if is_event else _ERRORS


def events_from_span(
    span: SpanView, base: BaseProperties, registry: Registry, rules: SpanRules = _NO_RULES
) -> list[Event]:
    """Return the events that an ended span becomes; what it names itself goes before the rules."""
    events = [_exception(span, recorded, base) for recorded in fatal_exceptions(span)]
    name = _event_name(span)
    if name is not None:
        recorded = span.attributes
        own = dict(recorded) if registry.knows(name) else added_by_caller(recorded)
        events.append(_product_event(span, name, own | {DURATION: _duration_ms(span)}, base))
    elif (rule := rules.find(span)) is not None:
        own = properties_of(rule, span.attributes, _duration_ms(span))
        events.append(_product_event(span, rule.event, own, base))
    return events


def fatal_exceptions(span: SpanView) -> list[SpanEventView]:
    """Return what ended the span; of requests under our own tracing the middleware knows better."""
    if not (span.is_error and span.is_local_root) or span.scope == attributes.SCOPE:
        return []
    if attributes.EXCEPTION_TOLD in span.attributes:
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
        accepted_ns=span.accepted_ns,
    )


def _product_event(span: SpanView, name: str, own: Mapping[str, object], base: BaseProperties) -> Event:
    return Event(
        name=name,
        properties=base.over(own),
        timestamp=time_from_ns(span.end_ns),
        uuid=_uuid5(b"%032x:%016x:%b" % (span.trace_id, span.span_id, name.encode())),
        accepted_ns=span.accepted_ns,
    )


def _uuid5(name: bytes) -> UUID:
    """Return what `uuid.uuid5` returns, in a quarter of its time."""
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(name)
    return uuid_of(int.from_bytes(hashed.digest()[:16]) & _FREE_BITS | _VERSION_5)


def _duration_ms(span: SpanView) -> int:
    duration_ns = span.end_ns - span.start_ns
    return duration_ns // 1_000_000 if duration_ns > 0 else 0
