"""Consent on the SDK's pipeline: filter before the queue, start and stop the inner batch processor.

Processors cannot be taken off a provider, and flags flip at run time, so ours switch themselves:
while consent is denied they hold no queue and no thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import StatusCode

from . import acceptance, attributes
from ._otel import SeverityNumber
from ._otel_sdk import (
    BatchLogRecordProcessor,
    LogRecordProcessor,
    ReadWriteLogRecord,
    shut_down_within,
    take_what_waits,
    without_events,
    write_attributes,
)
from .config import Config
from .consent import Answer, Consent
from .counts import Counts
from .exporters import PostHogLogExporter, PostHogSpanExporter, SdkLog, SdkSpan, may_become_event
from .foreign import note_request, take_over
from .mapping import fatal_exceptions, kind_of_log, kinds_of_span
from .notices import Notices
from .registry import Kind, Registry, kind_of
from .request_state import request_under_way
from .span_rules import SpanRules
from .stamps import Stamper
from .steps import SPAN, Steps
from .storms import Storms

_log = logging.getLogger(__name__)
_ERROR = StatusCode.ERROR  # an enum's members are slow to look up
_P = TypeVar("_P", bound=BatchLogRecordProcessor | BatchSpanProcessor)
NEARLY_FULL = 0.75  # of the queue
_HELD_PER_S = 3_000  # records mapped, scrubbed and spooled in a second, on a core shared with others


class Waiting:
    """How many records wait in one inner processor; a bound of our own, because the stock one is silent."""

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self._number = 0
        self._is_over = False
        self._lock = threading.RLock()

    def enter(self) -> bool:
        """Take a place; tell whether there was one."""
        with self._lock:
            if self._number >= self._max_records:
                return False
            self._number += 1
            return True

    @property
    def number(self) -> int:
        """How many wait."""
        return self._number

    def end(self) -> None:
        """Send nothing more from here: what is left has to be kept."""
        self._is_over = True

    def is_pressing(self) -> bool:
        """Tell whether there is no time to send: there will soon be no room, or it is over."""
        return self._is_over or self._number > NEARLY_FULL * self._max_records

    def after_fork(self) -> None:
        """Count from nothing in a child."""
        self._lock = threading.RLock()
        self._number = 0

    def leave(self, number: int) -> None:
        """Give places back."""
        with self._lock:
            self._number = max(0, self._number - number)


class Holding(Protocol):
    """Where records go for which there is no time left."""

    def hold(self, records: list[Any], *, until_s: float) -> int:
        """Spool them; return how many that moment of monotonic time left over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Generic[_P]):
    """A batch processor at work, and where its exporter puts what it does not get to."""

    processor: _P
    exporter: Holding
    waiting: Waiting

    def close(self, deadline_s: float) -> int:
        """Export until it is time to spool the rest; return how many records were left over then."""
        until_s = deadline_s - self.waiting.number / _HELD_PER_S
        half_s = (deadline_s - time.monotonic()) / 2
        shut_down_within(self.processor, max(0.0, min(half_s, until_s - time.monotonic())))
        self.waiting.end()  # its thread may go on, and would begin requests whose answers nobody awaits
        return self.exporter.hold(take_what_waits(self.processor), until_s=deadline_s)


