"""Show what would be sent at this moment, through the same gate, without sending anything.

The gate is a second one of the same class, with consent assumed where it has not been given, and a
transport that prints. So a preview is possible before anybody has decided, makes no connection, and
writes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from . import attributes
from .config import SETTINGS, Config
from .consent import ConsentWatch
from .counts import Counts
from .events import Event, time_from_ns
from .gate import Gate, Parts
from .mapping import LIBRARY, BaseProperties, exception_properties
from .notices import Notices
from .printing import PrintedRequest, PrintingTransport
from .registry import EXCEPTION, HEARTBEAT, EventSpec, Kind, Registry
from .scrubbing import BeforeSend, Scrubber
from .settings import Settings
from .spool import MemorySpool
from .status import KindStatus
from .tracebacks import describe, message_of, type_of

if TYPE_CHECKING:
    from .transport import Transport

NO_KEY = "(no project API key is set)"
ADDED_BY_RECEIVER: Mapping[str, str] = {
    "address": "PostHog sees the address from which the request comes, as every server does. $ip holds a "
    "constant, so that it is not kept with the event; whether PostHog discards client addresses besides is "
    "a setting of the project.",
    "arrival time": "PostHog adds when the request arrived, and corrects timestamps by sent_at.",
    "project settings": "How long events are kept, who may read them, and which transformations or "
    "destinations they go through is decided in the project, not here.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Events that leave together, and the requests in which they would."""

    events: tuple[Event, ...]
    requests: tuple[PrintedRequest, ...]

    def to_json(self) -> list[dict[str, object]]:
        """Return the requests as data."""
        return [request.to_json() for request in self.requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be sent, and how."""

    status: Mapping[Kind, KindStatus]
    waiting: Part
    """What happened already, and waits until consent is known or PostHog within reach."""
    heartbeat: Part
    """The heartbeat as of now."""
    samples: Part
    """One event of each kind that may leave, with made-up values."""
    batch_delay_s: float
    next_heartbeat: datetime | None

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
            "added_by_receiver": dict(ADDED_BY_RECEIVER),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a preview takes from what it shows."""

    config: Config
    registry: Registry
    base: BaseProperties
    scrubber: Scrubber
    before_send: BeforeSend | None
    waiting: Callable[[], Iterable[Event]]
    """Returns what is held."""
    heartbeat: Callable[[str], Event | None]
    """Returns the heartbeat as of now of the instance with that id, or None where there is none."""
    next_heartbeat: Callable[[], datetime | None]


def preview(sources: Sources, row: Settings | None, status: Mapping[Kind, KindStatus]) -> Preview:
    """Return what would be sent now, as if whoever has not agreed yet had; `row` is the database's."""
    granted = assumed(row)
    heartbeat = sources.heartbeat(str(granted.instance_id))

    def part(events: Iterable[Event]) -> Part:
        given = tuple(events)
        return Part(events=given, requests=tuple(print_through_gate(sources, granted, given)))

    return Preview(
        status=status,
        waiting=part(sources.waiting()),
        heartbeat=part([heartbeat] if heartbeat else []),
        samples=part(_samples(sources, granted, heartbeat)),
        batch_delay_s=sources.config.batch_delay_s,
        next_heartbeat=sources.next_heartbeat(),
    )


def assumed(row: Settings | None) -> Settings:
    """Return the row as it would be with both kinds granted; a UUID that is not there yet is made up."""
    granted = row or Settings(
        is_setup_completed=True,
        enable_error_reporting=True,
        enable_telemetry=True,
        instance_id=None,
        errors_generation=0,
        telemetry_generation=0,
    )
    return replace(
        granted,
        enable_error_reporting=True,
        enable_telemetry=True,
        instance_id=granted.instance_id or uuid4(),
        errors_generation=0,  # nothing that is shown was withdrawn
        telemetry_generation=0,
    )


def print_through_gate(sources: Sources, row: Settings, events: Iterable[Event]) -> list[PrintedRequest]:
    """Return the requests in which a gate with this consent would send the events."""
    config = sources.config
    key_row = next(setting for setting in SETTINGS if setting.name == "api_key")
    transport = PrintingTransport(
        api_key=config.api_key or NO_KEY,
        shown_key=key_row.show(config.api_key) if config.api_key else NO_KEY,
        host=config.host,
        timeout_s=config.http_timeout_s,
        user_agent=f"{LIBRARY}/{version(LIBRARY)}",
    )
    gate = gate_granting(
        row,
        registry=sources.registry,
        config=config,
        transport=transport,
        scrubber=sources.scrubber,
        before_send=sources.before_send,
    )
    gate.send(list(events))
    transport.close()
    return transport.printed


def gate_granting(
    row: Settings,
    *,
    registry: Registry,
    config: Config,
    transport: Transport,
    scrubber: Scrubber | None = None,
    before_send: BeforeSend | None = None,
) -> Gate:
    """Return a gate like that of real events, with this consent, over a transport that shows them."""
    notices = Notices()
    watch = ConsentWatch(
        lambda: row,
        max_age_s=config.consent_max_age_s,
        is_disabled=False,
        notices=notices,
        on_change=lambda _consent: None,
    )
    parts = Parts(
        watch=watch,
        registry=registry,
        scrubber=scrubber or Scrubber(),
        transport=transport,
        spool=MemorySpool(max_bytes=config.spool_max_bytes, on_put=lambda: None),
        counts=Counts(),
        notices=notices,
        before_send=before_send,
    )
    return Gate(parts, config)


def _samples(sources: Sources, granted: Settings, heartbeat: Event | None) -> Iterable[Event]:
    for kind in Kind:
        manifest = sources.registry.allowed(kind, granted.manifest(kind))
        for spec in manifest.events.values():
            if spec.name == EXCEPTION:
                yield _event(EXCEPTION, _sample_exception(sources.base))
            elif not (spec.name == HEARTBEAT and heartbeat):
                yield _event(spec.name, sources.base.over(_sample_values(spec)))
        if manifest.is_open:
            yield _event("any_event", sources.base.over({"number": 1, "flag": True, "text": "short text"}))


def _sample_values(spec: EventSpec) -> dict[str, object]:
    return {name: declared.values.sample() for name, declared in spec.properties.items()}


def _sample_exception(base: BaseProperties) -> dict[str, object]:
    recorded: dict[str, object] = {
        attributes.HTTP_REQUEST_METHOD: "GET",
        attributes.URL_SCHEME: "https",
        attributes.URL_PATH: "/path/of/the/request",
    }
    try:
        json.loads("{")  # fails in code that everybody has, so that frames with source lines can be shown
    except ValueError as error:
        recorded[attributes.EXCEPTION_TYPE] = type_of(error)
        recorded[attributes.EXCEPTION_MESSAGE] = message_of(error)
        recorded[attributes.EXCEPTION_CHAIN] = describe(error)
    return exception_properties(recorded, base, trace_id=0, span_id=0)


def _event(name: str, properties: dict[str, object]) -> Event:
    now_ns = time.time_ns()
    return Event(
        name=name,
        properties=properties,
        timestamp=time_from_ns(now_ns),
        uuid=uuid4(),
        accepted_ns=now_ns,
    )
