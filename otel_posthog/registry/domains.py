"""Define the closed set of property types.

A domain is data: it admits values, compares itself with another one, and goes into the manifest and
back, so a manifest that was consented to years ago still decides what may be sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

SHORT_TEXT_MAX_CHARS = 200
# The declared word that replaces every undeclared text.
OTHER = "other"
# Lone surrogates included: JSON can carry them.
CODE_POINTS = 0x110000
# PostHog, like most JSON readers, cannot hold a larger one.
INTEGER_LIMIT = 2**63
_DOUBLES = 2**64
_VERSION = re.compile(r"([0-9]{1,4}\.[0-9]{1,4})(?![0-9])")
# One to four digits on each side: 01 is another text than 1.
_VERSIONS = 11_110**2
# How a bucket's name spells an edge.
EDGE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)")
_LABEL = re.compile(rf"{EDGE.pattern}(?:-{EDGE.pattern}|(\+))?")
_COPIES: Mapping[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
}


class _Refused:
    """The type of `REFUSED`."""


# What `admit` returns for a value that may not be sent; None is a value.
REFUSED = _Refused()


class Domain(Protocol):
    """The values that a property may hold."""

    def admit(self, value: object, /) -> object:
        """Return a `plain` value as it may be sent, or `REFUSED`; idempotent."""

    def covers(self, other: Domain) -> bool:
        """Return whether this domain already allows all that the other one reveals."""

    def meet(self, other: Domain) -> Domain:
        """Return what both allow: this one, which was agreed to, and the other, present one."""

    def size(self) -> int | None:
        """Return the number of values, or None without a useful bound."""

    def sample(self) -> object:
        """Return an example of what an application passes."""

    def to_json(self) -> dict[str, object]:
        """Return the domain as manifest data; `manifest.domain_from_json` reads it."""

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema of the values that are sent."""


class _Comparing:
    """How two domains compare by default."""

    def covers(self, other: Domain) -> bool:
        return cast("object", self) == other

    def meet(self, other: Domain) -> Domain:
        mine = cast("Domain", self)
        if mine.covers(other):
            return other
        return mine if other.covers(mine) else NOTHING


class _Fixed(_Comparing):
    # A domain without parameters, whose texts are constant. A plain class, since each dataclass costs half a
    # millisecond at import.

    words: ClassVar[str]
    count: ClassVar[int | None]
    example: ClassVar[object]
    data: ClassVar[Mapping[str, object]]
    json_schema: ClassVar[Mapping[str, object]]

    def __str__(self) -> str:
        return self.words

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def size(self) -> int | None:
        return self.count

    def sample(self) -> object:
        return self.example

    def to_json(self) -> dict[str, object]:
        return dict(self.data)

    def schema(self) -> dict[str, object]:
        return dict(self.json_schema)


class Flag(_Fixed):
    """True or false."""

    words, count, example = "true or false", 2, True
    data = json_schema = MappingProxyType({"type": "boolean"})

    def admit(self, value: object) -> object:
        return value if isinstance(value, bool) else REFUSED


