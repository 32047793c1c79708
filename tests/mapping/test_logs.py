"""Log records that become events, and those that do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from otel_posthog.mapping import BaseProperties, event_from_log, kind_of_log
from otel_posthog.otel import attributes
from otel_posthog.registry import Kind, Registry, event

BASE = BaseProperties(environment="production")


@event("run_finished", why="see what fails", since="1.0")
class RunFinished:
    """A run ended."""

    success: bool


@dataclass
class FakeLog:
    """A log record as mapping sees it."""

    scope: str = attributes.SCOPE
    event_name: str | None = None
    attributes: dict = field(default_factory=dict)
    time_ns: int = 1_700_000_000_000_000_000
    accepted_ns: int = 1_700_000_000_000_000_005
    trace_id: int = 0
    span_id: int = 0
    severity: int = 0


RAISED = {attributes.EXCEPTION_TYPE: "ValueError", attributes.EXCEPTION_MESSAGE: "m"}


@pytest.mark.parametrize("registry", [Registry(), Registry([RunFinished])], ids=["open", "declared"])
@pytest.mark.parametrize(
    ("scope", "name", "recorded", "kind"),
    [
        ("otel_posthog", None, RAISED, Kind.ERRORS),
        ("foreign", None, RAISED, Kind.ERRORS),
        ("foreign", None, {attributes.EXCEPTION_MESSAGE: "m"}, Kind.ERRORS),
        ("foreign", "run_finished", RAISED, Kind.ERRORS),
        ("otel_posthog", "run_finished", {}, Kind.TELEMETRY),
        ("otel_posthog", "anything", {}, Kind.TELEMETRY),
        ("otel_posthog", None, {}, None),
        ("otel_posthog", "$exception", {}, None),
        ("foreign", None, {}, None),
        ("foreign", "anything", {}, None),
        ("foreign", "$exception", {}, None),
        ("otel_posthog.delivery.gate", None, {}, None),
        ("otel_posthog.delivery.gate", None, RAISED, None),
        ("otel_posthog.delivery.gate", "run_finished", {}, None),
        ("otel_posthog_like", "run_finished_like", {}, None),
    ],
)
def test_kind_of_record(registry, scope, name, recorded, kind):
    """Exceptions and our own named events become something; foreign names and our own log lines do not."""
    assert kind_of_log(scope, name, recorded, registry) is kind


@pytest.mark.parametrize(
    ("registry", "kind"), [(Registry(), None), (Registry([RunFinished]), Kind.TELEMETRY)]
)
def test_foreign_name_counts_once_it_is_registered(registry, kind):
    """A named event of a foreign scope becomes one only where the product has declared that name."""
    assert kind_of_log("foreign", "run_finished", {}, registry) is kind


def test_exception_becomes_an_event():
    """An exception record becomes `$exception` with the record's times and trace."""
    made = event_from_log(FakeLog(attributes=RAISED, trace_id=1, span_id=2), Kind.ERRORS, BASE)

    assert (made.name, made.kind, made.accepted_ns) == ("$exception", Kind.ERRORS, 1_700_000_000_000_000_005)
    assert made.timestamp == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert made.properties["$trace_id"] == f"{1:032x}"


def test_named_record_becomes_an_event():
    """A tracked event carries its own properties, its uuid and the base."""
    recorded = {"success": True, attributes.EVENT_UUID: str(UUID(int=5))}

    made = event_from_log(FakeLog(event_name="run_finished", attributes=recorded), Kind.TELEMETRY, BASE)

    assert (made.name, made.uuid) == ("run_finished", UUID(int=5))
    assert made.properties == {"success": True} | BASE.properties


def test_base_properties_win_over_the_callers():
    """A tracked property cannot replace what each event carries (R18)."""
    recorded = {"$ip": "203.0.113.7", "$process_person_profile": True, "source": "x"}

    made = event_from_log(FakeLog(event_name="run_finished", attributes=recorded), Kind.TELEMETRY, BASE)

    assert made.properties == BASE.properties


def test_consent_has_the_last_word_on_identity():
    """Mapping leaves the distinct id open."""
    made = event_from_log(FakeLog(event_name="run_finished"), Kind.TELEMETRY, BASE)

    assert made.distinct_id is None
