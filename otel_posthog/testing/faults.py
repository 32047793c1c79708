"""Script the sink's faults: what goes wrong, and for how many requests."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from starlette.types import Receive, Send

# As the capture service begins to say why it refuses a request (rust/capture/src/api.rs).
PROBLEMS = {
    400: "failed to parse request: ",
    401: "API key is not valid: ",
    413: "maximum event size exceeded: ",
}
# What a captive portal or a moved host usually sends.
REDIRECT_STATUS = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault for the next `times` ingestion requests; `times=None` never ends.

    With `status`, `body` or `redirect` the sink answers so and stores nothing; without a `body` a 400, 401
    or 413 has PostHog's own. `is_endless` repeats the body without an end. With `cut="before"` it closes
    the connection before it stores; with `cut="after"` it stores, then closes without an answer. With
    `delay_s` alone it answers late but correctly. Every request is recorded either way. `holding` limits
    the fault to requests whose decoded body holds that text; others get the next fault. Where PostHog
    judges each event, a 400 or 413 with `holding` alone drops the events that hold it.
    """

    status: int | None = None
    times: int | None = 1
    retry_after: str | None = None
    delay_s: float = 0.0
    cut: Literal["before", "after"] | None = None
    redirect: str | None = None
    holding: str | None = None
    body: str | None = None
    is_endless: bool = False

    def concerns(self, body: bytes) -> bool:
        """Return whether the fault applies to a request with that decoded body."""
        return self.holding is None or self.holding.encode() in body

    @property
    def answer_status(self) -> int | None:
        """The status that replaces the sink's own, or None."""
        if self.redirect is not None:
            return self.status or REDIRECT_STATUS
        return self.status if self.body is None else self.status or 200

    @property
    def is_of_events(self) -> bool:
        """Whether it says, as PostHog does, that an event is bad."""
        return self.holding is not None and self.body is None and self.status in (400, 413)

    @property
    def answer_body(self) -> str:
        """The body that goes with `answer_status`."""
        return PROBLEMS.get(self.status or 0, "") if self.body is None else self.body

    @property
    def answer_headers(self) -> dict[str, str]:
        """The headers that go with `answer_status`."""
        headers = {"location": self.redirect, "retry-after": self.retry_after}
        return {name: value for name, value in headers.items() if value is not None}


class FaultScript:
    """Hand out faults in order, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int | None]] = []

    def replace(self, faults: Iterable[Fault]) -> None:
        """Replace the present script."""
        with self._lock:
            self._left = [(fault, fault.times) for fault in faults if fault.times != 0]

    def next(self, body: bytes = b"") -> Fault | None:
        """Return the first fault that applies to a request with that body, and count it."""
        with self._lock:
            for index, (fault, times) in enumerate(self._left):
                if not fault.concerns(body):
                    continue
                if times == 1:
                    del self._left[index]
                elif times is not None:
                    self._left[index] = (fault, times - 1)
                return fault
            return None


async def cut_connection(receive: Receive, send: Send) -> None:
    """Close the client's connection without a single byte of an answer.

    Under uvicorn the socket is aborted; elsewhere ConnectionAbortedError ends the request.
    """
    # `send` is a bound method of uvicorn's request cycle, which holds the transport under this name.
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("A scripted fault of the sink cuts this connection.")
    transport.abort()
    # uvicorn would try to answer 500 if the application returned before it noticed the end.
    while (await receive())["type"] != "http.disconnect":
        pass
