"""Hold records in a batch processor that exists only while consent allows any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts
from otel_posthog.otel.sdk import BatchLogRecordProcessor, shut_down_within, take_what_waits
from otel_posthog.registry import Kind

from .exporters import Delivering, Waiting

P = TypeVar("P", bound=BatchLogRecordProcessor | BatchSpanProcessor)
_HELD_PER_S = 3_000  # records mapped, scrubbed and spooled in a second, on a core shared with others


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Generic[P]):
    """A running batch processor, its exporter and its count of records."""

    processor: P
    exporter: Delivering[Any]
    waiting: Waiting

    def close(self, deadline_s: float) -> None:
        """Export until it is time to spool the rest."""
        self.waiting.close()
        until_s = deadline_s - self.waiting.number / _HELD_PER_S
        # Sending gets half of the time, or less if spooling the rest takes more than the other half.
        half_s = (deadline_s - time.monotonic()) / 2
        shut_down_within(self.processor, max(0.0, min(half_s, until_s - time.monotonic())))
        self.waiting.end()  # its thread may go on, and would begin requests whose answers nobody awaits
        self.exporter.hold(take_what_waits(self.processor), until_s=deadline_s)

    def hold(self) -> None:
        """Spool what is queued, without an attempt, and send nothing more of it."""
        self.waiting.end()
        records = take_what_waits(self.processor)
        self.waiting.leave(len(records))
        self.exporter.hold(records, until_s=inf)

    def discard(self) -> None:
        """End without waiting, and drop what is queued: its consent was withdrawn."""
        self.waiting.close()
        # This may be its own thread, which cannot join itself and ends anyway.
        with suppress(RuntimeError):
            shut_down_within(self.processor, 0)
        self.exporter.drop(take_what_waits(self.processor), "withdrawn")


class Switch(Generic[P]):
    """An inner batch processor that exists only while records are accepted."""

    def __init__(self, make: Callable[[Waiting], Inner[P]], *, max_records: int, counts: Counts) -> None:
        self._make = make
        self._max_records = max_records
        self._counts = counts
        self._running: Inner[P] | None = None
        self._is_closed = True
        self._lock = threading.RLock()  # reentrant, as in Waiting
        follow_forks(self)

    def put(self, emit: Callable[[P], object], kinds: Iterable[Kind]) -> bool:
        """Accept an event of each kind and queue their record by `emit`; return False without a place."""
        running = self._running or self._start()
        if running is None:
            return False
        self._counts.accept_each(kinds)
        try:
            is_queued = running.waiting.enter(lambda: emit(running.processor))
        except BaseException:
            self._counts.accept_each(kinds, -1)
            raise
        if not is_queued and running.waiting.is_closed:
            self._counts.accept_each(kinds, -1)
        elif not is_queued:
            self._counts.add_each("queue_full", {kind.value: 1 for kind in kinds})
        return is_queued

    def stop(self) -> None:
        """Discard the processor without waiting."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.discard()

    def hold(self) -> None:
        """Spool the queue on this thread, and send nothing more of it."""
        running = self._running
        if running is not None:
            running.hold()

    def close(self, timeout_s: float) -> None:
        """Export for at most `timeout_s`, spool the rest, and accept nothing until `open`."""
        with self._lock:
            running, self._running = self._running, None
            self._is_closed = True
        if running is not None:
            running.close(time.monotonic() + timeout_s)

    @property
    def is_open(self) -> bool:
        """Whether records are accepted: the host can end that by shutting its provider down."""
        return not self._is_closed

    def open(self) -> None:
        """Accept records until `close`."""
        self._is_closed = False

    def after_fork(self) -> None:
        """Reset in a child; the inner processor empties its queue and restarts its thread itself."""
        self._lock = threading.RLock()

    def flush(self) -> bool:
        """Export the queue on this thread."""
        running = self._running
        return running is None or running.processor.force_flush()

    def _start(self) -> Inner[P] | None:
        with self._lock:
            if self._running is None and not self._is_closed:
                self._adopt(self._make(Waiting(self._max_records)))
            return self._running

    def _adopt(self, inner: Inner[P]) -> None:
        if self._running is None:
            self._running = inner
        else:  # a signal handler made one while this thread was at it
            shut_down_within(inner.processor, 0)
