"""What an event may hold: the typed declarations that emit half and export half agree on.

A product declares each event as a small class. Consent is given for what these declarations
say, so nothing that they do not name leaves once a product has declared its first event.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
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

from .errors import RegistryError

EXCEPTION = "$exception"
SHORT_TEXT_MAX_CHARS = 200
EVENT_NAME_MAX_BYTES = 200  # PostHog's limit for names, see the sink's table of rules

BASE_PROPERTIES = frozenset(
    {
        "source",
        "environment",
        "service_version",
        "$process_person_profile",
        "$geoip_disable",
        "$ip",
        "$lib",
        "$lib_version",
    }
)
"""What each event of the backend carries (requirement R18)."""

EXCEPTION_PROPERTIES = frozenset(
    {
        "$exception_list",
        "$exception_level",
        "$request_method",
        "$request_path",
        "$current_url",
        "$trace_id",
        "$span_id",
    }
)
"""What an `$exception` carries besides (requirement R12)."""

_TEST_MARKER = re.compile(r"\$[a-z0-9_]{1,40}_(?:startup|backend)_test")
_SPEC_ATTRIBUTE = "__otel_posthog_event__"
_T = TypeVar("_T")


class Kind(StrEnum):
    """What an event needs consent for; each kind has a flag of its own."""

    ERRORS = "errors"
    TELEMETRY = "telemetry"


def kind_of(name: str) -> Kind:
    """Return the consent that an event of this name needs."""
    return Kind.ERRORS if name == EXCEPTION else Kind.TELEMETRY


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both included: ``Annotated[int, Range(0, 100)]``."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MaxChars:
    """Length of a short text: ``Annotated[str, MaxChars(40)]``. Longer values are dropped, not cut."""

    chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of an event and the test that a value must pass."""

    name: str
    domain: str
    is_required: bool
    admits: Callable[[object], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """One event as declared: what it says, why it is collected, since which version."""

    name: str
    description: str
    why: str
    since: str
    properties: Mapping[str, Property]

    @property
    def kind(self) -> Kind:
        """Return the consent that this event needs."""
        return kind_of(self.name)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(name: str, *, why: str, since: str) -> Callable[[type[_T]], type[_T]]:
    """Declare an event: the class becomes a frozen dataclass that `track` accepts.

    Property types come from a closed set: ``bool``, ``Literal`` of texts, ``Annotated[int | float,
    Range(low, high)]``, ``Annotated[str, MaxChars(n)]``, each also as optional (``| None``; None is
    left out). Free text and unbounded numbers are refused with `RegistryError`.
    """
    _check_name(name)

    def declare(cls: type[_T]) -> type[_T]:
        declared = dataclass(frozen=True, kw_only=True)(cls)
        setattr(declared, _SPEC_ATTRIBUTE, _spec(declared, name, why, since))
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


class Registry:
    """The events that a product has declared; empty while it is being tried out."""

    def __init__(self, events: Iterable[type] = ()) -> None:
        self._specs: dict[str, EventSpec] = {}
        for cls in events:
            spec = spec_of(cls)
            if spec is None:
                raise RegistryError(f"{cls!r} is not an event. Decorate it with @event(…).")
            if spec.name in self._specs:
                raise RegistryError(f"The event {spec.name!r} is declared twice.")
            self._specs[spec.name] = spec

    def __len__(self) -> int:
        return len(self._specs)

    def knows(self, name: str) -> bool:
        """Tell whether an event of this name is declared."""
        return name in self._specs

    def admit(self, name: str, properties: Mapping[str, object]) -> dict[str, object] | None:
        """Return the properties that may leave, or None if the event itself may not.

        While no event is declared, every event may leave with its numbers, booleans and short texts.
        Afterwards unknown names, unknown properties and values outside their domain stay behind.
        """
        if name == EXCEPTION:
            return {key: value for key, value in properties.items() if _may_stand_in_exception(key, value)}
        spec = self._specs.get(name)
        if spec is None and (self._specs or not _is_event_name(name)):
            return None
        return {
            key: value
            for key, value in properties.items()
            if key in BASE_PROPERTIES
            or (_is_open(key, value) if spec is None else _is_declared(spec, key, value))
        }


def is_short_scalar(value: object) -> bool:
    """Tell whether a value is a boolean, a finite number or a text of `SHORT_TEXT_MAX_CHARS` at most."""
    if isinstance(value, str):
        return len(value) <= SHORT_TEXT_MAX_CHARS
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _may_stand_in_exception(key: str, value: object) -> bool:
    known = key in EXCEPTION_PROPERTIES or key in BASE_PROPERTIES
    return known or _TEST_MARKER.fullmatch(key) is not None or _is_open(key, value)


def _is_open(key: str, value: object) -> bool:
    """Tell whether an undeclared property may leave; names with `$` steer PostHog, so they may not."""
    return not key.startswith("$") and is_short_scalar(value)


def _is_declared(spec: EventSpec, key: str, value: object) -> bool:
    return key in spec.properties and spec.properties[key].admits(value)


def _is_event_name(name: str) -> bool:
    return (
        bool(name) and not name.startswith("$") and len(name.encode(errors="replace")) <= EVENT_NAME_MAX_BYTES
    )


def _check_name(name: str) -> None:
    if not _is_event_name(name) or not name.isidentifier():
        raise RegistryError(
            f"{name!r} cannot name an event. Use lower_snake_case, {EVENT_NAME_MAX_BYTES} bytes at most."
        )


def _spec(cls: type, name: str, why: str, since: str) -> EventSpec:
    hints = get_type_hints(cls, include_extras=True)
    columns = {column.name: column for column in fields(cast("Any", cls))}
    description = (cls.__doc__ or "").strip()
    if not description or description.startswith(f"{cls.__name__}("):
        raise RegistryError(f"{cls.__name__} needs a docstring: admins read it before they consent.")
    if not why or not since:
        raise RegistryError(f"{cls.__name__} needs both why= and since=.")
    return EventSpec(
        name=name,
        description=description,
        why=why,
        since=since,
        properties={key: _property(cls, key, hints[key]) for key in columns},
    )


def _property(cls: type, name: str, hint: object) -> Property:
    required = True
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        required = False
        inner = [part for part in get_args(hint) if part is not type(None)]
        hint = inner[0] if len(inner) == 1 else hint
    domain, admits = _domain(hint) or (None, None)
    if domain is None or admits is None:
        raise RegistryError(
            f"{cls.__name__}.{name} has the type {hint!r}. Use bool, Literal of texts, "
            "Annotated[int, Range(low, high)] or Annotated[str, MaxChars(n)]."
        )
    return Property(name=name, domain=domain, is_required=required, admits=admits)


def _domain(hint: object) -> tuple[str, Callable[[object], bool]] | None:
    if hint is bool:
        return "true or false", lambda value: isinstance(value, bool)
    if get_origin(hint) is Literal and all(isinstance(word, str) for word in get_args(hint)):
        words = frozenset(get_args(hint))
        return "one of " + ", ".join(sorted(words)), lambda value: isinstance(value, str) and value in words
    if get_origin(hint) is Annotated:
        return _bounded(*get_args(hint)[:2])
    return None


def _bounded(base: type, bound: object) -> tuple[str, Callable[[object], bool]] | None:
    if isinstance(bound, Range) and base in (int, float):
        numbers = (int,) if base is int else (int, float)
        return (
            f"number from {bound.low:g} to {bound.high:g}",
            lambda value: (
                isinstance(value, numbers)
                and not isinstance(value, bool)
                and bound.low <= cast("float", value) <= bound.high
            ),
        )
    if isinstance(bound, MaxChars) and base is str:
        return (
            f"text of at most {bound.chars} characters",
            lambda value: isinstance(value, str) and len(value) <= bound.chars,
        )
    return None
