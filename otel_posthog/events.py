"""The event: the one value that is sent to PostHog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import is_
from typing import Final, NamedTuple, cast
from uuid import UUID

from .registry import ERROR_EVENTS, Kind


class Stamp(NamedTuple):
    """The consent under which something was accepted: the kind's generation, and the installation.

    None if it was not known. Events that outlive their process are judged by their stamp, since its
    clock and its cached answers end with the process.
    """

    generation: int | None = None
    instance_id: str | None = None


UNSTAMPED = Stamp()
AFTER_A_NO = Stamp(generation=-1)  # below each generation that can be granted
_json = json.JSONEncoder().encode
_quoted = json.encoder.encode_basestring_ascii
_NO_ID = '"distinct_id": null'  # cannot occur earlier in the text: quotes in a name are escaped


@dataclass(slots=True, kw_only=True)
class Event:
    """One event of PostHog.

    `uuid`, `name`, `distinct_id` and `timestamp` never change once set: PostHog counts two events as
    one if all four agree. `distinct_id` is None until the gate has read consent. Only type checkers
    enforce this: creating a frozen dataclass takes three times as long.
    """

    name: Final[str]
    properties: Final[Mapping[str, object]]
    timestamp: Final[datetime]
    uuid: Final[UUID]
    accepted_ns: Final[int]
    """When the record was accepted, by the clock of `otel.records`; withdrawals compare with it."""
    distinct_id: str | None = None
    stamp: Final[Stamp] = UNSTAMPED
    """The consent under which another process accepted it."""
    _written: tuple[str, int] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def kind(self) -> Kind:
        """Return the consent that this event needs."""
        return Kind.ERRORS if self.name in ERROR_EVENTS else Kind.TELEMETRY

    def with_properties(self, properties: Mapping[str, object]) -> Event:
        """Return the event with these properties: itself if they are its own, which is cheaper.

        Only a plain dict is compared: another mapping may return different values each time.
        """
        own = self.properties
        if type(own) is not dict:
            return replace(self, properties=properties)
        is_same = properties is own or (
            [*properties] == [*own] and all(map(is_, properties.values(), own.values()))
        )
        return self if is_same else replace(self, properties=properties)

    def write(self, instance_id: str | None, properties: str | None = None) -> int:
        """Write the event as that installation's, unless it has an identity; return its size in bytes.

        `properties` is their JSON, if the caller has it.
        """
        if not self.distinct_id and instance_id is not None:
            self.distinct_id = instance_id
        identity = _quoted(self.distinct_id) if self.distinct_id else "null"
        in_utc = self.timestamp if self.timestamp.tzinfo is UTC else self.timestamp.astimezone(UTC)
        time = in_utc.isoformat("T", "milliseconds")
        shown = _json(dict(self.properties)) if properties is None else properties
        return self._keep(
            f'{{"uuid": "{self.uuid}", "event": {_quoted(self.name)}, "distinct_id": {identity}, '
            f'"timestamp": "{time}", "properties": {shown}}}'
        )

    def address(self, instance_id: str | None) -> str:
        """Give the event this identity, unless it has one, and return its JSON; the rest of it stays."""
        if not self.distinct_id and instance_id is not None:
            self.distinct_id = instance_id
            if self._written is not None:
                head, tail = self._written[0].split(_NO_ID, 1)
                self._keep(f'{head}"distinct_id": {_quoted(instance_id)}{tail}')
        return self.written()

    def written(self) -> str:
        """Return the event as JSON, an item of the `batch` array of PostHog's `/batch/` endpoint.

        It is serialized once, so that exactly what was measured is sent.
        """
        return self._text()[0]

    def size_bytes(self) -> int:
        """Return the event's size as PostHog's limit counts it: JSON, escaped once more as a JSON text."""
        return self._text()[1]

    def _text(self) -> tuple[str, int]:
        if self._written is None:
            self.write(None)
        return cast("tuple[str, int]", self._written)

    def _keep(self, text: str) -> int:
        size_bytes = len(text) + text.count('"') + text.count("\\")
        self._written = text, size_bytes
        return size_bytes


def with_base(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Return an event's properties: those of every event come first and win over equal names."""
    return {**base, **own, **base}


def time_from_ns(nanoseconds: int) -> datetime:
    """Return the UTC time of a count of nanoseconds since 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
