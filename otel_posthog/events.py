"""The one value that flows to PostHog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import is_
from typing import Final, cast
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
_NOBODY = "null"
_NOBODY_SAID = f'"distinct_id": {_NOBODY}'  # nowhere before its place: the quotes of a name are escaped


@dataclass(slots=True, kw_only=True)
class Event:
    """What would go to PostHog.

    `uuid`, `name`, `distinct_id` and `timestamp` never change once set: PostHog counts two events as
    one where all four agree. `distinct_id` is None until the gate has seen consent and fills it in.
    Only type checkers keep to that: a frozen dataclass takes three times as long to make.
    """

    name: Final[str]
    properties: Final[Mapping[str, object]]
    timestamp: Final[datetime]
    uuid: Final[UUID]
    accepted_ns: Final[int]
    """When we took the record over, on this process's wall clock; withdrawals compare with it."""
    distinct_id: str | None = None
    stamp: Final[Stamp] = UNSTAMPED
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

    def write(self, instance_id: str | None, properties: str | None = None) -> None:
        """Write the event down as that installation's for good, unless it has an identity.

        `properties` is their JSON, where somebody has it at hand.
        """
        if not self.distinct_id and instance_id is not None:
            self.distinct_id = instance_id
        identity = _quoted(self.distinct_id) if self.distinct_id else _NOBODY
        moment = self.timestamp if self.timestamp.tzinfo is UTC else self.timestamp.astimezone(UTC)
        time = moment.isoformat("T", "milliseconds")
        shown = _json(dict(self.properties)) if properties is None else properties
        self._keep(
            f'{{"uuid": "{self.uuid}", "event": {_quoted(self.name)}, "distinct_id": {identity}, '
            f'"timestamp": "{time}", "properties": {shown}}}'
        )

    def address(self, instance_id: str | None) -> None:
        """Give the event this identity for good, unless it has one; the rest of its text stays."""
        if self.distinct_id or instance_id is None:
            return
        self.distinct_id = instance_id
        if self._written is not None:
            head, tail = self._written[0].split(_NOBODY_SAID, 1)
            self._keep(f"{head}{_NOBODY_SAID.replace(_NOBODY, _quoted(instance_id))}{tail}")

    def written(self) -> str:
        """Return the event as JSON, as it stands in the `batch` array of PostHog's `/batch/` endpoint.

        It is written once, so that what leaves is what was measured.
        """
        return self._text()[0]

    def size_bytes(self) -> int:
        """Return the event's size as PostHog's limit counts it: JSON, escaped once more as a JSON text."""
        return self._text()[1]

    def _text(self) -> tuple[str, int]:
        if self._written is None:
            self.write(None)
        return cast("tuple[str, int]", self._written)

    def _keep(self, text: str) -> None:
        self._written = text, len(text) + text.count('"') + text.count("\\")


def time_from_ns(nanoseconds: int) -> datetime:
    """Return the UTC time of a count of nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
