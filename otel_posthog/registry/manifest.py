"""The registry as data: what consent is given for, one manifest for each kind.

The same object decides what may leave and is what an admin agrees to; its canonical text has a hash,
and an old one read back from the database (`reading`) decides as it did then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache

from otel_posthog._lazy import lazy

from .declarations import EXCEPTION, EventSpec, Kind, Property, is_event_name
from .domains import OTHER, PLAIN_TYPES, REFUSED, canonical_json, is_short_scalar, plain

FORMAT = 1
_REMEMBERED_NAMES = 256
TEST_MARKER = re.compile(r"\$[a-z0-9_]{1,40}_(?:startup|backend)_test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What of one event may leave."""

    properties: dict[str, object]
    """The very ones that were given, where all of them may leave as they are."""
    outside: tuple[str, ...]
    """Names of properties that are not declared, or whose value is not."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that may leave under one kind of consent."""

    kind: Kind
    base: Mapping[str, Property]
    events: Mapping[str, EventSpec] = field(default_factory=dict)
    is_open: bool = False
    """Whether any event name may leave, with numbers, booleans and short texts."""

    def spec(self, name: str) -> EventSpec | None:
        """Return what an event of this name may hold, or None if it may not leave."""
        found = self.events.get(name)
        return _undeclared(name) if found is None and self.is_open and is_event_name(name) else found

    def examine(
        self, name: str, properties: Mapping[str, object], today: Callable[[], date]
    ) -> Admission | None:
        """Return what of the event may leave on that day, or None if the event itself may not."""
        spec = self.spec(name if type(name) is str else str(plain(name)))
        if spec is None or (spec.expires is not None and today() > spec.expires):
            return None
        kept: dict[str, object] = {}
        outside: list[str] = []
        whole = properties if type(properties) is dict else None  # one says the same whenever it is asked
        lasting = self._lasting.get(spec.name, self._lasting_base)
        for given_key, given in properties.items():
            key = given_key if type(given_key) is str else str(plain(given_key))
            value = given if type(given) in PLAIN_TYPES else plain(given)
            admit = lasting.get(key)
            left = self._admit(spec, key, value, today) if admit is None else admit(value)
            if left is given and key is given_key:
                kept[key] = left
                continue
            whole = None
            if left is not REFUSED:
                kept[key] = left
            elif spec.name == EXCEPTION and spec.needs(key):
                return None  # PostHog refuses a report without exceptions
            if left is REFUSED or (left is not value and left == OTHER):
                outside.append(key)
        return Admission(properties=kept if whole is None else whole, outside=tuple(outside))

    @lazy
    def _lasting(self) -> dict[str, dict[str, Callable[[object], object]]]:
        """For each event what decides about each of its properties that do not expire."""
        return {name: _deciders({**spec.properties, **self.base}) for name, spec in self.events.items()}

    @lazy
    def _lasting_base(self) -> dict[str, Callable[[object], object]]:
        return _deciders(self.base)

    def _admit(self, spec: EventSpec, key: str, value: object, today: Callable[[], date]) -> object:
        declared = self.base.get(key) or spec.properties.get(key)
        if declared is not None:
            return declared.admit(value, today)
        if not spec.is_open:
            return REFUSED
        if key.startswith("$"):  # such names steer PostHog
            is_marker = spec.name == EXCEPTION and isinstance(value, bool) and TEST_MARKER.fullmatch(key)
            return value if is_marker else REFUSED
        return value if is_short_scalar(value) else REFUSED

    def is_lasting(self, name: str) -> bool:
        """Tell whether neither the event nor any of its properties expires."""
        spec = self.spec(name)
        return (
            spec is not None
            and spec.expires is None
            and all(each.expires is None for each in (*spec.properties.values(), *self.base.values()))
        )

    def has_ended(self, today: date) -> bool:
        """Tell whether events are declared and all of them have expired."""
        ends = [spec.expires for spec in self.events.values()]
        return bool(ends) and not self.is_open and all(end is not None and today > end for end in ends)

    def to_json(self) -> dict[str, object]:
        """Return the manifest as data; `reading.parse` reads its text."""
        return {
            "format": FORMAT,
            "kind": self.kind.value,
            "open": self.is_open,
            "base": {name: _property_json(declared) for name, declared in self.base.items()},
            "events": {name: _event_json(spec) for name, spec in self.events.items()},
        }

    @lazy
    def text(self) -> str:
        """The manifest as canonical JSON."""
        return canonical_json(self.to_json())

    @lazy
    def hash(self) -> str:
        """The SHA-256 of the text, in hex."""
        return hash_of(self.text)


def _deciders(properties: Mapping[str, Property]) -> dict[str, Callable[[object], object]]:
    return {name: declared.values.admit for name, declared in properties.items() if declared.expires is None}


@lru_cache(maxsize=_REMEMBERED_NAMES)
def _undeclared(name: str) -> EventSpec:
    return EventSpec(name=name, description="", why="", since="", is_open=True)


def hash_of(text: str) -> str:
    """Return the name under which consent to a manifest of this text is kept."""
    import hashlib  # noqa: PLC0415 - not on the way of `track`

    return hashlib.sha256(text.encode()).hexdigest()


def today_utc() -> date:
    """Return the day in UTC."""
    return datetime.now(UTC).date()


def _property_json(declared: Property) -> dict[str, object]:
    return {
        "values": declared.values.to_json(),
        "optional": not declared.is_required,
        "description": declared.description,
        "sensitivity": declared.sensitivity.value,
        "expires": _day_json(declared.expires),
    }


def _event_json(spec: EventSpec) -> dict[str, object]:
    return {
        "description": spec.description,
        "why": spec.why,
        "since": spec.since,
        "owner": spec.owner,
        "expires": _day_json(spec.expires),
        "open": spec.is_open,
        "properties": {name: _property_json(declared) for name, declared in spec.properties.items()},
    }


def _day_json(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
