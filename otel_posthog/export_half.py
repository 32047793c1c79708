"""The half that decides what leaves and delivers it, wired: from the processors to PostHog."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from opentelemetry.metrics import MeterProvider

from .config import Config
from .consent import Consent, ConsentWatch
from .counts import Counts
from .decisions import Decisions
from .durable_spool import DurableSpool
from .exporter_metrics import ExporterMetrics
from .exporters import PostHogLogExporter, PostHogSpanExporter, Queue
from .gate import Gate, Parts
from .handover import Handover
from .heartbeat import Heartbeat, RoundParts
from .listening import Listening
from .mapping import LIBRARY, BaseProperties
from .notices import Notices
from .preview import Sources
from .processors import ConsentLogRecordProcessor, ConsentSpanProcessor
from .registry import Kind, Registry
from .scrubbing import BeforeSend, Scrubber
from .span_rules import SpanRules
from .spool import Drainer, MemorySpool
from .spool_file import SpoolFile
from .spool_place import spool_folder
from .stamps import Stamper
from .store import DatabaseMeasures, HeartbeatLease
from .transport import PostHogTransport, Transport

_WATCH_EVERY = 0.75  # of the age at which an answer is too old: while something may be sent it never is
_STAMP_EVERY = 0.25  # the same, where an answer too old costs the records of the time between
_MEMORY_SPOOL_MAX_BYTES = 16_000_000  # of JSON, where the disk fails or there is no folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a product has given, resolved."""

    config: Config
    registry: Registry
    span_rules: SpanRules
    scrubber: Scrubber
    before_send: BeforeSend | None
    transport: Transport | None
    """None for PostHog itself."""
    meter_provider: MeterProvider | None
    clock: Callable[[], float] | None
    environ: Mapping[str, str] | None


