"""Show what would be sent now, through a gate of the same class, without sending or writing anything.

Consent that has not been given is assumed, so that a preview is possible before the admin decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from otel_posthog.config.settings import COLLECTOR
from otel_posthog.consent.state import Settings
from otel_posthog.delivery.dry_run import RecordedRequest, RequestRecorder, assumed, gate_granting
from otel_posthog.emit.tracebacks import exception_attributes, own_frame
from otel_posthog.events import Event, with_base
from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.otel import attributes
from otel_posthog.registry import EXCEPTION, HEARTBEAT, Kind

if TYPE_CHECKING:
    from .export_pipeline import ExportPipeline, PipelineOptions

from .consent_service import KindStatus
from .error_capture import event_now

ADDED_BY_RECEIVER = {
    "address": "PostHog sees the address from which the request comes, as every server does. $ip holds a "
    "constant, so that it is not kept with the event; whether PostHog discards client addresses besides is "
    "a setting of the project.",
    "arrival time": "PostHog adds when the request arrived, and corrects timestamps by sent_at.",
    "project settings": "How long events are kept, who may read them, and which transformations or "
    "destinations they go through is decided in the project, not here.",
}


_COLLECTOR_SEES = (
    "The Collector sees the address from which the request comes, as every server does. It is not a part of "
    "the event; PostHog sees the address of the gateway behind it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPart:
    """Events, and the requests in which they would be sent."""

    events: tuple[Event, ...]
    requests: tuple[RecordedRequest, ...]

    def to_json(self) -> list[dict[str, object]]:
        """Return the requests as data."""
        return [request.to_json() for request in self.requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be sent, and how."""

    status: Mapping[Kind, KindStatus]
    waiting: PreviewPart
    """Events that wait until consent is known or PostHog can be reached."""
    heartbeat: PreviewPart
    """The heartbeat as of now."""
    samples: PreviewPart
    """One event of each kind that may be sent, with invented values."""
    batch_delay_s: float
    next_heartbeat: datetime | None
    added_by_receiver: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """Return the preview as data."""
        return {
            "status": {kind.value: status.to_json() for kind, status in self.status.items()},
            "waiting": self.waiting.to_json(),
            "heartbeat": self.heartbeat.to_json(),
            "samples": self.samples.to_json(),
            "next": {
                "events": f"at most {self.batch_delay_s:g} s after each happened",
                "heartbeat": None if self.next_heartbeat is None else self.next_heartbeat.isoformat(),
            },
            "added_by_receiver": dict(self.added_by_receiver),
        }


def preview(pipeline: ExportPipeline, row: Settings | None, status: Mapping[Kind, KindStatus]) -> Preview:
    """Return what would be sent now; consent that the row does not give is assumed."""
    granted = assumed(row)
    is_to_collector = pipeline.config.send_to == COLLECTOR
    heartbeat = pipeline.heartbeat.as_of_now(str(granted.instance_id))

    def part(events: Iterable[Event]) -> PreviewPart:
        shown = tuple(events)
        return PreviewPart(events=shown, requests=tuple(_requests(pipeline.given, granted, shown)))

    return Preview(
        status=status,
        waiting=part(event for batch in pipeline.spool.waiting() for event in batch.events),
        heartbeat=part([heartbeat] if heartbeat else []),
        samples=part(_samples(pipeline, granted, heartbeat)),
        batch_delay_s=pipeline.config.batch_delay_s,
        next_heartbeat=pipeline.heartbeat.next_due(),
        added_by_receiver=ADDED_BY_RECEIVER | ({"address": _COLLECTOR_SEES} if is_to_collector else {}),
    )


def _requests(given: PipelineOptions, row: Settings, events: Iterable[Event]) -> list[RecordedRequest]:
    """Return the requests in which a gate with this consent would send the events."""
    recorder = RequestRecorder(given.config)
    # A gate of its own, so that nothing is counted or remembered.
    gate = gate_granting(
        row,
        registry=given.registry,
        config=given.config,
        transport=recorder.transport,
        scrubber=given.scrubber,
        before_send=given.before_send,
    )
    gate.send(list(events))
    return recorder.recorded


def _samples(pipeline: ExportPipeline, granted: Settings, heartbeat: Event | None) -> Iterable[Event]:
    base = pipeline.base.properties
    for kind in Kind:
        manifest = pipeline.given.registry.allowed(kind, granted.kinds[kind].manifest)
        for spec in manifest.events.values():
            if spec.name == EXCEPTION:
                yield event_now(EXCEPTION, _sample_exception(pipeline.base))
            elif not (spec.name == HEARTBEAT and heartbeat):
                values = {name: declared.values.sample() for name, declared in spec.properties.items()}
                yield event_now(spec.name, with_base(base, values))
        if manifest.is_open:
            yield event_now("any_event", with_base(base, {"number": 1, "flag": True, "text": "short text"}))


@own_frame
def _sample_exception(base: BaseProperties) -> dict[str, object]:
    recorded: dict[str, object] = {
        attributes.HTTP_REQUEST_METHOD: "GET",
        attributes.URL_SCHEME: "https",
        attributes.URL_PATH: "/path/of/the/request",
    }
    try:
        json.loads("{")  # fails in the standard library, so that the sample has frames with source lines
    except ValueError as error:
        recorded |= exception_attributes(error)
    return exception_properties(recorded, base, trace_id=0, span_id=0)
