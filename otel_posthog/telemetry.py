"""The composition root: one object that wires everything and that a product holds on to."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from types import TracebackType
from typing import Self
from uuid import uuid4

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer, get_tracer_provider

from . import analytics, attributes
from ._off_loop import off_loop
from ._otel import Logger, suppressed_instrumentation
from ._otel_sdk import LoggerProvider, LogRecordLimits
from ._process_end import ProcessEnd
from .config import Config
from .consent import Answer, Consent, ConsentWatch
from .counts import Counts
from .durable_spool import DurableSpool
from .errors import OtelPosthogError, RegistryError, StoreError
from .events import Event, time_from_ns
from .exporter_metrics import exporter_metrics
from .exporters import PostHogLogExporter, PostHogSpanExporter
from .gate import DEVELOPMENT, Gate, Parts
from .heartbeat import Heartbeat, RoundParts
from .mapping import LIBRARY, BaseProperties, exception_properties
from .middleware import SecurityHeaders, SecurityHeadersMiddleware, TelemetryMiddleware
from .middleware.asgi import ASGIApp
from .middleware.csp import posthog_sources
from .notices import Notices
from .preview import Preview, Sources, preview
from .processors import ConsentLogRecordProcessor, ConsentSpanProcessor
from .registry import EXCEPTION, Kind, Registry
from .scrubbing import BeforeSend, Scrubber, ScrubRules
from .settings import Settings
from .span_rules import SpanRule, SpanRules
from .spool import Drainer, MemorySpool
from .spool_file import SpoolFile
from .spool_place import spool_folder
from .status import KindStatus, Question, Reason, question_of, reason_of, status_of
from .store import AbsentError, DatabaseMeasures, DatabaseSource, HeartbeatLease, SettingsStore
from .tracebacks import describe, type_of
from .tracing import RequestTracing, own_provider, tracer_of
from .transport import PostHogTransport, Transport

_log = logging.getLogger(__name__)
_GRANTED, _DENIED = Answer.GRANTED, Answer.DENIED  # an enum's members are slow to look up
_WATCH_EVERY = 0.75  # of the age at which an answer is too old: while something may be sent it never is
AUDIT_MAX_ENTRIES = 1000
_MAX_ATTRIBUTES = 128
_MEMORY_SPOOL_MAX_BYTES = 16_000_000  # of JSON, where the disk fails or there is no folder
_CLOSING_SHARE = 0.05  # of the time for a shutdown, for closing files and connections at its end
_MAX_ATTRIBUTE_CHARS = 1_000_000  # room for an exception's whole chain as JSON


class DeliberateError(Exception):
    """Raised nowhere; reported when somebody asks for a test report."""


class Telemetry:
    """Error reports and product events of one installation.

    Wrap the application with `wrap`, or use the object as a context manager in scripts and tests.
    Nothing happens before `start`: no file, no connection, no thread. Each keyword is a row of the
    settings table (`otel-posthog config show`); arguments win over the environment.
    """

    def __init__(  # noqa: PLR0913 - the public face of the settings table
        self,
        *,
        api_key: str | None = None,
        host: str | None = None,
        database: DatabaseSource | None = None,
        environment: str | None = None,
        service_version: str | None = None,
        registry: Registry | Iterable[type] | None = None,
        security_headers: SecurityHeaders | None = None,
        span_rules: Iterable[SpanRule] = (),
        scrub_rules: ScrubRules | None = None,
        before_send: BeforeSend | None = None,
        transport: Transport | None = None,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        clock: Callable[[], float] | None = None,
        environ: Mapping[str, str] | None = None,
        **limits: str | float | bool,
    ) -> None:
        """Resolve the settings and wire the parts; raise `ConfigError` for a bad setting.

        `RegistryError` is raised for a span rule that names what the registry does not know.

        `clock` returns seconds since 1970 and decides when a heartbeat is due; by default the
        database's clock does.
        """
        url = database if isinstance(database, str) else None
        given = {"api_key": api_key, "host": host, "database": url, "environment": environment}
        self.config = Config.resolve({**given, "service_version": service_version, **limits}, environ)
        self.registry = registry if isinstance(registry, Registry) else Registry(registry or ())
        self._span_rules = SpanRules(span_rules, self.registry)
        scrubber = Scrubber(scrub_rules, registry=self.registry)
        self._base = BaseProperties(
            environment=self.config.environment,
            service_version=self.config.service_version,
            send_host=self.config.send_host,
            scrubber=scrubber,
        )
        self._store = SettingsStore(
            database or self.config.database,
            timeout_s=self.config.database_timeout_s,
            manifests=lambda: {kind: self.registry.manifest(kind).text for kind in Kind},
        )
        self._transport = transport or _posthog(self.config)
        self.notices = Notices()
        self._counts = Counts()
        self._watch = ConsentWatch(
            self._read_row,
            max_age_s=self.config.consent_max_age_s,
            is_disabled=self.config.disabled,
            notices=self.notices,
            on_change=self._follow,
        )
        self._spool = self._make_spool(os.environ if environ is None else environ)
        self._gate = Gate(
            Parts(
                watch=self._watch,
                registry=self.registry,
                scrubber=scrubber,
                transport=self._transport,
                spool=self._spool,
                counts=self._counts,
                notices=self.notices,
                before_send=before_send,
            ),
            self.config,
        )
        self.heartbeat = Heartbeat(
            RoundParts(
                config=self.config,
                watch=self._watch,
                lease=HeartbeatLease(self._store.database),
                gate=self._gate,
                base=self._base,
                counts=self._counts,
                notices=self.notices,
                clock=clock,
            ),
            registry=self.registry,
            measures=DatabaseMeasures(self._store.database),
        )
        self._drainer = Drainer(
            self._spool,
            attempt=self._gate.resend,
            pause=self._gate.pause_s,
            watch=lambda: self._watch.look().is_on,
            interval_s=self.config.consent_max_age_s * _WATCH_EVERY,
            notices=self.notices,
        )
        self._logs = ConsentLogRecordProcessor(
            lambda waiting: PostHogLogExporter(
                self._gate,
                self._base,
                self.registry,
                self.notices,
                on_taken=waiting.leave,
                is_behind=waiting.is_nearly_full,
                metrics=exporter_metrics(meter_provider, "log"),
            ),
            consent=self._watch.peek,
            registry=self.registry,
            config=self.config,
            counts=self._counts,
            notices=self.notices,
        )
        self._spans = ConsentSpanProcessor(
            lambda waiting: PostHogSpanExporter(
                self._gate,
                self._base,
                self.registry,
                self.notices,
                rules=self._span_rules,
                on_taken=waiting.leave,
                is_behind=waiting.is_nearly_full,
                metrics=exporter_metrics(meter_provider, "span"),
            ),
            consent=self._watch.peek,
            rules=self._span_rules,
            config=self.config,
            counts=self._counts,
            notices=self.notices,
        )
        self._security_headers = security_headers
        self._max_age_s = self.config.consent_max_age_s
        self._preview_sources = Sources(
            config=self.config,
            registry=self.registry,
            base=self._base,
            scrubber=scrubber,
            before_send=before_send,
            waiting=lambda: [event for batch in self._spool.waiting() for event in batch.events],
            heartbeat=self.heartbeat.as_of_now,
            next_heartbeat=self.heartbeat.next_due,
        )
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self._emitter: analytics.Emitter | None = None
        self._was_shut_down = False
        self._has_created_row = False
        self._is_extending_logger = False
        self._extended_tracer: TracerProvider | None = None
        self._tracings: weakref.WeakSet[RequestTracing] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._stopping = threading.RLock()
        self._end = ProcessEnd(self.shutdown)
        _follow_forks(self)

    def wrap(self, app: ASGIApp) -> TelemetryMiddleware:
        """Return the application with exceptions reported; its lifespan starts and stops this object."""
        return TelemetryMiddleware(app, telemetry=self)

    def start(self) -> None:
        """Begin: `track` and the middleware emit here from now on. Does nothing while running.

        Returns once consent is known, or after `consent_max_age_s`; what is accepted before is held.
        """
        self._begin()
        self._watch.wait(self.config.consent_max_age_s)
        self._prepare_tracing()

    def secure(self, app: ASGIApp) -> ASGIApp:
        """Return the application with the security headers that were given, or as it is."""
        if self._security_headers is None:
            return app
        return SecurityHeadersMiddleware(
            app,
            headers=self._security_headers,
            sources=posthog_sources(self.config.host),
            is_reporting=self._is_reporting,
        )

    def trace(self, app: ASGIApp) -> RequestTracing | None:
        """Return what gives requests a span while telemetry is not denied, None without span rules."""
        if not self._span_rules:
            return None
        tracing = RequestTracing(
            app, is_wanted=self._wants_spans, tracer=self._request_tracer, notices=self.notices
        )
        self._tracings.add(tracing)
        self._prepare_tracing()
        return tracing

    def touch(self) -> bool:
        """Start without waiting if need be, and keep the view of consent fresh; never raises.

        Tell whether exceptions may be reported, as far as is known.
        """
        try:
            if self._emitter is None and not self._was_shut_down:
                self._begin()
            return self._watch.peek().errors is not _DENIED
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start (%s), nothing is sent", type(error).__name__)
            return False

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Send what waits, within the timeout (default: `shutdown_timeout_s`), and stop every thread."""
        limit_s = self.config.shutdown_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s * (1 - _CLOSING_SHARE)
        if not self._stopping.acquire(timeout=_left(deadline)):
            return  # another thread is at it, and may still need the database
        try:
            self._stop(deadline)
        finally:
            self._stopping.release()

    def _stop(self, deadline: float) -> None:
        with self._lock:
            emitter, self._emitter = self._emitter, None
            self._was_shut_down = True
        if emitter is not None:
            analytics.stop_using(emitter)
            self._logs.switch.close(_left(deadline))
            self._spans.switch.close(_left(deadline))
            self.heartbeat.stop(_left(deadline) / 2)  # a gauge may hang, and the spool wants its attempt
            self._drainer.stop(_left(deadline))
            self._gate.hold_what_is_under_way()
            self._end.drop()
        self._watch.close(_left(deadline))
        if self._transport is not None:
            self._transport.close()
        self._spool.close()
        self._store.close()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what waits now; tell whether all of it went out within the timeout."""
        worker = threading.Thread(target=self._send_all, name="otel-posthog-flush", daemon=True)
        worker.start()
        worker.join(timeout_s)
        return not worker.is_alive() and self._spool.first() is None

    def settings(self) -> Settings:
        """Return the settings row, creating it if need be; raise `StoreError` where that fails."""
        with suppressed_instrumentation():
            row = self._store.read() if self._has_created_row else None
            return row or self._store.update()

    def update_settings(
        self,
        *,
        is_setup_completed: bool | None = None,
        enable_error_reporting: bool | None = None,
        enable_telemetry: bool | None = None,
        who: str | None = None,
    ) -> Settings:
        """Change the given flags and return the new row; raise `StoreError` where that fails.

        A withdrawal has taken effect when this returns: what waited is discarded, and no delivery of
        that kind starts afterwards in this process. A grant is one for what the registry holds now.
        `who` stands in the audit trail, and is never sent.
        """

        def write() -> Settings:
            with suppressed_instrumentation():
                return self._store.update(
                    is_setup_completed=is_setup_completed,
                    enable_error_reporting=enable_error_reporting,
                    enable_telemetry=enable_telemetry,
                    who=who,
                )

        row = self._watch.change(lambda: self._remembered(write()))
        for kind in Kind:
            if self._watch.current.answer(kind) is Answer.DENIED:
                self._gate.wait_until_idle(kind, self.config.consent_max_age_s)
        return row

    def answer(
        self, *, agreed: Collection[Kind] = (), declined: Collection[Kind] = (), who: str | None = None
    ) -> Settings:
        """Agree to what the registry holds beyond the last grant, or decline it; raise `StoreError`.

        What was declined stays behind, and what was granted before goes on leaving.
        """

        def write() -> Settings:
            with suppressed_instrumentation():
                return self._store.answer(agreed=agreed, declined=declined, who=who)

        return self._watch.change(lambda: self._remembered(write()))

    def status(self) -> dict[Kind, KindStatus]:
        """Return for each kind whether it is sent and why; asks the database, and makes nothing there."""
        row, reason = self._look_for_status()
        return {
            kind: status_of(
                kind,
                reason or (Reason.UNDECIDED if row is None else reason_of(kind, row, self.registry)),
                row,
                self.registry,
                has_key=self._transport is not None,
            )
            for kind in Kind
        }

    def questions(self, row: Settings) -> dict[Kind, Question]:
        """Return what this version would send beyond what was agreed to, by kind; raise `StoreError`."""
        with suppressed_instrumentation():
            self._remember(row)
        found = ((kind, question_of(kind, row, self.registry)) for kind in Kind)
        return {kind: question for kind, question in found if question is not None}

    def preview(self) -> Preview:
        """Return what would be sent now, through the same gate; makes no connection and writes nothing.

        Where consent has not been given it is assumed, so that one can look before one decides.
        """
        row, _ = self._look_for_status()
        return preview(self._preview_sources, row or self._watch.last_row, self.status())

    def audit(self, *, after_id: int = 0, limit: int = AUDIT_MAX_ENTRIES) -> list[dict[str, object]]:
        """Return who changed the decision when, oldest first, from the entry after `after_id` on."""
        with suppressed_instrumentation():
            return self._store.audit(after_id=after_id, limit=limit)

    def recent_consent(self) -> Consent | None:
        """Return what this process may send, if it is known from a look at most `consent_max_age_s` old.

        Never waits: where it is older, a look begins in the background, and one does at a time.
        """
        self._watch.peek()
        return self._watch.recent()

    def delivery(self) -> dict[str, int]:
        """Return how many events were sent, and how many dropped for which reason, since the start."""
        return self._counts.as_dict()

    def send_test_exception(self) -> None:
        """Report a test exception through the normal consent path (requirement R10)."""
        marker = f"{attributes.PROPERTY_PREFIX}${self.config.marker_prefix}_backend_test"
        error = DeliberateError("Test exception of the backend")
        analytics.emit_exception(error, lambda: {marker: True}, handled=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and stop."""
        self.shutdown()

    async def __aenter__(self) -> Self:
        """Start, without blocking the event loop."""
        self.heartbeat.use_loop(_running_loop())
        await self._safely(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and stop, without blocking the event loop."""
        await self.ashutdown()

    async def astart(self) -> None:
        """Like `start`, off the event loop, for a web application that is about to start; never raises."""
        self.heartbeat.use_loop(_running_loop())
        self.heartbeat.delay(self.config.heartbeat_delay_s)
        await self._safely(self.start)

    async def ashutdown(self) -> None:
        """Like `shutdown`, off the event loop; never raises."""
        await self._safely(self.shutdown)

    async def _safely(self, call: Callable[[], None]) -> None:
        try:
            await off_loop(call)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start or stop (%s)", type(error).__name__)

    def _begin(self) -> None:
        with self._lock:
            if self._emitter is not None:
                return
            self._logs.switch.open()
            self._spans.switch.open()
            self._drainer.open()
            self.heartbeat.open()
            self._watch.open()
            self._emitter = analytics.Emitter(self._make_logger(), self.notices)
            analytics.use(self._emitter)
            self._extend_tracer()
            self._end.want()
        self.heartbeat.follow(self._watch.peek())
        if self.config.environment == DEVELOPMENT:
            threading.Thread(target=self._send_startup_test, name="otel-posthog-test", daemon=True).start()

    def _make_logger(self) -> Logger:
        """Return the logger of the host's provider where it handed one over, else of one of our own.

        The resource of ours is built by hand: `Resource.create` copies OTEL_RESOURCE_ATTRIBUTES and can
        add user name and command line.
        """
        provider = self._logger_provider
        if provider is None:
            provider = self._logger_provider = LoggerProvider(
                resource=Resource({"service.name": LIBRARY}),
                shutdown_on_exit=False,
                log_record_limits=LogRecordLimits(
                    max_log_record_attributes=_MAX_ATTRIBUTES,
                    max_log_record_attribute_length=_MAX_ATTRIBUTE_CHARS,
                ),
            )
        if not self._is_extending_logger:
            self._is_extending_logger = True
            provider.add_log_record_processor(self._logs)
        return provider.get_logger(attributes.SCOPE, version(LIBRARY))

    def _extend_tracer(self) -> None:
        """Put our processor on the tracer provider given, or on the process's own if the host made one."""
        provider = self._tracer_provider or get_tracer_provider()
        if isinstance(provider, TracerProvider) and self._extended_tracer is None:
            self._extended_tracer = provider
            provider.add_span_processor(self._spans)

    def _request_tracer(self) -> Tracer:
        """Return a tracer of the host's provider, else of one of our own."""
        self._extend_tracer()  # the host may have made its provider since the start
        if self._extended_tracer is None:
            self._tracer_provider = own_provider()
            self._extend_tracer()
        return tracer_of(self._extended_tracer or own_provider())

    def _prepare_tracing(self) -> None:
        consent = self._watch.current
        if consent.telemetry is not _DENIED and consent.was_looked_at:
            for tracing in list(self._tracings):
                tracing.prepare()

    def _wants_spans(self) -> bool:
        return self._emitter is not None and self._watch.current.telemetry is not _DENIED

    def _is_reporting(self) -> bool:
        """Tell whether error reports are on by an answer that is not older than allowed."""
        consent = self._watch.current
        return consent.errors is _GRANTED and consent.age_s <= self._max_age_s

    def _read_row(self) -> Settings | None:
        with suppressed_instrumentation():
            if not self._has_created_row:
                self._store.create()
                self._has_created_row = True
            row = self._store.settle()
            if row is not None:
                self._remember(row)
            return row

    def _remember(self, row: Settings) -> None:
        """Have at hand every manifest that the row names, or raise: consent is unknown without them."""
        for kind in Kind:
            for name in (row.manifest(kind), row.declined(kind)):
                if name is not None:
                    self._remember_one(name)

    def _remember_one(self, name: str) -> None:
        try:
            self.registry.remember(name, self._store.manifest)
        except RegistryError as error:
            raise StoreError(str(error)) from error

    def _remembered(self, row: Settings) -> Settings:
        """Return the row that was written; where a manifest is missing, nothing leaves until it is there."""
        with suppress(OtelPosthogError), suppressed_instrumentation():
            self._remember(row)
        return row

    def _look_for_status(self) -> tuple[Settings | None, Reason | None]:
        """Return the row, if it can be had, and what decides whatever it says."""
        off = Reason.ENV if self.config.disabled else None
        try:
            with suppressed_instrumentation():
                row = self._store.read()
                if row is not None:
                    self._remember(row)
        except AbsentError:
            return None, off
        except OtelPosthogError:
            return None, off or Reason.STORE_UNREADABLE
        return row, off or (Reason.STORE_UNREADABLE if row is None else None)

    def _follow(self, consent: Consent) -> None:
        """Discard what a look at consent has withdrawn, and run only the threads that it calls for."""
        self._gate.discard(consent)
        self._prepare_tracing()
        self.heartbeat.follow(consent)
        if consent.is_on:
            self._drainer.ensure_running()
        elif consent.is_off:
            self._logs.switch.stop()
            self._spans.switch.stop()
            self._drainer.settle()
            self._spool.delete()
            if self._transport is not None:
                self._transport.close()

    def _make_spool(self, environ: Mapping[str, str]) -> DurableSpool:
        folder = spool_folder(
            self.config.spool_dir,
            database_file=self._store.file,
            database_name=self._store.name,
            environ=environ,
        )
        file = None
        if folder is not None:
            file = SpoolFile(
                folder,
                max_bytes=self.config.spool_max_bytes,
                max_age_s=self.config.spool_max_age_s,
                counts=self._counts,
                notices=self.notices,
            )
        memory_bytes = min(self.config.spool_max_bytes, _MEMORY_SPOOL_MAX_BYTES)
        memory = MemorySpool(max_bytes=memory_bytes, on_put=self._wake_drainer)
        return DurableSpool(file, memory=memory, on_put=self._wake_drainer, notices=self.notices)

    def _wake_drainer(self) -> None:
        self._drainer.wake()

    def _send_all(self) -> None:
        self._logs.switch.flush()
        self._spans.switch.flush()
        self._drainer.drain()

    def _send_startup_test(self) -> None:
        now_ns = time.time_ns()
        error = DeliberateError("Test exception at the start")
        recorded = {
            attributes.EXCEPTION_TYPE: type_of(error),
            attributes.EXCEPTION_CHAIN: describe(error),
            attributes.EXCEPTION_HANDLED: True,
            f"{attributes.PROPERTY_PREFIX}${self.config.marker_prefix}_startup_test": True,
        }
        self._gate.send_startup_test(
            Event(
                name=EXCEPTION,
                properties=exception_properties(recorded, self._base, trace_id=0, span_id=0),
                timestamp=time_from_ns(now_ns),
                uuid=uuid4(),
                accepted_ns=now_ns,
                distinct_id=str(uuid4()),
            )
        )

    def _before_fork(self) -> None:
        """Wait until no thread is inside SQLite: its locks would stay locked in the child."""
        self._watch.before_fork()
        self._store.before_fork()
        self._spool.before_fork()
        if isinstance(self._transport, PostHogTransport):
            self._transport.before_fork()

    def _after_fork_in_parent(self) -> None:
        if isinstance(self._transport, PostHogTransport):
            self._transport.after_fork_in_parent()
        self._spool.after_fork_in_parent()
        self._store.after_fork_in_parent()
        self._watch.after_fork_in_parent()

    def _after_fork(self) -> None:
        """Forget in a child what is the parent's: locks, threads, connections, and what waits to be sent."""
        self._lock = threading.Lock()
        self._stopping = threading.RLock()
        self.notices.after_fork()
        self._counts.after_fork()
        self._watch.after_fork()
        self._spool.after_fork()
        self._gate.after_fork()
        self._drainer.after_fork()
        self.heartbeat.after_fork()
        self._logs.switch.after_fork()
        self._spans.switch.after_fork()
        self._store.after_fork()
        self._end.after_fork()
        if isinstance(self._transport, PostHogTransport):
            self._transport.after_fork()


def _posthog(config: Config) -> Transport | None:
    if config.api_key is None:
        return None
    return PostHogTransport(
        api_key=config.api_key,
        host=config.host,
        timeout_s=config.http_timeout_s,
        user_agent=f"{LIBRARY}/{version(LIBRARY)}",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # trio
        return None


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _follow_forks(telemetry: Telemetry) -> None:
    """Register the hooks without keeping the object alive; hooks cannot be taken back."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_weakly(telemetry._before_fork),  # noqa: SLF001 - the same module
            after_in_parent=_weakly(telemetry._after_fork_in_parent),  # noqa: SLF001
            after_in_child=_weakly(telemetry._after_fork),  # noqa: SLF001
        )


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := reference()) is not None:
            alive()

    return call