@dataclass(frozen=True, slots=True)
class Words(_Comparing):
    """One of a few texts; `OTHER`, if among them, replaces all others."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.words) if self.words else "nothing"

    def admit(self, value: object) -> object:
        if type(value) is not str:
            return REFUSED
        if value in self.words:
            return value
        return OTHER if OTHER in self.words else REFUSED

    def covers(self, other: Domain) -> bool:
        return isinstance(other, Words) and set(other.words) <= set(self.words)

    def meet(self, other: Domain) -> Domain:
        if isinstance(other, Words):
            return Words(tuple(word for word in self.words if word in other.words))
        return _Comparing.meet(self, other)

    def size(self) -> int | None:
        return len(self.words)

    def sample(self) -> object:
        return self.words[0] if self.words else None

    def to_json(self) -> dict[str, object]:
        return {"type": "words", "words": list(self.words)}

    def schema(self) -> dict[str, object]:
        return {"enum": list(self.words)}


NOTHING = Words(())


@dataclass(frozen=True, slots=True)
class Number(_Comparing):
    """A number between two bounds, both included."""

    low: float
    high: float
    is_whole: bool

    def __str__(self) -> str:
        number = "whole number" if self.is_whole else "number"
        return f"{number} from {shown(self.low)} to {shown(self.high)}"

    def admit(self, value: object) -> object:
        if type(value) is not int and (self.is_whole or type(value) is not float):
            return REFUSED
        return value if self.low <= cast("float", value) <= self.high else REFUSED

    def covers(self, other: Domain) -> bool:
        if not isinstance(other, Number) or (self.is_whole and not other.is_whole):
            return False
        return self.low <= other.low and other.high <= self.high

    def meet(self, other: Domain) -> Domain:
        if not isinstance(other, Number):
            return _Comparing.meet(self, other)
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Number(low, high, self.is_whole or other.is_whole) if low <= high else NOTHING

    def size(self) -> int | None:
        whole = math.floor(self.high) - math.ceil(self.low) + 1
        return whole if self.is_whole else whole + _DOUBLES  # 1 and 1.0 are two texts

    def sample(self) -> object:
        return math.ceil(self.low) if self.is_whole else self.low

    def to_json(self) -> dict[str, object]:
        name = "integer" if self.is_whole else "number"
        return {"type": name, "minimum": shown(self.low), "maximum": shown(self.high)}

    schema = to_json


@dataclass(frozen=True, slots=True)
class Bucketed(_Comparing):
    """A number of which only the bucket is sent; each edge begins one, the last has no end."""

    edges: tuple[float, ...]
    is_whole: bool

    def __str__(self) -> str:
        return "one of the buckets " + ", ".join(self.labels())

    def labels(self) -> list[str]:
        """Return the buckets' names, lowest first."""
        return [*map(self._label, self.edges, self.edges[1:]), f"{shown(self.edges[-1])}+"]

    def admit(self, value: object) -> object:
        """Return the bucket of a number, or the bucket that contains a named one."""
        interval = self._interval(value)
        if interval is None:
            return REFUSED
        begin, end = interval
        index = max((i for i, edge in enumerate(self.edges) if edge <= begin), default=-1)
        ends = [*self.edges[1:], math.inf]
        return self.labels()[index] if index >= 0 and end <= ends[index] else REFUSED

    def covers(self, other: Domain) -> bool:
        """Return whether each of the other's buckets consists of whole buckets of this one."""
        if not isinstance(other, Bucketed) or other.is_whole != self.is_whole:
            return False
        return set(other.edges) <= set(self.edges)

    def meet(self, other: Domain) -> Domain:
        """Return the coarser one, or this one if neither is coarser."""
        if isinstance(other, Bucketed) and other.is_whole == self.is_whole:
            return other if self.covers(other) else self
        return _Comparing.meet(self, other)

    def size(self) -> int | None:
        return len(self.edges)

    def sample(self) -> object:
        return shown(self.edges[0])

    def to_json(self) -> dict[str, object]:
        edges = [shown(edge) for edge in self.edges]
        return {"type": "bucket", "of": "integer" if self.is_whole else "number", "edges": edges}

    def schema(self) -> dict[str, object]:
        return {"enum": self.labels()}

    def _label(self, low: float, high: float) -> str:
        if not self.is_whole:
            return f"{shown(low)}-{shown(high)}"
        return f"{shown(low)}" if high - low == 1 else f"{shown(low)}-{shown(high - 1)}"

    def _interval(self, value: object) -> tuple[float, float] | None:
        if type(value) is int:
            return value, value
        if type(value) is float:
            return None if self.is_whole or not math.isfinite(value) else (value, value)
        found = _LABEL.fullmatch(value) if type(value) is str else None
        if found is None:
            return None
        low, high, has_no_end = float(found[1]), found[2], found[3]
        if has_no_end:
            return low, math.inf
        if self.is_whole:
            return low, float(high or low) + 1
        return (low, float(high)) if high else None


