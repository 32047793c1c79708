"""Wire everything from the processors to PostHog: consent, mapping, gate, spool and heartbeat."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from opentelemetry.metrics import MeterProvider

from otel_posthog._runtime.reporting import Counts, DropLog, LogLimiter
from otel_posthog._runtime.threads import in_thread
from otel_posthog.config.settings import Config
from otel_posthog.consent.stamps import Stamper
from otel_posthog.consent.state import Answer, Consent
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.delivery.gate import DEVELOPMENT, Gate
from otel_posthog.delivery.prepare import Preparation
from otel_posthog.delivery.spool import Drainer, make_spool, spool_folder
from otel_posthog.delivery.transport import Transport, posthog_transport
from otel_posthog.emit.request_context import Owner
from otel_posthog.heartbeat import Heartbeat, RoundParts
from otel_posthog.mapping import BaseProperties
from otel_posthog.middleware.asgi import ConsentSnapshot
from otel_posthog.pipeline.collector import CollectorGate
from otel_posthog.pipeline.exporters import ExporterMetrics, PostHogLogExporter, PostHogSpanExporter, Waiting
from otel_posthog.pipeline.processors import ConsentLogRecordProcessor, ConsentSpanProcessor, ProcessorParts
from otel_posthog.registry import Kind, Registry
from otel_posthog.scrubbing import BeforeSend, Scrubber
from otel_posthog.span_rules import SpanRules
from otel_posthog.store import DatabaseSource, HeartbeatLease

from .consent_service import ConsentService
from .error_capture import ErrorCapture, startup_test_event

_log = logging.getLogger(__name__)
# Parts of consent_max_age_s: while anything may be sent, the answer is never too old. Behind a Collector
# an answer that is too old costs the records of that time, so consent is refreshed three times as often.
_WATCH_EVERY = 0.75
_STAMP_EVERY = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """A product's settings and objects, resolved."""

    config: Config
    database: DatabaseSource
    registry: Registry
    span_rules: SpanRules
    scrubber: Scrubber
    before_send: BeforeSend | None = None
    # None for PostHog itself.
    transport: Transport | None = None
    meter_provider: MeterProvider | None = None
    clock: Callable[[], float] | None = None
    environ: Mapping[str, str] | None = None
    # Whether a file declares it: then the host's records are read, and exporters get them as well.
    is_of_file: bool = False
    is_default: bool = False


