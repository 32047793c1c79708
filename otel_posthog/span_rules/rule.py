"""One span rule as a product writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeGuard

from otel_posthog._nearest import did_you_mean
from otel_posthog.errors import ConfigError
from otel_posthog.registry import BASE_PROPERTIES, EVENT_NAME_MAX_BYTES, Kind, kind_of

from .patterns import ANYTHING

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
"""Attributes that begin like this hold headers, baggage, addresses, people or query strings; none leaves."""

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRule:
    """Turn the spans that match into one product event each.

    All conditions that are given must hold. `name` and `scope` are patterns: `*` is any run of
    characters, `?` is one, and `{id}` is one part of a path. `attributes` gives for each attribute the
    value wanted, or a list of them; texts are patterns too, and ``"*"`` is any text.

    Of the span's attributes only those in `properties` leave, each under the name given there.
    `buckets` turns a number into a range: the numbers at which a range begins, so that ``(1, 2, 6)``
    gives `1`, `2-5` and `6+`; what lies below the first is left out. `sample` is the share of matching
    spans that become events.
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
        """Return the range in which the number lies; None below the first, or where it is no number."""
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
    """Tell whether it is a number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""
