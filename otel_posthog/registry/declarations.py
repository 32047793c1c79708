"""Declare events as small typed classes, with the texts that an admin reads."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from otel_posthog.errors import RegistryError

from .domains import (
    EDGE,
    REFUSED,
    SHORT_TEXT_MAX_CHARS,
    Bucketed,
    Domain,
    Flag,
    Number,
    Text,
    VersionText,
    Words,
    plain,
    shown,
)

EXCEPTION = "$exception"
SUPPRESSED = "exceptions_suppressed"
HEARTBEAT = "instance_heartbeat"
EVENT_NAME_MAX_BYTES = 200  # PostHog's limit, see docs/sink.md
# JSON readers with doubles know every whole number up to it.
BOUND_LIMIT = 2**53

# Events that need the consent to error reports.
ERROR_EVENTS = frozenset({EXCEPTION, SUPPRESSED})
_SPEC_ATTRIBUTE = "__otel_posthog_event__"
_WITHOUT_DOCSTRINGS = 2  # python -OO
_T = TypeVar("_T")


class Kind(StrEnum):
    """The consent that an event needs; each kind has its own flag."""

    ERRORS = "errors"
    TELEMETRY = "telemetry"


def kind_of(name: str) -> Kind:
    """Return the consent that an event of this name needs."""
    return Kind.ERRORS if name in ERROR_EVENTS else Kind.TELEMETRY


class Sensitivity(StrEnum):
    """How much a property could reveal about an installation: ``Annotated[bool, Sensitivity.MEDIUM]``."""

    LOW = "low"
    """How the product is used; equal for very many installations."""
    MEDIUM = "medium"
    """With other knowledge it could narrow down which installation it is."""
    HIGH = "high"
    """Texts that people wrote."""


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of a number: ``Annotated[int, Range(0, 100)]``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -BOUND_LIMIT <= self.low <= self.high <= BOUND_LIMIT:  # NaN fails this, too
            raise RegistryError(f"{self} needs two bounds, the lower one first, within 2**53 of 0.")


@dataclass(frozen=True, slots=True)
class MaxChars:
    """Length of a short text: ``Annotated[str, MaxChars(40)]``. Longer values are dropped, not cut."""

    chars: int

    def __post_init__(self) -> None:
        if not 1 <= self.chars <= SHORT_TEXT_MAX_CHARS:
            raise RegistryError(f"{self} needs a number from 1 to {SHORT_TEXT_MAX_CHARS}: a short text.")


class Buckets:
    """Edges of buckets: ``Annotated[float, Buckets(0, 1, 60)]`` sends only `0-1`, `1-60` or `60+`.

    Each edge begins a bucket and the last one has no end; values below the first are dropped. For
    ``int`` the names include both ends: ``Buckets(1, 2, 6)`` gives `1`, `2-5` and `6+`.
    """

    def __init__(self, *edges: float) -> None:
        is_rising = all(low < high for low, high in pairwise(edges))
        if not edges or not is_rising or not all(map(_can_be_named, edges)):
            raise RegistryError(
                f"Buckets{edges} needs rising edges from 0 on, such as Buckets(0, 1, 60), each with at most "
                "15 digits on either side of the point."
            )
        self.edges = edges


@dataclass(frozen=True, slots=True)
class MajorMinor:
    """Mark a text as a version of which only major and minor are sent; `Version` is the short form."""


# The type of a version property: ``3.11.4`` is sent as ``3.11``.
Version = Annotated[str, MajorMinor()]


@dataclass(frozen=True, slots=True)
class Expires:
    """Last day on which a property is sent: ``Annotated[bool, Expires("2027-06-30")]``."""

    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of an event, and its type."""

    name: str
    values: Domain
    is_required: bool = False
    description: str = ""
    sensitivity: Sensitivity = Sensitivity.LOW
    expires: date | None = None

    @property
    def domain(self) -> str:
        """Its type, in words."""
        return str(self.values)

    @property
    def is_closed(self) -> bool:
        """Whether the values are listed or bounded, so that none can be a secret."""
        return isinstance(self.values, (Flag, Words, Number, Bucketed, VersionText))

    def admits(self, value: object) -> bool:
        """Return whether the value lies in the declared domain."""
        return self.values.admit(plain(value)) is not REFUSED

    def admit(self, value: object, today: Callable[[], date]) -> object:
        """Return a `plain` value as it may be sent on that day, or `REFUSED`."""
        if self.expires is not None and today() > self.expires:
            return REFUSED
        return self.values.admit(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """One event as declared: its meaning, its purpose, its first version."""

    name: str
    description: str
    why: str
    since: str
    owner: str = ""
    expires: date | None = None
    is_open: bool = False
    """Whether undeclared numbers, booleans and short texts may be sent with it."""
    properties: Mapping[str, Property] = field(default_factory=dict)
    closed: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of the properties whose values are listed or bounded."""

    def __post_init__(self) -> None:
        """Compute once what never changes."""
        closed = (name for name, declared in self.properties.items() if declared.is_closed)
        object.__setattr__(self, "closed", frozenset(closed))

    @property
    def kind(self) -> Kind:
        """Return the consent that this event needs."""
        return kind_of(self.name)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(
    name: str, *, why: str, since: str, description: str = "", owner: str = "", expires: str | None = None
) -> Callable[[type[_T]], type[_T]]:
    """Declare an event: the class becomes a frozen dataclass that `track` accepts.

    Its docstring is the description that admins read. `description` replaces it, for products that run with
    ``python -OO``, which has no docstrings; without either, it is `why`.

    Property types come from a closed set: ``bool``, ``Literal`` of texts, ``Annotated[int | float,
    Range(low, high)]``, ``Annotated[int | float, Buckets(…)]``, ``Version``, ``Annotated[str,
    MaxChars(n)]``, each also as optional (``| None``; None is left out). ``Annotated`` may also hold a text
    that describes the property, a `Sensitivity` and `Expires`. Free text and unbounded numbers raise
    `RegistryError`. After the day `expires` (``"2027-06-30"``) the event is no longer sent.
    """
    _check_name(name)

    def declare(cls: type[_T]) -> type[_T]:
        declared = dataclass(frozen=True, kw_only=True)(cls)
        if not why or not since:
            raise RegistryError(f"{cls.__name__} needs both why= and since=.")
        spec = EventSpec(
            name=name,
            description=description or _description(declared, why),
            why=why,
            since=since,
            owner=owner,
            expires=_day(expires),
            properties=_properties(declared),
        )
        setattr(declared, _SPEC_ATTRIBUTE, spec)
        return declared

    return declare


def spec_of(declared: object) -> EventSpec | None:
    """Return the declaration behind an event class or one of its instances, or None."""
    found: EventSpec | None = getattr(declared, _SPEC_ATTRIBUTE, None)
    return found


def values_of(instance: object) -> dict[str, object]:
    """Return the properties of a declared event's instance; those that are None are left out."""
    pairs = ((column.name, getattr(instance, column.name)) for column in fields(cast("Any", instance)))
    return {name: value for name, value in pairs if value is not None}


def is_event_name(name: str) -> bool:
    """Return whether an event may have this name; names with `$` are PostHog's own."""
    return (
        bool(name) and not name.startswith("$") and len(name.encode(errors="replace")) <= EVENT_NAME_MAX_BYTES
    )


def _can_be_named(edge: float) -> bool:
    return math.isfinite(edge) and EDGE.fullmatch(str(shown(edge))) is not None


def _check_name(name: str) -> None:
    if name == HEARTBEAT:
        raise RegistryError(f"{name!r} is made from gauges. Register them with telemetry.heartbeat.gauge(…).")
    if name == SUPPRESSED:
        raise RegistryError(f"{name!r} is an event of otel-posthog itself. Choose another name.")
    if not is_event_name(name) or not _is_plain_name(name):
        raise RegistryError(
            f"{name!r} cannot name an event. Use lower_snake_case, {EVENT_NAME_MAX_BYTES} bytes at most."
        )


def _is_plain_name(name: str) -> bool:
    # An ASCII identifier has no look-alike letters.
    return name.isascii() and name.isidentifier()


def _description(cls: type, why: str) -> str:
    description = (cls.__doc__ or "").strip()
    if not description or description.startswith(f"{cls.__name__}("):  # as a dataclass documents itself
        if sys.flags.optimize >= _WITHOUT_DOCSTRINGS:
            return why
        raise RegistryError(f"{cls.__name__} needs a docstring: admins read it before they consent.")
    return description


def _properties(cls: type) -> dict[str, Property]:
    hints = get_type_hints(cls, include_extras=True)
    names = [column.name for column in fields(cast("Any", cls))]
    for name in names:
        if not _is_plain_name(name):
            raise RegistryError(f"{cls.__name__}.{name} needs a name of ASCII letters, digits and _.")
    return {name: _property(cls, name, hints[name]) for name in names}


def _property(cls: type, name: str, hint: object) -> Property:
    required = True
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        required = False
        inner = [part for part in get_args(hint) if part is not type(None)]
        hint = inner[0] if len(inner) == 1 else hint
    base, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    values = _domain(base, marks)
    if values is None:
        raise RegistryError(
            f"{cls.__name__}.{name} has the type {hint!r}. Use bool, Literal of texts, "
            "Annotated[int, Range(low, high)], Annotated[int, Buckets(…)], Version or "
            "Annotated[str, MaxChars(n)]."
        )
    expires = next((mark.day for mark in marks if isinstance(mark, Expires)), None)
    return Property(
        name=name,
        values=values,
        is_required=required,
        description=next((mark for mark in marks if type(mark) is str), ""),
        sensitivity=next((mark for mark in marks if isinstance(mark, Sensitivity)), _usual(values)),
        expires=_day(expires),
    )


def _domain(base: object, marks: list[object]) -> Domain | None:
    bound = next((m for m in marks if isinstance(m, (Range, MaxChars, Buckets, MajorMinor))), None)
    if bound is None:
        return _unbounded(base)
    match bound:
        case Range(low, high) if base in (int, float):
            return Number(low, high, base is int)
        case Buckets() if base is float or (base is int and all(shown(e) == int(e) for e in bound.edges)):
            return Bucketed(bound.edges, base is int)
        case MaxChars(chars) if base is str:
            return Text(chars)
        case MajorMinor() if base is str:
            return VersionText()
    return None


def _unbounded(base: object) -> Domain | None:
    if base is bool:
        return Flag()
    words = get_args(base)
    is_closed = get_origin(base) is Literal and all(isinstance(word, str) for word in words)
    return Words(tuple(sorted(words))) if is_closed else None


def _usual(values: Domain) -> Sensitivity:
    if isinstance(values, Text):
        return Sensitivity.HIGH
    return Sensitivity.MEDIUM if isinstance(values, Number) else Sensitivity.LOW


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RegistryError(f"{text!r} is no day to expire on. Write it as 2027-06-30.") from None
