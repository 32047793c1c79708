"""Run a call on a short thread, or a worker at intervals on a thread that lives only while it is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from .process import follow_forks

_T = TypeVar("_T")


def in_thread(call: Callable[[], _T], name: str) -> Future[_T]:
    """Run the call on a daemon thread of its own; never raises."""
    outcome: Future[_T] = Future()
    outcome.set_running_or_notify_cancel()  # a caller that stops waiting cannot cancel it

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again for the caller
            outcome.set_exception(error)

    try:
        # A daemon, so that a database that hangs keeps no process from ending.
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # no new threads while the interpreter shuts down
        outcome.set_exception(error)
    return outcome


async def off_loop(call: Callable[[], _T]) -> _T:
    """Return what the call returns without blocking the event loop."""
    loop = running_loop()
    # In trio the call runs in place: only start, stop and an admin's click wait here.
    if loop is None:
        return call()
    # A thread of its own: the loop's default executor keeps its threads for good, and may be full of the
    # host's work.
    answer: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not answer.cancelled():
            answer.set_result(None)

    def announce(_outcome: Future[_T]) -> None:
        with suppress(RuntimeError):  # the loop has been closed, and nothing waits any more
            loop.call_soon_threadsafe(settle)

    outcome = in_thread(call, "otel-posthog-call")
    outcome.add_done_callback(announce)
    await answer
    return outcome.result()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the calling thread; None outside of one, and in trio's."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


@dataclass(slots=True, eq=False)
class _Run:
    thread: threading.Thread | None = None
    is_nudged: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Call `act` at intervals, on one thread that exists only while `act` asks for another round.

    `act` never raises; it returns the seconds until its next round, or None to end the thread. There is
    no thread before `open`, and none in a child until `ensure_running` or `wake`.
    """

    def __init__(self, act: Callable[[], float | None], name: str) -> None:
        self._act = act
        self._name = name
        self._run: _Run | None = None
        self._lock = threading.RLock()  # reentrant: a signal handler may stop what its thread starts
        self.is_open = False
        self._is_retired = False
        self.delay_s = 0.0  # before the first round of a thread; reset by `stop`
        follow_forks(self)

    def open(self) -> None:
        """Allow a thread until `stop`; one still busy since an earlier `stop` ends after its round."""
        with self._lock:
            self.is_open, self._run = True, None

    def ensure_running(self) -> bool:
        """Start the thread if there is none; return whether one runs, or none ever has to."""
        with self._lock:
            if self._is_retired:
                return True
            if self._run is not None or not self.is_open:
                return self.is_open
            run = self._run = _Run()
            run.thread = threading.Thread(target=self._loop, args=(run,), name=self._name, daemon=True)
            try:
                run.thread.start()
            except RuntimeError:  # no new threads while the interpreter shuts down
                self._run = None
            return self._run is not None

    def wake(self) -> None:
        """Run a round soon, on a new thread if there is none."""
        self.ensure_running()
        self.nudge()

    def nudge(self) -> None:
        """Let a waiting thread run its next round now; its own calls would keep it busy for ever."""
        run = self._run
        if run is not None and run.thread is not threading.current_thread():
            run.is_nudged.set()

    def end(self) -> None:
        """End the thread without another round, and do not wait for it: it may be the caller."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.is_nudged.set()

    def retire(self) -> None:
        """Run no thread in this process from now on: another process does the work."""
        self._is_retired = True
        self.end()

    def stop(self, timeout_s: float) -> None:
        """Allow no thread; let a waiting one run a last round, and wait this long for it to end."""
        with self._lock:
            run, self.is_open, self.delay_s = self._run, False, 0.0
        self.nudge()
        if run is not None and run.thread is not None and run.thread is not threading.current_thread():
            run.thread.join(timeout_s)

    def after_fork(self) -> None:
        """Forget the thread and the lock in a child: they are the parent's."""
        self._lock = threading.RLock()
        self._run = None

    def _loop(self, run: _Run) -> None:
        pause_s: float | None = self.delay_s
        while True:
            if pause_s:
                run.is_nudged.wait(pause_s)
            run.is_nudged.clear()  # before the round, so that a nudge during the round leads to another
            # `end` or `open` has given this thread up.
            if self._run is not run:
                return
            pause_s = self._act()
            with self._lock:
                if self._run is not run:
                    return
                if not self.is_open or (pause_s is None and not run.is_nudged.is_set()):
                    self._run = None
                    return
