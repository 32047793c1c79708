"""Log records to events: exceptions and product events."""

from __future__ import annotations

from collections.abc import Mapping

from otel_posthog import attributes
from otel_posthog.events import Event, time_from_ns
from otel_posthog.records import LogView
from otel_posthog.registry import EXCEPTION, SUPPRESSED, Kind, Registry, kind_of

from .base import BaseProperties
from .exceptions import carried_uuid, exception_properties, exception_uuid
from .suppressed import suppressed_properties

_OURS = frozenset({attributes.EVENT_UUID, attributes.INSTANCE_ID})


def kind_of_log(
    scope: str, event_name: str | None, recorded: Mapping[str, object], registry: Registry
) -> Kind | None:
    """Return the consent that the record needs, or None where it becomes nothing.

    Our own log lines never come back to us, and a named event of a foreign scope counts only where
    the product has registered that name.
    """
    if scope.startswith(f"{attributes.SCOPE}."):
        return None
    if event_name == SUPPRESSED:
        return Kind.ERRORS if scope == attributes.SCOPE else None
    is_named = event_name is not None and kind_of(event_name) is Kind.TELEMETRY
    if is_named and scope == attributes.SCOPE:
        return Kind.TELEMETRY
    if attributes.EXCEPTION_TYPE in recorded or attributes.EXCEPTION_MESSAGE in recorded:
        return Kind.ERRORS
    if is_named and registry.knows(event_name or ""):
        return Kind.TELEMETRY
    return None


def event_from_log(record: LogView, base: BaseProperties, registry: Registry) -> Event | None:
    """Return the event that the record becomes, if any."""
    recorded = record.attributes
    kind = kind_of_log(record.scope, record.event_name, recorded, registry)
    if kind is None:
        return None
    if record.event_name == SUPPRESSED:
        name, uuid = SUPPRESSED, carried_uuid(recorded)
        properties = suppressed_properties(recorded, base)
    elif kind is Kind.ERRORS:
        name, uuid = EXCEPTION, exception_uuid(recorded, record.trace_id)
        properties = exception_properties(recorded, base, trace_id=record.trace_id, span_id=record.span_id)
    else:
        name, uuid = record.event_name or "", carried_uuid(recorded)
        own = {key: value for key, value in recorded.items() if not _is_ours(key)}
        properties = base.over(own)
    return Event(
        name=name,
        properties=properties,
        timestamp=time_from_ns(record.time_ns),
        uuid=uuid,
        accepted_ns=record.accepted_ns,
    )


def _is_ours(key: str) -> bool:
    return key in _OURS or key.startswith(attributes.CONSENT_PREFIX)
