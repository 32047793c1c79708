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
_quoted = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What would go to PostHog.

    `uuid`, `name`, `distinct_id` and `timestamp` never change once set: PostHog counts two events as
    one where all four agree. `distinct_id` is None until the gate has seen consent and fills it in.
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
    _properties: str | None = field(default=None, init=False, repr=False, compare=False)
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

    def address(self, instance_id: str | None) -> None:
        """Give the event this identity for good, unless it has one."""
        if not self.distinct_id and instance_id is not None:
            object.__setattr__(self, "distinct_id", instance_id)
            object.__setattr__(self, "_written", None)

    def write(self, properties: str) -> None:
        """Take this JSON of the properties, which somebody has at hand, for the event's text."""
        object.__setattr__(self, "_properties", properties)

    def written(self) -> str:
        """Return the event as JSON, as it stands in the `batch` array of PostHog's `/batch/` endpoint.

        It is written once, so that what leaves is what was measured.
        """
        return (self._written or self._write())[0]

    def size_bytes(self) -> int:
        """Return the event's size as PostHog's limit counts it: JSON, escaped once more as a JSON text."""
        return (self._written or self._write())[1]

    def _write(self) -> tuple[str, int]:
        if self._properties is None:
            self.write(_json(dict(self.properties)))
        identity = "null" if self.distinct_id is None else _quoted(self.distinct_id)
        time = self.timestamp.astimezone(UTC).isoformat("T", "milliseconds")
        text = (
            f'{{"uuid": "{self.uuid}", "event": {_quoted(self.name)}, "distinct_id": {identity}, '
            f'"timestamp": "{time}", "properties": {self._properties}}}'
        )
        written = (text, len(text) + text.count('"') + text.count("\\"))
        object.__setattr__(self, "_written", written)
        return written


def time_from_ns(nanoseconds: int) -> datetime:
    """Return the UTC time of a count of nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
