"""Patterns for names, one by one and many in one index."""

from __future__ import annotations

from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.span_rules.patterns import NAME_MAX_CHARS, REMEMBERED_NAMES, NameIndex, compiled

MATCHING = [
    ("GET /runs", "GET /runs"),
    ("GET /runs/*", "GET /runs/"),
    ("GET /runs/*", "GET /runs/17/log?"),
    ("*", ""),
    ("*", "anything\nat all"),
    ("job ?", "job 7"),
    ("*run*", "POST /api/runs"),
    ("*a*b*c", "xaxbxbxcc"),
    ("POST /api/pipelines/{id}/run", "POST /api/pipelines/17/run"),
    ("POST /api/pipelines/{id}/run", "POST /api/pipelines/{pipeline_id}/run"),
    ("GET /{a}/{b}", "GET /x/y"),
    ("GET {path}", "GET health"),
    ("*/{id}/run", "POST /api/v2/17/run"),
    ("GET /runs/{id}*", "GET /runs/17/steps"),
    ("*/{id}*", "GET /runs/17/steps"),
    ("*{id}/run", "GET /17/run"),
    ("a{b}c", "a{b}c"),
    ("price (net) [1]", "price (net) [1]"),
]
OTHER = [
    ("GET /runs", "GET /runs/"),
    ("GET /runs", "get /runs"),
    ("GET /runs/*", "GET /runs"),
    ("job ?", "job 17"),
    ("job ?", "job "),
    ("*a*b*c", "xaxcxb"),
    ("POST /api/pipelines/{id}/run", "POST /api/pipelines//run"),
    ("POST /api/pipelines/{id}/run", "POST /api/pipelines/17/18/run"),
    ("POST /api/pipelines/{id}/run", "POST /api/pipelines/17/run/"),
    ("GET /runs/{id}*", "GET /runs//steps"),
    ("a{b}c", "axc"),
    ("price.", "prices"),
]
WORDS = st.lists(
    st.sampled_from(["GET /", "POST /", "a", "b", "/", "{id}", "*", "?", "runs", "."]), max_size=6
)


@pytest.mark.parametrize(("pattern", "name"), MATCHING)
def test_pattern_matches(pattern, name):
    """`*` is any run of characters, `?` is one, a part of a path in braces is one part."""
    assert compiled(pattern).fullmatch(name)


@pytest.mark.parametrize(("pattern", "name"), OTHER)
def test_pattern_matches_nothing_else(pattern, name):
    """All other characters stand for themselves, and the whole name counts."""
    assert not compiled(pattern).fullmatch(name)


@given(patterns=st.lists(WORDS.map("".join), max_size=8), name=WORDS.map("".join) | st.text(printable))
def test_index_finds_what_each_pattern_matches(patterns, name):
    """The index agrees with each pattern by itself, at the first look and at the second."""
    index = NameIndex(patterns)
    expected = tuple(at for at, pattern in enumerate(patterns) if compiled(pattern).fullmatch(name))

    assert index.matching(name) == expected
    assert index.matching(name) == expected


@given(pattern=st.text("ab*?", max_size=8), name=st.text("ab", max_size=10))
def test_pattern_means_what_a_naive_matcher_says(pattern, name):
    """That what follows a `*` is found once, at its first place, loses no match."""

    def matches(pattern, name):
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(matches(pattern[1:], name[skipped:]) for skipped in range(len(name) + 1))
        return bool(name) and pattern[0] in ("?", name[0]) and matches(pattern[1:], name[1:])

    assert (compiled(pattern).fullmatch(name) is not None) == matches(pattern, name)


def test_hostile_name_takes_linear_time():
    """A name made to be tried again and again is refused without that: 100,000 letters and seven `*`."""
    pattern = compiled("*a*a*a*a*a*a*b")

    assert pattern.fullmatch("a" * 100_000) is None


def test_name_that_is_too_long_for_a_route_matches_anything_alone():
    """What a client can make long is not searched."""
    index = NameIndex(["GET *", "*", "*{id}/{id}/x"])

    assert index.matching("GET " + "a" * (NAME_MAX_CHARS - 4)) == (0, 1)
    assert index.matching("GET " + "a" * NAME_MAX_CHARS) == (1,)


def test_names_of_clients_do_not_fill_memory():
    """However many names come by, the index remembers a bounded number of short ones."""
    index = NameIndex(["GET /runs/*"])

    for number in range(3 * REMEMBERED_NAMES):
        index.matching(f"GET /runs/{number}")
        index.matching(f"GET /{number}" + "x" * 1000)

    remembered = index._remembered
    assert len(remembered) <= REMEMBERED_NAMES
    assert max(len(name) for name in remembered) < 100
