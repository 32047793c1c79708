"""Bring an event under PostHog's limit by shortening what is long in it, and say so in the event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .events import Event
from .registry import TRIMMED

_MARK = "…[trimmed]"
_STEPS = ((10_000, 200), (2_000, 100), (500, 50), (100, 20))  # characters of a text, items of a list


def trimmed(event: Event, max_bytes: int) -> Event | None:
    """Return the event as it is if it fits, else shortened and marked; None where that is not enough."""
    if event.size_bytes() <= max_bytes:
        return event
    for max_chars, max_items in _STEPS:
        properties: dict[str, object] = {
            name: _cut(value, max_chars, max_items) for name, value in event.properties.items()
        }
        shorter = replace(event, properties=properties | {TRIMMED: True})
        if shorter.size_bytes() <= max_bytes:
            return shorter
    return None


def _cut(value: object, max_chars: int, max_items: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= max_chars else value[:max_chars] + _MARK
    if isinstance(value, Mapping):
        return {key: _cut(inner, max_chars, max_items) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cut(inner, max_chars, max_items) for inner in _ends(value, max_items)]
    return value


def _ends(values: list[object] | tuple[object, ...], max_items: int) -> list[object]:
    """Keep both ends: of a stack, where it began and where it broke."""
    if len(values) <= max_items:
        return list(values)
    half = max_items // 2
    return [*values[:half], *values[-half:]]
