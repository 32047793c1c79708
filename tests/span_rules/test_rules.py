"""Span rules: what they accept, match and turn into, and the form that a product's rules are compiled to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from string import printable
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog import ConfigError, MaxChars, RegistryError, SpanRule, event
from otel_posthog.registry import Registry
from otel_posthog.span_rules import SpanRules
from otel_posthog.span_rules.rules import NAME_MAX_CHARS, REMEMBERED_NAMES, NameIndex, compiled, properties_of

RISING = "but must be whole numbers that rise, such as (1, 2, 6, 11, 51)."
REFUSED = [
    ({}, "every span would match. Give a name, kind, status, scope or attributes."),
    ({"name": ""}, "name is '', but must be a text such as 'GET /runs/*'."),
    ({"name": 5}, "name is 5, but must be a text such as 'GET /runs/*'."),
    ({"scope": None}, "scope is None, but must be a text such as 'GET /runs/*'."),
    (
        {"kind": "sever"},
        (
            "kind is 'sever', but must be one of internal, server, client, producer, consumer. "
            "Did you mean 'server'?"
        ),
    ),
    ({"status": "failed"}, "status is 'failed', but must be one of unset, ok, error."),
    (
        {"attributes": {"a": None}},
        (
            "the attribute 'a' is compared with None, but must be with a text, a number, a boolean, "
            "or a list of these."
        ),
    ),
    (
        {"name": "x", "event": "$exception"},
        "no rule may make an exception; these are reported by themselves.",
    ),
    ({"name": "x", "event": "run started"}, "'run started' cannot name an event. Use lower_snake_case."),
    ({"name": "x", "event": "x" * 201}, f"{'x' * 201!r} cannot name an event. Use lower_snake_case."),
    ({"name": "x", "properties": {"a": "$ip"}}, "'$ip' cannot name a property. Use lower_snake_case."),
    ({"name": "x", "properties": {"a": "source"}}, "'source' cannot name a property. Use lower_snake_case."),
    (
        {"name": "x", "properties": {"a": "n", "b": "n"}},
        "two attributes have one property's name; 'duration_ms' is taken already.",
    ),
    (
        {"name": "x", "properties": {"a": "duration_ms"}},
        "two attributes have one property's name; 'duration_ms' is taken already.",
    ),
    (
        {"name": "x", "properties": {"a": "pages"}, "buckets": {"page": (1, 2)}},
        "there is no property 'page' to put in ranges. Did you mean 'pages'?",
    ),
    (
        {"name": "x", "buckets": {"duration_ms": (5, 1)}},
        f"the ranges of 'duration_ms' are (5, 1), {RISING}",
    ),
    (
        {"name": "x", "buckets": {"duration_ms": ()}},
        f"the ranges of 'duration_ms' are (), {RISING}",
    ),
    ({"name": "x", "sample": 0}, "sample is 0, but must be more than 0 and at most 1."),
    ({"name": "x", "sample": "half"}, "sample is 'half', but must be more than 0 and at most 1."),
]
PRIVATE = [
    "baggage.user",
    "client.address",
    "enduser.id",
    "http.request.header.authorization",
    "http.response.header.set-cookie",
    "http.target",
    "http.url",
    "http.user_agent",
    "net.peer.ip",
    "network.peer.address",
    "url.full",
    "url.query",
    "user.email",
    "user_agent.original",
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_rule_that_cannot_work_is_refused(options, message):
    """The message names the rule, what was found and what is expected."""
    with pytest.raises(ConfigError) as refused:
        SpanRule(**{"event": "run_started"} | options)

    assert str(refused.value).partition(": ")[2] == message


@pytest.mark.parametrize("attribute", PRIVATE)
def test_private_attributes_cannot_be_named(attribute):
    """Headers, baggage, addresses, people and query strings cannot be let through by a rule."""
    with pytest.raises(ConfigError, match="never leaves"):
        SpanRule(name="GET /*", event="e", properties={attribute: "p"})


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, None),
        (1, "1"),
        (2, "2-5"),
        (5.9, "2-5"),
        (6, "6-10"),
        (50, "11-50"),
        (51, "51+"),
        (10**30, "51+"),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        ("7", None),
    ],
)
def test_ranges_of_numbers(number, expected):
    """A number becomes the name of its range, anything else and what lies below becomes nothing (R3)."""
    rule = SpanRule(name="x", event="e", properties={"a": "users"}, buckets={"users": (1, 2, 6, 11, 51)})

    assert rule.label("users", number) == expected


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


@event("run_started", why="which triggers are worth improving", since="1.0")
class RunStarted:
    """A run began."""

    trigger: Annotated[str, MaxChars(20)]
    duration_ms: Literal["0-99", "100+"]


@dataclass
class FakeSpan:
    """An ended span as rules see it."""

    name: str = "POST /runs"
    scope: str = "opentelemetry.instrumentation.fastapi"
    kind: str = "server"
    status: str = "unset"
    attributes: dict = field(default_factory=dict)
    span_id: int = 1


@pytest.mark.parametrize(
    "conditions",
    [
        {"name": "POST /runs"},
        {"name": "POST *", "kind": "server"},
        {"status": "unset"},
        {"scope": "opentelemetry.*"},
        {"attributes": {"retries": 3}},
        {"attributes": {"retries": 3.0}},
        {"attributes": {"retries": [1, 3]}},
        {"attributes": {"is_manual": True}},
        {"attributes": {"http.route": "/runs*"}},
        {"attributes": {"http.route": "*", "retries": 3}},
        {"attributes": {"http.response.status_code": 201}},
    ],
)
def test_rule_matches_where_all_conditions_hold(conditions):
    """Name, kind, status, scope and attributes each narrow a rule; also under an attribute's former name."""
    span = FakeSpan(
        attributes={"retries": 3, "is_manual": True, "http.route": "/runs/{id}", "http.status_code": 201}
    )
    rule = SpanRule(event="run_started", **conditions)

    assert SpanRules([rule]).find(span) is rule


