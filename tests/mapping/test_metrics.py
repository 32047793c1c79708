"""Gauges that become the heartbeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid5

from otel_posthog import attributes
from otel_posthog.mapping import BaseProperties, Beat, heartbeat_event

BASE = BaseProperties(environment="production", service_version="1.2")
INSTANCE = "0f6a0f9d-51aa-4bbb-8ccc-2f0f6a0f9d51"
BEAT = Beat(instance_id=INSTANCE, due_at=datetime(2026, 11, 24, 3, tzinfo=UTC), accepted_ns=5)


@dataclass
class FakeMetric:
    """A metric as mapping sees it."""

    name: str
    value: float = 1
    scope: str = attributes.HEARTBEAT_SCOPE
    attributes: dict = field(default_factory=dict)


def test_numbers_and_information_become_properties():
    """A number is its value; a text or boolean is what stands on the constant 1."""
    metrics = [
        FakeMetric("total_pipelines", 3),
        FakeMetric("db_kind", attributes={attributes.GAUGE_VALUE: "sqlite"}),
        FakeMetric("is_on", attributes={attributes.GAUGE_VALUE: False}),
    ]

    event = heartbeat_event(metrics, BEAT, BASE, {"failed_gauges": 0})

    assert {name: event.properties[name] for name in ("total_pipelines", "db_kind", "is_on")} == {
        "total_pipelines": 3,
        "db_kind": "sqlite",
        "is_on": False,
    }
    assert (event.properties["failed_gauges"], event.properties["service_version"]) == (0, "1.2")


def test_other_scopes_are_left_out():
    """Only our own meter speaks."""
    event = heartbeat_event([FakeMetric("foreign", scope="the.host")], BEAT, BASE, {})

    assert "foreign" not in event.properties


def test_identity_follows_from_instance_and_day():
    """Two heartbeats of one instance and day are one event to PostHog, whatever they say."""
    first = heartbeat_event([FakeMetric("a", 1)], BEAT, BASE, {})
    second = heartbeat_event([FakeMetric("a", 2)], BEAT, BASE, {"failed_gauges": 1})

    assert first.uuid == second.uuid == uuid5(UUID(INSTANCE), "instance_heartbeat:2026-11-24")
    assert first.timestamp == second.timestamp == BEAT.due_at
    assert first.distinct_id == second.distinct_id == INSTANCE


def test_base_properties_win():
    """No gauge can change what every event carries."""
    event = heartbeat_event([FakeMetric("source", 7)], BEAT, BASE, {})

    assert event.properties["source"] == "backend"
