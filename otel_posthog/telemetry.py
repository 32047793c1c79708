"""The composition root: one object that wires everything and that a product holds on to."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Self
from uuid import uuid4

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_tracer_provider

from . import analytics, attributes
from ._off_loop import off_loop
from ._otel import Logger, suppressed_instrumentation
from ._otel_sdk import LoggerProvider, LogRecordLimits
from .config import Config
from .consent import Answer, Consent, ConsentWatch
from .counts import Counts
from .events import Event, time_from_ns
from .exporters import PostHogLogExporter, PostHogSpanExporter
from .gate import DEVELOPMENT, Gate, Parts
from .mapping import LIBRARY, BaseProperties, exception_properties
from .middleware import TelemetryMiddleware
from .middleware.exceptions import ASGIApp
from .notices import Notices
from .processors import ConsentLogRecordProcessor, ConsentSpanProcessor
from .registry import EXCEPTION, Kind, Registry
from .scrubbing import Scrubber
from .settings import Settings
from .spool import Drainer, MemorySpool
from .store import DatabaseSource, SettingsStore
from .tracebacks import describe, type_of
from .transport import PostHogTransport, Transport

_log = logging.getLogger(__name__)
_MAX_ATTRIBUTES = 128
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
        transport: Transport | None = None,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        environ: Mapping[str, str] | None = None,
        **limits: str | float | bool,
    ) -> None:
        """Resolve the settings and wire the parts; raise `ConfigError` for a bad setting."""
        url = database if isinstance(database, str) else None
        given = {"api_key": api_key, "host": host, "database": url, "environment": environment}
        self.config = Config.resolve({**given, "service_version": service_version, **limits}, environ)
        self.registry = registry if isinstance(registry, Registry) else Registry(registry or ())
        self._base = BaseProperties(
            environment=self.config.environment,
            service_version=self.config.service_version,
            send_host=self.config.send_host,
        )
        self._store = SettingsStore(
            database or self.config.database, timeout_s=self.config.database_timeout_s
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
        self._spool = MemorySpool(max_bytes=self.config.spool_max_bytes, on_put=self._wake_drainer)
        self._gate = Gate(
            Parts(
                watch=self._watch,
                registry=self.registry,
                scrubber=Scrubber(),
                transport=self._transport,
                spool=self._spool,
                counts=self._counts,
                notices=self.notices,
            ),
            self.config,
        )
        self._drainer = Drainer(
            self._spool,
            attempt=self._gate.resend,
            pause=self._gate.pause_s,
            watch=lambda: self._watch.look().is_on,
            interval_s=self.config.consent_max_age_s,
            notices=self.notices,
        )
        self._logs = ConsentLogRecordProcessor(
            lambda on_taken: PostHogLogExporter(
                self._gate, self._base, self.registry, self.notices, on_taken=on_taken
            ),
            consent=self._watch.peek,
            registry=self.registry,
            config=self.config,
            counts=self._counts,
            notices=self.notices,
        )
        self._spans = ConsentSpanProcessor(
            lambda on_taken: PostHogSpanExporter(
                self._gate, self._base, self.registry, self.notices, on_taken=on_taken
            ),
            consent=self._watch.peek,
            config=self.config,
            counts=self._counts,
            notices=self.notices,
        )
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self._emitter: analytics.Emitter | None = None
        self._was_shut_down = False
        self._has_created_row = False
        self._is_extending_logger = False
        self._is_extending_tracer = False
        self._lock = threading.Lock()
        _restart_after_fork(self)

    def wrap(self, app: ASGIApp) -> TelemetryMiddleware:
        """Return the application with exceptions reported; its lifespan starts and stops this object."""
        return TelemetryMiddleware(app, telemetry=self)

    def start(self) -> None:
        """Begin: `track` and the middleware emit here from now on. Does nothing while running.

        Returns once consent is known, or after `consent_max_age_s`; what is accepted before is held.
        """
        self._begin()
        self._watch.wait(self.config.consent_max_age_s)

    def touch(self) -> None:
        """Start without waiting if need be, and keep the view of consent fresh; never raises."""
        try:
            if self._emitter is None and not self._was_shut_down:
                self._begin()
            self._watch.peek()
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start (%s), nothing is sent", type(error).__name__)

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Send what waits, within the timeout (default: `shutdown_timeout_s`), and stop every thread."""
        deadline = time.monotonic() + (self.config.shutdown_timeout_s if timeout_s is None else timeout_s)
        with self._lock:
            emitter, self._emitter = self._emitter, None
            self._was_shut_down = True
        if emitter is not None:
            analytics.stop_using(emitter)
            self._logs.switch.close(_left(deadline))
            self._spans.switch.close(_left(deadline))
            self._drainer.stop(_left(deadline))
            atexit.unregister(self.shutdown)
        self._watch.close(_left(deadline))
        if self._transport is not None:
            self._transport.close()
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
    ) -> Settings:
        """Change the given flags and return the new row; raise `StoreError` where that fails.

        A withdrawal has taken effect when this returns: what waited is discarded, and no delivery of
        that kind starts afterwards in this process.
        """

        def write() -> Settings:
            with suppressed_instrumentation():
                return self._store.update(
                    is_setup_completed=is_setup_completed,
                    enable_error_reporting=enable_error_reporting,
                    enable_telemetry=enable_telemetry,
                )

        row = self._watch.change(write)
        for kind in Kind:
            if self._watch.current.answer(kind) is Answer.DENIED:
                self._gate.wait_until_idle(kind, self.config.consent_max_age_s)
        return row

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
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and stop, without blocking the event loop."""
        await self.ashutdown()

    async def astart(self) -> None:
        """Like `start`, off the event loop; never raises."""
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
            self._watch.open()
            self._emitter = analytics.Emitter(self._make_logger(), self.notices)
            analytics.use(self._emitter)
            self._extend_tracer()
            atexit.register(self.shutdown)
        self._watch.peek()
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
        if isinstance(provider, TracerProvider) and not self._is_extending_tracer:
            self._is_extending_tracer = True
            provider.add_span_processor(self._spans)

    def _read_row(self) -> Settings | None:
        with suppressed_instrumentation():
            if not self._has_created_row:
                self._store.create()
                self._has_created_row = True
            return self._store.settle()

    def _follow(self, consent: Consent) -> None:
        """Discard what a look at consent has withdrawn, and run only the threads that it calls for."""
        self._gate.discard(consent)
        if consent.is_on:
            self._drainer.ensure_running()
        elif consent.is_off:
            self._logs.switch.stop()
            self._spans.switch.stop()
            self._drainer.settle()
            if self._transport is not None:
                self._transport.close()

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

    def _after_fork(self) -> None:
        """Forget in a child what is the parent's: locks, threads, connections, and what waits to be sent."""
        self._lock = threading.Lock()
        self.notices.after_fork()
        self._counts.after_fork()
        self._watch.after_fork()
        self._spool.after_fork()
        self._gate.after_fork()
        self._drainer.after_fork()
        self._logs.switch.after_fork()
        self._spans.switch.after_fork()
        self._store.after_fork()
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


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _restart_after_fork(telemetry: Telemetry) -> None:
    """Register the hook without keeping the object alive; hooks cannot be taken back."""
    method = weakref.WeakMethod(telemetry._after_fork)  # noqa: SLF001 - the same module

    def restart() -> None:
        if (after_fork := method()) is not None:
            after_fork()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=restart)
