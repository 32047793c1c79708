"""The one value that flows to PostHog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
_json = json.JSONEncoder().encode


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
    _written: tuple[str, int] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def kind(self) -> Kind:
        """Return the consent that this event needs."""
        return kind_of(self.name)

    def with_properties(self, properties: Mapping[str, object]) -> Event:
        """Return the event with these properties: itself where they are its very own, which is cheaper.

        Only a plain dict says the same each time it is asked, so nothing else is kept.
        """
        own = self.properties
        if type(own) is not dict:
            return replace(self, properties=properties)
        is_same = properties is own or (
            [*properties] == [*own] and all(map(is_, properties.values(), own.values()))
        )
        return self if is_same else replace(self, properties=properties)

    def from_instance(self, instance_id: str | None) -> Event:
        """Return the event with this identity, unless it has one."""
        if self.distinct_id or instance_id is None:
            return self
        return Event(
            name=self.name,
            properties=self.properties,
            timestamp=self.timestamp,
            uuid=self.uuid,
            accepted_ns=self.accepted_ns,
            distinct_id=instance_id,
            stamp=self.stamp,
        )

    def written(self) -> str:
        """Return the event as JSON, as it stands in the `batch` array of PostHog's `/batch/` endpoint.

        It is written once, so that what leaves is what was measured.
        """
        return (self._written or self._write())[0]

    def size_bytes(self) -> int:
        """Return the event's size as PostHog's limit counts it: JSON, escaped once more as a JSON text."""
        return (self._written or self._write())[1]

    def _write(self) -> tuple[str, int]:
        time = self.timestamp.astimezone(UTC).isoformat(timespec="milliseconds")
        identity, properties = _json(self.distinct_id), _json(dict(self.properties))
        text = (
            f'{{"uuid": "{self.uuid}", "event": {_json(self.name)}, "distinct_id": {identity}, '
            f'"timestamp": "{time}", "properties": {properties}}}'
        )
        written = (text, len(text) + text.count('"') + text.count("\\"))
        object.__setattr__(self, "_written", written)
        return written


def time_from_ns(nanoseconds: int) -> datetime:
    """Return the UTC time of a count of nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC)
