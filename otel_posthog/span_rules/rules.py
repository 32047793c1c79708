"""Span rules as a product writes them, compiled once: the first rule that matches a span wins.

A span that matches none costs less than a microsecond, for any number of rules whose names begin with
a literal text (`benchmarks/spans.py`); a rule without a name is checked for each span.

`*` matches any run of characters, `?` one, and a part of a path in braces one part, whatever it is:
``/runs/{id}`` matches ``/runs/17`` as well as the template ``/runs/{run_id}``. Clients choose the names
of spans, so matching takes linear time (the text after a `*` is found once and never tried again), and a
name that is longer than any route matches `*` alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os.path import commonprefix
from typing import Final, TypeGuard

from otel_posthog.errors import ConfigError, RegistryError, did_you_mean
from otel_posthog.otel.records import RecordedSpan
from otel_posthog.registry import (
    BASE_PROPERTIES,
    EVENT_NAME_MAX_BYTES,
    Kind,
    Registry,
    kind_of,
)

ANYTHING = "*"
NAME_MAX_CHARS = 1000
REMEMBERED_NAMES = 1024
REMEMBERED_NAME_MAX_CHARS = 200  # longer names are not cached, so that clients cannot fill memory

_PART = r"(?<![^/ *])\{[^{}/]*\}(?![^/*])"
_SPECIAL = re.compile(rf"\*+|\?|{_PART}")


class NameIndex:
    """Find which of many patterns a name matches; finding none takes the time of one pattern."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._always = tuple(at for at, pattern in enumerate(patterns) if pattern == ANYTHING)
        self._exact = {pattern for pattern in patterns if not _SPECIAL.search(pattern)}
        self._compiled = [(at, compiled(pattern)) for at, pattern in enumerate(patterns)]
        wild = sorted({pattern for pattern in patterns if pattern not in self._exact and pattern != ANYTHING})
        self._may_be_wild = (
            re.compile(_tree([_pieces(pattern) for pattern in wild]), re.DOTALL).match if wild else None
        )
        self._remembered: dict[str, tuple[int, ...]] = {}

    def matching(self, name: str) -> tuple[int, ...]:
        """Return the positions of the patterns that match, in order."""
        found = self._remembered.get(name)
        if found is None:
            if len(name) > NAME_MAX_CHARS:
                return self._always
            if not (name in self._exact or (self._may_be_wild is not None and self._may_be_wild(name))):
                return self._always
            found = tuple(at for at, pattern in self._compiled if pattern.fullmatch(name))
            if len(name) <= REMEMBERED_NAME_MAX_CHARS:
                if len(self._remembered) >= REMEMBERED_NAMES:
                    self._remembered.clear()
                self._remembered[name] = found
        return found


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern as a regular expression for `fullmatch`."""
    prefix, tail = _pieces(pattern)
    return re.compile(re.escape(prefix) + tail, re.DOTALL)


def is_pattern(text: str) -> bool:
    """Return whether the text matches more than itself."""
    return _SPECIAL.search(text) is not None


def _pieces(pattern: str) -> tuple[str, str]:
    """Return the literal beginning and an expression for the rest, which ends at the end of the name."""
    first = _SPECIAL.search(pattern)
    if first is None:
        return pattern, r"\Z"
    prefix, rest = pattern[: first.start()], pattern[first.start() :]
    head, *chunks = [_chunk(chunk) for chunk in re.split(r"\*+", rest)]
    if not chunks:
        return prefix, rf"{head}\Z"
    *middle, last = chunks
    found = "".join(f"(?>.*?{chunk})" for chunk in middle if chunk)
    return prefix, rf"{head}{found}.*{last}\Z"


def _chunk(text: str) -> str:
    """Return an expression for a piece without `*`."""
    parts = re.split(rf"(\?|{_PART})", text)
    return "".join(_expression(part) for part in parts)


def _expression(part: str) -> str:
    if part == "?":
        return "."
    return "[^/]++" if part.startswith("{") and is_pattern(part) else re.escape(part)


def _tree(pieces: Sequence[tuple[str, str]]) -> str:
    """Return one expression for all; common beginnings are merged, so a name fails at its first letter."""
    prefix = commonprefix([literal for literal, _ in pieces])  # noqa: RUF071 - letters, not folders
    branches: dict[str, list[tuple[str, str]]] = {}
    for literal, tail in pieces:
        rest = literal[len(prefix) :]
        branches.setdefault(rest[:1], []).append((rest, tail))
    ends = [tail for _, tail in branches.pop("", [])]
    alternatives = [_tree(branch) for branch in branches.values()] + ends
    return (
        f"{re.escape(prefix)}(?:{'|'.join(alternatives)})" if len(pieces) > 1 else re.escape(prefix) + ends[0]
    )


KINDS = ("internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
DURATION: Final = "duration_ms"
"""The property that every event of a span has."""

WITHHELD = (
    "baggage",
    "client.",
    "enduser.",
    "http.client_ip",
    "http.request.header.",
    "http.response.header.",
    "http.target",
    "http.url",
    "http.user_agent",
    "net.peer.",
    "net.sock.peer.",
    "network.peer.",
    "url.full",
    "url.query",
    "user.",
    "user_agent.",
)
"""Attributes with these prefixes hold headers, baggage, addresses, people or query strings; none is sent."""

# Names of OpenTelemetry's semantic conventions since 1.20, and those that instrumentations write
# unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise. Not all of `otel.attributes.FORMER_NAMES`: for
# `url.path` that names `http.target`, which holds the query string.
FORMER_NAMES = {
    "http.request.method": "http.method",
    "http.response.status_code": "http.status_code",
    "url.scheme": "http.scheme",
}
_ID_SPACE = 2**64  # span ids are random, so each process samples the same spans
_Condition = Callable[[RecordedSpan], bool]

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRule:
    """Turn the spans that match into one product event each.

    All given conditions must hold. `name` and `scope` are patterns: `*` is any run of characters, `?`
    is one, and `{id}` is one part of a path. `attributes` gives for each attribute the value wanted, or
    a list of them; texts are patterns too, and ``"*"`` is any text.

    Only the span's attributes in `properties` are sent, each under the name given there. `buckets`
    turns a number into a range: the numbers at which a range begins, so that ``(1, 2, 6)`` gives `1`,
    `2-5` and `6+`; a number below the first is dropped. `sample` is the share of matching spans that
    become events.
    """

    event: str
    name: str = ANYTHING
    kind: str | None = None
    status: str | None = None
    scope: str = ANYTHING
    attributes: Mapping[str, Scalar | Sequence[Scalar]] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    buckets: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sample: float = 1.0

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a rule that cannot work."""
        self._check_event()
        self._check_choice("kind", self.kind, KINDS)
        self._check_choice("status", self.status, STATUSES)
        self._check_conditions()
        self._check_properties()
        self._check_buckets()
        if not is_number(self.sample) or not 0 < self.sample <= 1:
            raise self._error(f"sample is {self.sample!r}, but must be more than 0 and at most 1.")

    def label(self, bucket: str, number: object) -> str | None:
        """Return the range of the number; None below the first range, or if it is no number."""
        if not is_number(number) or not math.isfinite(number):
            return None
        starts = self.buckets[bucket]
        at = sum(1 for start in starts if number >= start)
        return range_names(starts)[at - 1] if at else None

    def _check_event(self) -> None:
        if _is_text(self.event) and kind_of(self.event) is Kind.ERRORS:
            raise self._error("no rule may make an exception; these are reported by themselves.")
        is_name = _is_text(self.event) and self.event.isidentifier()
        if not is_name or len(self.event.encode()) > EVENT_NAME_MAX_BYTES:
            raise self._error(f"{self.event!r} cannot name an event. Use lower_snake_case.")

    def _check_choice(self, what: str, value: str | None, known: Sequence[str]) -> None:
        if value is not None and value not in known:
            raise self._error(
                f"{what} is {value!r}, but must be one of {', '.join(known)}.{did_you_mean(value, known)}"
            )

    def _check_conditions(self) -> None:
        for what, pattern in (("name", self.name), ("scope", self.scope)):
            if not _is_text(pattern):
                raise self._error(f"{what} is {pattern!r}, but must be a text such as 'GET /runs/*'.")
        for attribute, wanted in self.attributes.items():
            if not all(isinstance(value, (bool, int, float, str)) for value in alternatives(wanted)):
                raise self._error(
                    f"the attribute {attribute!r} is compared with {wanted!r}, "
                    "but must be with a text, a number, a boolean, or a list of these."
                )
        is_open = self.name == self.scope == ANYTHING and self.kind is None and self.status is None
        if is_open and not self.attributes:
            raise self._error("every span would match. Give a name, kind, status, scope or attributes.")

    def _check_properties(self) -> None:
        for attribute, name in self.properties.items():
            if attribute.startswith(WITHHELD):
                raise self._error(
                    f"the attribute {attribute!r} never leaves: headers, baggage, addresses, "
                    "people and query strings stay here."
                )
            if not _is_text(name) or name.startswith("$") or name in BASE_PROPERTIES:
                raise self._error(f"{name!r} cannot name a property. Use lower_snake_case.")
        if len({*self.properties.values()} - {DURATION}) < len(self.properties):
            raise self._error(f"two attributes have one property's name; {DURATION!r} is taken already.")

    def _check_buckets(self) -> None:
        known = sorted({*self.properties.values(), DURATION})
        for name, starts in self.buckets.items():
            if name not in known:
                raise self._error(
                    f"there is no property {name!r} to put in ranges.{did_you_mean(name, known)}"
                )
            is_rising = all(low < high for low, high in pairwise(starts))
            if not starts or not all(type(start) is int for start in starts) or not is_rising:
                raise self._error(
                    f"the ranges of {name!r} are {starts!r}, but must be whole numbers that rise, "
                    "such as (1, 2, 6, 11, 51)."
                )

    def _error(self, what: str) -> ConfigError:
        return ConfigError(f"Span rule {self.name!r} → {self.event!r}: {what}")


