"""From OTLP requests to events on their way: mapping, each record's consent, and what was agreed to.

Pure but for counters; consent looked up in a database, scrubbing and limits are the outlet's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from uuid import UUID, uuid5

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_posthog import attributes, stamps
from otel_posthog.counts import Counts
from otel_posthog.events import UNSTAMPED, Event
from otel_posthog.mapping import (
    BaseProperties,
    event_from_log,
    events_from_span,
    kind_of_log,
    kinds_of_span,
    without_events,
)
from otel_posthog.notices import Notices
from otel_posthog.registry import Kind, Registry
from otel_posthog.span_rules import SpanRules

from .views import OtlpLog, OtlpSpan

_log = logging.getLogger(__name__)
_ERROR = Status.STATUS_CODE_ERROR
_EVENT_NAME = attributes.EVENT_NAME
_EVENT_NAME_FIELD = bytes([0x0A, len(_EVENT_NAME)]) + _EVENT_NAME.encode()  # the key of a `KeyValue`
_VERSION = ("service.version",)
_ENVIRONMENT = ("deployment.environment.name", "deployment.environment")  # the latter until semconv 1.27
_BASES = 256  # of version and environment, remembered
_MAX_BASE_CHARS = 200


class Taken:
    """What one request held for PostHog."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rejected = 0
        """Records that can never become an event."""


class Intake:
    """Turn the records of a request into events that consent lets go."""

    def __init__(
        self,
        *,
        registry: Registry,
        rules: SpanRules,
        base: BaseProperties,
        counts: Counts,
        notices: Notices,
        are_stamps_compared: bool = False,
    ) -> None:
        self._are_stamps_compared = are_stamps_compared
        self._registry = registry
        self._rules = rules
        self._base = base
        self._counts = counts
        self._notices = notices
        self._known_base = lru_cache(maxsize=_BASES)(self._base_for)

    def logs(self, request: ExportLogsServiceRequest) -> Taken:
        """Take the events of log records."""
        taken = Taken()
        for resource_logs in request.resource_logs:
            base = self._base_of(resource_logs.resource)
            for scope_logs in resource_logs.scope_logs:
                for record in scope_logs.log_records:
                    self._take(taken, OtlpLog(record, scope_logs.scope.name), base)
        return taken

    def spans(self, request: ExportTraceServiceRequest, content: bytes | None) -> Taken:
        """Take the events of spans; `content` is the request as it came, if that was protobuf."""
        taken = Taken()
        may_name_events = content is None or _EVENT_NAME_FIELD in content
        for resource_spans in request.resource_spans:
            base = self._base_of(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in self._of_interest(scope_spans.spans, may_name_events=may_name_events):
                    self._take(taken, OtlpSpan(span, scope_spans.scope.name), base)
        return taken

    def _of_interest(self, spans: Sequence[Span], *, may_name_events: bool) -> Iterator[Span]:
        """Sort out most spans at a fraction of what it costs to say what they become."""
        matching = self._rules.names.matching
        for span in spans:
            if (
                matching(span.name)
                or span.status.code == _ERROR
                or (may_name_events and any(pair.key == _EVENT_NAME for pair in span.attributes))
            ):
                yield span

    def _take(self, taken: Taken, record: OtlpLog | OtlpSpan, base: BaseProperties) -> None:
        """Map one record; one that cannot be mapped costs only itself."""
        try:
            kinds = self._kinds(record)
            if not kinds:
                return
            stamped = stamps.read(record.attributes)
            if stamped is None or not kinds & stamped.given.keys():
                self._counts.add("no_consent")
                return
            for event in self._map(record, base, stamped):
                agreed = self._agreed(event, stamped)
                if agreed is not None:
                    taken.events.append(agreed)
        except Exception as error:  # noqa: BLE001 - foreign records hold anything
            taken.rejected += 1
            self._counts.add("unmappable")
            self._notices.warn(_log, "A record could not be mapped and is dropped (%s)", type(error).__name__)

    def _kinds(self, record: OtlpLog | OtlpSpan) -> frozenset[Kind]:
        if isinstance(record, OtlpSpan):
            return kinds_of_span(record, self._rules)
        kind = kind_of_log(record.scope, record.event_name, record.attributes, self._registry)
        return frozenset() if kind is None else frozenset({kind})

    def _map(self, record: OtlpLog | OtlpSpan, base: BaseProperties, stamped: stamps.Stamped) -> list[Event]:
        if isinstance(record, OtlpSpan):
            return events_from_span(record, base, self._registry, self._rules)
        event = event_from_log(record, base, self._registry)
        return [] if event is None else [_with_lasting_uuid(event, record, stamped)]

    def _agreed(self, event: Event, stamped: stamps.Stamped) -> Event | None:
        """Keep of the event what that installation has agreed to."""
        given = stamped.given.get(event.kind)
        if given is None:
            self._counts.add("no_consent")
            return None
        properties = event.properties if Kind.TELEMETRY in stamped.given else without_events(event.properties)
        if given.manifest not in (None, self._registry.manifest(event.kind).hash):
            admission = self._registry.examine(event.name, properties, given.manifest)
            if admission is None:
                self._counts.add("other_manifest")
                self._notices.warn(
                    _log,
                    "An installation has agreed to a manifest that does not hold the event, or that is not "
                    "known here: name its file in gateway_manifests",
                )
                return None
            properties = admission.properties
        return Event(  # a third of what `replace` costs
            name=event.name,
            properties=properties,
            timestamp=event.timestamp,
            uuid=event.uuid,
            accepted_ns=min(event.accepted_ns, time.time_ns()),
            distinct_id=stamped.instance_id,
            stamp=given.stamp if self._are_stamps_compared else UNSTAMPED,
        )

    def _base_of(self, resource: Resource) -> BaseProperties:
        return self._known_base(_text(resource, _VERSION), _text(resource, _ENVIRONMENT))

    def _base_for(self, version: str | None, environment: str | None) -> BaseProperties:
        return replace(
            self._base,
            service_version=version or self._base.service_version,
            environment=environment or self._base.environment,
        )


def _with_lasting_uuid(event: Event, record: OtlpLog, stamped: stamps.Stamped) -> Event:
    """Return the event with a uuid that every resend and every gateway gives it, whoever made the record."""
    has_one = attributes.EVENT_UUID in record.attributes or (event.kind is Kind.ERRORS and record.trace_id)
    if has_one:
        return event
    told = (record.scope, event.name, record.time_ns, record.observed_ns, record.trace_id, record.span_id)
    return replace(event, uuid=uuid5(UUID(stamped.instance_id), ":".join(map(str, told))))


def _text(resource: Resource, names: Sequence[str]) -> str | None:
    for name in names:
        for pair in resource.attributes:
            if pair.key == name and pair.value.string_value:
                return pair.value.string_value[:_MAX_BASE_CHARS]
    return None
