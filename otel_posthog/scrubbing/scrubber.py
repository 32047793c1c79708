"""Scrub an event within bounds: its keys, nested values, texts and URLs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from uuid import UUID

from otel_posthog._runtime.process import lazy
from otel_posthog.events import Event
from otel_posthog.registry import Registry

from .host_identity import Machine, this_machine
from .keys import MAX_KEY_CHARS, Names, is_about
from .options import ScrubRules
from .patterns import Rule, Scrub, placeholder
from .rules import scrub_functions

# Bounds of one event: what lies deeper or beyond them is replaced or left out, so that no event is expensive.
MAX_DEPTH = 12
MAX_ITEMS = 1000
MAX_TEXT_CHARS = 20_000
MAX_TEXTS = 4096
MAX_KNOWN_CHARS = 400
# A secret that the cut divides ends within these, or is one of the kinds known without an end.
MARGIN_CHARS = 1000
_LONG_NUMBER = 10**11  # shorter ones are no card's
# Never cached as clean: they may name the value beside them.
_NAMING_KEYS = ("name", "key", "field", "header", "k")
_SOURCE_KEYS = frozenset({"context_line", "pre_context", "post_context"})
_VALUE_KEYS = frozenset({"value", "val", "v", "content", "data", "values"})
_PLAIN = (UUID, Decimal, time, timedelta)


class CleanTexts:
    """A bounded set of texts in which nothing was found, so that each is scrubbed once."""

    # Never a secret (docs/adr/0038). Two generations replace an order by age: a look-up costs one hash and
    # takes no lock. Callers only read `recent`.
    __slots__ = ("_old", "recent")

    def __init__(self) -> None:
        self.recent: set[object] = set()
        self._old: set[object] = set()

    def __contains__(self, text: str) -> bool:
        if text in self.recent:
            return True
        if text not in self._old:
            return False
        self.add(text)
        return True

    def add(self, text: str) -> None:
        """Remember the text, unless it is long."""
        if len(text) > MAX_KNOWN_CHARS:
            return
        if len(self.recent) >= MAX_TEXTS:
            self._old, self.recent = self.recent, set()
        self.recent.add(text)


class Scrubber:
    """Remove secrets from events; a placeholder names the rule that found one.

    `registry` lists the properties whose domain is closed: they are sent as they are. `machine` has the
    names of this host; by default they are collected with the first text.
    """

    def __init__(
        self,
        rules: ScrubRules | None = None,
        *,
        registry: Registry | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._rules = rules or ScrubRules()
        self._registry = registry
        self._machine = machine
        self._names = Names(self._rules.sensitive_names, self._rules.innocent_names)
        self._texts = CleanTexts()
        self._sources = CleanTexts()
        self._keys = CleanTexts()

    def scrub(self, event: Event) -> Event:
        """Return the event with scrubbed name and properties."""
        if event.name in self._texts.recent and self._is_innocent(event.properties, 0):
            return event
        closed = None if self._registry is None else self._registry.closed_properties(event.name)
        name = self.text(event.name) if closed is None else event.name
        properties = self._top(event.properties, closed or frozenset())
        renamed = event if name == event.name else replace(event, name=name)
        return renamed.with_properties(properties)

    def text(self, text: str) -> str:
        """Return the text with a placeholder for each secret.

        Longer texts than `MAX_TEXT_CHARS` are cut, and no half of a secret remains. Lone surrogates, which
        PostHog's parser refuses, become question marks.
        """
        return text if text in self._texts else _scrubbed(text, self._texts, self._run[0])

    def texts(self, texts: Iterable[str]) -> list[str]:
        """Return each text scrubbed, as `text` does."""
        return [self.text(text) for text in texts]

    def dotted(self, parts: Iterable[str]) -> str:
        """Return the parts joined by dots, scrubbed one by one and together: a dot may divide a secret."""
        whole = self.text(".".join(self.texts(parts)))
        return ".".join(self.texts(whole.split(".")))

    def source(self, line: str) -> str:
        """Return a line of a program without its secrets; names and references in it are kept."""
        return line if line in self._sources else _scrubbed(line, self._sources, self._run[1])

    @lazy
    def _run(self) -> tuple[Scrub, Scrub]:
        machine = this_machine() if self._machine is None else self._machine
        added = [Rule(rule.name, (), rule.apply) for rule in self._rules.add]
        return scrub_functions(self._names, machine, switched_off=self._rules.switch_off, added=added)

    def _top(self, properties: Mapping[str, object], closed: frozenset[str]) -> dict[str, object]:
        scrubbed: dict[str, object] = {}
        texts, keys = self._texts.recent, self._keys.recent
        for key, value in islice(properties.items(), MAX_ITEMS):
            kind = type(value)
            is_known = key in keys and (kind is bool or (kind is str and value in texts))
            if is_known or key in closed:
                scrubbed[key] = value
            elif type(key) is str and key[:1] == "$":
                # Names with `$` are PostHog's or ours, so only the value is judged.
                scrubbed[self._key(key)] = self._value(value, 0)
            else:
                name = _name(key)
                scrubbed[self._key(name)] = self._under(name, value, 0)
        return scrubbed

    def _mapping(self, mapping: Mapping[object, object], depth: int) -> Mapping[str, object]:
        named = self._named_value(mapping)
        scrubbed: dict[str, object] = {}
        for key, value in islice(mapping.items(), MAX_ITEMS):
            name = _name(key)
            under = named if named is not None and name.lower() in _VALUE_KEYS else name
            scrubbed[self._key(name)] = self._under(under, value, depth)
        return scrubbed

    def _is_known(  # noqa: C901 - one branch for each type, inlined: it runs for all frames
        self, mapping: dict[object, object], depth: int
    ) -> bool:
        # True if every key and value is a known clean text, as in most frames of an event. Nearly all texts
        # take this path, so it asks sets directly. An unhashable value raises TypeError.
        if not self._keys.recent.issuperset(mapping):
            return False
        texts, sources = self._texts.recent, self._sources.recent
        for key, value in mapping.items():
            kind = type(value)
            if kind is str:
                if value in texts or (key == "context_line" and value in sources):
                    continue
            elif kind is bool or value is None:
                continue
            elif kind is int:
                if -_LONG_NUMBER < value < _LONG_NUMBER:  # type: ignore[operator]
                    continue
            elif kind is list:
                if key in _SOURCE_KEYS:
                    if sources.issuperset(value):  # type: ignore[arg-type]
                        continue
                elif self._is_known_list(value, depth + 1):  # type: ignore[arg-type]
                    continue
            elif kind is dict and depth < MAX_DEPTH and self._is_known(value, depth + 1):  # type: ignore[arg-type]
                continue
            return False
        return True

    def _is_known_list(self, values: list[object], depth: int) -> bool:
        # Two texts in a list may be a name and its value, so only mappings qualify.
        if len(values) > MAX_ITEMS or depth >= MAX_DEPTH:
            return False
        for value in values:
            if type(value) is not dict or not self._is_known(value, depth + 1):
                return False
        return bool(values)

    def _is_innocent(self, value: object, depth: int) -> bool:
        # An unhashable value raises TypeError, and goes the slower way.
        try:
            if type(value) is dict:
                return self._is_known(value, depth)
            return type(value) is list and self._is_known_list(value, depth)
        except TypeError:
            return False

    def _named_value(self, mapping: Mapping[object, object]) -> str | None:
        # `{"name": "token", "value": …}`: the sensitive name is beside the value.
        for key in _NAMING_KEYS:
            name = mapping.get(key)
            if isinstance(name, str) and self._names.is_name(name[:MAX_KEY_CHARS]):
                return name
        return None

    def _key(self, name: str) -> str:
        if name in self._keys:
            return name
        scrubbed = self.text(name)[:MAX_KEY_CHARS]
        if scrubbed == name and not self._names.is_sensitive(name) and name.lower() not in _NAMING_KEYS:
            self._keys.add(name)
        return scrubbed

    def _under(self, key: str, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        is_judged = key not in self._keys and (len(key) > MAX_KEY_CHARS or self._names.is_sensitive(key))
        if is_judged and not is_about(key, value):
            return placeholder("key")
        return self._source(value, depth) if key in _SOURCE_KEYS else self._value(value, depth)

    def _source(self, value: object, depth: int) -> object:
        if type(value) is list:
            return [self._source(line, depth + 1) for line in value[:MAX_ITEMS]]
        return self.source(value) if isinstance(value, str) else self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:  # noqa: C901, PLR0911 - one return for each shape
        if isinstance(value, str):
            return self.text(str(value) if type(value) is str else str.__str__(value))
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._number(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if type(value) in _PLAIN:
            return self.text(str(value))
        if depth >= MAX_DEPTH:
            return placeholder("depth")
        if self._is_innocent(value, depth + 1):
            return value
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        is_binary = isinstance(value, (bytes, bytearray, memoryview))
        if isinstance(value, (Sequence, set, frozenset)) and not is_binary:
            return self._sequence(value, depth + 1)
        return placeholder(f"type {type(value).__name__}")

    def _number(self, number: int) -> object:
        if -_LONG_NUMBER < number < _LONG_NUMBER or number.bit_length() > MAX_TEXT_CHARS:
            return number
        text = str(number) if number.bit_length() < 14_000 else ""  # noqa: PLR2004 - Python's limit is 4300 digits
        return number if (scrubbed := self.text(text)) == text else scrubbed

    def _sequence(
        self, values: Sequence[object] | set[object] | frozenset[object], depth: int
    ) -> list[object]:
        items = list(islice(values, MAX_ITEMS))
        scrubbed = [self._value(item, depth) for item in items]
        is_pair = len(items) == 2  # noqa: PLR2004 - a name and its value
        # `--token abc` as two items, or a pair of name and value.
        for place, (name, value) in enumerate(pairwise(items), 1):
            is_named = isinstance(name, str) and (name.startswith("-") or is_pair)
            is_option = isinstance(value, str) and value.startswith("-")
            is_value = is_named and not is_option and value is not None and not isinstance(value, bool)
            if is_value and self._names.is_name(str(name)[:MAX_KEY_CHARS]):
                scrubbed[place] = placeholder("key")
        return scrubbed


def _name(key: object) -> str:
    # Methods of the application's objects may fail or lie, so none is called.
    if isinstance(key, str):
        return key if type(key) is str else str.__str__(key)
    return str(key) if key is None or isinstance(key, (bool, int, float)) else placeholder("key")


def _scrubbed(text: str, clean: CleanTexts, run: Scrub) -> str:
    # Cut before any pattern sees it, so that the cost of a text is bounded whatever it holds.
    bounded = text[: MAX_TEXT_CHARS + MARGIN_CHARS]
    scrubbed = run(bounded if bounded.isascii() else bounded.encode("utf-8", "replace").decode("utf-8"))
    if scrubbed == text:
        clean.add(text)
        return text
    if len(text) > MAX_TEXT_CHARS + MARGIN_CHARS:
        return scrubbed[:-MARGIN_CHARS][:MAX_TEXT_CHARS]
    return scrubbed[:MAX_TEXT_CHARS]


_default = Scrubber()


def scrub_text(text: str) -> str:
    """Return the text without secrets, by the rules of a product that changes none."""
    return _default.text(text)
