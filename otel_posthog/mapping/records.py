"""Turn log records and spans into events: exceptions, product events, summaries of suppressed exceptions.

A span records a handled exception as well as a fatal one, and nested spans record the same one again,
so only a local root span whose status is ERROR reports the exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from uuid import UUID, SafeUUID

from otel_posthog.events import Event, time_from_ns, with_base
from otel_posthog.otel import attributes
from otel_posthog.otel.records import RecordedLog, RecordedSpan, RecordedSpanEvent, recorded_uuid
from otel_posthog.registry import ERROR_EVENTS, SUPPRESSED, Kind, Registry, kind_of
from otel_posthog.span_rules import SpanRules
from otel_posthog.span_rules.rules import DURATION, properties_of

from .exceptions import UUID_NAMESPACE, BaseProperties, added_by_caller, exception_event
from .frames import stacks_of
from .steps import json_list

_LOCATION = ("filename", "function", "module", "lineno")
_ERROR, _FATAL = 17, 21  # OpenTelemetry's severity numbers
_OURS = frozenset({attributes.EVENT_UUID, attributes.INSTANCE_ID})
_NO_RULES = SpanRules()
_NAMESPACE_HASHED = sha1(UUID_NAMESPACE.bytes, usedforsecurity=False)
_FREE_BITS = ~(0xF << 76 | 0b11 << 62)  # of a uuid: all but its version and variant
_VERSION_5 = 0x5 << 76 | 0b10 << 62
_NONE: frozenset[Kind] = frozenset()
_ERRORS, _TELEMETRY, _BOTH = frozenset({Kind.ERRORS}), frozenset({Kind.TELEMETRY}), frozenset(Kind)

_new_uuid = object.__new__
_set_int, _set_is_safe = (vars(UUID)[slot].__set__ for slot in ("int", "is_safe"))
_UNKNOWN = SafeUUID.unknown


def kind_of_log(
    scope: str, event_name: str | None, recorded: Mapping[str, object], registry: Registry, severity: int = 0
) -> Kind | None:
    """Return the consent that the record needs, or None if it becomes no event.

    Our own log lines become none, exceptions logged below ERROR neither, and a named event of a
    third-party scope only if the product has registered that name.
    """
    if scope.startswith(f"{attributes.SCOPE}."):
        return None
    if event_name == SUPPRESSED:
        return Kind.ERRORS if scope == attributes.SCOPE else None
    is_named = event_name is not None and event_name not in ERROR_EVENTS
    if is_named and scope == attributes.SCOPE and attributes.EXCEPTION_CHAIN not in recorded:
        return Kind.TELEMETRY
    # Before the registered names: a record with an exception needs the consent to error reports.
    if attributes.EXCEPTION_TYPE in recorded or attributes.EXCEPTION_MESSAGE in recorded:
        return None if 0 < severity < _ERROR else Kind.ERRORS
    if is_named and registry.knows(event_name or ""):
        return Kind.TELEMETRY
    return None


def event_from_log(record: RecordedLog, kind: Kind, base: BaseProperties) -> Event:
    """Return the event of a record, given the kind that `kind_of_log` returned for it."""
    recorded, name = record.attributes, record.event_name or ""
    if kind is Kind.ERRORS and name != SUPPRESSED:
        meant: dict[str, object] = {
            # What is logged was caught; names such as `http.server.request.exception` are of what was not.
            attributes.EXCEPTION_HANDLED: not name,
            attributes.EXCEPTION_LEVEL: "fatal" if record.severity >= _FATAL else "error",
        }
        return exception_event(meant | dict(recorded), base, record, record.time_ns)
    if name == SUPPRESSED:
        own = {key: recorded[key] for key in ("suppressed", "failures", "seconds") if key in recorded}
        own["worst"] = _worst(recorded.get("worst"), base)
    else:
        own = {key: value for key, value in recorded.items() if not _is_ours(key)}
    return _product_event(record, name, own, base, time_ns=record.time_ns, uuid=recorded_uuid(recorded))


def _is_ours(key: str) -> bool:
    return key in _OURS or key.startswith(attributes.CONSENT_PREFIX)


def _worst(recorded: object, base: BaseProperties) -> list[dict[str, object]]:
    worst = []
    for item in json_list(recorded):
        match item:
            case [str(name), str(filename), int(lineno), str(function), str(module), int(number)]:
                call = [filename, lineno, function, module]
                [[frame]] = stacks_of([[call]], base.scrubber, base.roots, reads_source=False)
                location = {key: frame[key] for key in _LOCATION} if filename else {}
                worst.append({"type": base.scrubber.text(name), **location, "suppressed": number})
    return worst


def kinds_of_span(span: RecordedSpan, rules: SpanRules = _NO_RULES) -> frozenset[Kind]:
    """Return the consents that the span's events need; empty if it becomes no event."""
    is_event = _event_name(span) is not None or rules.find(span) is not None
    if not (span.is_error and fatal_exceptions(span)):
        return _TELEMETRY if is_event else _NONE
    return _BOTH if is_event else _ERRORS