@pytest.mark.parametrize(
    "conditions",
    [
        {"name": "GET /runs"},
        {"name": "POST *", "kind": "client"},
        {"name": "POST *", "status": "error"},
        {"name": "POST *", "scope": "celery"},
        {"attributes": {"retries": 4}},
        {"attributes": {"retries": "3"}},
        {"attributes": {"is_manual": 1}},
        {"attributes": {"one": True}},
        {"attributes": {"absent": "*"}},
        {"attributes": {"tags": "a"}},
        {"attributes": {"retries": 3, "is_manual": False}},
    ],
)
def test_rule_does_not_match_where_one_condition_fails(conditions):
    """One condition that does not hold is enough; a boolean is no number, and a number no text."""
    span = FakeSpan(attributes={"retries": 3, "is_manual": True, "one": 1, "tags": ("a", "b")})

    assert SpanRules([SpanRule(event="run_started", **conditions)]).find(span) is None


def test_first_rule_that_matches_wins():
    """Rules are asked in the order in which they were given."""
    first = SpanRule(name="POST /runs", status="error", event="run_failed")
    second = SpanRule(name="POST *", event="run_started")
    third = SpanRule(name="POST /runs", event="never")
    rules = SpanRules([first, second, third])

    assert rules.find(FakeSpan()) is second
    assert rules.find(FakeSpan(status="error")) is first


def test_no_rules_match_nothing():
    """Without rules no span becomes an event."""
    assert SpanRules().find(FakeSpan()) is None


def test_sampling_keeps_a_share_and_the_same_spans_everywhere():
    """A sampled rule takes spans by their id, so each process decides alike; later rules do not step in."""
    rules = SpanRules(
        [SpanRule(name="POST *", event="some", sample=0.25), SpanRule(name="POST *", event="rest")]
    )

    kept = [rules.find(FakeSpan(span_id=number << 54)) is not None for number in range(1024)]

    assert kept == [True] * 256 + [False] * 768


def test_only_named_attributes_leave():
    """Of the attributes those that the rule names leave, renamed and in ranges, with the duration."""
    rule = SpanRule(
        name="POST *",
        event="run_started",
        properties={"run.trigger": "trigger", "http.response.status_code": "status", "absent": "absent"},
        buckets={"duration_ms": (0, 100)},
    )
    recorded = {"run.trigger": "manual", "http.status_code": 200, "http.url": "https://h/?token=x"}

    assert properties_of(rule, recorded, 250) == {"trigger": "manual", "status": 200, "duration_ms": "100+"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            SpanRule(name="x", event="run_start"),
            "Span rule 'x' → 'run_start': no such event is registered. Did you mean 'run_started'?",
        ),
        (
            SpanRule(name="x", event="run_started", properties={"a": "triger"}),
            "Span rule 'x' → 'run_started': the event has no property 'triger'. Did you mean 'trigger'?",
        ),
        (
            SpanRule(name="x", event="run_started", buckets={"duration_ms": (0, 100, 1000)}),
            (
                "Span rule 'x' → 'run_started': 'duration_ms' does not admit the ranges 100-999, 1000+; "
                "it is declared as one of 0-99, 100+."
            ),
        ),
    ],
)
def test_rule_may_only_name_what_is_registered(rule, message):
    """What the registry would drop is refused at the start, with the nearest name that is known."""
    with pytest.raises(RegistryError) as refused:
        SpanRules([rule], Registry([RunStarted]))

    assert str(refused.value) == message


def test_any_event_may_be_named_while_the_registry_is_empty():
    """Before the first event is declared, rules may name what they like."""
    assert len(SpanRules([SpanRule(name="x", event="anything")], Registry())) == 1