def alternatives(wanted: object) -> tuple[object, ...]:
    """Return the values of which an attribute may have any."""
    return tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)


def range_names(starts: Sequence[int]) -> list[str]:
    """Return the names of the ranges: `1`, `2-5`, `6+` for ranges that begin at 1, 2 and 6."""
    closed = [str(low) if high - low == 1 else f"{low}-{high - 1}" for low, high in pairwise(starts)]
    return [*closed, f"{starts[-1]}+"]


def is_number(value: object) -> TypeGuard[float]:
    """Return whether it is a number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class SpanRules:
    """Find the rule for a span; raise `RegistryError` if a rule names what the registry does not declare.

    While the registry is empty, rules may name any event.
    """

    def __init__(self, rules: Iterable[SpanRule] = (), registry: Registry | None = None) -> None:
        self._rules = tuple(rules)
        for rule in self._rules:
            if registry is not None:
                check_declared(rule, registry)
        self.names = NameIndex([rule.name for rule in self._rules])
        self._conditions = [_conditions(rule) for rule in self._rules]

    def __len__(self) -> int:
        return len(self._rules)

    def find(self, span: RecordedSpan) -> SpanRule | None:
        """Return the first rule that matches, unless sampling leaves the span out."""
        for at in self.names.matching(span.name):
            for holds in self._conditions[at]:
                if not holds(span):
                    break
            else:
                rule = self._rules[at]
                return rule if rule.sample >= 1 or span.span_id < rule.sample * _ID_SPACE else None
        return None


def properties_of(rule: SpanRule, recorded: Mapping[str, object], duration_ms: int) -> dict[str, object]:
    """Return the event's own properties: the attributes that the rule names, and the duration."""
    found: dict[str, object] = {}
    for attribute, name in rule.properties.items():
        value = _value(recorded, attribute)
        if value is not None:
            found[name] = value
    found[DURATION] = duration_ms
    for name in rule.buckets:
        label = rule.label(name, found.pop(name, None))
        if label is not None:
            found[name] = label
    return found


