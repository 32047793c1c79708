"""What an event passes before it leaves, the first time and each time after."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Annotated, Literal

import pytest
from samples import some_event

from otel_posthog import Expires, MaxChars, Range, event
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.delivery.prepare import MAX_PROPERTIES, AdmittedCache, Preparation, truncated
from otel_posthog.registry import TRIMMED, Registry
from otel_posthog.scrubbing import Scrubber


@event("run_finished", why="which runs fail", since="1.0")
class RunFinished:
    """A run ended."""

    trigger: Literal["manual", "webhook"]
    retries: Annotated[int, Range(0, 9)] | None = None
    is_first: bool | None = None
    note: Annotated[str, MaxChars(200)] | None = None


@event("passing", why="for a while", since="1.0")
class Passing:
    """An event of which a property ends."""

    count: Annotated[int, Range(0, 9), Expires("2026-11-30")]


class Word(str):
    """A text that is equal to whatever it is compared with."""

    __slots__ = ()

    def __eq__(self, _other):
        return True

    def __hash__(self):
        return hash("manual")


class Claim(Word):
    """A text that claims to be the name of a property."""

    __slots__ = ()

    def __hash__(self):
        return hash("trigger")


class Desk:
    """The preparation of a product's events, and what it has counted."""

    def __init__(self, *, max_bytes=10_000, **parts):
        self.today = date(2026, 11, 29)
        self.counts = Counts()
        self.preparation = Preparation(
            replace(Config.resolve({}, {}), event_max_bytes=max_bytes),
            registry=Registry([RunFinished, Passing], today=lambda: self.today),
            scrubber=Scrubber(),
            counts=self.counts,
            log_limiter=LogLimiter(),
            **parts,
        )

    def left(self, properties, name="run_finished", granted=None):
        """Return what leaves of such an event, as it is read from the text."""
        ready = self.preparation.prepared(some_event(properties, name=name), granted, "instance")
        return None if ready is None else json.loads(ready.written())["properties"]


PLAIN = {"trigger": "manual", "retries": 1, "is_first": True, "note": "all well"}


@pytest.fixture
def desk():
    """Return a desk that has seen a plain event."""
    desk = Desk()
    assert desk.left(PLAIN) == PLAIN
    return desk


def test_what_passed_passes_again(desk):
    """An event like the one before leaves like the one before."""
    assert desk.left(dict(PLAIN)) == PLAIN
    assert desk.counts.as_dict() == {}


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"trigger": "token=planted"}, {"retries": 1, "is_first": True, "note": "all well"}),
        ({"note": "password=planted"}, PLAIN | {"note": "password=[scrubbed:value]"}),
        ({"retries": True}, {"trigger": "manual", "is_first": True, "note": "all well"}),
        ({"is_first": 1}, {"trigger": "manual", "retries": 1, "note": "all well"}),
        ({"retries": 1.0}, {"trigger": "manual", "is_first": True, "note": "all well"}),
        ({"retries": [1]}, {"trigger": "manual", "is_first": True, "note": "all well"}),
        ({"other": "manual"}, PLAIN),
        ({"trigger": Word("planted")}, {"retries": 1, "is_first": True, "note": "all well"}),
        ({Word("planted"): "manual"}, PLAIN),
    ],
)
def test_what_is_new_is_looked_at(desk, changed, left):
    """One property that did not pass before, or has another type, has the event looked at."""
    assert desk.left(PLAIN | changed) == left


def test_value_of_one_property_says_nothing_of_another(desk):
    """A text that passed as a note is no trigger."""
    assert desk.left({"trigger": "all well"}) == {}


def test_event_of_another_name_is_looked_at(desk):
    """What passed in one event may be undeclared in another."""
    assert desk.left(PLAIN, name="passing") == {}


def test_name_that_only_claims_to_be_known_is_looked_at(desk):
    """A name is what it holds, whatever it says when it is compared."""

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, _other):
            return True

    assert desk.left(PLAIN, name=Name("planted")) is None


