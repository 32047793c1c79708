"""Start, run and stop: as a context manager, with an application's lifespan, and across forks."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from . import analytics
from ._forks import follow_forks
from ._off_loop import off_loop
from ._process_end import ProcessEnd
from .config import Config
from .consent import Answer
from .decisions import Decisions
from .deliberate import startup_test_event
from .export_half import ExportHalf, left_s
from .gate import DEVELOPMENT
from .notices import Notices
from .outlook import Outlook
from .providers import Providers
from .tracing import RequestTracings

_log = logging.getLogger(__name__)
_DENIED = Answer.DENIED  # an enum's members are slow to look up
_CLOSING_SHARE = 0.05  # of the time for a shutdown, for closing files and connections at its end


class Startable:
    """What `Telemetry` does between its start and its end; the parts are wired by then."""

    config: Config
    notices: Notices
    outlook: Outlook
    _decisions: Decisions
    _exports: ExportHalf
    _providers: Providers
    _tracings: RequestTracings

    def __init__(self) -> None:
        self._emitter: analytics.Emitter | None = None
        self._was_shut_down = False
        self._lock = threading.Lock()
        self._stopping = threading.RLock()
        self._end = ProcessEnd(self.shutdown)
        follow_forks(self)

    def start(self) -> None:
        """Begin: `track` and the middleware emit here from now on. Does nothing while running.

        Returns once consent is known, or after `consent_max_age_s`; what is accepted before is held.
        """
        self._begin()
        self._exports.watch.wait(self.config.consent_max_age_s)
        self._tracings.prepare()

    def touch(self) -> bool:
        """Start without waiting if need be, and keep the view of consent fresh; never raises.

        Tell whether exceptions may be reported, as far as is known.
        """
        try:
            if self._emitter is None and not self._was_shut_down:
                self._begin()
            return self.outlook.rest(may_report=self._exports.watch.peek().errors is not _DENIED)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start (%s), nothing is sent", type(error).__name__)
            return False

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what waits now; tell whether all of it went out within the timeout."""
        worker = threading.Thread(target=self._exports.send_all, name="otel-posthog-flush", daemon=True)
        worker.start()
        worker.join(timeout_s)
        return not worker.is_alive() and self._exports.is_empty

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Send what waits, within the timeout (default: `shutdown_timeout_s`), and stop every thread."""
        limit_s = self.config.shutdown_timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + limit_s * (1 - _CLOSING_SHARE)
        if not self._stopping.acquire(timeout=left_s(deadline_s)):
            return  # another thread is at it, and may still need the database
        try:
            self._stop(deadline_s)
        finally:
            self._stopping.release()

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
        self._exports.heartbeat.use_loop(_running_loop())
        await self._safely(self.start)
        self._exports.listening.watch(_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and stop, without blocking the event loop."""
        await self.ashutdown()

    def begin(self) -> None:
        """Start without waiting, for a web application that is about to start; never raises."""
        self._exports.heartbeat.use_loop(_running_loop())
        self._exports.heartbeat.delay(self.config.heartbeat_delay_s)
        try:
            self._begin()
            self._exports.listening.watch(_running_loop())
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start (%s), nothing is sent", type(error).__name__)

    async def astart(self) -> None:
        """Like `start`, off the event loop, for a web application that is about to start; never raises."""
        self.begin()
        if not self._exports.watch.current.was_looked_at:
            await self._safely(self.start)

    async def ashutdown(self) -> None:
        """Like `shutdown`, off the event loop; never raises."""
        await self._safely(self.shutdown)

    def before_fork(self) -> None:
        """Wait until no thread of ours is where its locks would stay locked in the child."""
        self._exports.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._exports.after_fork_in_parent()

    def after_fork(self) -> None:
        """Forget in a child what is the parent's: locks, threads, connections, and what waits to be sent."""
        self._lock = threading.Lock()
        self._stopping = threading.RLock()
        self.notices.after_fork()
        self._exports.after_fork()
        self._end.after_fork()

    def _begin(self) -> None:
        with self._lock:
            if self._emitter is not None:
                return
            self._exports.open()
            self._emitter = self._exports.listening.emitter(self._providers.logger(), self.notices)
            analytics.use(self._emitter)
            self._exports.listening.start(_running_loop())
            self._tracings.is_running = True
            self._providers.extend_tracer()
            self._end.want()
        self._exports.heartbeat.follow(self._exports.watch.peek())
        if self.config.environment == DEVELOPMENT:
            threading.Thread(target=self._send_startup_test, name="otel-posthog-test", daemon=True).start()

    def _stop(self, deadline_s: float) -> None:
        with self._lock:
            emitter, self._emitter = self._emitter, None
            self._was_shut_down = True
            self._tracings.is_running = False
        if emitter is not None:
            self._exports.listening.stop()
            analytics.stop_using(emitter)
            self._exports.close(deadline_s)
            self._end.drop()
        self._exports.release(deadline_s)
        self._decisions.store.close()

    def _send_startup_test(self) -> None:
        self._exports.gate.send_startup_test(startup_test_event(self.config, self._exports.base))

    async def _safely(self, call: Callable[[], None]) -> None:
        try:
            await off_loop(call)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            self.notices.warn(_log, "Telemetry could not start or stop (%s)", type(error).__name__)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # trio
        return None