class ExportHalf:
    """Everything behind the processors, and the processors; `follow` has each part obey consent."""

    def __init__(
        self, given: Given, *, decisions: Decisions, notices: Notices, on_change: Callable[[Consent], None]
    ) -> None:
        self._given = given
        self._decisions = decisions
        self._notices = notices
        self._transport = given.transport or _posthog(given.config)
        self.counts = Counts()
        self.listening = Listening(given.config, self.counts)
        self.base = BaseProperties(
            environment=given.config.environment,
            service_version=given.config.service_version,
            send_host=given.config.send_host,
            roots=given.config.roots,
            steps_max_bytes=given.config.error_steps_max_bytes,
            scrubber=given.scrubber,
        )
        self.watch = ConsentWatch(
            decisions.settled_row,
            max_age_s=given.config.consent_max_age_s,
            is_disabled=given.config.disabled,
            notices=notices,
            on_change=on_change,
        )
        self._spool = self._make_spool()
        self.gate = Gate(
            Parts(
                watch=self.watch,
                registry=given.registry,
                scrubber=given.scrubber,
                transport=self._transport,
                spool=self._spool,
                counts=self.counts,
                notices=notices,
                before_send=given.before_send,
            ),
            given.config,
        )
        self.heartbeat = self._make_heartbeat()
        stamper = Stamper(self.watch.recent) if given.config.through_collector else None
        self._drainer = Drainer(
            self._spool,
            attempt=self.gate.resend,
            pause=self.gate.pause_s,
            watch=self._keep_watch,
            interval_s=given.config.consent_max_age_s * (_STAMP_EVERY if stamper else _WATCH_EVERY),
            notices=notices,
        )
        self.logs = ConsentLogRecordProcessor(
            self.log_exporter,
            consent=self.watch.peek,
            registry=given.registry,
            storms=self.listening.storms,
            config=given.config,
            counts=self.counts,
            notices=notices,
            stamper=stamper,
        )
        self.spans = ConsentSpanProcessor(
            self.span_exporter,
            consent=self.watch.peek,
            rules=given.span_rules,
            steps=self.listening.steps,
            storms=self.listening.storms,
            config=given.config,
            counts=self.counts,
            notices=notices,
            stamper=stamper,
        )

    @property
    def has_transport(self) -> bool:
        """Whether there is anywhere to send to: without a project API key there is not."""
        return self._transport is not None

    def preview_sources(self) -> Sources:
        """Return what a preview shows."""
        return Sources(
            config=self._given.config,
            registry=self._given.registry,
            base=self.base,
            scrubber=self._given.scrubber,
            before_send=self._given.before_send,
            waiting=lambda: [event for batch in self._spool.waiting() for event in batch.events],
            heartbeat=self.heartbeat.as_of_now,
            next_heartbeat=self.heartbeat.next_due,
        )

    def open(self) -> None:
        """Accept records, until `close`."""
        self.logs.switch.open()
        self.spans.switch.open()
        self._drainer.open()
        self.heartbeat.open()
        self.watch.open()

    def follow(self, consent: Consent) -> None:
        """Discard what a look at consent has withdrawn, and run only the threads that it calls for."""
        self.gate.discard(consent)
        self.listening.follow(consent)
        self.heartbeat.follow(consent)
        if consent.is_on:
            self._drainer.ensure_running()
        elif consent.is_off:
            self.logs.switch.stop()
            self.spans.switch.stop()
            self._drainer.settle()
            self._spool.delete()
            if self._transport is not None:
                self._transport.close()

    def send_all(self) -> None:
        """Send what waits now, on this thread."""
        self.logs.switch.flush()
        self.spans.switch.flush()
        self._drainer.drain()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits in the spool."""
        return self._spool.first() is None

    def close(self, deadline_s: float) -> None:
        """Send what waits until that moment of monotonic time, spool the rest, and stop every thread."""
        self.logs.switch.close(left_s(deadline_s))
        self.spans.switch.close(left_s(deadline_s))
        self.heartbeat.stop(left_s(deadline_s) / 2)  # a gauge may hang, and the spool wants its attempt
        self._drainer.stop(left_s(deadline_s))
        for kind in Kind:  # what PostHog answers in time does not come twice
            self.gate.wait_until_idle(kind, left_s(deadline_s))
        self.gate.hold_what_is_under_way()

    def release(self, deadline_s: float) -> None:
        """Close files and connections; looks at consent go on where that has been opened again."""
        self.watch.close(left_s(deadline_s))
        if self._transport is not None:
            self._transport.close()
        self.counts.add("spool_full", self._spool.close())

    def before_fork(self) -> None:
        """Wait until no thread is inside SQLite: its locks would stay locked in the child."""
        self.watch.before_fork()
        self._decisions.store.before_fork()
        self._spool.before_fork()
        if isinstance(self._transport, PostHogTransport):
            self._transport.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if isinstance(self._transport, PostHogTransport):
            self._transport.after_fork_in_parent()
        self._spool.after_fork_in_parent()
        self._decisions.store.after_fork_in_parent()
        self.watch.after_fork_in_parent()

    def after_fork(self) -> None:
        """Forget in a child what is the parent's: locks, threads, connections, and what waits to be sent."""
        self.counts.after_fork()
        self.listening.after_fork()
        self.watch.after_fork()
        self._spool.after_fork()
        self.gate.after_fork()
        self._drainer.after_fork()
        self.heartbeat.after_fork()
        self.logs.switch.after_fork()
        self.spans.switch.after_fork()
        self._decisions.store.after_fork()
        if isinstance(self._transport, PostHogTransport):
            self._transport.after_fork()

    def _keep_watch(self) -> bool:
        """Tell what a storm has left out, once a minute, and whether anything may be sent."""
        self.listening.tell()
        return self.watch.look().is_on

    def _make_heartbeat(self) -> Heartbeat:
        database = self._decisions.store.database
        parts = RoundParts(
            config=self._given.config,
            watch=self.watch,
            lease=HeartbeatLease(database),
            gate=Handover() if self._given.config.through_collector else self.gate,
            base=self.base,
            counts=self.counts,
            notices=self._notices,
            clock=self._given.clock,
        )
        return Heartbeat(parts, registry=self._given.registry, measures=DatabaseMeasures(database))

    def _make_spool(self) -> DurableSpool:
        config, store = self._given.config, self._decisions.store
        folder = spool_folder(
            config.spool_dir,
            database_file=store.file,
            database_name=store.name,
            environ=os.environ if self._given.environ is None else self._given.environ,
        )
        file = None
        if folder is not None:
            file = SpoolFile(
                folder,
                max_bytes=config.spool_max_bytes,
                max_age_s=config.spool_max_age_s,
                counts=self.counts,
                notices=self._notices,
            )
        memory_bytes = min(config.spool_max_bytes, _MEMORY_SPOOL_MAX_BYTES)
        memory = MemorySpool(max_bytes=memory_bytes, on_put=self._wake_drainer)
        return DurableSpool(file, memory=memory, on_put=self._wake_drainer, notices=self._notices)

    def _wake_drainer(self) -> None:
        self._drainer.wake()

    def log_exporter(self, queue: Queue | None = None) -> PostHogLogExporter:
        """Return an exporter of log records: for our own processor, or to stand behind any other."""
        return PostHogLogExporter(
            self.gate,
            self.base,
            self._given.registry,
            self._notices,
            queue=queue,
            metrics=ExporterMetrics(self._given.meter_provider, "log"),
        )

    def span_exporter(self, queue: Queue | None = None) -> PostHogSpanExporter:
        """Return an exporter of spans: for our own processor, or to stand behind any other."""
        return PostHogSpanExporter(
            self.gate,
            self.base,
            self._given.registry,
            self._notices,
            rules=self._given.span_rules,
            queue=queue,
            metrics=ExporterMetrics(self._given.meter_provider, "span"),
        )


def left_s(deadline_s: float) -> float:
    """Return how long it is until that moment of monotonic time."""
    return max(0.0, deadline_s - time.monotonic())


def _posthog(config: Config) -> Transport | None:
    if config.api_key is None:
        return None
    return PostHogTransport(
        api_key=config.api_key,
        host=config.host,
        timeout_s=config.http_timeout_s,
        user_agent=f"{LIBRARY}/{version(LIBRARY)}",
    )
