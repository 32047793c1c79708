"""Start, run and stop a `Telemetry`: by hand, with an application's lifespan, and across forks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.process_end import ProcessEnd
from otel_posthog._runtime.threads import off_loop, running_loop
from otel_posthog.config.settings import SDK_SWITCH, is_off_by
from otel_posthog.consent.state import Answer
from otel_posthog.emit import capture
from otel_posthog.middleware import SecurityHeaders, SecurityHeadersMiddleware
from otel_posthog.middleware.asgi import ASGIApp
from otel_posthog.middleware.csp import posthog_sources
from otel_posthog.pipeline.providers import Providers
from otel_posthog.pipeline.request_tracing import RequestTracing
from otel_posthog.registry import EXCEPTION, Kind

from .consent_service import Obstacle, Reason
from .export_pipeline import ExportPipeline, left_s

_log = logging.getLogger(__name__)
# An enum's members are slow to look up.
_GRANTED, _DENIED, _ERRORS = Answer.GRANTED, Answer.DENIED, Kind.ERRORS
_NOT_STARTED = "Telemetry could not start (%s), nothing is sent"
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
        self._security_headers = security_headers
        self.trace = tracing.trace
        self.consent_snapshot = pipeline.consent_snapshot
        self._emitter: capture.Emitter | None = None
        self._was_shut_down = False
        self._lock = threading.Lock()
        # Reentrant: a signal handler may stop what its own thread is stopping.
        self._stopping = threading.RLock()
        self._process_end = ProcessEnd(self.shutdown, timeout_s=self._config.shutdown_timeout_s)
        pipeline.on_telemetry = tracing.prepare
        follow_forks(self)

    def secure(self, app: ASGIApp) -> SecurityHeadersMiddleware | None:
        """Return the application with the given security headers, None if none were given."""
        if self._security_headers is None:
            return None
        return SecurityHeadersMiddleware(
            app,
            headers=self._security_headers,
            sources=posthog_sources(self._config.host),
            snapshot=self.consent_snapshot,
        )

    def touch(self) -> bool:
        """Start without waiting if necessary, and refresh consent in the background; never raises.

        Returns whether exceptions may be reported, as far as is known.
        """
        try:
            if self._emitter is None and not self._was_shut_down:
                self._begin()
            answer = self._pipeline.watch.cached().kinds[_ERRORS].answer
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self._report(_NOT_STARTED, error)
            return False
        self.consent_snapshot.may_report = answer is not _DENIED
        self.consent_snapshot.fresh_until_s = time.monotonic() + _REFRESH_PAUSE_S
        return answer is not _DENIED

    def start(self) -> None:
        """Start, and wait for the first answer about consent for at most `consent_max_age_s`."""
        self._begin()
        self._pipeline.watch.cached()  # in a child the parent's answer may be old
        # So that the first event of a script is not held for nothing.
        self._pipeline.watch.wait(self._config.consent_max_age_s)
        self._tracing.prepare()

    def begin(self) -> None:
        """Start without waiting, for a web application that is about to start; never raises."""
        self._pipeline.heartbeat.use_loop(running_loop())
        self._pipeline.heartbeat.delay(self._config.heartbeat_delay_s)
        try:
            self._begin()
            self._pipeline.error_capture.watch(running_loop())
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self._report(_NOT_STARTED, error)

    def obstacle(self) -> Obstacle | None:
        """Return why nothing that is emitted in this process arrives here, None if it does."""
        emitter = self._emitter
        if emitter is None:
            return Obstacle(reason=Reason.NOT_STARTED)
        if capture.current() is not emitter:
            return Obstacle(reason=Reason.REPLACED)
        if self._pipeline.logs.switch.is_open and not self._is_silenced(emitter):
            return None
        if is_off_by(SDK_SWITCH, os.environ):  # the SDK reads it there, whatever `environ` was given here
            return Obstacle(reason=Reason.ENV, switch=SDK_SWITCH)
        return Obstacle(reason=Reason.SILENCED, switch="logger_provider")

    def _is_silenced(self, emitter: capture.Emitter) -> bool:
        """Return whether the logger refuses what consent does not deny."""
        kinds = self._pipeline.watch.cached().kinds
        names = {Kind.ERRORS: EXCEPTION, Kind.TELEMETRY: "any_event"}
        return any(
            kinds[kind].answer is not _DENIED and not emitter.logger.enabled(event_name=name)
            for kind, name in names.items()
        )

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
            if self._emitter is not None:
                return
            self._pipeline.open()
            self._emitter = self._pipeline.error_capture.emitter(self._providers.logger(), self._log_limiter)
            capture.use(self._emitter)
            self._pipeline.error_capture.install(running_loop())
            self._tracing.is_running = True
            self._providers.extend_tracer()
            self._process_end.want()
        self._pipeline.heartbeat.follow(self._pipeline.watch.cached())

    def _stop(self, deadline_s: float) -> None:
        with self._lock:
            emitter, self._emitter = self._emitter, None
            self._was_shut_down = True
            self._tracing.is_running = False
        if emitter is not None:
            self._pipeline.error_capture.remove()
            capture.stop_using(emitter)
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
        self._log_limiter.warning(_log, template, type(error).__name__)