class Switch(Generic[_P]):
    """An inner batch processor that exists only while something is accepted."""

    def __init__(self, make: Callable[[Waiting], Inner[_P]], *, max_records: int, counts: Counts) -> None:
        self._make = make
        self._max_records = max_records
        self._counts = counts
        self._running: Inner[_P] | None = None
        self._is_closed = True
        self._lock = threading.RLock()

    def enter(self) -> _P | None:
        """Take a place in the queue, starting the processor if need be; None when there is none."""
        running = self._running or self._start()
        if running is None:
            return None
        if running.waiting.enter():
            return running.processor
        self._counts.add("queue_full")
        return None

    def stop(self) -> None:
        """Let the processor go without waiting; what it holds was withdrawn and is dropped with it."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            # Its own thread may be the one that finds consent gone; it cannot join itself, and ends anyway.
            with suppress(RuntimeError):
                shut_down_within(running.processor, 0)

    def close(self, timeout_s: float) -> None:
        """Export what waits, within the timeout, spool the rest, and accept nothing until `open`."""
        with self._lock:
            running, self._running = self._running, None
            self._is_closed = True
        if running is not None:
            self._counts.add("shutdown", running.close(time.monotonic() + timeout_s))

    def open(self) -> None:
        """Accept records, until `close`."""
        self._is_closed = False

    def after_fork(self) -> None:
        """Start afresh in a child; the inner processor has emptied its queue and got a new thread itself."""
        self._lock = threading.RLock()
        if self._running is not None:
            self._running.waiting.after_fork()

    def flush(self) -> bool:
        """Export what waits, on this thread."""
        running = self._running
        return running is None or running.processor.force_flush()

    def _start(self) -> Inner[_P] | None:
        with self._lock:
            if self._running is None and not self._is_closed:
                self._adopt(self._make(Waiting(self._max_records)))
            return self._running

    def _adopt(self, inner: Inner[_P]) -> None:
        """Take the new processor, unless a signal handler made one while this thread was at it."""
        if self._running is None:
            self._running = inner
        else:
            shut_down_within(inner.processor, 0)


class _Switched(Generic[_P]):
    """What the processors share: a switch, and the end of the provider's life."""

    switch: Switch[_P]
    _shutdown_timeout_s: float

    def shutdown(self) -> None:
        """Export what waits and stop; called by the provider."""
        self.switch.close(self._shutdown_timeout_s)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - each attempt has its own timeout
        """Export what waits."""
        return self.switch.flush()


class ConsentLogRecordProcessor(_Switched[BatchLogRecordProcessor], LogRecordProcessor):
    """Queue the log records that may become events, and nothing while consent is denied.

    With a `stamper` nothing is queued: each record gets the consent of this moment written on it, for
    the host's own exporter, which stands behind this processor.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, and which of the two ways
        self,
        make_exporter: Callable[[Waiting], PostHogLogExporter],
        *,
        consent: Callable[[], Consent],
        registry: Registry,
        storms: Storms,
        config: Config,
        counts: Counts,
        notices: Notices,
        stamper: Stamper | None = None,
    ) -> None:
        self._stamper = stamper
        self._notices = notices
        self._consent = consent
        self._storms = storms
        self._shutdown_timeout_s = config.shutdown_timeout_s
        self._registry = registry

        def make(waiting: Waiting) -> Inner[BatchLogRecordProcessor]:
            exporter = make_exporter(waiting)
            processor = BatchLogRecordProcessor(
                exporter,
                schedule_delay_millis=config.batch_delay_s * 1000,
                max_export_batch_size=min(config.batch_max_events, config.queue_max_records),
                max_queue_size=config.queue_max_records,
            )
            return Inner(processor=processor, exporter=exporter, waiting=waiting)

        self.switch = Switch(
            make,
            max_records=config.queue_max_records,
            counts=counts,
        )

    def enabled(
        self,
        *,
        context: Context | None = None,  # noqa: ARG002 - the interface's
        instrumentation_scope: InstrumentationScope | None = None,  # noqa: ARG002
        severity_number: SeverityNumber | None = None,  # noqa: ARG002
        event_name: str | None = None,
    ) -> bool:
        """Tell emitters whether building a record is worth it."""
        kind = kind_of(event_name) if event_name else Kind.ERRORS
        return self._consent().answer(kind) is not Answer.DENIED

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record if it becomes an event and its kind is not denied."""
        try:
            if self._stamper is None:
                self._queue(log_record)
            else:
                self._stamp(log_record, self._stamper.current())
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host's logging
            self._notices.warn(_log, "A log record could not be queued (%s)", type(error).__name__)

    def _stamp(self, log_record: ReadWriteLogRecord, written: Mapping[str, bool | int | str]) -> None:
        """Write consent on the record, and a uuid on one of others that becomes an event."""
        record = SdkLog(log_record)
        if written and attributes.EVENT_UUID not in record.attributes:
            kind = kind_of_log(record.scope, record.event_name, record.attributes, self._registry)
            written = written if kind is None else {**written, attributes.EVENT_UUID: str(uuid4())}
        write_attributes(log_record.log_record, written)

    def _queue(self, log_record: ReadWriteLogRecord) -> None:
        consent = self._consent()
        if consent.is_off:
            return
        record = SdkLog(log_record)
        kind = kind_of_log(record.scope, record.event_name, record.attributes, self._registry)
        if kind is None or consent.answer(kind) is Answer.DENIED:
            return
        if kind is Kind.ERRORS and record.scope != attributes.SCOPE:
            given = getattr(log_record.log_record, "exception", None)
            if not (take_over(record.attributes, given) and self._storms.admits_record(record.attributes)):
                return
            note_request(log_record.log_record)
        processor = self.switch.enter()
        if processor is not None:
            acceptance.accept(log_record.log_record)
            processor.on_emit(log_record)


