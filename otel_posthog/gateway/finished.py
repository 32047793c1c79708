"""Read an event that has passed the gate of its own process, strictly: a record holds it as JSON text."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

from otel_posthog.events import Event
from otel_posthog.registry import EVENT_NAME_MAX_BYTES

_FIELDS = frozenset({"uuid", "event", "distinct_id", "timestamp", "properties"})


def finished_event(text: object, *, name: str, instance_id: str, accepted_ns: int, max_bytes: int) -> Event:
    """Return the event of that name and installation; raise `ValueError` for anything else."""
    if not isinstance(text, str) or len(text) > max_bytes:  # ASCII, or it is refused below
        raise ValueError("the event is no text, or too large")
    wire = json.loads(text.encode("ascii"), parse_constant=_refuse)
    if not isinstance(wire, dict) or wire.keys() != _FIELDS or not isinstance(wire["properties"], dict):
        raise ValueError("the text is no event")
    if wire["event"] != name or not 0 < len(name.encode()) <= EVENT_NAME_MAX_BYTES:
        raise ValueError("the event has no name, or another one than its record")
    if wire["distinct_id"] != instance_id:
        raise ValueError("the event is another installation's than its record")
    uuid, timestamp = UUID(str(wire["uuid"])), datetime.fromisoformat(str(wire["timestamp"]))
    if str(uuid) != wire["uuid"] or timestamp.tzinfo is None:
        raise ValueError("the event's uuid or time is not in its usual form")
    return Event(
        name=name,
        properties=wire["properties"],
        timestamp=timestamp,
        uuid=uuid,
        accepted_ns=accepted_ns,
        distinct_id=instance_id,
    )


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
