"""Hold what could not be sent yet, and try it again.

The spool is bounded and holds scrubbed events only. One drainer retries; it also keeps this worker
within a second of the settings row while anything may be sent.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from .events import UNSTAMPED, Event, Stamp
from .notices import Notices
from .registry import Kind

_log = logging.getLogger(__name__)
_accepted_ns = attrgetter("accepted_ns")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Events of one kind that are sent together."""

    kind: Kind
    events: tuple[Event, ...]
    size_bytes: int
    stamp: Stamp = UNSTAMPED
    """The consent under which the events were accepted."""

    @property
    def oldest_ns(self) -> int:
        """When the first of its events was accepted."""
        oldest: int = min(map(_accepted_ns, self.events))
        return oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What one look at consent says of batches that wait: which of them must not."""

    kind: Kind
    before_ns: int
    """Without a generation, what was accepted earlier was accepted before the withdrawal."""
    generation: int = 0
    """What was accepted under an earlier one was accepted before the withdrawal."""

    def covers(self, batch: Batch) -> bool:
        """Tell whether the batch has to go."""
        if batch.kind is not self.kind:
            return False
        if batch.stamp.generation is None:
            return batch.oldest_ns < self.before_ns
        return batch.stamp.generation < self.generation


class Spool(Protocol):
    """Where batches wait, oldest first."""

    def put(self, batch: Batch) -> int:
        """Keep the batch and return how many events had to go to make room."""

    def first(self) -> Batch | None:
        """Return the oldest batch, which stays until it is removed."""

    def waiting(self) -> list[Batch]:
        """Return all that waits, oldest first; it stays."""

    def remove(self, batch: Batch) -> None:
        """Forget a batch that has been dealt with; one that is gone already is no error."""

    def purge(self, withdrawal: Withdrawal) -> int:
        """Delete what was withdrawn and return how many events that were."""

    def claim(self) -> AbstractContextManager[Spool]:
        """Give the part of it that this process alone may drain while the block lasts."""


class MemorySpool:
    """A spool that ends with the process. `on_put` is called after each batch that was kept."""

    def __init__(self, *, max_bytes: int, on_put: Callable[[], None]) -> None:
        self._max_bytes = max_bytes
        self._on_put = on_put
        self._batches: deque[Batch] = deque()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def put(self, batch: Batch) -> int:
        """Keep the batch; the oldest ones go where the bound would be passed."""
        if batch.size_bytes > self._max_bytes:
            return len(batch.events)
        lost = 0
        with self._lock:
            while self._size_bytes + batch.size_bytes > self._max_bytes:
                oldest = self._batches.popleft()
                self._size_bytes -= oldest.size_bytes
                lost += len(oldest.events)
            self._batches.append(batch)
            self._size_bytes += batch.size_bytes
        self._on_put()
        return lost

    def first(self) -> Batch | None:
        """Return the oldest batch, or None."""
        with self._lock:
            return self._batches[0] if self._batches else None

    def waiting(self) -> list[Batch]:
        """Return all that waits, oldest first."""
        with self._lock:
            return list(self._batches)

    def remove(self, batch: Batch) -> None:
        """Forget the batch."""
        with self._lock:
            if batch in self._batches:
                self._batches.remove(batch)
                self._size_bytes -= batch.size_bytes

    def purge(self, withdrawal: Withdrawal) -> int:
        """Delete the batches that the withdrawal covers."""
        with self._lock:
            stale = [batch for batch in self._batches if withdrawal.covers(batch)]
            for batch in stale:
                self._batches.remove(batch)
                self._size_bytes -= batch.size_bytes
        return sum(len(batch.events) for batch in stale)

    @contextmanager
    def claim(self) -> Iterator[Spool]:
        """Give all of it: no other process sees what waits here."""
        yield self

    def after_fork(self) -> None:
        """Start empty in a child: what waits here is the parent's to send."""
        self._lock = threading.Lock()
        self._batches = deque()
        self._size_bytes = 0


class Drainer:
    """Try spooled batches again, on a thread that exists only while there is a reason.

    `attempt` deals with one batch and tells whether it is done with; `pause` returns how many seconds
    the next attempt has to wait; `watch` looks at consent and tells whether anything may be sent.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        attempt: Callable[[Batch], bool],
        pause: Callable[[], float],
        watch: Callable[[], bool],
        interval_s: float,
        notices: Notices,
    ) -> None:
        self._notices = notices
        self._spool = spool
        self._attempt = attempt
        self._pause = pause
        self._watch = watch
        self._interval_s = interval_s
        self._thread: threading.Thread | None = None
        self._nudge = threading.Event()
        self._lock = threading.Lock()
        self._draining = threading.Lock()
        self._is_open = False
        self._life = 0

    def ensure_running(self) -> None:
        """Start the thread if there is none; does nothing before `open`."""
        with self._lock:
            if self._thread is None and self._is_open:
                thread = threading.Thread(
                    target=self._run, args=(self._life,), name="otel-posthog-drainer", daemon=True
                )
                with suppress(RuntimeError):  # no new threads while the interpreter shuts down
                    thread.start()
                    self._thread = thread

    def wake(self) -> None:
        """Have the spool looked at soon."""
        self.ensure_running()
        self._nudge.set()

    def settle(self) -> None:
        """Have the thread, if there is one, find out soon whether it is still needed."""
        if self._thread is not threading.current_thread():
            self._nudge.set()

    def drain(self) -> None:
        """Try the waiting batches on this thread, until one has to wait or another process is at it."""
        with self._draining:
            if self._pause() > 0 or self._spool.first() is None:
                return
            with self._spool.claim() as ours:
                while self._pause() <= 0 and (batch := ours.first()) is not None:
                    if not self._attempt(batch):
                        return
                    ours.remove(batch)

    def stop(self, timeout_s: float) -> None:
        """Make one last attempt where none is parked, and wait so long for the thread to end."""
        with self._lock:
            thread, self._is_open = self._thread, False
        self._nudge.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def open(self) -> None:
        """Allow a thread, until `stop`; one of an earlier life that is still busy ends by itself."""
        self._life += 1
        self.after_fork()
        self._is_open = True

    def after_fork(self) -> None:
        """Start afresh in a child: the thread and the locks are the parent's."""
        self._lock = threading.Lock()
        self._draining = threading.Lock()
        self._nudge = threading.Event()
        self._thread = None

    def _run(self, life: int) -> None:
        while True:
            is_needed = self._round()
            with self._lock:
                if life != self._life:
                    return
                if not (self._is_open and (is_needed or self._spool.first() is not None)):
                    self._thread = None
                    return
            pause_s = self._pause()
            self._nudge.wait(min(self._interval_s, pause_s) if pause_s > 0 else self._interval_s)
            self._nudge.clear()

    def _round(self) -> bool:
        """Look and drain once; a fault costs this round, not the thread."""
        try:
            may_send = self._watch()
            self.drain()
        except Exception as error:  # noqa: BLE001 - whatever waits is tried again in the next round
            self._notices.warn(_log, "Waiting events could not be tried again (%s)", type(error).__name__)
            return True
        return may_send
