"""Keep the sink's requests, events and refusals: bounded, readable from any thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

DEFAULT_MAX_EVENTS = 10_000
DEFAULT_MAX_REQUESTS = 10_000
# Of all recorded requests together; the oldest are dropped first.
DEFAULT_MAX_BODY_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One accepted event as received; `issues` lists the rules by which PostHog would drop or alter it."""

    sequence: int
    name: str
    distinct_id: str
    properties: dict[str, object]
    timestamp: str | None
    uuid: str | None
    received_at: datetime
    sent_at: str | None
    path: str
    api_key: str
    raw: dict[str, object]
    issues: tuple[str, ...]
    dropped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request; `status` is None if the connection was cut without an answer.

    `decoded` is the body without form, base64 and gzip; `arrived_at_ns` is monotonic time.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    decoded: bytes
    status: int | None
    arrived_at: datetime
    arrived_at_ns: int

    def contains(self, needle: bytes) -> bool:
        """Return whether URL, headers or body, raw or decoded, hold these bytes."""
        url = f"{self.path}?{self.query}".encode()
        headers = "\n".join(f"{name}: {value}" for name, value in self.headers).encode("latin-1", "replace")
        return any(needle in part for part in (url, headers, self.body, self.decoded))


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """A request that PostHog would answer with an error, and why."""

    sequence: int
    status: int
    rule_id: str
    detail: str
    path: str
    received_at: datetime


class RecordLog:
    """Keep the newest records and wake the threads that wait for them."""

    def __init__(self, *, max_events: int, max_requests: int, max_body_bytes: int) -> None:
        self._changed = threading.Condition()
        self._events: deque[ReceivedEvent] = deque(maxlen=max_events)
        self._requests: deque[ReceivedRequest] = deque()
        self._refused: deque[RefusedRequest] = deque(maxlen=max_requests)
        self._max_requests = max_requests
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._sequence = 0

    def add_request(self, request: ReceivedRequest) -> None:
        """Keep a request; drop the oldest beyond the bounds of number and size."""
        with self._changed:
            self._requests.append(request)
            self._body_bytes += _size(request)
            while len(self._requests) > self._max_requests or self._body_bytes > self._max_body_bytes:
                self._body_bytes -= _size(self._requests.popleft())
            self._changed.notify_all()

    def add_events(self, events: Iterable[ReceivedEvent]) -> None:
        """Keep events, each with the next sequence number."""
        with self._changed:
            self._events.extend(replace(event, sequence=self._next_sequence()) for event in events)
            self._changed.notify_all()

    def add_refused(self, refused: RefusedRequest) -> None:
        """Keep a refusal, with the next sequence number."""
        with self._changed:
            self._refused.append(replace(refused, sequence=self._next_sequence()))
            self._changed.notify_all()

    def clear(self) -> None:
        """Delete everything; sequence numbers continue."""
        with self._changed:
            self._events.clear()
            self._requests.clear()
            self._refused.clear()
            self._body_bytes = 0
            self._changed.notify_all()

    @property
    def last_sequence(self) -> int:
        """The highest sequence number given so far."""
        with self._changed:
            return self._sequence

    @property
    def events(self) -> list[ReceivedEvent]:
        """A copy of the kept events, oldest first."""
        with self._changed:
            return list(self._events)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """A copy of the kept requests, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def refused(self) -> list[RefusedRequest]:
        """A copy of the kept refusals, oldest first."""
        with self._changed:
            return list(self._refused)

    def wait_for(self, *, count: int, timeout_s: float, name: str | None) -> list[ReceivedEvent]:
        """Return the kept events (of that name) once there are `count`, or raise TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while len(found := [e for e in self._events if name in (None, e.name)]) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(self._explain(count, timeout_s, name, len(found)))
        return found

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _explain(self, count: int, timeout_s: float, name: str | None, found: int) -> str:
        wanted = "events" if name is None else f"events named {name!r}"
        arrived = _names([event.name for event in self._events])
        statuses = ", ".join(f"{r.method} {r.path} {r.status or 'cut'}" for r in list(self._requests)[-5:])
        refused = "; ".join(f"{r.rule_id}: {r.detail}" for r in list(self._refused)[-3:])
        return (
            f"Waited {timeout_s} s for {count} {wanted}, got {found}. "
            f"Events that arrived: {arrived or 'none'}. "
            f"Last requests: {statuses or 'none'}. Refused: {refused or 'nothing'}."
        )


def _size(request: ReceivedRequest) -> int:
    return len(request.body) + len(request.decoded)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({names.count(name)})" for name in dict.fromkeys(names))
