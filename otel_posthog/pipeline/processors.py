"""Queue the records that consent allows, for an exporter on another thread.

Processors cannot be removed from a provider, and consent changes at run time, so these switch
themselves: while consent is denied they hold no queue and no thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Answer, Consent
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.emit.breadcrumbs import SPAN, Breadcrumbs
from otel_posthog.emit.emitters import current, is_current
from otel_posthog.emit.failures import RateLimit, mark_as_reported, note_ending, subject_of, was_reported
from otel_posthog.emit.request_context import Owner, current_request, request_attributes
from otel_posthog.emit.tracebacks import describe
from otel_posthog.mapping import fatal_exceptions, kinds_of_span
from otel_posthog.otel import attributes
from otel_posthog.otel.api import process_meter_provider
from otel_posthog.otel.records import accept, acceptance_of, claim, note_queued, release
from otel_posthog.otel.sdk import (
    BatchLogRecordProcessor,
    LogRecordProcessor,
    ReadWriteLogRecord,
    attributes_of,
    shut_down_within,
    without_events,
)
from otel_posthog.registry import ERROR_EVENTS, Kind, Registry
from otel_posthog.span_rules import SpanRules

from .exporters import (
    Inner,
    PostHogLogExporter,
    PostHogSpanExporter,
    Waiting,
    kind_of_record,
    may_become_event,
    recorded_span,
    scope_of,
)

_log = logging.getLogger(__name__)
_P = TypeVar("_P", bound=BatchLogRecordProcessor | BatchSpanProcessor)


class Switch(Generic[_P]):
    """An inner batch processor that exists only while records are accepted."""

    def __init__(self, make: Callable[[Waiting], Inner[_P]], *, max_records: int, counts: Counts) -> None:
        self._make = make
        self._max_records = max_records
        self._counts = counts
        self._running: Inner[_P] | None = None
        self._is_closed = True
        self._lock = threading.RLock()  # reentrant, as in Waiting
        follow_forks(self)

    def put(self, emit: Callable[[_P], object], kinds: Iterable[Kind], record: object = None) -> bool:
        """Accept an event of each kind and queue their record by `emit`; False without a place."""
        running = self._running or self._start()
        if running is None:
            release(record)  # a declared exporter may send it
            return False
        self._counts.accept_each(kinds)
        try:
            is_queued = running.waiting.enter(lambda: emit(running.processor))
        except BaseException:
            self._counts.accept_each(kinds, -1)
            raise
        if is_queued:
            for kind in kinds:
                self._counts.note("accepted", kind)
        elif running.waiting.is_closed:
            release(record)
            self._counts.accept_each(kinds, -1)
        else:
            self._counts.add_each("queue_full", {kind.value: 1 for kind in kinds})
        return is_queued

    def stop(self) -> None:
        """Discard the processor without waiting."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.discard()

    def close(self, timeout_s: float) -> None:
        """Export for at most `timeout_s`, spool the rest, and accept nothing until `open`."""
        with self._lock:
            running, self._running = self._running, None
            self._is_closed = True
        if running is not None:
            running.close(time.monotonic() + timeout_s)

    @property
    def is_open(self) -> bool:
        """Whether records are accepted: the host can end that by shutting its provider down."""
        return not self._is_closed

    def open(self) -> None:
        """Accept records until `close`."""
        self._is_closed = False

    def after_fork(self) -> None:
        """Reset in a child; the inner processor empties its queue and restarts its thread itself."""
        self._lock = threading.RLock()

    def flush(self) -> bool:
        """Export the queue on this thread."""
        running = self._running
        return running is None or running.processor.force_flush()

    def _start(self) -> Inner[_P] | None:
        with self._lock:
            if self._running is None and not self._is_closed:
                self._adopt(self._make(Waiting(self._max_records)))
            return self._running

    def _adopt(self, inner: Inner[_P]) -> None:
        if self._running is None:
            self._running = inner
        else:  # a signal handler made one while this thread was at it
            shut_down_within(inner.processor, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorParts:
    """Collaborators of both processors."""

    watch: ConsentWatch
    owner: Owner
    rate_limit: RateLimit
    config: Config
    counts: Counts
    log_limiter: LogLimiter

    def switch(
        self, batch_processor: Callable[..., _P], make_exporter: Callable[[Waiting], Any]
    ) -> Switch[_P]:
        """Return a switch that makes batch processors of this class."""
        config = self.config

        def make(waiting: Waiting) -> Inner[_P]:
            exporter = make_exporter(waiting)
            processor = batch_processor(
                exporter,
                schedule_delay_millis=config.batch_delay_s * 1000,
                max_export_batch_size=min(config.batch_max_events, config.queue_max_records),
                max_queue_size=config.queue_max_records,
                meter_provider=process_meter_provider(),
            )
            return Inner(processor=processor, exporter=exporter, waiting=waiting)

        return Switch(make, max_records=config.queue_max_records, counts=self.counts)


class _Switched(Generic[_P]):
    """Common part of the processors: the switch, and the end of the provider's life."""

    def __init__(self, parts: ProcessorParts, switch: Switch[_P]) -> None:
        self.switch, self._parts, self._owner = switch, parts, parts.owner
        self._watch, self._rate_limit = parts.watch, parts.rate_limit
        self._consent = parts.watch.cached

    def shutdown(self) -> None:
        """Export the queue and stop; the provider calls this."""
        self.switch.close(self._parts.config.shutdown_timeout_s)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - each attempt has its own timeout
        """Export the queue."""
        return self.switch.flush()

    def _admits(self, recorded: Mapping[str, object], subject: BaseException | None) -> bool:
        """Return whether a third party's exception is reported: not before, and not too often."""
        if subject is not None and was_reported(subject, current_request()):
            return False
        if self._rate_limit.admits_record(recorded):
            return True
        mark_as_reported(subject)  # it is counted
        return False

    def _wants(self, kinds: Iterable[Kind]) -> bool:
        """Return whether a record of these kinds may become an event, as far as is known."""
        known = self._consent().kinds
        return self._may_hold or any(known[kind].answer is not Answer.DENIED for kind in kinds)

    @property
    def _may_hold(self) -> bool:
        # With several products, one that holds a report would keep it from the one around it.
        return self._owner.is_alone and self._watch.may_hold

    def _take(
        self, record: object, kinds: Collection[Kind], note: Callable[[], None], emit: Callable[[_P], object]
    ) -> bool:
        """Queue the record; if its kinds are denied, hold it until consent was read again."""

        def decide(consent: Consent) -> None:
            known, at_ns = consent.kinds, acceptance_of(record, 0).at_ns
            if any(known[kind].answer is Answer.UNKNOWN or known[kind].allows(at_ns) for kind in kinds):
                is_lost = not self.switch.put(emit, kinds, record) and not self.switch.is_open
                self._parts.counts.add("unqueued", int(is_lost))

        known = self._consent().kinds
        if all(known[kind].answer is Answer.DENIED for kind in kinds):
            return self._may_hold and self._watch.hold(note, decide)
        note()  # before the batch thread can have it
        return self.switch.put(emit, kinds, record)

    def _lose(self, what: str, error: Exception) -> None:
        """Count what cannot be queued, as when no thread can be started, and log why."""
        self._parts.counts.add("unqueued")
        self._warn(what, error)

    def _warn(self, what: str, error: Exception) -> None:
        """Log a fault of ours, which must never reach the host's code."""
        self._parts.log_limiter.warning(_log, f"{what} (%s)", type(error).__name__)


class ConsentLogRecordProcessor(_Switched[BatchLogRecordProcessor], LogRecordProcessor):
    """Queue the log records that may become events, and none while consent is denied."""

    def __init__(
        self,
        make_exporter: Callable[[Waiting], PostHogLogExporter],
        parts: ProcessorParts,
        registry: Registry,
    ) -> None:
        super().__init__(parts, parts.switch(BatchLogRecordProcessor, make_exporter))
        self._registry = registry

    def enabled(self, *, event_name: str | None = None, **_others: object) -> bool:
        """Return whether building a record is worth it."""
        kind = Kind.TELEMETRY if event_name and event_name not in ERROR_EVENTS else Kind.ERRORS
        return self._wants((kind,)) and is_current(self._owner)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record if it becomes an event and its kind is not denied."""
        try:
            self._queue(log_record)
        except Exception as error:  # noqa: BLE001 - see _warn
            self._lose("A log record could not be queued", error)

    def _queue(self, log_record: ReadWriteLogRecord) -> None:
        if not is_current(self._owner):
            return
        record = log_record.log_record
        known: dict[str, object] = {}
        subject, kind = None, kind_of_record(log_record, self._registry)
        if kind is None or not self._wants((kind,)):
            return
        if kind is Kind.ERRORS and scope_of(log_record) != attributes.SCOPE:
            # Our own reports have passed both questions in `emit.capture`.
            recorded = record.attributes or {}
            subject = subject_of(recorded, getattr(record, "exception", None))
            if not self._admits(recorded, subject):
                return
            # The batch processor forgets the context, and with it the span, which may be of the request.
            span = get_current_span(record.context)
            request = current_request()
            known = {**_known_of(span), **request_attributes(request)}
            if subject is not None:  # a text has no source lines
                known[attributes.EXCEPTION_CHAIN] = describe(subject)
            breadcrumbs, events = current().breadcrumbs, partial(self._wants, (Kind.TELEMETRY,))
            if (steps := breadcrumbs.as_json(request, allows_events=events)) is not None:
                known[attributes.EXCEPTION_STEPS] = steps
        note = partial(accept, record, kind, known, (kind,))
        if self._take(record, (kind,), note, lambda processor: processor.on_emit(log_record)):
            note_queued(record)
            mark_as_reported(subject, record)


class ConsentSpanProcessor(_Switched[BatchSpanProcessor], SpanProcessor):
    """Queue the ended spans that become events, and none while consent is denied."""

    def __init__(
        self,
        make_exporter: Callable[[Waiting], PostHogSpanExporter],
        parts: ProcessorParts,
        rules: SpanRules,
        breadcrumbs: Breadcrumbs,
    ) -> None:
        super().__init__(parts, parts.switch(BatchSpanProcessor, make_exporter))
        self._rules = rules
        self._breadcrumbs = breadcrumbs

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - inherited
        """Record the span's name as a breadcrumb, unless it is our span of a request."""
        try:
            if scope_of(span) == attributes.SCOPE or not is_current(self._owner):
                return
            if self._consent().kinds[Kind.ERRORS].answer is not Answer.DENIED:
                self._breadcrumbs.note(SPAN, span.name)
        except Exception as error:  # noqa: BLE001 - see _warn
            self._warn("A span could not be noted", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span if any of its events is not denied."""
        if self._owner.is_of_file and not claim(span):
            return
        try:
            if may_become_event(span, self._rules) and is_current(self._owner):  # before consent is read
                self._queue(span)
        except Exception as error:  # noqa: BLE001 - see _warn
            self._lose("A span could not be queued", error)

    def _queue(self, span: ReadableSpan) -> None:
        # As the stock processors do: the host's sampler has decided.
        if span.context is None or not span.context.trace_flags.sampled:
            return
        kinds = kinds_of_span(recorded_span(span), self._rules)
        if not self._wants(kinds):
            return
        subject = None
        if Kind.ERRORS in kinds and self._reports_exception(span):
            subject = subject_of(_exception_in(span))
        elif Kind.ERRORS in kinds:
            if Kind.TELEMETRY not in kinds:
                return
            span, kinds = without_events(span), kinds - {Kind.ERRORS}
        note = partial(accept, span, kinds=kinds)
        if self._take(span, kinds, note, lambda processor: processor.on_end(span)):
            mark_as_reported(subject)

    def _reports_exception(self, span: ReadableSpan) -> bool:
        """Return whether the span reports the exception that ended it; then nothing else does."""
        request = current_request()
        if request is not None:  # the middleware sees whether the application handles it
            # For its report, which is emitted after this span has ended.
            request.noted().span = span.context
            return False
        recorded = _exception_in(span)
        note_ending(subject_of(recorded), _known_of(span))
        return self._admits(recorded, subject_of(recorded))


def _exception_in(span: ReadableSpan) -> Mapping[str, object]:
    return fatal_exceptions(recorded_span(span))[-1].attributes


def _known_of(span: object) -> Mapping[str, object]:
    if not isinstance(span, ReadableSpan):
        return {}
    return attributes.of_product(attributes_of(span), is_server=span.kind is SpanKind.SERVER)