class ConsentSpanProcessor(_Switched[BatchSpanProcessor], SpanProcessor):
    """Queue the ended spans that become events, and nothing while consent is denied.

    With a `stamper` nothing is queued: each span gets the consent at its end written on it, for the
    host's own exporter.
    """

    def __init__(  # noqa: PLR0913 - as of the other one
        self,
        make_exporter: Callable[[Waiting], PostHogSpanExporter],
        *,
        consent: Callable[[], Consent],
        rules: SpanRules,
        steps: Steps,
        storms: Storms,
        config: Config,
        counts: Counts,
        notices: Notices,
        stamper: Stamper | None = None,
    ) -> None:
        self._stamper = stamper
        self._notices = notices
        self._consent = consent
        self._steps = steps
        self._storms = storms
        self._rules = rules
        self._shutdown_timeout_s = config.shutdown_timeout_s

        def make(waiting: Waiting) -> Inner[BatchSpanProcessor]:
            exporter = make_exporter(waiting)
            processor = BatchSpanProcessor(
                exporter,
                schedule_delay_millis=config.batch_delay_s * 1000,
                max_export_batch_size=min(config.batch_max_events, config.queue_max_records),
                max_queue_size=config.queue_max_records,
            )
            return Inner(processor=processor, exporter=exporter, waiting=waiting)

        self.switch = Switch(
            make,
            max_records=config.queue_max_records,
            counts=counts,
        )

    def on_start(
        self,
        span: Span,
        parent_context: Context | None = None,  # noqa: ARG002 - the interface's
    ) -> None:
        """Note the span's name as a step of what may fail yet; a request's own span is the request."""
        try:
            scope = span.instrumentation_scope
            if scope is not None and scope.name == attributes.SCOPE:
                return
            if self._consent().errors is not Answer.DENIED:
                self._steps.note(SPAN, span.name)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host's code
            self._notices.warn(_log, "A span could not be noted (%s)", type(error).__name__)

    def _on_ending(self, span: Span) -> None:
        """Write on the span what a gateway has to know; after this nobody can."""
        if self._stamper is None:
            return
        try:
            self._stamp(span, self._stamper.current())
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host's code
            self._notices.warn(_log, "A span could not be stamped (%s)", type(error).__name__)

    def _stamp(self, span: Span, written: Mapping[str, bool | int | str]) -> None:
        if not written:
            return
        is_failed = span.status.status_code is _ERROR and Kind.ERRORS in kinds_of_span(
            SdkSpan(span), self._rules
        )
        if is_failed and not self._speaks_for_itself(span):
            written = {**written, attributes.EXCEPTION_TOLD: True}
        write_attributes(span, written)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span if any of its events is not denied."""
        if self._stamper is not None:
            return
        try:
            if may_become_event(span, self._rules):
                self._queue(span)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host's code
            self._notices.warn(_log, "A span could not be queued (%s)", type(error).__name__)

    def _queue(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        kinds = kinds_of_span(SdkSpan(span), self._rules)
        consent = self._consent()
        if all(consent.answer(kind) is Answer.DENIED for kind in kinds):
            return
        if Kind.ERRORS in kinds and not self._speaks_for_itself(span):
            if Kind.TELEMETRY not in kinds:
                return
            span = without_events(span)
        processor = self.switch.enter()
        if processor is not None:
            acceptance.accept(span)
            processor.on_end(span)

    def _speaks_for_itself(self, span: ReadableSpan) -> bool:
        """Tell whether the exception that ended the span is to be told from it, and by nobody else then."""
        request = request_under_way()
        if request is not None:  # the middleware sees whether the application handles it
            request.noted().span = span.context
            return False
        recorded = fatal_exceptions(SdkSpan(span))[-1].attributes
        return take_over(recorded) and self._storms.admits_record(recorded)
