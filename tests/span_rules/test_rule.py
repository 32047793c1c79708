"""What a span rule refuses, and the ranges that it makes of numbers."""

from __future__ import annotations

import math

import pytest

from otel_posthog import ConfigError, SpanRule

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
