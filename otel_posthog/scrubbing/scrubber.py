"""Scrub an event: keys, nested values, texts and URLs, within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from itertools import islice

from otel_posthog.events import Event

from .keys import is_sensitive
from .patterns import RULES, mark

MAX_DEPTH = 12
MAX_ITEMS = 1000
MAX_TEXT_CHARS = 20_000
MAX_KEY_CHARS = 200
MAX_PASSES = 4  # what one rule takes out can lay open what stood right beside it; the last pass finds nothing


class Scrubber:
    """Return events that hold no secret; a text that had one says which rule took it out."""

    def scrub(self, event: Event) -> Event:
        """Return the event with scrubbed name and properties.

        Properties whose key starts with `$` are PostHog's or ours, so their name is not judged;
        what they hold is.
        """
        return replace(event, name=scrub_text(event.name), properties=self._mapping(event.properties, 0))

    def _mapping(
        self, mapping: Mapping[object, object] | Mapping[str, object], depth: int
    ) -> dict[str, object]:
        items = ((_name(key), value) for key, value in islice(mapping.items(), MAX_ITEMS))
        return {scrub_text(name)[:MAX_KEY_CHARS]: self._under(name, value, depth) for name, value in items}

    def _under(self, key: str, value: object, depth: int) -> object:
        is_ours = depth == 0 and key.startswith("$")
        is_judged = not (is_ours or value is None or isinstance(value, bool))
        if is_judged and (len(key) > MAX_KEY_CHARS or is_sensitive(key)):
            return mark("key")
        return self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:  # noqa: PLR0911 - one return for each shape
        if isinstance(value, str):
            return scrub_text(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if depth >= MAX_DEPTH:
            return mark("depth")
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [self._value(inner, depth + 1) for inner in islice(value, MAX_ITEMS)]
        return mark(f"type {type(value).__name__}")


def _name(key: object) -> str:
    """Return the key as text; objects are asked for none, theirs may be hostile."""
    if isinstance(key, str):
        return key
    return str(key) if key is None or isinstance(key, (bool, int, float)) else mark("key")


def scrub_text(text: str) -> str:
    """Return the text with every recognised secret replaced by the name of the rule that found it.

    Longer texts than `MAX_TEXT_CHARS` are cut. Lone surrogates, which PostHog's parser refuses,
    become question marks.
    """
    text = text[:MAX_TEXT_CHARS]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    for _ in range(MAX_PASSES):
        scrubbed = _pass_over(text)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def _pass_over(text: str) -> str:
    for rule in RULES:
        if any(trigger in text for trigger in rule.triggers):
            text = rule.apply(text)
    return text[:MAX_TEXT_CHARS]
