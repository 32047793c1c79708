"""Run what is due at the end of the process, also at one by a signal.

Exit hooks are skipped by a signal whose default action ends the process, and by children of
multiprocessing, which end by `os._exit`.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from types import FrameType

from .process import follow_forks, followers
from .threads import in_thread

# Not SIGINT: its default raises KeyboardInterrupt, so exit hooks run, and asyncio replaces only the default.
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_PROCESS_STATUS = Path("/proc/self/status")
_INIT = 1  # the kernel spares process 1 of a container the default action of a signal
_GRACE_S = 1.0  # above the timeout, for a disk that is slow
_PRIORITY = 0  # finalizers without a priority are not run at the end of a process


class ProcessEnd:
    """Call `act` once at any end of the process, while it is wanted.

    A signal gets a handler only where its default action is set, and only from the main thread. The handler
    waits for `act` on a thread, since the main thread may hold any lock, and then lets the signal end the
    process as before. Handlers that a server sets later take precedence; uvicorn and others set ours again
    when they have stopped, and raise the signal once more.
    """

    def __init__(self, act: Callable[[], None], *, timeout_s: float) -> None:
        self.timeout_s = timeout_s  # that `act` may take at a signal
        self._act = act
        self.is_wanted = False
        self.runner: int | None = None  # the thread that acts now
        self.postponed: int | None = None  # a signal that came meanwhile
        follow_forks(self)

    def want(self) -> None:
        """Call it at the end of this process."""
        self.is_wanted = True
        atexit.register(self.run)
        # An event loop that closes sets the default action again, and some servers send a second signal.
        atexit.register(self._listen)
        self._want_in_child()
        self._listen()

    def drop(self) -> None:
        """Call nothing at the end."""
        self.is_wanted = False
        atexit.unregister(self.run)
        atexit.unregister(self._listen)
        if not _wanted():
            _set_handlers(signal.SIG_DFL, instead_of=_end_by)

    def after_fork(self) -> None:
        """Register again in a child of multiprocessing, which drops its parent's finalizers at its start."""
        if self.is_wanted:
            self._listen()

    def _listen(self) -> None:
        if os.getpid() != _INIT:
            _set_handlers(_end_by, instead_of=signal.SIG_DFL)
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, ProcessEnd._want_in_child)

    def run(self) -> None:
        """Act, unless that was done."""
        # From Python 3.13 on, a child of multiprocessing calls what atexit has, too.
        if self.is_wanted:
            self.is_wanted = False
            self.runner = threading.get_ident()
            try:
                self._act()
            finally:
                self.runner = None
                if self.postponed is not None:  # the ends of others come first
                    _end_by(self.postponed, None)

    def _want_in_child(self) -> None:
        # Children of multiprocessing run their own finalizers.
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            sys.modules["multiprocessing.util"].Finalize(None, self.run, exitpriority=_PRIORITY)


def _wanted() -> list[ProcessEnd]:
    return [end for end in followers() if isinstance(end, ProcessEnd) and end.is_wanted]


def _set_handlers(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers, *, instead_of: object
) -> None:
    caught = _caught() if instead_of == signal.SIG_DFL else 0
    with suppress(ValueError):  # not the main thread
        for number in _SIGNALS:
            if signal.getsignal(number) == instead_of and not caught >> number - 1 & 1:
                signal.signal(number, handler)


def _caught() -> int:
    """Return the kernel's mask of the signals that have a handler, 0 if it does not say.

    Python knows nothing of a handler that is set in C, such as that of `faulthandler.register`.
    """
    try:
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", _PROCESS_STATUS.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1), 16) if found else 0


def _end_by(number: int, _frame: FrameType | None) -> None:
    """Run what is wanted within its time, and let the signal end the process."""
    signal.signal(number, signal.SIG_DFL)  # so that a second one ends it at once
    # A pool lets its processes end and terminates them at once: this thread is at what is wanted already.
    for busy in followers():
        if isinstance(busy, ProcessEnd) and busy.runner == threading.get_ident():
            busy.postponed = number
            return
    try:
        with suppress(Exception):  # nothing is left to do but to end
            ends = _wanted()
            timeout_s = max((end.timeout_s for end in ends), default=0.0) + _GRACE_S
            runs = [in_thread(end.run, "otel-posthog-end") for end in ends]
            wait(runs, timeout_s)
            for end, run in zip(ends, runs, strict=True):
                if run.done():  # without a run, if exit hooks can start no thread (Python 3.12)
                    end.run()
    finally:
        signal.raise_signal(number)
