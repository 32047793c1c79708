"""Random manifests, and values inside and outside of them, for property-based tests."""

from __future__ import annotations

from datetime import date

from hypothesis import settings
from hypothesis import strategies as st
from thoroughness import IS_FULL

from otel_posthog.registry import EXCEPTION, EventSpec, Kind, Property
from otel_posthog.registry.builtin import BASE, EXCEPTION_SPEC
from otel_posthog.registry.domains import (
    Bucketed,
    Flag,
    Number,
    Scalar,
    Text,
    VersionText,
    Words,
)
from otel_posthog.registry.manifest import Manifest

EXAMPLES = 3_000 if IS_FULL else 200
thoroughly = settings(max_examples=EXAMPLES)
TODAY = date(2026, 11, 24)
WORDS = ("a", "b", "c", "d", "other")
EDGES = (0, 1, 2, 5, 10, 50, 100)
NAMES = ("one", "two", "three")
KEYS = ("p", "q", "r")

domains = st.one_of(
    st.just(Flag()),
    st.just(VersionText()),
    st.just(Scalar()),
    st.builds(lambda words: Words(tuple(sorted(words))), st.sets(st.sampled_from(WORDS), min_size=1)),
    st.builds(
        lambda bounds, is_whole: Number(min(bounds), max(bounds), is_whole=is_whole),
        st.tuples(st.integers(-5, 120), st.integers(-5, 120)),
        st.booleans(),
    ),
    st.builds(
        lambda edges, is_whole: Bucketed(tuple(sorted(edges)), is_whole=is_whole),
        st.sets(st.sampled_from(EDGES), min_size=1),
        st.booleans(),
    ),
    st.builds(Text, st.integers(1, 12)),
)
days = st.none() | st.sampled_from([date(2026, 1, 1), date(2027, 1, 1), date(2028, 1, 1)])


@st.composite
def specs(draw, name):
    keys = draw(st.sets(st.sampled_from(KEYS)))
    properties = {
        key: Property(
            name=key, values=draw(domains), expires=draw(days), description=draw(st.sampled_from("xy"))
        )
        for key in keys
    }
    return EventSpec(
        name=name,
        description=draw(st.sampled_from(["It happened.", "It did happen."])),
        why="to know",
        since="1.0",
        expires=draw(days),
        properties=properties,
    )


@st.composite
def manifests(draw):
    """Draw a manifest of telemetry; one in eight is open."""
    base = {name: BASE[name] for name in draw(st.sets(st.sampled_from(["source", "environment"])))}
    if draw(st.integers(0, 7)) == 0:
        return Manifest(kind=Kind.TELEMETRY, base=base, is_open=True)
    names = draw(st.sets(st.sampled_from(NAMES)))
    return Manifest(
        kind=Kind.TELEMETRY, base=base, events={name: draw(specs(name)) for name in sorted(names)}
    )


@st.composite
def error_manifests(draw):
    """Draw a manifest of error reports that lacks some of today's properties."""
    kept = draw(st.sets(st.sampled_from(sorted(EXCEPTION_SPEC.properties))))
    spec = EventSpec(
        name=EXCEPTION,
        description="It failed.",
        why="to mend it",
        since="1.0",
        is_open=draw(st.booleans()),
        properties={name: EXCEPTION_SPEC.properties[name] for name in sorted(kept)},
    )
    return Manifest(kind=Kind.ERRORS, base=BASE, events={EXCEPTION: spec})


values = st.one_of(
    st.booleans(),
    st.integers(-10, 130),
    st.floats(-10, 130),
    st.sampled_from([*WORDS, "e", "3.11.4", "3.11", "2-4", "1", "5+", "5-9", "0-1", "a" * 13, "x" * 201]),
    st.none(),
    st.just(["nested"]),
)
properties_given = st.dictionaries(
    st.sampled_from([*KEYS, "undeclared", "$set", "source", "environment"]), values, max_size=5
)
names_given = st.sampled_from([*NAMES, "four", "$set", ""])
