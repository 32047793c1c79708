"""What a request or task did last, so that a report of its exception can tell (`$exception_steps`).

A ring of names for each request, and outside of requests for each task or thread. Nothing is kept
where nobody notes anything, and nothing leaves but with an exception.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass

from .request_state import request_under_way

MAX_STEP_CHARS = 1_200  # more than leaves, so that no secret is cut in half before it is found
EVENT, SPAN, LOG = "event", "span", "log"

Step = tuple[int, str, str, str | None]
"""Nanoseconds since 1970, what it is, its name or message, and the level of a log record."""


@dataclass(slots=True)
class _Ring:
    keeper: Steps
    owner: int
    steps: deque[Step]


_own: ContextVar[_Ring | None] = ContextVar("otel_posthog_steps", default=None)


class Steps:
    """Note the last so many steps, none for 0; in requests that a middleware watches, and elsewhere."""

    def __init__(self, *, number: int) -> None:
        self._number = number
        self._since_ns = self._events_since_ns = 0

    def note(self, what: str, text: str, level: str | None = None) -> None:
        """Remember a step of the request or task under way."""
        if self._number:
            self._ring().append((time.time_ns(), what, text[:MAX_STEP_CHARS], level))

    def as_json(self, *, with_events: bool) -> str | None:
        """Return the steps of the request or task under way, oldest first; None where there are none.

        Names of product events are left out unless these may leave, too.
        """
        request = request_under_way()
        if request is not None:
            steps = request.noted().steps
        else:
            ring = self._own_ring()
            steps = None if ring is None else ring.steps
        if not steps:
            return None
        kept = [step for step in list(steps) if self._may_leave(step, with_events=with_events)]
        return json.dumps(kept, separators=(",", ":")) if kept else None

    def forget_before(self, moment_ns: int, events_moment_ns: int) -> None:
        """Tell of nothing, and of no product event, from before these moments: consent was withdrawn."""
        self._since_ns, self._events_since_ns = moment_ns, max(moment_ns, events_moment_ns)

    def _may_leave(self, step: Step, *, with_events: bool) -> bool:
        if step[1] == EVENT:
            return with_events and step[0] >= self._events_since_ns
        return step[0] >= self._since_ns

    def _ring(self) -> deque[Step]:
        request = request_under_way()
        if request is not None:
            notes = request.noted()
            if notes.steps is None:
                notes.steps = deque(maxlen=self._number)
            return notes.steps
        ring, owner = self._own_ring(), _running()
        if ring is None or ring.owner != owner:  # a task begins with what led to it, and goes on by itself
            ring = _Ring(self, owner, deque(ring.steps if ring else (), maxlen=self._number))
            _own.set(ring)
        return ring.steps

    def _own_ring(self) -> _Ring | None:
        ring = _own.get()
        return ring if ring is not None and ring.keeper is self else None


def _running() -> int:
    """Return what tells the task or thread from others; asyncio is not imported for it."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises without a loop, which is dear
        task = None if loop is None else asyncio.current_task(loop)
        if task is not None:
            return id(task)
    return threading.get_ident()
