"""Scrub an event: keys, nested values, texts and URLs, within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from uuid import UUID

from otel_posthog._lazy import lazy
from otel_posthog.events import Event
from otel_posthog.registry import Registry

from .custom import ScrubRules
from .keys import Names, is_about
from .machine import Machine, this_machine
from .marks import mark
from .memory import Innocent
from .patterns import LONG_WORD, Rule, rules_for_source, rules_for_text

MAX_DEPTH = 12
MAX_ITEMS = 1000
MAX_TEXT_CHARS = 20_000
MAX_KEY_CHARS = 200
MAX_PASSES = 8  # what one rule takes out can lay open what stood right beside it; the last pass finds nothing
MARGIN_CHARS = (
    1000  # a secret that a cut divides ends within them, or is one of the kinds known without an end
)
_MAX_DECODINGS = 2  # base64 in percent-encoding is two
_LONG_NUMBER = 10**11  # shorter ones are no card's
# Never remembered: what stands beside them may be named by them.
_NAMING_KEYS = ("name", "key", "field", "header", "k")
_SOURCE_KEYS = frozenset({"context_line", "pre_context", "post_context"})
_VALUE_KEYS = frozenset({"value", "val", "v", "content", "data", "values"})
_PLAIN = (UUID, Decimal, time, timedelta)

Scrub = Callable[[str], str]


class Scrubber:
    """Return events that hold no secret; a text that had one says which rule took it out.

    `registry` lists the properties whose domain is closed: they leave as they are. `machine` are the
    names to take out; by default they are collected when the first text comes.
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
        self._texts = Innocent()
        self._sources = Innocent()
        self._keys = Innocent()

    def scrub(self, event: Event) -> Event:
        """Return the event with scrubbed name and properties.

        Properties whose key starts with `$` are PostHog's or ours, so their name is not judged;
        what they hold is.
        """
        if event.name in self._texts.young and self._is_innocent(event.properties, 0):
            return event
        closed = None if self._registry is None else self._registry.closed_properties(event.name)
        name = self.text(event.name) if closed is None else event.name
        properties = self._top(event.properties, closed or frozenset())
        renamed = event if name == event.name else replace(event, name=name)
        return renamed.with_properties(properties)

    def text(self, text: str) -> str:
        """Return the text with every recognised secret replaced by the name of the rule that found it.

        Longer texts than `MAX_TEXT_CHARS` are cut, and no secret leaves by half. Lone surrogates, which
        PostHog's parser refuses, become question marks.
        """
        if text in self._texts:
            return text
        return _remembering(text, self._texts, self._run_text)

    def source(self, line: str) -> str:
        """Return a line of a program without its secrets; names and references in it are kept."""
        if line in self._sources:
            return line
        return _remembering(line, self._sources, self._run_source)

    @lazy
    def _run_text(self) -> Scrub:
        return self._fixpoint(rules_for_text(self._names, self._known_machine, self._decoded(_MAX_DECODINGS)))

    @lazy
    def _run_source(self) -> Scrub:
        return self._fixpoint(
            rules_for_source(self._names, self._known_machine, self._decoded(_MAX_DECODINGS))
        )

    @lazy
    def _known_machine(self) -> Machine:
        return this_machine() if self._machine is None else self._machine

    def _decoded(self, depth: int) -> Scrub:
        inner = self._decoded(depth - 1) if depth > 1 else None
        rules = self._switched(rules_for_text(self._names, self._known_machine, inner))
        return lambda text: _pass_over(text, rules)

    def _fixpoint(self, rules: Iterable[Rule]) -> Scrub:
        switched = self._switched(rules)
        added = [Rule(rule.name, (), rule.apply) for rule in self._rules.add]
        return lambda text: _to_the_end(text, (*added, *switched))

    def _switched(self, rules: Iterable[Rule]) -> tuple[Rule, ...]:
        return tuple(rule for rule in rules if rule.name not in self._rules.switch_off)

    def _top(self, properties: Mapping[str, object], closed: frozenset[str]) -> dict[str, object]:
        scrubbed: dict[str, object] = {}
        texts, keys = self._texts.young, self._keys.young
        for key, value in islice(properties.items(), MAX_ITEMS):
            kind = type(value)
            is_known = key in keys and (kind is bool or (kind is str and value in texts))
            if is_known or key in closed:
                scrubbed[key] = value
            elif type(key) is str and key[:1] == "$":
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
        """Tell whether every key and value was found innocent before; most of an event's frames were.

        The way of nearly all texts, so it asks sets directly. What cannot be hashed raises TypeError.
        """
        if not self._keys.young.issuperset(mapping):
            return False
        texts, sources = self._texts.young, self._sources.young
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
        """Tell it of a list of mappings; of texts two may be a name and its value."""
        if len(values) > MAX_ITEMS or depth >= MAX_DEPTH:
            return False
        for value in values:
            if type(value) is not dict or not self._is_known(value, depth + 1):
                return False
        return bool(values)

    def _is_innocent(self, value: object, depth: int) -> bool:
        """Tell whether the container can leave as it is, because all in it is known."""
        try:
            if type(value) is dict:
                return self._is_known(value, depth)
            return type(value) is list and self._is_known_list(value, depth)
        except TypeError:
            return False

    def _named_value(self, mapping: Mapping[object, object]) -> str | None:
        """Return the sensitive name that stands beside a value, as in `{"name": "token", "value": …}`."""
        for key in _NAMING_KEYS:
            name = mapping.get(key)
            if isinstance(name, str) and self._names.is_sensitive(name[:MAX_KEY_CHARS]):
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
        if key in self._keys:
            return self._source(value, depth) if key in _SOURCE_KEYS else self._value(value, depth)
        is_judged = len(key) > MAX_KEY_CHARS or self._names.is_sensitive(key)
        if is_judged and not is_about(key, value):
            return mark("key")
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
            return mark("depth")
        if self._is_innocent(value, depth + 1):
            return value
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, (Sequence, set, frozenset)) and not isinstance(
            value, (bytes, bytearray, memoryview)
        ):
            return self._sequence(value, depth + 1)
        return mark(f"type {type(value).__name__}")

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
        for place, (name, value) in enumerate(pairwise(items), 1):
            is_named = isinstance(name, str) and (name.startswith("-") or is_pair)
            is_value = is_named and not (isinstance(value, str) and value.startswith("-"))
            if (
                is_value
                and self._names.is_sensitive(str(name)[:MAX_KEY_CHARS])
                and not isinstance(value, (bool, type(None)))
            ):
                scrubbed[place] = mark("key")
        return scrubbed


