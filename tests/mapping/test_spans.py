"""Spans that become events, and those that do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid5

import pytest

from otel_posthog.mapping import BaseProperties, events_from_span, kinds_of_span
from otel_posthog.mapping.exceptions import UUID_NAMESPACE, exception_uuid
from otel_posthog.otel import attributes
from otel_posthog.registry import Kind, Registry, event

BASE = BaseProperties(environment="production")


@event("run_finished", why="see what fails", since="1.0")
class RunFinished:
    """A run ended."""

    success: bool


@dataclass
class FakeSpanEvent:
    """An event of a span as mapping sees it."""

    name: str = "exception"
    attributes: dict = field(default_factory=dict)
    time_ns: int = 5


@dataclass
class FakeSpan:
    """An ended span as mapping sees it."""

    name: str = "GET /"
    scope: str = "host"
    kind: str = "internal"
    status: str = "unset"
    attributes: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    is_local_root: bool = True
    is_error: bool = True
    start_ns: int = 1_000_000
    end_ns: int = 3_500_000
    accepted_ns: int = 4_000_000
    trace_id: int = 1
    span_id: int = 2


def _raised(message):
    return FakeSpanEvent(
        attributes={attributes.EXCEPTION_TYPE: "ValueError", attributes.EXCEPTION_MESSAGE: message}
    )


def _named(name, **recorded):
    return FakeSpan(attributes={attributes.EVENT_NAME: name} | recorded, is_error=False)


def test_last_exception_of_a_failed_root_span_is_told():
    """Of several exceptions on a failed root span the last one ended it."""
    span = FakeSpan(events=[_raised("handled"), _raised("fatal"), FakeSpanEvent(name="log")])

    [made] = events_from_span(span, BASE, Registry())

    assert made.name == "$exception"
    assert [entry["value"] for entry in made.properties["$exception_list"]] == ["fatal"]
    assert kinds_of_span(span) == {Kind.ERRORS}


@pytest.mark.parametrize(
    "span",
    [
        FakeSpan(events=[_raised("handled")], is_error=False),
        FakeSpan(events=[_raised("told by the root")], is_local_root=False),
        FakeSpan(events=[FakeSpanEvent(name="log")]),
        FakeSpan(),
    ],
    ids=["ok", "child", "no exception", "empty"],
)
def test_other_spans_become_nothing(span):
    """Handled exceptions, child spans and failures without exception are not told."""
    assert events_from_span(span, BASE, Registry()) == []
    assert kinds_of_span(span) == frozenset()


def test_exception_of_a_span_is_the_one_of_the_log_record():
    """The same exception told by a log record in that trace has the same uuid."""
    raised = _raised("m")

    [made] = events_from_span(FakeSpan(events=[raised]), BASE, Registry())

    assert made.uuid == exception_uuid(raised.attributes, 1)


def test_request_comes_from_the_span():
    """What the span says about the request belongs to its exception."""
    span = FakeSpan(
        kind="server",
        attributes={attributes.URL_PATH: "/runs", attributes.HTTP_REQUEST_METHOD: "GET"},
        events=[_raised("m")],
    )

    [made] = events_from_span(span, BASE, Registry())

    assert made.properties["$request_path"] == "/runs"


@pytest.mark.parametrize("kind", ["client", "internal", "producer"])
@pytest.mark.parametrize(
    "recorded",
    [
        {"http.url": "https://api.example/hooks/5f2b", "http.method": "POST"},
        {attributes.URL_PATH: "/hooks/5f2b", attributes.HTTP_ROUTE: "/hooks/{id}"},
        {"http.target": "/hooks/5f2b", attributes.SERVER_ADDRESS: "api.example"},
    ],
    ids=["former url", "current", "former target"],
)
def test_request_to_somebody_else_is_not_the_products(kind, recorded):
    """Only a span that serves a request describes it: a third party's path may hold a token."""
    span = FakeSpan(kind=kind, attributes={**recorded, "posthog.property.job": "x"}, events=[_raised("m")])

    [made] = events_from_span(span, BASE, Registry())

    assert not {"$request_path", "$request_route", "$current_url"} & made.properties.keys()
    assert made.properties["job"] == "x"


def test_events_were_accepted_when_the_span_was_taken_over():
    """The moment that a withdrawal compares with is the span's, not that of its events."""
    span = FakeSpan(events=[_raised("m")], attributes={attributes.EVENT_NAME: "run_finished"})

    made = events_from_span(span, BASE, Registry())

    assert [event.accepted_ns for event in made] == [4_000_000, 4_000_000]


def test_registered_name_takes_the_attributes():
    """A span that names a declared event gives its attributes to the registry to choose from."""
    registry = Registry([RunFinished])

    [made] = events_from_span(_named("run_finished", success=True), BASE, registry)

    assert made.properties["success"] is True
    assert registry.admit(made.name, made.properties) == {"success": True} | BASE.properties


def test_unregistered_name_takes_only_what_was_meant_for_it():
    """Without a declaration only attributes with our prefix are taken, since others may hold anything."""
    span = _named(
        "anything", **{"url.full": "https://h/?token=x", f"{attributes.PROPERTY_PREFIX}step": "sync"}
    )

    [made] = events_from_span(span, BASE, Registry())

    assert made.properties == {"step": "sync", "duration_ms": 2} | BASE.properties


def test_base_properties_win_over_the_spans():
    """An attribute cannot replace what each event carries (R18)."""
    span = _named("run_finished", **{"$ip": "203.0.113.7", "source": "x"})

    [made] = events_from_span(span, BASE, Registry([RunFinished]))

    assert BASE.properties.items() <= made.properties.items()


def test_duration_is_never_negative():
    """A clock that was set back gives a duration of 0."""
    span = _named("anything")
    span.end_ns = 0

    [made] = events_from_span(span, BASE, Registry())

    assert made.properties["duration_ms"] == 0


def test_uuid_of_a_named_span_follows_from_the_span():
    """A span that is exported twice is one event, another span another one."""
    first, again, other = _named("anything"), _named("anything"), _named("anything")
    other.span_id = 3

    uuids = [events_from_span(span, BASE, Registry())[0].uuid for span in (first, again, other)]

    assert uuids[0] == uuids[1] != uuids[2]
    assert uuids[0] == uuid5(UUID_NAMESPACE, f"{1:032x}:{2:016x}:anything")


@pytest.mark.parametrize("name", ["$exception", 5, None, ["run_finished"]])
def test_span_cannot_name_an_exception(name):
    """An attribute that is no text, or names an exception, names no event."""
    span = _named(name)

    assert events_from_span(span, BASE, Registry()) == []
    assert kinds_of_span(span) == frozenset()


def test_failed_named_span_tells_both():
    """A failed span that names an event gives the exception and the event, each for its own consent."""
    span = FakeSpan(attributes={attributes.EVENT_NAME: "anything"}, events=[_raised("m")])

    assert [made.name for made in events_from_span(span, BASE, Registry())] == ["$exception", "anything"]
    assert kinds_of_span(span) == {Kind.ERRORS, Kind.TELEMETRY}