def test_consent_to_another_manifest_is_looked_at(desk):
    """What passes under one manifest may not under the one to which consent was given."""
    assert desk.left(PLAIN, granted="0" * 64) is None


def test_event_that_is_too_large_is_looked_at():
    """What may be shortened is made of what was judged, even where all passed before."""
    desk = Desk()
    desk.left({"trigger": "manual", "note": "x" * 200})
    small = Desk(max_bytes=400)
    small.preparation.admitted_before = desk.preparation.admitted_before

    left = small.left({Claim("planted"): "manual", "note": "x" * 200})

    assert left == {"note": "x" * 200}
    assert small.counts.as_dict() == {"outside_declaration": 1}


def test_property_that_ends_is_looked_at_each_time():
    """What passed yesterday may have expired today."""
    desk = Desk()
    assert desk.left({"count": 1}, name="passing") == {"count": 1}

    desk.today = date(2026, 12, 1)

    assert desk.left({"count": 1}, name="passing") == {}


def test_hook_is_asked_for_each_event():
    """An event like one before is shown to the product's hook all the same."""
    seen = []
    desk = Desk(before_send=lambda event: seen.append(event) or event)

    desk.left(PLAIN)
    desk.left(PLAIN)

    assert len(seen) == 2


def test_memory_is_bounded():
    """What is new for ever does not fill memory."""
    cache = AdmittedCache()

    for number in range(3 * MAX_PROPERTIES):
        cache.add(some_event({"retries": number}), None)

    known = [n for n in range(3 * MAX_PROPERTIES) if cache.written(some_event({"retries": n}), None)]
    assert 0 < len(known) <= MAX_PROPERTIES
    assert 3 * MAX_PROPERTIES - 1 in known


@pytest.mark.parametrize("value", ["x" * 401, 0.5, None, ["a"]], ids=["long", "float", "none", "list"])
def test_only_short_and_plain_values_are_remembered(value):
    """What is long, or not written in one way, is judged and written each time."""
    cache, given = AdmittedCache(), some_event({"note": value})

    cache.add(given, None)

    assert cache.written(given, None) is None


MAX_BYTES = 20_000


def test_event_that_fits_stays_as_it_is():
    """Nothing is touched below the limit."""
    event = some_event({"text": "x" * 1000, "frames": list(range(300))})

    assert truncated(event, MAX_BYTES) is event


@pytest.mark.parametrize(
    "properties",
    [
        {"text": "x" * 50_000},
        {"deep": {"deeper": [{"text": "x" * 50_000}]}},
        {"frames": [{"function": f"f{number}", "line": "x" * 80} for number in range(1000)]},
        {f"property_{number}": "x" * 1_000 for number in range(100)},
        {"text": '"\\' * 20_000},
    ],
    ids=["text", "deep text", "list", "many texts", "escapes"],
)
def test_large_event_is_shortened_and_marked(properties):
    """Long texts and long lists are cut until the event fits; it keeps its identity and says so."""
    event = some_event({"kept": 3, **properties})

    shorter = truncated(event, MAX_BYTES)

    assert shorter.size_bytes() <= MAX_BYTES
    assert (shorter.uuid, shorter.timestamp, shorter.name) == (event.uuid, event.timestamp, event.name)
    assert (shorter.properties["kept"], shorter.properties[TRIMMED]) == (3, True)


def test_both_ends_of_a_list_stay():
    """Of a long stack the outermost and the innermost frames stay."""
    event = some_event({"frames": [{"number": number, "line": "x" * 80} for number in range(1000)]})

    frames = truncated(event, MAX_BYTES).properties["frames"]

    assert [frames[0]["number"], frames[-1]["number"]] == [0, 999]


def test_event_that_cannot_be_shortened_enough_is_none():
    """Where many small things make it large, nothing is left to cut."""
    assert truncated(some_event({f"property_{n}": n for n in range(5_000)}), MAX_BYTES) is None
