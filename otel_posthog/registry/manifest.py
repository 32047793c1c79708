"""Express what consent is given for as data: one manifest per kind.

The same object decides what may be sent and is what an admin agrees to. Its canonical text has a hash;
an old text, read back from the database, decides as it did then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, cast

from otel_posthog._runtime.process import lazy
from otel_posthog.errors import RegistryError

from .declarations import EXCEPTION, EventSpec, Kind, Property, Sensitivity, is_event_name
from .domains import (
    OTHER,
    PLAIN_TYPES,
    REFUSED,
    Bucketed,
    Domain,
    Flag,
    Number,
    Scalar,
    Text,
    VersionText,
    Words,
    canonical_json,
    is_short_scalar,
    plain,
)
from .shapes import Made

FORMAT = 1
# Undeclared events of a quick start; beyond 256 names a specification is built again.
_REMEMBERED_NAMES = 256
# Set by the test exceptions that an admin sends; any other `$` name could control PostHog.
TEST_MARKER = re.compile(r"\$[a-z0-9_]{1,40}_(?:startup|backend|frontend)_test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What of one event may be sent."""

    properties: dict[str, object]
    """The given mapping itself if all of it may be sent unchanged."""
    outside: tuple[str, ...]
    """Names of properties that are undeclared or have an undeclared value."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that may be sent under one kind of consent."""

    kind: Kind
    base: Mapping[str, Property]
    events: Mapping[str, EventSpec] = field(default_factory=dict)
    is_open: bool = False
    """Whether any event may be sent, with numbers, booleans and short texts."""

    def spec(self, name: str) -> EventSpec | None:
        """Return what an event of this name may hold, or None if it may not be sent."""
        found = self.events.get(name)
        return _undeclared(name) if found is None and self.is_open and is_event_name(name) else found

    def examine(
        self, name: str, properties: Mapping[str, object], today: Callable[[], date]
    ) -> Admission | None:
        """Return what of the event may be sent on that day, or None if the event may not."""
        spec = self.spec(name if type(name) is str else str(plain(name)))
        if spec is None or (spec.expires is not None and today() > spec.expires):
            return None
        kept: dict[str, object] = {}
        outside: list[str] = []
        # A subclass of dict could answer differently each time.
        whole = properties if type(properties) is dict else None
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
            elif spec.name == EXCEPTION and key in spec.properties and spec.properties[key].is_required:
                return None  # PostHog refuses a report without exceptions
            if left is REFUSED or (left is not value and left == OTHER):
                outside.append(key)
        return Admission(properties=kept if whole is None else whole, outside=tuple(outside))

    @lazy
    def _lasting(self) -> dict[str, dict[str, Callable[[object], object]]]:
        # Only for properties that never expire: the others need the day.
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
        if key.startswith("$"):  # names with $ control PostHog
            is_marker = spec.name == EXCEPTION and isinstance(value, bool) and TEST_MARKER.fullmatch(key)
            return value if is_marker else REFUSED
        return value if is_short_scalar(value) else REFUSED

    def is_lasting(self, name: str) -> bool:
        """Return whether neither the event nor any of its properties expires."""
        spec = self.spec(name)
        if spec is None or spec.expires is not None:
            return False
        return all(part.expires is None for part in (*spec.properties.values(), *self.base.values()))

    def has_ended(self, today: date) -> bool:
        """Return whether events are declared and all of them have expired."""
        ends = [spec.expires for spec in self.events.values()]
        return bool(ends) and not self.is_open and all(end is not None and today > end for end in ends)

    def to_json(self) -> dict[str, object]:
        """Return the manifest as data; `parse` reads its text."""
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
    """Return the hash that consent to a manifest of this text is stored under."""
    import hashlib  # noqa: PLC0415 - `track` does not need it

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


# One reader for each `to_json` of a domain; an unknown type comes from a newer version.
_READERS: Mapping[str, Callable[[Mapping[str, Any]], Domain]] = {
    "boolean": lambda _data: Flag(),
    "words": lambda data: Words(tuple(data["words"])),
    "integer": lambda data: Number(data["minimum"], data["maximum"], is_whole=True),
    "number": lambda data: Number(data["minimum"], data["maximum"], is_whole=False),
    "bucket": lambda data: Bucketed(tuple(data["edges"]), data["of"] == "integer"),
    "version": lambda _data: VersionText(),
    "text": lambda data: Text(data["max_chars"]),
    "scalar": lambda _data: Scalar(),
    "made": lambda data: Made(data["what"], canonical_json(data["schema"])),
}


def parse(text: str) -> Manifest:
    """Return the manifest of a canonical text, or raise `RegistryError`; unknown types are left out."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise RegistryError(f"The manifest has format {data['format']!r}, known is {FORMAT}.")
        return Manifest(
            kind=Kind(data["kind"]),
            base=_properties(data["base"]),
            events={name: _spec(name, inner) for name, inner in data["events"].items()},
            is_open=bool(data["open"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, RegistryError):
            raise
        raise RegistryError(f"This is no manifest of otel-posthog ({type(error).__name__}).") from None


def domain_from_json(data: Mapping[str, Any]) -> Domain | None:
    """Return the domain that `to_json` wrote, or None if only another version knows it."""
    reader = _READERS.get(data["type"])
    return reader(data) if reader else None


def _properties(data: Mapping[str, Mapping[str, object]]) -> dict[str, Property]:
    found = ((name, _property(name, inner)) for name, inner in data.items())
    return {name: declared for name, declared in found if declared is not None}


def _property(name: str, data: Mapping[str, object]) -> Property | None:
    values = domain_from_json(cast("Mapping[str, Any]", data["values"]))
    if values is None:
        return None
    return Property(
        name=name,
        values=values,
        is_required=not data["optional"],
        description=str(data["description"]),
        sensitivity=Sensitivity(str(data["sensitivity"])),
        expires=_parsed_day(data["expires"]),
    )


def _spec(name: str, data: Mapping[str, object]) -> EventSpec:
    return EventSpec(
        name=name,
        description=str(data["description"]),
        why=str(data["why"]),
        since=str(data["since"]),
        owner=str(data["owner"]),
        expires=_parsed_day(data["expires"]),
        is_open=bool(data["open"]),
        properties=_properties(cast("Mapping[str, Mapping[str, object]]", data["properties"])),
    )


def _parsed_day(text: object) -> date | None:
    return None if text is None else date.fromisoformat(str(text))
