"""Which rule a span matches, and what of the span leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from otel_posthog import MaxChars, RegistryError, SpanRule, event
from otel_posthog.registry import Registry
from otel_posthog.span_rules import SpanRules
from otel_posthog.span_rules.compiled import properties_of


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
