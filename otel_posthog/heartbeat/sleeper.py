"""The thread that sleeps until the next heartbeat; it exists only while telemetry is on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class Sleeper:
    """Call `act` now and again whenever as many seconds have passed as it returned."""

    def __init__(self, act: Callable[[], float]) -> None:
        self._act = act
        self._delay_s = 0.0
        self._running: tuple[threading.Thread, threading.Event] | None = None
        self._is_open = False
        self._lock = threading.Lock()

    def delay(self, delay_s: float) -> None:
        """Let the first action of a thread wait so long, until `stop`."""
        self._delay_s = delay_s

    def open(self) -> None:
        """Allow a thread, until `stop`."""
        self._is_open = True

    def ensure_running(self) -> None:
        """Start the thread if there is none; does nothing before `open`."""
        with self._lock:
            if self._running is not None or not self._is_open:
                return
            ended = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(ended, self._delay_s), name="otel-posthog-heartbeat", daemon=True
            )
            with suppress(RuntimeError):  # no new threads while the interpreter shuts down
                thread.start()
                self._running = (thread, ended)

    def let_go(self) -> None:
        """Have the thread end soon, without waiting for it; it may be the one that calls."""
        self._release()

    def stop(self, timeout_s: float) -> None:
        """Allow no thread any more, and wait so long for what the present one is at."""
        self._is_open, self._delay_s = False, 0.0
        thread = self._release()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def after_fork(self) -> None:
        """Start afresh in a child: the thread and the lock are the parent's."""
        self._lock = threading.Lock()
        self._running = None

    def _release(self) -> threading.Thread | None:
        with self._lock:
            running, self._running = self._running, None
        if running is None:
            return None
        thread, ended = running
        ended.set()
        return thread

    def _run(self, ended: threading.Event, delay_s: float) -> None:
        if delay_s and ended.wait(delay_s):
            return
        while not ended.wait(self._act()):
            pass
