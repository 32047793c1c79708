"""The one value that flows to PostHog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import is_
from uuid import UUID

from .registry import Kind, kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The consent under which something was accepted: the kind's generation, and the installation.

    None where it was not known. What outlives its process is judged by this, since clocks and
    memories of earlier looks end with the process.
    """

    generation: int | None = None
    instance_id: str | None = None


UNSTAMPED = Stamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What would go to PostHog.

    `uuid`, `name`, `distinct_id` and `timestamp` never change once set: PostHog counts two events as
    one where all four agree. `distinct_id` is None until the gate has seen consent.
    """

    name: str
    properties: Mapping[str, object]
    timestamp: datetime
    uuid: UUID
    accepted_ns: int
    """When we took the record over, on this process's wall clock; withdrawals compare with it."""
    distinct_id: str | None = None
    stamp: Stamp = UNSTAMPED
    """The consent under which it was accepted, where it was so in another process."""

    @property
    def kind(self) -> Kind:
        """Return the consent that this event needs."""
        return kind_of(self.name)

    def with_properties(self, properties: Mapping[str, object]) -> Event:
        """Return the event with these properties: itself where they are its very own, which is cheaper."""
        own = self.properties
        is_same = [*properties] == [*own] and all(map(is_, properties.values(), own.values()))
        return self if is_same else replace(self, properties=properties)

    def to_wire(self) -> dict[str, object]:
        """Return the object that stands in the `batch` array of PostHog's `/batch/` endpoint."""
        return {
            "uuid": str(self.uuid),
            "event": self.name,
            "distinct_id": self.distinct_id,
            "timestamp": self.timestamp.astimezone(UTC).isoformat(timespec="milliseconds"),
            "properties": dict(self.properties),
        }

    def size_bytes(self) -> int:
        """Return the event's size as PostHog's limit counts it: JSON, escaped once more as a JSON text."""
        text = json.dumps(self.to_wire())
        return len(text) + text.count('"') + text.count("\\")


def time_from_ns(nanoseconds: int) -> datetime:
    """Return the UTC time of a count of nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC)
