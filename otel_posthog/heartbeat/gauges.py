"""What a gauge of the heartbeat is, and which values it may have."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

from otel_posthog.errors import RegistryError
from otel_posthog.registry import (
    BASE_PROPERTIES,
    DROPPED_PREFIX,
    FAILED_GAUGES,
    SHORT_TEXT_MAX_CHARS,
    Property,
)
from otel_posthog.registry.builtin import gauge_property
from otel_posthog.registry.domains import Scalar, Words
from otel_posthog.scrubbing.keys import is_sensitive

Value: TypeAlias = float | bool | str | None
Callback: TypeAlias = Callable[[], Value] | Callable[[], Awaitable[Value]]

MAX_NUMBER = 2**53  # larger ones lose digits in PostHog's JSON
BUCKETS = ("1", "2-5", "6-10", "11-50", "51+")
_UPPER_EDGES = (1, 5, 10, 50)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_UNIT = re.compile(r"[!-~]{0,63}")  # OpenTelemetry takes ASCII, at most 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One gauge, as registered."""

    callback: Callback
    unit: str
    description: str
    declared: Property

    @property
    def name(self) -> str:
        """Name of the gauge and of the event's property."""
        return self.declared.name

    def admits(self, value: object) -> bool:
        """Tell whether the heartbeat can carry the value."""
        return _is_sound(value) and self.declared.admits(value)

    @property
    def is_async(self) -> bool:
        """Whether the callback wants an event loop."""
        return inspect.iscoroutinefunction(self.callback)


def bucket(count: int) -> str | None:
    """Return the bucket of a count: `1`, `2-5`, `6-10`, `11-50`, `51+`; None for 0, which leaves it out.

    Raises ValueError for what is no count.
    """
    if type(count) is not int or count < 0:  # True is an int too
        raise ValueError("A count is a whole number from 0 on.")
    if count == 0:
        return None
    return next(
        (name for name, edge in zip(BUCKETS, _UPPER_EDGES, strict=False) if count <= edge), BUCKETS[-1]
    )


def make_gauge(
    callback: Callback, *, name: str, unit: str, description: str, one_of: Collection[str] | None
) -> Gauge:
    """Return the gauge; raise `RegistryError` where its name or unit cannot be used."""
    _check_name(name)
    if not _UNIT.fullmatch(unit):
        raise RegistryError(f"{unit!r} is not a unit. Use a short one such as 1, %, s, MBy or {{file}}.")
    values = Scalar() if one_of is None else Words(tuple(one_of))
    declared = gauge_property(Property(name=name, values=values, description=description))
    return Gauge(callback=callback, unit=unit, description=description, declared=declared)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RegistryError(f"{name!r} cannot name a gauge. Use lower_snake_case, 63 characters at most.")
    if name in BASE_PROPERTIES or name == FAILED_GAUGES or name.startswith(DROPPED_PREFIX):
        raise RegistryError(f"The heartbeat carries {name!r} already. Use another name.")
    if is_sensitive(name):
        raise RegistryError(f"The value of {name!r} would be scrubbed for its name. Use another name.")


def _is_sound(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= SHORT_TEXT_MAX_CHARS
    if isinstance(value, (bool, int, float)):
        return abs(value) <= MAX_NUMBER  # which NaN is not
    return False