class ExportPipeline:
    """The processors and everything behind them; every part follows each answer about consent."""

    def __init__(self, given: PipelineOptions, log_limiter: LogLimiter) -> None:
        self.given = given
        self.config = given.config
        self.log_limiter = log_limiter
        self.consent_snapshot = ConsentSnapshot()
        # Called when product events may be sent from now on.
        self.on_telemetry: Callable[[], None] | None = None
        self.on_watch: Callable[[], None] = lambda: None
        self._is_open = False
        self._transport = given.transport or posthog_transport(given.config)
        self.has_transport = self._transport is not None  # not without a project API key
        self.counts = Counts()
        self._drop_log = DropLog(self.counts)
        self._ledger_due_s = 0.0
        self.owner = Owner(is_default=given.is_default, is_of_file=given.is_of_file)
        self.error_capture = ErrorCapture(given.config, self.counts, self.owner)
        self.base = BaseProperties(
            environment=given.config.environment,
            service_version=given.config.service_version,
            send_host=given.config.send_host,
            roots=given.config.roots,
            steps_max_bytes=given.config.error_steps_max_bytes,
            scrubber=given.scrubber,
        )
        self.consent = ConsentService(given.database, given.config, given.registry)
        database = self.consent.store.database
        folder = spool_folder(
            given.config.spool_dir,
            database_file=database.file,
            database_name=database.name,
            environ=os.environ if given.environ is None else given.environ,
        )
        self.spool = make_spool(folder, given.config, counts=self.counts, log_limiter=log_limiter)
        # After the database and the spool: reading consent holds its lock while it uses both, so a fork
        # waits for that lock first.
        self.watch = ConsentWatch(
            self.consent.settled_row,
            max_age_s=given.config.consent_max_age_s,
            is_disabled=given.config.disabled,
            log_limiter=log_limiter,
            on_change=self._follow,
        )
        self.watch.on_read = self._update_snapshot
        if not given.config.through_collector:  # there the host's exporter would get them
            self.watch.max_held = min(given.config.error_burst, given.config.batch_max_events)
        preparation = Preparation(
            given.config,
            registry=given.registry,
            scrubber=given.scrubber,
            counts=self.counts,
            log_limiter=log_limiter,
            before_send=given.before_send,
        )
        self.gate = Gate(preparation, watch=self.watch, transport=self._transport, spool=self.spool)
        self._for_exporters = self.gate, self.base, given.registry, log_limiter
        round_parts = RoundParts(
            config=given.config,
            watch=self.watch,
            lease=HeartbeatLease(database),
            send=(CollectorGate(self.owner) if given.config.through_collector else self.gate).send,
            base=self.base,
            counts=self.counts,
            spool=self.spool,
            log_limiter=log_limiter,
            clock=given.clock,
        )
        self.heartbeat = Heartbeat(round_parts, registry=given.registry, database=database)
        stamper = Stamper(self.watch.fresh) if given.config.through_collector else None
        self._drainer = Drainer(
            self.spool,
            attempt=self.gate.resend,
            pause=self.gate.pause_s,
            watch=self._keep_watch,
            interval_s=given.config.consent_max_age_s * (_STAMP_EVERY if stamper else _WATCH_EVERY),
            log_limiter=log_limiter,
        )
        processors = ProcessorParts(
            owner=self.owner,
            watch=self.watch,
            rate_limit=self.error_capture.rate_limit,
            config=given.config,
            counts=self.counts,
            log_limiter=log_limiter,
            stamper=stamper,
        )
        self.logs = ConsentLogRecordProcessor(self.log_exporter, processors, given.registry)
        self.spans = ConsentSpanProcessor(
            self.span_exporter, processors, given.span_rules, self.error_capture.breadcrumbs
        )

    def open(self) -> None:
        """Accept records until `close`; in development send the test event of a start."""
        self._is_open = True
        self.logs.switch.open()
        self.spans.switch.open()
        self._drainer.open()
        self.heartbeat.open()
        self.watch.open()
        if self.config.environment == DEVELOPMENT:
            in_thread(
                lambda: self.gate.send_startup_test(startup_test_event(self.config, self.base)),
                "otel-posthog-test",
            )

    def _follow(self, consent: Consent) -> None:
        """Discard what was withdrawn, and run only the threads that the answer requires."""
        # First, so that a drainer that starts below finds nothing that was withdrawn.
        self.spool.purge(consent)
        self.error_capture.follow(consent)
        is_settled = self.heartbeat.follow(consent)
        if consent.is_on:
            is_settled = self._drainer.ensure_running() and is_settled
        elif consent.is_off:
            self.logs.switch.stop()
            self.spans.switch.stop()
            # Its thread finds nothing to send, and ends.
            self._drainer.nudge()
            self.spool.delete()
            if self._transport is not None:
                self._transport.close()
        if not is_settled:
            self.watch.announce_again()  # a thread could not start
        if self.on_telemetry is not None and consent.kinds[Kind.TELEMETRY].answer is not Answer.DENIED:
            self.on_telemetry()

    def _update_snapshot(self, consent: Consent) -> None:
        answer = consent.kinds[Kind.ERRORS].answer
        snapshot, until_s = self.consent_snapshot, consent.read_at_s + self.config.consent_max_age_s
        snapshot.may_report = answer is not Answer.DENIED
        snapshot.reporting_until_s = until_s if answer is Answer.GRANTED else -inf
        snapshot.fresh_until_s = until_s if self._is_open else -inf

    def flush(self, timeout_s: float) -> bool:
        """Send what waits; return whether all of it was sent within the timeout. Never raises."""
        try:
            # On a thread, since a POST may take longer than the timeout.
            sending = in_thread(self._send_all, "otel-posthog-flush")
            return sending.result(timeout_s) and self.spool.is_empty()
        except TimeoutError:
            return False
        except Exception as error:  # noqa: BLE001 - a product calls it where it cleans up
            self.log_limiter.warning(_log, "flush() failed (%s), so events may wait", type(error).__name__)
            return False

    def _send_all(self) -> bool:
        self.watch.settle(self.config.consent_max_age_s)
        are_flushed = [self.logs.switch.flush(), self.spans.switch.flush()]
        self._drainer.drain()
        self.spool.write_ledger()
        return all(are_flushed)

    def leave_sending(self, timeout_s: float) -> bool:
        """Spool what waits, for another process to send; return whether it is on disk. Never raises."""
        try:
            if self.config.through_collector or not self.spool.move_to_disk():
                return False
            self.heartbeat.retire()
            self._drainer.retire()
            self.error_capture.emit_summary()
            self._drop_log.write(_log)
            was_sending, self.gate.spools_first = not self.gate.spools_first, True
            self.watch.settle(self.config.consent_max_age_s)
            for switch in (self.logs.switch, self.spans.switch):
                if not was_sending:
                    switch.flush()
                elif switch.is_open:  # its exporter may be sending
                    switch.close(timeout_s / 2)
                    switch.open()
            self.gate.hold_unfinished()
            return self.spool.move_to_disk()
        except Exception as error:  # noqa: BLE001 - a product calls it where it cleans up
            self.log_limiter.warning(_log, "spool() failed (%s), so events may wait", type(error).__name__)
            return False

    def close(self, deadline_s: float) -> None:
        """Send what waits until that monotonic time, spool the rest, and stop every thread."""
        self._is_open = False
        self.consent_snapshot.fresh_until_s = -inf
        self.watch.settle(left_s(deadline_s) / 2)
        # What the processors hold reaches gate or spool before the drainer ends.
        self.logs.switch.close(left_s(deadline_s))
        self.spans.switch.close(left_s(deadline_s))
        self.heartbeat.stop(left_s(deadline_s) / 2)  # a gauge may hang, and the spool wants its attempt
        self._drainer.stop(left_s(deadline_s))
        for kind in Kind:  # what PostHog answers in time is not spooled, and so not sent twice
            self.gate.wait_until_idle(kind, left_s(deadline_s))
        self.gate.hold_unfinished()
        self._drop_log.write_now(_log)

    def release(self, deadline_s: float) -> None:
        """Close files and connections; the next use opens them again."""
        self.watch.close(left_s(deadline_s))
        if self._transport is not None:
            self._transport.close()
        self.spool.close()
        self.consent.store.close()

    def _keep_watch(self) -> bool:
        """Report suppressed errors and drops once a minute, and return whether anything may be sent."""
        self.on_watch()
        self.error_capture.emit_summary()
        self._drop_log.write(_log)
        if time.monotonic() >= self._ledger_due_s:
            self._ledger_due_s = time.monotonic() + self.config.ledger_interval_s
            self.spool.write_ledger()
        return self.watch.refresh().is_on

    def log_exporter(self, queue: Waiting | None = None) -> PostHogLogExporter:
        """Return an exporter of log records, for our own processor or any other."""
        metrics = ExporterMetrics(self.given.meter_provider, "log")
        return PostHogLogExporter(*self._for_exporters, queue=queue, metrics=metrics)

    def span_exporter(self, queue: Waiting | None = None) -> PostHogSpanExporter:
        """Return an exporter of spans, for our own processor or any other."""
        return PostHogSpanExporter(
            *self._for_exporters,
            rules=self.given.span_rules,
            queue=queue,
            metrics=ExporterMetrics(self.given.meter_provider, "span"),
        )


def left_s(deadline_s: float) -> float:
    """Return the seconds until that monotonic time, 0 if it has passed."""
    return max(0.0, deadline_s - time.monotonic())
