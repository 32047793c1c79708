"""The closed set of what a property may hold.

A domain is data: it admits values, compares itself with another one, and goes into the manifest and
back, so that a manifest that was consented to years ago still decides what may leave.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, cast

SHORT_TEXT_MAX_CHARS = 200
OTHER = "other"
"""A declared word that stands for every text that is not declared."""
CODE_POINTS = 0x110000  # lone surrogates too, since JSON can carry them
INTEGER_LIMIT = 2**63  # a longer one PostHog, like most readers of JSON, cannot hold
_DOUBLES = 2**64
_VERSION = re.compile(r"([0-9]{1,4}\.[0-9]{1,4})(?![0-9])")
_VERSIONS = 11_110**2  # one to four digits on each side: 01 is another text than 1
EDGE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)")
"""How an edge of a bucket is written in its name."""
_LABEL = re.compile(rf"{EDGE.pattern}(?:-{EDGE.pattern}|(\+))?")
_COPIES: Mapping[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
}


class _Refused:
    """The type of `REFUSED`."""


REFUSED = _Refused()
"""What `admit` returns for a value that may not leave; None is a value."""


class Domain(Protocol):
    """The values that a property may hold."""

    def admit(self, value: object, /) -> object:
        """Return a `plain` value as it may leave, or `REFUSED`.

        What was returned is admitted again, unchanged.
        """

    def covers(self, other: Domain) -> bool:
        """Tell whether everything that the other lets out tells no more than what this one lets out."""

    def meet(self, other: Domain) -> Domain:
        """Return what neither this one, to which somebody agreed, nor the other, the present one, refuses."""

    def size(self) -> int | None:
        """Return how many values there are, or None where no useful bound exists."""

    def sample(self) -> object:
        """Return a value as an application would give it."""

    def to_json(self) -> dict[str, object]:
        """Return the domain for the manifest; `reading.domain_from_json` reads it."""

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema of the values that leave."""


class _Comparing:
    """How two domains compare, unless they know better."""

    def covers(self, other: Domain) -> bool:
        return cast("object", self) == other

    def meet(self, other: Domain) -> Domain:
        mine = cast("Domain", self)
        if mine.covers(other):
            return other
        return mine if other.covers(mine) else NOTHING


class _Alike(_Comparing):
    """A domain without parameters; plain, since making a dataclass costs an import half a millisecond."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Flag(_Alike):
    """True or false."""

    def __str__(self) -> str:
        return "true or false"

    def admit(self, value: object) -> object:
        return value if isinstance(value, bool) else REFUSED

    def size(self) -> int | None:
        return 2

    def sample(self) -> object:
        return True

    def to_json(self) -> dict[str, object]:
        return {"type": "boolean"}

    def schema(self) -> dict[str, object]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Words(_Comparing):
    """One of a few texts; where `OTHER` is among them it stands for all the rest."""

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
        return (
            isinstance(other, Number)
            and self.low <= other.low
            and other.high <= self.high
            and (other.is_whole or not self.is_whole)
        )

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
        return {
            "type": "integer" if self.is_whole else "number",
            "minimum": shown(self.low),
            "maximum": shown(self.high),
        }

    def schema(self) -> dict[str, object]:
        return self.to_json()


@dataclass(frozen=True, slots=True)
class Bucketed(_Comparing):
    """A number of which only the bucket leaves; each edge begins one, and the last has no end."""

    edges: tuple[float, ...]
    is_whole: bool

    def __str__(self) -> str:
        return "one of the buckets " + ", ".join(self.labels())

    def labels(self) -> list[str]:
        """Return the buckets' names, lowest first."""
        ends = [*(self._label(low, high) for low, high in pairwise(self.edges))]
        return [*ends, f"{shown(self.edges[-1])}+"]

    def admit(self, value: object) -> object:
        """Return the bucket of a number, or the one that holds a whole bucket given by name."""
        interval = self._interval(value)
        if interval is None:
            return REFUSED
        begin, end = interval
        index = max((i for i, edge in enumerate(self.edges) if edge <= begin), default=-1)
        ends = [*self.edges[1:], math.inf]
        return self.labels()[index] if index >= 0 and end <= ends[index] else REFUSED

    def covers(self, other: Domain) -> bool:
        """Tell whether each bucket of the other is made of whole buckets of this one."""
        return (
            isinstance(other, Bucketed)
            and other.is_whole == self.is_whole
            and set(other.edges) <= set(self.edges)
        )

    def meet(self, other: Domain) -> Domain:
        """Return the coarser of both, and what was agreed to where neither is."""
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


class VersionText(_Alike):
    """A version cut to major.minor."""

    def __str__(self) -> str:
        return "version, major.minor only"

    def admit(self, value: object) -> object:
        found = _VERSION.match(value) if type(value) is str else None
        return found[1] if found else REFUSED

    def size(self) -> int | None:
        return _VERSIONS

    def sample(self) -> object:
        return "1.0"

    def to_json(self) -> dict[str, object]:
        return {"type": "version"}

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": r"^[0-9]{1,4}\.[0-9]{1,4}$"}


@dataclass(frozen=True, slots=True)
class Text(_Comparing):
    """A short text; scrubbing applies to it as to all that leaves."""

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


class Scalar(_Alike):
    """A number, a boolean or a short text: what may leave undeclared in a quick start."""

    def __str__(self) -> str:
        return f"number, true or false, or text of at most {SHORT_TEXT_MAX_CHARS} characters"

    def admit(self, value: object) -> object:
        return value if is_short_scalar(value) else REFUSED

    def covers(self, other: Domain) -> bool:
        is_plain = isinstance(other, (Scalar, Flag, Number, Bucketed, VersionText))
        return is_plain or Text(SHORT_TEXT_MAX_CHARS).covers(other)

    def size(self) -> int | None:
        return None

    def sample(self) -> object:
        return 1

    def to_json(self) -> dict[str, object]:
        return {"type": "scalar"}

    def schema(self) -> dict[str, object]:
        text = {"type": "string", "maxLength": SHORT_TEXT_MAX_CHARS}
        return {"anyOf": [{"type": "number"}, {"type": "boolean"}, text]}


PLAIN_TYPES = frozenset({str, bool, int, float, type(None), list, dict})
"""Types whose very own instances are what they look like; `plain` returns them as they are."""


def plain(value: object) -> object:
    """Return what JSON would show of an instance of a subclass of str, int or float, else the value.

    Its own methods may say anything: equal to a declared word, or within bounds.
    """
    cls = type(value)
    if cls is bool or cls in _COPIES:
        return value
    return next((copy(value) for base, copy in _COPIES.items() if issubclass(cls, base)), value)


def is_short_scalar(value: object) -> bool:
    """Tell whether a `plain` value is a boolean, a number of 64 bits or a short text."""
    kind = type(value)
    if kind is str:
        return len(cast("str", value)) <= SHORT_TEXT_MAX_CHARS
    if kind is int:
        return -INTEGER_LIMIT <= cast("int", value) < INTEGER_LIMIT
    return kind is bool or (kind is float and math.isfinite(cast("float", value)))


def canonical_json(value: object) -> str:
    """Return one text for equal data: sorted keys, no white space, UTF-8, in the way of RFC 8785."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _words(domain: Domain) -> list[str] | None:
    if isinstance(domain, Words):
        return list(domain.words)
    if isinstance(domain, Bucketed):
        return domain.labels()
    return ["9999.9999"] if isinstance(domain, VersionText) else None


def shown(number: float) -> float:
    """Return a whole number as int: 1.0 and 1 are the same in JSON and have to be the same text."""
    return int(number) if float(number).is_integer() else number
