"""Breadcrumbs: what a request or task did last, sent with its exception (`$exception_steps`).

A ring for each request, and outside of requests for each task or thread. Nothing is stored where
nothing is recorded, and nothing is sent except with an exception.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from otel_posthog.otel.records import now_ns

from .request_context import WatchedRequest, current_request

MAX_BREADCRUMB_CHARS = 1_200  # more than is sent, so that no secret is cut in half before it is found
EVENT, SPAN, LOG = "event", "span", "log"

# Nanoseconds since 1970, its kind, its name or message, and the level of a log record.
Breadcrumb = tuple[int, str, str, str | None]


@dataclass(slots=True)
class _Ring:
    owner: Breadcrumbs
    task: int
    breadcrumbs: deque[Breadcrumb]


_own: ContextVar[_Ring | None] = ContextVar("otel_posthog_steps", default=None)


def forget() -> None:
    """Begin with none: a job that starts on this thread has nothing to do with the one before."""
    _own.set(None)


class Breadcrumbs:
    """Keep the last entries of each request, task or thread; with `number=0` none."""

    def __init__(self, *, number: int) -> None:
        self._number = number
        self._since_ns = self._events_since_ns = 0.0

    def note(self, kind: str, text: str, level: str | None = None) -> None:
        """Record one entry of the current request or task."""
        if self._number:
            self._ring().append((now_ns(), kind, text[:MAX_BREADCRUMB_CHARS], level))

    def as_json(self, request: WatchedRequest | None, *, allows_events: Callable[[], bool]) -> str | None:
        """Return the entries of this request, or else of the current task, oldest first; None for none.

        Names of product events are kept back unless `allows_events`, which is called only if there are any.
        """
        holder = self._own_ring() if request is None else request.notes
        entries = None if holder is None else holder.breadcrumbs
        if not entries:
            return None
        kept = [
            entry
            for entry in list(entries)  # a copy, since other threads of the request may add to it
            if entry[0] >= (self._events_since_ns if entry[1] == EVENT else self._since_ns)
        ]
        if any(entry[1] == EVENT for entry in kept) and not allows_events():
            kept = [entry for entry in kept if entry[1] != EVENT]
        return json.dumps(kept, separators=(",", ":")) if kept else None

    def discard_before(self, since_ns: float, events_since_ns: float) -> None:
        """Discard what was recorded before the given times; consent was withdrawn."""
        self._since_ns, self._events_since_ns = since_ns, max(since_ns, events_since_ns)

    def _ring(self) -> deque[Breadcrumb]:
        request = current_request()
        if request is not None:
            notes = request.noted()
            if notes.breadcrumbs is None:
                notes.breadcrumbs = deque(maxlen=self._number)
            return notes.breadcrumbs
        ring, task = self._own_ring(), _running()
        # A copied context shares the ring, so the first entry of a new task starts a ring of its own,
        # with the entries that led to the task.
        if ring is None or ring.task != task:
            ring = _Ring(self, task, deque(ring.breadcrumbs if ring else (), maxlen=self._number))
            _own.set(ring)
        return ring.breadcrumbs

    def _own_ring(self) -> _Ring | None:
        ring = _own.get()
        # The variable is the process's: another `Telemetry`, as in tests, has a ring of its own.
        return ring if ring is not None and ring.owner is self else None


def _running() -> int:
    """Return an identifier of the current task or thread, without importing asyncio."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises without a loop, which is slow
        task = None if loop is None else asyncio.current_task(loop)
        if task is not None:
            return id(task)
    return threading.get_ident()