def _value(recorded: Mapping[str, object], attribute: str) -> object:
    value = recorded.get(attribute)
    return recorded.get(FORMER_NAMES[attribute]) if value is None and attribute in FORMER_NAMES else value


def _conditions(rule: SpanRule) -> tuple[_Condition, ...]:
    conditions: list[_Condition] = []
    if rule.kind is not None:
        conditions.append(lambda span: span.kind == rule.kind)
    if rule.status is not None:
        conditions.append(lambda span: span.status == rule.status)
    if rule.scope != ANYTHING:
        scope = compiled(rule.scope)
        conditions.append(lambda span: scope.fullmatch(span.scope) is not None)
    for attribute, wanted in rule.attributes.items():
        conditions.append(_on_attribute(attribute, alternatives(wanted)))
    return tuple(conditions)


def _on_attribute(attribute: str, wanted: tuple[object, ...]) -> _Condition:
    patterns = [compiled(value) for value in wanted if isinstance(value, str) and is_pattern(value)]
    exact = {(isinstance(value, bool), value) for value in wanted}

    def holds(span: RecordedSpan) -> bool:
        value = _value(span.attributes, attribute)
        if isinstance(value, str) and any(pattern.fullmatch(value) for pattern in patterns):
            return True
        return isinstance(value, (bool, int, float, str)) and (isinstance(value, bool), value) in exact

    return holds


def check_declared(rule: SpanRule, registry: Registry) -> None:
    """Raise `RegistryError` for a rule whose event, properties or ranges the gate would drop.

    While the registry is empty, a rule may name any event.
    """
    if not len(registry):
        return
    spec = registry.spec(rule.event)
    where = f"Span rule {rule.name!r} → {rule.event!r}:"
    if spec is None:
        near = did_you_mean(rule.event, registry.names())
        raise RegistryError(f"{where} no such event is registered.{near}")
    for name in (*rule.properties.values(), *rule.buckets):
        if name not in spec.properties:
            near = did_you_mean(name, spec.properties)
            raise RegistryError(f"{where} the event has no property {name!r}.{near}")
    for name, starts in rule.buckets.items():
        declared = spec.properties[name]
        refused = [label for label in range_names(starts) if not declared.admits(label)]
        if refused:
            raise RegistryError(
                f"{where} {name!r} does not admit the ranges {', '.join(refused)}; "
                f"it is declared as {declared.domain}."
            )


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""
