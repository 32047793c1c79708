"""Single properties that passed registry and scrubbing as they are, with their JSON.

What passed passes again: neither looks at a property's neighbours. Most properties of most events were
seen before, so they are neither judged nor written a second time. Holds only what may leave.
"""

from __future__ import annotations

import json

from .events import Event

MAX_PROPERTIES = 4096
MAX_TEXT_CHARS = 400
_TYPES = frozenset({str, bool, int})
_json = json.JSONEncoder().encode

_Property = tuple[str, object, type]  # with its type, since 1 is equal to True


class Familiar:
    """A bounded memory, by event name and manifest; safe in threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], dict[_Property, str]] = {}
        self._number = 0

    def written(self, event: Event, granted: str | None) -> str | None:
        """Return the JSON of the event's properties if each of them passed before."""
        known, properties = self._known.get((event.name, granted)), event.properties
        if known is None or type(event.name) is not str or type(properties) is not dict:
            return None
        values = properties.values()
        try:
            found = map(known.__getitem__, zip(properties, values, map(type, values), strict=True))
            return f"{{{', '.join(found)}}}"
        except (KeyError, TypeError):  # one that is new, or has no hash
            return None

    def add(self, event: Event, granted: str | None) -> None:
        """Remember the properties of an event that passed as it is, if all are short and plain."""
        properties = [(name, value, type(value)) for name, value in event.properties.items()]
        if type(event.name) is not str or not all(map(_is_plain, properties)):
            return
        if self._number > MAX_PROPERTIES:
            self._known, self._number = {}, 0
        known = self._known.setdefault((event.name, granted), {})
        new = {each: f"{_json(each[0])}: {_json(each[1])}" for each in properties if each not in known}
        known.update(new)
        self._number += len(new) + 1


def _is_plain(each: _Property) -> bool:
    name, value, kind = each
    return (
        type(name) is str and kind in _TYPES and (not isinstance(value, str) or len(value) <= MAX_TEXT_CHARS)
    )
