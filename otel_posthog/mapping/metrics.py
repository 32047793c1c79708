"""Gauges to the daily heartbeat (requirement R20)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from otel_posthog import attributes
from otel_posthog.events import Event
from otel_posthog.records import MetricView
from otel_posthog.registry import HEARTBEAT

from .base import BaseProperties


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Whose heartbeat of which day."""

    instance_id: str
    due_at: datetime
    accepted_ns: int
    """When reading the gauges began, on this process's wall clock."""


def heartbeat_event(
    metrics: Iterable[MetricView], beat: Beat, base: BaseProperties, counts: Mapping[str, int]
) -> Event:
    """Return the heartbeat: one property for each gauge of our meter, and the counts.

    Uuid and timestamp follow from instance and day alone, so that a repeated one is the same event.
    """
    gauges = {metric.name: _value(metric) for metric in metrics if metric.scope == attributes.HEARTBEAT_SCOPE}
    return Event(
        name=HEARTBEAT,
        properties=base.over({**gauges, **counts}),
        timestamp=beat.due_at,
        uuid=uuid5(UUID(beat.instance_id), f"{HEARTBEAT}:{beat.due_at.date().isoformat()}"),
        accepted_ns=beat.accepted_ns,
        distinct_id=beat.instance_id,
    )


def _value(metric: MetricView) -> object:
    return metric.attributes.get(attributes.GAUGE_VALUE, metric.value)
