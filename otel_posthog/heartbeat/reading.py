"""Call the callback of a gauge without waiting for it longer than allowed.

Each sync callback gets a short thread of its own, since a thread that hangs cannot be stopped. One
that still hangs keeps its gauge from being called again, so there is never more than one for each.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import cast

from otel_posthog._otel import suppressed_instrumentation

from .gauges import Gauge, Value


class GaugeError(Exception):
    """Raised where a gauge has no usable value; the message says why and never which value it had."""


class Reader:
    """Read gauges one at a time, from a thread that may wait."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy: dict[str, asyncio.AbstractEventLoop | None] = {}

    def use_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run async callbacks on the application's loop from now on, or on a private one again."""
        self._loop = loop

    def read(self, gauge: Gauge, timeout_s: float) -> Value:
        """Return the gauge's value, or None where it has nothing to say; raise `GaugeError`."""
        if self._is_busy(gauge):
            raise GaugeError("still hangs from an earlier time")
        answer: Future[object] = Future()
        try:
            give_up = self._begin(gauge, answer, timeout_s)
        except RuntimeError:  # the loop was closed this moment, or the interpreter is shutting down
            self._busy.pop(gauge.name, None)
            raise GaugeError("could not be asked") from None
        wait([answer], timeout_s)
        if not answer.done():
            give_up()
            raise GaugeError(f"took longer than {timeout_s:g} s")
        error = answer.exception()
        if error is not None:
            raise GaugeError(f"raised {type(error).__name__}")
        return _checked(answer.result(), gauge)

    def after_fork(self) -> None:
        """Start afresh in a child: loop and threads are the parent's."""
        self._loop = None
        self._busy = {}

    def _is_busy(self, gauge: Gauge) -> bool:
        """Tell whether an earlier reading goes on; with its loop closed it never ends, and is none."""
        if gauge.name not in self._busy:
            return False
        loop = self._busy[gauge.name]
        return loop is None or not loop.is_closed()

    def _begin(self, gauge: Gauge, answer: Future[object], timeout_s: float) -> Callable[[], object]:
        """Start the callback and return what gives it up."""
        loop = self._loop
        if gauge.is_async and loop is not None and loop.is_running():
            self._busy[gauge.name] = loop
            return self._begin_on_loop(loop, gauge, answer)

        def work() -> None:
            if gauge.is_async:
                self._settle(gauge, answer, lambda: _on_private_loop(gauge, timeout_s))
            else:
                self._settle(gauge, answer, gauge.callback)

        self._busy[gauge.name] = None
        threading.Thread(target=work, name="otel-posthog-gauge", daemon=True).start()
        return lambda: None

    def _begin_on_loop(
        self, loop: asyncio.AbstractEventLoop, gauge: Gauge, answer: Future[object]
    ) -> Callable[[], object]:
        tasks: list[asyncio.Task[object]] = []  # a loop holds its tasks weakly
        with suppressed_instrumentation():
            context = contextvars.copy_context()

        def begin() -> None:
            task = loop.create_task(_call(gauge), context=context)
            tasks.append(task)
            task.add_done_callback(lambda done: self._settle(gauge, answer, done.result))

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        loop.call_soon_threadsafe(begin)
        return lambda: loop.call_soon_threadsafe(cancel)  # after `begin`, also where the loop was blocked

    def _settle(self, gauge: Gauge, answer: Future[object], call: Callable[[], object]) -> None:
        try:
            with suppressed_instrumentation():
                value = call()
        except BaseException as error:  # noqa: BLE001 - it costs this gauge only, whatever it is
            self._busy.pop(gauge.name, None)
            answer.set_exception(error)
        else:
            self._busy.pop(gauge.name, None)
            answer.set_result(value)


async def _call(gauge: Gauge) -> object:
    value = gauge.callback()
    return await value if inspect.isawaitable(value) else value


def _on_private_loop(gauge: Gauge, timeout_s: float) -> object:
    # Given a factory, the runner leaves the thread's current event loop as it is.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(_call(gauge), timeout_s))


def _checked(value: object, gauge: Gauge) -> Value:
    if value is None or gauge.admits(value):
        return cast("Value", value)
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that nobody awaited it
    raise GaugeError(f"returned a value that is not allowed ({type(value).__name__})")
