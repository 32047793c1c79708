"""Read a manifest back: one that somebody agreed to, perhaps years ago, or one of another release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, cast

from otel_posthog.errors import RegistryError

from .declarations import EventSpec, Kind, Property, Sensitivity
from .domains import Bucketed, Domain, Flag, Number, Scalar, Text, VersionText, Words, canonical_json
from .made import Made
from .manifest import FORMAT, Manifest

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
    """Return the manifest of a canonical text; what only another version knows is left out of it."""
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
    """Return the domain that `to_json` wrote, or None for one that only another version knows."""
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
