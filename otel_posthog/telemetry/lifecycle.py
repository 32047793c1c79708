"""Start, run and stop a `Telemetry`: by hand, with an application's lifespan, and across forks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from otel_posthog._runtime.process import follow_forks, followers
from otel_posthog._runtime.process_end import ProcessEnd
from otel_posthog._runtime.threads import in_thread, off_loop, running_loop
from otel_posthog.config.settings import SDK_SWITCH, is_off_by
from otel_posthog.consent.state import Answer
from otel_posthog.emit import emitters
from otel_posthog.errors import ConfigError
from otel_posthog.middleware import ResponseHeaders, SecurityHeaders
from otel_posthog.pipeline.providers import Providers
from otel_posthog.pipeline.request_tracing import RequestTracing
from otel_posthog.registry import Kind

from .consent_service import Obstacle, Reason
from .export_pipeline import ExportPipeline, left_s

_log = logging.getLogger(__name__)
# An enum's members are slow to look up.
_GRANTED, _DENIED, _ERRORS = Answer.GRANTED, Answer.DENIED, Kind.ERRORS
_NOT_STARTED = "Telemetry could not start (%s), nothing is sent"
_GIVES_WAY = (
    "This process has a Telemetry of its own: the exporters named posthog send nothing, "
    "so that no event is sent twice"
)
_REFRESH_PAUSE_S = 0.1  # requests do not ask again meanwhile; a refresh takes some milliseconds
_CLOSING_SHARE = 0.05  # of the time for a shutdown, for closing files and connections at its end


class TelemetryLifecycle:
    """Start and stop the pipeline, and give the middleware what a request needs."""

    def __init__(
        self,
        pipeline: ExportPipeline,
        *,
        providers: Providers,
        tracing: RequestTracing,
        security_headers: SecurityHeaders | None,
    ) -> None:
        self._pipeline = pipeline
        self._config = pipeline.config
        self._log_limiter = pipeline.log_limiter
        self._providers = providers
        self._tracing = tracing
        self.trace = tracing.trace
        snapshot = self.consent_snapshot = pipeline.consent_snapshot
        host = self._config.host if self._config.browser_reports == "direct" else ""
        self.security = security_headers and ResponseHeaders(security_headers, host, snapshot)
        self.owner = pipeline.owner
        self._emitter: emitters.Emitter | None = None
        self._was_shut_down = False
        self._lock = threading.Lock()
        # Reentrant: a signal handler may stop what its own thread is stopping.
        self._stopping = threading.RLock()
        self._process_end = ProcessEnd(self.shutdown, timeout_s=self._config.shutdown_timeout_s)
        pipeline.on_telemetry = tracing.prepare
        pipeline.on_watch = providers.extend_tracer  # a vendor may set its provider late
        follow_forks(self)

    def touch(self) -> bool:
        """Start without waiting if necessary, and refresh consent in the background; never raises.

        Returns whether exceptions may be reported, as far as is known.
        """
        may_report = False
        try:
            if not self.is_running:
                self._begin()
            if self.is_running and not self.gives_way():
                # While the first answer for some time is being read, requests are watched: it may be a yes.
                is_stale = self._pipeline.watch.may_hold and self._pipeline.watch.fresh() is None
                is_denied = self._pipeline.watch.cached().kinds[_ERRORS].answer is _DENIED
                may_report = is_stale or not is_denied
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self._report(_NOT_STARTED, error)
        self.consent_snapshot.may_report = may_report
        self.consent_snapshot.fresh_until_s = time.monotonic() + _REFRESH_PAUSE_S
        return may_report

    def look(self) -> None:
        """Read consent soon unless it is granted: another process may have spooled after a grant."""
        if self.is_running and not self._pipeline.watch.current.is_on:
            self._pipeline.watch.refresh_soon()

    def start(self) -> None:
        """Start, and wait for the first answer about consent for at most `consent_max_age_s`."""
        self._was_shut_down = False
        self._begin()
        if not self.is_running:
            return
        self._pipeline.watch.cached()  # in a child the parent's answer may be old
        # So that the first event of a script is not held for nothing.
        self._pipeline.watch.wait(self._config.consent_max_age_s)
        self._tracing.prepare()

    def begin(self) -> None:
        """Start without waiting, for a web application that is about to start; never raises."""
        self._pipeline.heartbeat.use_loop(running_loop())
        self._pipeline.heartbeat.delay(self._config.heartbeat_delay_s)
        self._was_shut_down = False
        try:
            self._begin()
            self._pipeline.error_capture.watch(running_loop())
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self._report(_NOT_STARTED, error)

    @property
    def is_running(self) -> bool:
        """Whether requests, hooks and `track` report here."""
        return self._tracing.is_running

    def open(self) -> ExportPipeline:
        """Accept what exporters behind third-party processors get: no hooks, and `track` stays as it is."""
        with self._lock:
            self._open()
        return self._pipeline

    def gives_way(self) -> bool:
        """Return whether this is the one of a file, and the product runs its own; logs the consequence."""
        if not emitters.gives_way(self.owner):
            return False
        self._log_limiter.warning(_log, _GIVES_WAY)
        return True

    @property
    def unread_spans(self) -> str | None:
        """Return the class of a tracer provider whose spans cannot be read."""
        return self._providers.unread

    def obstacle(self) -> Obstacle | None:
        """Return why nothing that is emitted in this process arrives here, None if it does."""
        if self._emitter is None:
            return Obstacle(reason=Reason.NOT_STARTED)
        # The SDK reads it there, whatever `environ` was given here.
        is_off = is_off_by(SDK_SWITCH, os.environ)
        return Obstacle(reason=Reason.ENV, switch=SDK_SWITCH) if is_off else None

    async def astart(self) -> None:
        """Like `start`, off the event loop, for a web application that is about to start; never raises."""
        self.begin()
        if not self._pipeline.watch.current.was_read:
            await self._safely(self.start)

    async def enter(self) -> None:
        """Like `start`, off the event loop; never raises."""
        self._pipeline.heartbeat.use_loop(running_loop())
        await self._safely(self.start)
        self._pipeline.error_capture.watch(running_loop())

    async def ashutdown(self) -> None:
        """Like `shutdown`, off the event loop; never raises."""
        await self._safely(self.shutdown)

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Send what waits within the timeout (default: `shutdown_timeout_s`), and stop every thread."""
        limit_s = self._config.shutdown_timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + limit_s * (1 - _CLOSING_SHARE)
        if not self._stopping.acquire(timeout=left_s(deadline_s)):
            return  # another thread is stopping, and may still need the database
        try:
            self._stop(deadline_s)
        finally:
            self._stopping.release()

    def after_fork(self) -> None:
        """Replace the locks in a child: threads of the parent may hold them."""
        self._lock = threading.Lock()
        self._stopping = threading.RLock()

    def _begin(self) -> None:
        with self._lock:
            if self.is_running:
                return
            self.owner.is_alone = self.gives_way()  # its applications run bare
            if self.owner.is_alone or self._was_shut_down:
                return
            emitters.refuse_second_default(self.owner)
            emitters.use(self.owner, self._open())
            self._pipeline.error_capture.install(running_loop())
            self._tracing.is_running = True
            self._providers.extend()
        self._pipeline.heartbeat.follow(self._pipeline.watch.cached())
        for other in followers():
            if isinstance(other, TelemetryLifecycle) and other.is_running and other.gives_way():
                in_thread(other.shutdown, "otel-posthog-end")

    def _open(self) -> emitters.Emitter:
        if self._emitter is None:
            self._pipeline.open()
            self._emitter = self._pipeline.error_capture.emitter(self._providers.logger(), self._log_limiter)
            self._process_end.want()
        return self._emitter

    def _stop(self, deadline_s: float) -> None:
        with self._lock:
            emitter, self._emitter = self._emitter, None
            self._was_shut_down = True
            self._tracing.is_running = False
        if emitter is not None:
            self._pipeline.error_capture.remove()
            emitters.stop_using(self.owner)
            # Consent is not read again here: held events are judged when they are sent.
            self._pipeline.close(deadline_s)
            self._process_end.drop()
        self._pipeline.release(deadline_s)

    async def _safely(self, call: Callable[[], None]) -> None:
        try:
            await off_loop(call)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self._report("Telemetry could not start or stop (%s)", error)

    def _report(self, template: str, error: Exception) -> None:
        reason = error if isinstance(error, ConfigError) else type(error).__name__
        self._log_limiter.warning(_log, template, reason)