def events_from_span(
    span: RecordedSpan, base: BaseProperties, registry: Registry, rules: SpanRules = _NO_RULES
) -> list[Event]:
    """Return the events of an ended span; an event that the span names takes precedence over the rules."""
    events = []
    for fatal in fatal_exceptions(span):
        known = attributes.of_product(span.attributes, is_server=span.kind == "server")
        events.append(exception_event({**known, **fatal.attributes}, base, span, fatal.time_ns))
    name, recorded = _event_name(span), span.attributes
    # Both are times of day, so a clock that is set back during the span makes it negative.
    duration_ns = span.end_ns - span.start_ns
    duration_ms = duration_ns // 1_000_000 if duration_ns > 0 else 0
    if name is not None:
        # Instrumentations add addresses to spans: an unregistered event gets only what a caller added.
        own = dict(recorded) if registry.knows(name) else added_by_caller(recorded)
        own[DURATION] = duration_ms
    elif (rule := rules.find(span)) is not None:
        name, own = rule.event, properties_of(rule, recorded, duration_ms)
    else:
        return events
    # From the span's ids, so that a span that is exported twice is one event.
    uuid = _uuid5(b"%032x:%016x:%b" % (span.trace_id, span.span_id, name.encode()))
    return [*events, _product_event(span, name, own, base, time_ns=span.end_ns, uuid=uuid)]


def fatal_exceptions(span: RecordedSpan) -> list[RecordedSpanEvent]:
    """Return the exception that ended the span; the middleware reports those of spans that we make."""
    if not (span.is_error and span.is_local_root) or span.scope == attributes.SCOPE:
        return []
    # The last one: exceptions that were handled are recorded before it.
    return [recorded for recorded in span.events if recorded.name == attributes.EXCEPTION_EVENT][-1:]


def _event_name(span: RecordedSpan) -> str | None:
    """Return the event that the span names; only its span event reports an exception."""
    name = span.attributes.get(attributes.EVENT_NAME)
    return name if isinstance(name, str) and kind_of(name) is Kind.TELEMETRY else None


def _product_event(
    record: RecordedLog | RecordedSpan,
    name: str,
    own: Mapping[str, object],
    base: BaseProperties,
    *,
    time_ns: int,
    uuid: UUID,
) -> Event:
    return Event(
        name=name,
        properties=with_base(base.properties, own),
        timestamp=time_from_ns(time_ns),
        uuid=uuid,
        accepted_ns=record.accepted_ns,
    )


def _uuid5(name: bytes) -> UUID:
    """Return what `uuid.uuid5` returns, in a quarter of its time."""
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(name)
    return uuid_of(int.from_bytes(hashed.digest()[:16]) & _FREE_BITS | _VERSION_5)


def uuid_of(number: int) -> UUID:
    """Return the uuid with this number, without the checks of its constructor: ten times as fast."""
    uuid = _new_uuid(UUID)
    _set_int(uuid, number)
    _set_is_safe(uuid, _UNKNOWN)
    return uuid
