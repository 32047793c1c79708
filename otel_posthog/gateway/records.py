"""Map the records of OTLP requests to events that their installation has agreed to.

Pure but for counters. Consent in a database, scrubbing and limits come later, in `delivery`.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import inf
from uuid import UUID, uuid5

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.consent import stamps
from otel_posthog.events import UNSTAMPED, Event
from otel_posthog.mapping import (
    BaseProperties,
    event_from_log,
    events_from_span,
    kind_of_log,
    kinds_of_span,
    with_steps_since,
)
from otel_posthog.otel import attributes
from otel_posthog.otel.records import RecordedLog, RecordedSpan, RecordedSpanEvent, uuid_in
from otel_posthog.registry import Kind, Registry
from otel_posthog.span_rules import SpanRules

from .finished import finished_event

_log = logging.getLogger(__name__)
_PLAIN = frozenset({"string_value", "bool_value", "int_value", "double_value", "bytes_value"})
_KINDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}
_ERROR = Status.STATUS_CODE_ERROR
_STATUSES = {Status.STATUS_CODE_OK: "ok", _ERROR: "error"}
_KNOWS_IF_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_EVENT_NAME = attributes.EVENT_NAME
_EVENT_NAME_FIELD = bytes([0x0A, len(_EVENT_NAME)]) + _EVENT_NAME.encode()  # the key of a `KeyValue`
_CACHED_BASES = 256  # pairs of version and environment


@dataclass(slots=True)
class Mapped:
    """What one request holds for PostHog."""

    events: list[Event] = field(default_factory=list)
    rejected: int = 0  # records that can never become an event


def _span_of(span: Span, scope: str) -> RecordedSpan:
    is_error = span.status.code == _ERROR
    return RecordedSpan(
        name=span.name,
        scope=scope,
        kind=_KINDS.get(span.kind, "internal"),
        status=_STATUSES.get(span.status.code, "unset"),
        attributes=values_of(span.attributes),
        events=[RecordedSpanEvent(e.name, values_of(e.attributes), e.time_unix_nano) for e in span.events]
        if is_error
        else (),
        # No parent, or one that is known to be in another process.
        is_local_root=not span.parent_span_id
        or bool(span.flags & _KNOWS_IF_REMOTE and span.flags & _IS_REMOTE),
        is_error=is_error,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        accepted_ns=span.end_time_unix_nano,
        trace_id=int.from_bytes(span.trace_id),
        span_id=int.from_bytes(span.span_id),
    )


def values_of(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """Return attributes as Python values."""
    found: dict[str, object] = {}
    for pair in pairs:
        value = pair.value
        name = value.WhichOneof("value")
        found[pair.key] = getattr(value, name) if name in _PLAIN else _nested(value, name)
    return found


def _nested(value: AnyValue, name: str | None) -> object:
    """Return a list, a mapping, or None for an empty value."""
    if name == "kvlist_value":
        return values_of(value.kvlist_value.values)
    if name != "array_value":
        return None
    items = ((item, item.WhichOneof("value")) for item in value.array_value.values)
    return tuple(getattr(item, kind) if kind in _PLAIN else _nested(item, kind) for item, kind in items)


class RecordMapper:
    """Turn the records of a request into events, as far as their own consent allows."""

    def __init__(
        self,
        *,
        registry: Registry,
        rules: SpanRules,
        base: BaseProperties,
        counts: Counts,
        log_limiter: LogLimiter,
        config: Config,
    ) -> None:
        self._event_max_bytes = config.event_max_bytes
        self._are_stamps_compared = config.gateway_databases is not None
        self._registry = registry
        self._rules = rules
        self._base = base
        self._counts = counts
        self._log_limiter = log_limiter
        self._cached_base = lru_cache(maxsize=_CACHED_BASES)(self._base_with)

    def logs(self, request: ExportLogsServiceRequest) -> Mapped:
        """Return the events of log records."""
        mapped = Mapped()
        for resource_logs in request.resource_logs:
            base = self._base_of(resource_logs.resource)
            for scope_logs in resource_logs.scope_logs:
                scope, identical = scope_logs.scope.name, Counter[UUID]()
                for record in scope_logs.log_records:
                    self._add(mapped, partial(self._log_events, record, scope, base, identical))
        return mapped

    def spans(self, request: ExportTraceServiceRequest, content: bytes | None) -> Mapped:
        """Return the events of spans; `content` is the body if that was protobuf."""
        mapped = Mapped()
        # One search of the whole body saves one of each span's attributes if no span names an event.
        may_name_events = content is None or _EVENT_NAME_FIELD in content
        for resource_spans in request.resource_spans:
            base = self._base_of(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in self._candidates(scope_spans.spans, may_name_events=may_name_events):
                    self._add(mapped, partial(self._span_events, span, scope_spans.scope.name, base))
        return mapped

    def _candidates(self, spans: Sequence[Span], *, may_name_events: bool) -> Iterator[Span]:
        """Yield the spans that can become events; this costs a fraction of mapping the others."""
        matching = self._rules.names.matching
        for span in spans:
            if (
                matching(span.name)
                or span.status.code == _ERROR
                or (may_name_events and any(pair.key == _EVENT_NAME for pair in span.attributes))
            ):
                yield span

    def _add(self, mapped: Mapped, events_of: Callable[[], Iterable[Event | None]]) -> None:
        """Map one record; one that cannot be mapped costs only itself."""
        try:
            mapped.events += filter(None, events_of())
        except Exception as error:  # noqa: BLE001 - records of strangers hold anything
            mapped.rejected += 1
            self._counts.add("unmappable")
            self._log_limiter.warning(
                _log, "A record could not be mapped and is dropped (%s)", type(error).__name__
            )

    def _log_events(
        self, record: LogRecord, scope: str, base: BaseProperties, identical: Counter[UUID]
    ) -> Iterable[Event | None]:
        recorded = values_of(record.attributes)
        if attributes.FINISHED_EVENT in recorded:
            return (self._finished(record, recorded),)
        name, severity = record.event_name or None, record.severity_number
        kind = kind_of_log(scope, name, recorded, self._registry, severity)
        stamped = None if kind is None else self._consent_of(recorded, {kind})
        if kind is None or stamped is None:  # most log lines become nothing
            return ()
        log = RecordedLog(
            scope=scope,
            event_name=name,
            attributes=recorded,
            time_ns=record.time_unix_nano or record.observed_time_unix_nano,
            accepted_ns=record.observed_time_unix_nano,
            trace_id=int.from_bytes(record.trace_id),
            span_id=int.from_bytes(record.span_id),
            severity=severity,
        )
        event = self._agreed(event_from_log(log, kind, base), stamped)
        if event is None or uuid_in(recorded) or (kind is Kind.ERRORS and log.trace_id):
            return (event,)
        uuid = self._derived_uuid(event, log, stamped.grants[kind])
        identical[uuid] += 1
        if identical[uuid] > 1:
            uuid = uuid5(uuid, str(identical[uuid]))
        return (replace(event, uuid=uuid),)

    def _finished(self, record: LogRecord, recorded: Mapping[str, object]) -> Event | None:
        """Return the event that the record holds; what others have written beside it counts for nothing."""
        stamped = self._consent_of(recorded, set(Kind))
        if stamped is None:
            return None
        event = finished_event(
            recorded[attributes.FINISHED_EVENT],
            name=record.event_name,
            instance_id=stamped.instance_id,
            accepted_ns=record.observed_time_unix_nano,
            max_bytes=self._event_max_bytes,
        )
        return self._agreed(event, stamped)

    def _derived_uuid(self, event: Event, record: RecordedLog, grant: stamps.RecordedGrant) -> UUID:
        """Return a uuid that every resend of the record and every gateway gives it."""
        times = (record.time_ns, record.accepted_ns)
        identity = [record.scope, event.name, *times, record.trace_id, record.span_id]
        # Only what is sent: a hash of more could be tried against guesses (docs/adr/0057). Without a
        # manifest on the record, a database that is read later may still narrow the event.
        if grant.manifest is not None or not self._are_stamps_compared:
            admitted = event.with_properties(self._registry.admit(event.name, event.properties) or {})
            sent = self._base.scrubber.scrub(admitted).properties.items()
            own = {name: value for name, value in sent if name not in self._base.properties}
            identity.append(json.dumps(own, default=str))
        return uuid5(UUID(event.distinct_id), ":".join(map(str, identity)))

    def _span_events(self, record: Span, scope: str, base: BaseProperties) -> Iterable[Event | None]:
        span = _span_of(record, scope)
        kinds = kinds_of_span(span, self._rules)
        stamped = self._consent_of(span.attributes, kinds) if kinds else None
        if stamped is None:
            return ()
        events = events_from_span(span, base, self._registry, self._rules)
        return [self._agreed(event, stamped) for event in events]

    def _consent_of(
        self, recorded: Mapping[str, object], kinds: AbstractSet[Kind]
    ) -> stamps.RecordedConsent | None:
        """Return the consent on the record; None, counted, if it grants none of these kinds."""
        stamped = stamps.read(recorded)
        if stamped is None or not kinds & stamped.grants.keys():
            self._counts.add("no_consent")
            return None
        return stamped

    def _agreed(self, event: Event, stamped: stamps.RecordedConsent) -> Event | None:
        """Return what that installation has agreed to of the event; None if it has not agreed at all."""
        kind = event.kind
        grant = stamped.grants.get(kind)
        if grant is None:
            self._counts.add("no_consent")
            return None
        properties = event.properties
        if Kind.TELEMETRY not in stamped.grants:
            # Breadcrumbs name product events, which need a consent of their own (docs/adr/0015).
            properties = with_steps_since(properties, -inf, inf)
        if grant.manifest not in (None, self._registry.manifest(kind).hash):
            admission = self._registry.examine(event.name, properties, grant.manifest)
            if admission is None:
                self._counts.add("other_manifest")
                self._log_limiter.warning(
                    _log,
                    "An installation has agreed to a manifest that does not hold the event, or that is not "
                    "known here: name its file in gateway_manifests",
                )
                return None
            properties = admission.properties
        return Event(  # a third of the time of `replace`
            name=event.name,
            properties=properties,
            timestamp=event.timestamp,
            uuid=event.uuid,
            # The sender's clock: a time in the future would outlive a withdrawal.
            accepted_ns=min(event.accepted_ns, time.time_ns()),
            distinct_id=stamped.instance_id,
            stamp=grant.stamp if self._are_stamps_compared else UNSTAMPED,
        )

    def _base_of(self, resource: Resource) -> BaseProperties:
        return self._cached_base(*(_text(resource, names) for names in attributes.BASE_NAMES.values()))

    def _base_with(self, version: str | None, environment: str | None) -> BaseProperties:
        base = self._base
        version, environment = version or base.service_version, environment or base.environment
        return replace(base, service_version=version, environment=environment)


def _text(resource: Resource, names: Sequence[str]) -> str | None:
    found = {pair.key: pair.value.string_value for pair in resource.attributes}
    text = next((found[name] for name in names if found.get(name)), None)
    return text and text[: attributes.MAX_BASE_CHARS]