class VersionText(_Fixed):
    """A version cut to major.minor."""

    words, count, example = "version, major.minor only", _VERSIONS, "1.0"
    data = MappingProxyType({"type": "version"})
    json_schema = MappingProxyType({"type": "string", "pattern": r"^[0-9]{1,4}\.[0-9]{1,4}$"})

    def admit(self, value: object) -> object:
        found = _VERSION.match(value) if type(value) is str else None
        return found[1] if found else REFUSED


@dataclass(frozen=True, slots=True)
class Text(_Comparing):
    """A short text; it is scrubbed like everything that is sent."""

    max_chars: int

    def __str__(self) -> str:
        return f"text of at most {self.max_chars} characters"

    def admit(self, value: object) -> object:
        return value if type(value) is str and len(value) <= self.max_chars else REFUSED

    def covers(self, other: Domain) -> bool:
        if isinstance(other, Text):
            return other.max_chars <= self.max_chars
        words = _words(other)
        return words is not None and all(len(word) <= self.max_chars for word in words)

    def size(self) -> int | None:
        longer = CODE_POINTS ** (self.max_chars + 1)
        return int(longer - 1) // (CODE_POINTS - 1)  # the sum over all lengths

    def sample(self) -> object:
        return "example"[: self.max_chars]

    def to_json(self) -> dict[str, object]:
        return {"type": "text", "max_chars": self.max_chars}

    def schema(self) -> dict[str, object]:
        return {"type": "string", "maxLength": self.max_chars}


class Scalar(_Fixed):
    """A number, a boolean or a short text: what may be sent undeclared in a quick start."""

    words = f"number, true or false, or text of at most {SHORT_TEXT_MAX_CHARS} characters"
    count, example = None, 1
    data = MappingProxyType({"type": "scalar"})
    _text_schema: ClassVar = {"type": "string", "maxLength": SHORT_TEXT_MAX_CHARS}
    json_schema = MappingProxyType({"anyOf": [{"type": "number"}, {"type": "boolean"}, _text_schema]})

    def admit(self, value: object) -> object:
        return value if is_short_scalar(value) else REFUSED

    def covers(self, other: Domain) -> bool:
        is_plain = isinstance(other, (Scalar, Flag, Number, Bucketed, VersionText))
        return is_plain or Text(SHORT_TEXT_MAX_CHARS).covers(other)


# Exact types that `plain` returns unchanged.
PLAIN_TYPES = frozenset({str, bool, int, float, type(None), list, dict})


def plain(value: object) -> object:
    """Return the plain str, int or float behind a subclass instance, else the value.

    A subclass may override comparison and claim to equal a declared word.
    """
    cls = type(value)
    if cls is bool or cls in _COPIES:
        return value
    return next((copy(value) for base, copy in _COPIES.items() if issubclass(cls, base)), value)


def is_short_scalar(value: object) -> bool:
    """Return whether a `plain` value is a boolean, a 64-bit number or a short text."""
    kind = type(value)
    if kind is str:
        return len(cast("str", value)) <= SHORT_TEXT_MAX_CHARS
    if kind is int:
        return -INTEGER_LIMIT <= cast("int", value) < INTEGER_LIMIT
    return kind is bool or (kind is float and math.isfinite(cast("float", value)))


def canonical_json(value: object) -> str:
    """Return one text for equal data: sorted keys, no white space, UTF-8, as in RFC 8785."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _words(domain: Domain) -> list[str] | None:
    if isinstance(domain, Words):
        return list(domain.words)
    if isinstance(domain, Bucketed):
        return domain.labels()
    return ["9999.9999"] if isinstance(domain, VersionText) else None


def shown(number: float) -> float:
    """Return a whole number as int: 1.0 and 1 are equal in JSON and need one text."""
    return int(number) if float(number).is_integer() else number
