"""Values whose own methods lie about them, and declarations that cannot hold what they promise."""

from __future__ import annotations

import json
import math
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

import pytest

from otel_posthog import Buckets, MaxChars, Range, Version, event, track
from otel_posthog.errors import RegistryError
from otel_posthog.registry import Registry

SECRET = "correct-horse-battery"


@event("run_finished", why="to know", since="1.0")
class RunFinished:
    """A run ended."""

    trigger: Literal["manual", "webhook"]
    source_of: Literal["git", "other"]
    steps: Annotated[int, Range(0, 10)]
    share: Annotated[float, Range(0, 1)]
    users: Annotated[int, Buckets(1, 2, 6)]
    seconds: Annotated[float, Buckets(0, 1, 60)]
    python: Version
    label: Annotated[str, MaxChars(5)] | None = None


class Liar(str):
    """A text that is equal to every text, of no length, and a member of every set."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("manual")

    def __len__(self):
        return 0

    def __str__(self):
        return "manual"

    def __contains__(self, _part):
        return True

    def startswith(self, *_prefix):
        return False


class Modest(int):
    """A number that is within all bounds."""

    def _always(self, _other):
        return True

    __le__ = __ge__ = __lt__ = __gt__ = __eq__ = _always
    __hash__ = int.__hash__

    def __int__(self):
        return 1

    def __index__(self):
        return 1


class Small(float):
    """The same with a fraction."""

    def _always(self, _other):
        return True

    __le__ = __ge__ = __lt__ = __gt__ = __eq__ = _always
    __hash__ = float.__hash__


class Pretender:
    """What says that it is a text."""

    @property
    def __class__(self):
        return str

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("manual")

    def __len__(self):
        return 0


HOSTILE = [
    *(("run_finished", {key: Liar(SECRET)}) for key in ("trigger", "source_of", "python", "label")),
    *(("run_finished", {key: Pretender()}) for key in ("trigger", "source_of", "python", "label", "steps")),
    *(("run_finished", {key: Modest(10**9)}) for key in ("steps", "share")),
    *(("run_finished", {key: Small(1e9)}) for key in ("steps", "share")),
    ("run_finished", {"share": Small(math.nan)}),
    ("run_finished", {"seconds": Small(math.inf)}),
    ("run_finished", {Liar(SECRET): True}),
    (Liar(SECRET), {"steps": 1}),
]


@pytest.mark.parametrize(("name", "properties"), HOSTILE)
def test_value_cannot_talk_itself_in(name, properties):
    """A subclass whose methods say that it is declared is judged by what JSON would show of it."""
    admitted = Registry([RunFinished]).admit(name, properties)

    assert admitted is None or set(json.dumps(admitted)) <= set(json.dumps({"source_of": "other"}))


@pytest.mark.parametrize(("name", "properties"), [*HOSTILE, ("open", {Liar("$set"): True})])
def test_value_cannot_talk_itself_in_undeclared(name, properties):
    """In a quick start the limits hold for what leaves, and names are what they really are."""
    admitted = Registry().admit(name, properties) or {}

    assert all(type(key) is str and not key.startswith("$") for key in admitted)
    assert all(type(value) in (str, int, float, bool) for value in admitted.values())
    assert json.loads(json.dumps(admitted, allow_nan=False)) == admitted


ODD = [10**5000, -(10**400), "\ud800", "x\x00y", math.nan]


def test_hostile_values_do_not_arrive(make_telemetry, sink):
    """Nothing of them is in any byte at PostHog, and the events beside them arrive."""
    telemetry = make_telemetry(registry=[RunFinished])
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)

    for name, properties in HOSTILE:
        track(name, properties)
    track("run_finished", {"steps": 10**5000})
    track("run_finished", {"trigger": "manual", "steps": 7})

    assert telemetry.flush()
    assert not sink.contains(SECRET)
    assert not sink.contains("1000000")
    assert sink.events[-1].properties["steps"] == 7
    assert {event.name for event in sink.events} == {"run_finished"}


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_odd_value_costs_no_other_event(make_telemetry, sink, value):
    """In a quick start a value that JSON or PostHog cannot hold costs at most its own event."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)

    track("odd", {"value": value})
    track("even", {"value": 1})

    assert telemetry.flush()
    assert "even" in [event.name for event in sink.events]


def test_members_of_enums_leave_as_their_value():
    """Members of StrEnum and IntEnum, which are texts and numbers, leave as these."""

    class Trigger(StrEnum):
        MANUAL = "manual"

    class Steps(IntEnum):
        THREE = 3

    admitted = Registry([RunFinished]).admit(
        "run_finished", {"trigger": Trigger.MANUAL, "steps": Steps.THREE}
    )

    assert [(type(value), value) for value in admitted.values()] == [(str, "manual"), (int, 3)]


@pytest.mark.parametrize(
    ("low", "high"),
    [(math.nan, 1), (0, math.nan), (0, math.inf), (-math.inf, 0), (1, 0), (0, 10**400), (0, 2**53 + 1)],
)
def test_range_without_bounds_is_refused(low, high):
    """A bound that is none, or that JSON cannot hold exactly, is refused where it stands."""
    with pytest.raises(RegistryError, match=r"needs two bounds|2\*\*53"):
        Range(low, high)


@pytest.mark.parametrize("chars", [0, -1, 201, 10**9])
def test_text_that_is_not_short_is_refused(chars):
    """A text property is short."""
    with pytest.raises(RegistryError, match="a short text"):
        MaxChars(chars)


@pytest.mark.parametrize("edges", [(0, 1e-7), (0, 10**16), (0, 0.1 + 0.2), (0, math.nan)])
def test_edge_that_cannot_be_named_is_refused(edges):
    """The name of a bucket has to be read back, so its edges are written plainly."""
    with pytest.raises(RegistryError, match="needs rising edges from 0 on"):
        Buckets(*edges)


def test_whole_number_has_whole_edges():
    """Buckets of whole numbers have whole edges."""
    with pytest.raises(RegistryError, match="has the type"):

        @event("tried", why="to know", since="1.0")
        class Tried:
            """Something was tried."""

            number: Annotated[int, Buckets(0, 0.5, 2)]


@pytest.mark.parametrize("name", ["run_fin\u0456shed", "läuft", "run finished", "\ufb01nished"])
def test_name_that_looks_like_another_is_refused(name):
    """Names are ASCII, so that no letter of them can be taken for another one."""
    with pytest.raises(RegistryError, match="cannot name an event"):
        event(name, why="to know", since="1.0")


def test_property_that_looks_like_another_is_refused():
    """The same holds for properties."""
    cls = type("Tried", (), {"__doc__": "It was.", "__annotations__": {"\u0455teps": bool}})

    with pytest.raises(RegistryError, match="ASCII letters, digits and _"):
        event("tried", why="to know", since="1.0")(cls)


@pytest.mark.parametrize("name", ["environment", "source", "service_version", "otel_posthog_trimmed"])
def test_property_that_every_event_carries_is_refused(name):
    """A property of an event cannot take the place of what every event carries."""
    cls = type("Tried", (), {"__doc__": "It was.", "__annotations__": {name: bool}})
    declared = event("tried", why="to know", since="1.0")(cls)

    with pytest.raises(RegistryError, match=f"every event carries {name} already"):
        Registry([declared])
