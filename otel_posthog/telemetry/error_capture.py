"""Report errors that never reach the middleware, and test exceptions on request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from uuid import uuid4

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Answer, Consent
from otel_posthog.emit.breadcrumbs import Breadcrumbs
from otel_posthog.emit.capture import emit_exception
from otel_posthog.emit.emitters import Emitter
from otel_posthog.emit.failures import RateLimit
from otel_posthog.emit.hooks import UNCAUGHT, Hooks, LogHandler, report_unhandled
from otel_posthog.emit.request_context import Owner, within
from otel_posthog.emit.tracebacks import describe, type_of
from otel_posthog.events import Event, time_from_ns
from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.otel import attributes
from otel_posthog.otel.api import Logger
from otel_posthog.registry import EXCEPTION, Kind


class DeliberateError(Exception):
    """Never raised; reported when a test report is requested."""


def emit_test_exception(config: Config) -> None:
    """Report a test exception through the normal consent path (requirement R10)."""
    marker = _marker(config, "backend_test")
    error = DeliberateError("Test exception of the backend")
    emit_exception(error, lambda: {marker: True}, handled=True)


def startup_test_event(config: Config, base: BaseProperties) -> Event:
    """Return the test event of a start in development (requirement R19); its distinct_id is not stored."""
    error = DeliberateError("Test exception at the start")
    recorded = {
        attributes.EXCEPTION_TYPE: type_of(error),
        attributes.EXCEPTION_CHAIN: describe(error),
        attributes.EXCEPTION_HANDLED: True,
        _marker(config, "startup_test"): True,
    }
    properties = exception_properties(recorded, base, trace_id=0, span_id=0)
    return event_now(EXCEPTION, properties, distinct_id=str(uuid4()))


def event_now(name: str, properties: Mapping[str, object], *, distinct_id: str | None = None) -> Event:
    """Return an event that happens now and comes from no record."""
    now_ns = time.time_ns()
    return Event(
        name=name,
        properties=properties,
        timestamp=time_from_ns(now_ns),
        uuid=uuid4(),
        accepted_ns=now_ns,
        distinct_id=distinct_id,
    )


def _marker(config: Config, name: str) -> str:
    return f"{attributes.PROPERTY_PREFIX}${config.marker_prefix}_{name}"


class ErrorCapture:
    """Hooks, log handler, breadcrumbs and rate limit of one owner, as the settings request them."""

    def __init__(self, config: Config, counts: Counts, owner: Owner) -> None:
        self._counts, self._owner = counts, owner
        self.breadcrumbs = Breadcrumbs(number=config.error_steps)
        self.rate_limit = RateLimit(
            counts, burst=config.error_burst, refill_per_minute=config.error_refill_per_minute
        )
        self._hooks = Hooks(owner) if config.capture_unhandled else None
        self._logs = LogHandler(
            owner, with_exceptions=config.capture_logged, with_steps=config.steps_from_logs
        )
        self._withdrawn_ns = 0
        self._logger: Logger | None = None

    def emitter(self, logger: Logger, log_limiter: LogLimiter) -> Emitter:
        """Return the emitter for `track` and reports, with breadcrumbs and rate limit."""
        self._logger = logger  # of the summaries, too
        return Emitter(
            logger, log_limiter, self.breadcrumbs, self.rate_limit, counts=self._counts, notes_queued=True
        )

    def install(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Install the hooks of the process, and that of this event loop."""
        if self._hooks is not None:
            self._hooks.install()
        self._logs.install()
        self.watch(loop)

    def watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Report failures of this event loop that are never awaited, until `remove`."""
        if self._hooks is not None:
            self._hooks.watch(loop)

    def emit_summary(self, *, is_final: bool = False) -> None:
        """Report how many reports were suppressed, once a minute or at the end."""
        if self._logger is not None:
            with within(self._owner):
                self.rate_limit.emit_summary(self._logger, is_final=is_final)

    def report(self, error: BaseException | None) -> None:
        """Report what leaves `with telemetry:`, which ends before Python's own hook is called."""
        if self._hooks is not None:
            with within(self._owner):
                report_unhandled(error, UNCAUGHT, level="fatal")

    def remove(self) -> None:
        """Remove the hooks, and emit the last summary."""
        self._logs.remove()
        if self._hooks is not None:
            self._hooks.remove()
        self.emit_summary(is_final=True)

    def follow(self, consent: Consent) -> None:
        """Discard what was recorded before a withdrawal."""
        errors, telemetry = consent.kinds[Kind.ERRORS], consent.kinds[Kind.TELEMETRY]
        withdrawn_ns = errors.withdrawn_before_ns
        # While a kind is denied, all of them: a report that is held may be sent yet.
        self.breadcrumbs.discard_before(errors.discard_before_ns, telemetry.discard_before_ns)
        if withdrawn_ns != self._withdrawn_ns or errors.answer is Answer.DENIED:
            self._withdrawn_ns = withdrawn_ns
            self.rate_limit.discard()