def _name(key: object) -> str:
    """Return the key as text; objects are asked for none, theirs may be hostile."""
    if isinstance(key, str):
        return key if type(key) is str else str.__str__(key)
    return str(key) if key is None or isinstance(key, (bool, int, float)) else mark("key")


def _remembering(text: str, innocent: Innocent, run: Scrub) -> str:
    scrubbed = run(_bounded(text))
    if scrubbed == text:
        innocent.add(text)
        return text
    if len(text) > MAX_TEXT_CHARS + MARGIN_CHARS:
        return scrubbed[:-MARGIN_CHARS][:MAX_TEXT_CHARS]
    return scrubbed[:MAX_TEXT_CHARS]


def _bounded(text: str) -> str:
    text = text[: MAX_TEXT_CHARS + MARGIN_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _to_the_end(text: str, rules: tuple[Rule, ...]) -> str:
    for _ in range(MAX_PASSES):
        scrubbed = _pass_over(text, rules)
        if scrubbed == text:
            return text
        text = scrubbed
    return mark("unsettled")  # made to keep the rules busy, and who knows what is left in it


def _pass_over(text: str, rules: tuple[Rule, ...]) -> str:
    lowered = text.lower()
    has_long_word = LONG_WORD.search(text) is not None
    for rule in rules:
        if rule.needs_long_word and not has_long_word:
            continue
        for trigger in rule.triggers:  # `any` would cost more than what it looks for
            if trigger in lowered:
                break
        else:
            if rule.triggers:
                continue
        scrubbed = rule.apply(text)
        if scrubbed != text:
            text, lowered = scrubbed, scrubbed.lower()
    return text


_default = Scrubber()


def scrub_text(text: str) -> str:
    """Return the text without secrets, by the rules that hold where a product changes none."""
    return _default.text(text)


def scrub_source(line: str) -> str:
    """Return a line of a program without secrets, by the rules that hold where a product changes none."""
    return _default.source(line)
