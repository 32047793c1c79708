"""What the products raise, and the very objects, so that a test can ask for identity.

Each product answers `Answered500`, `Answered418` and `Answered503` with that status by its framework's
means (on a WebSocket: the first by closing with 1011), and knows nothing of a `LookupError`.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

CHUNK = b"the first part"
TURNS = 50
"""Of the event loop, until an answer is surely out."""


class Answered500(Exception):  # noqa: N818 - names what becomes of it
    """Handled by a failure."""


class Answered418(Exception):  # noqa: N818 - names what becomes of it
    """Handled."""


class Answered503(Exception):  # noqa: N818 - names what becomes of it
    """Handled."""


class UpstreamError(Exception):
    """As client libraries raise them: the status is the other server's."""

    status_code = 500


class HTTPError(Exception):
    """The HTTP error of a product whose framework has none."""

    def __init__(self, status_code):
        super().__init__(f"status {status_code}")
        self.status_code = status_code


made: list[BaseException] = []
"""Every exception that a product made since the test began."""


def fault(text, kind=LookupError):
    """Return a new exception and remember it."""
    return _remembered(kind(text))


def _group(*members):
    return _remembered(BaseExceptionGroup("several", members))


def _remembered(error):
    made.append(error)
    return error


FAULTS = {
    "unhandled": lambda: fault("unhandled"),
    "answered_with_500": lambda: fault("answered_with_500", Answered500),
    "answered_with_418": lambda: fault("answered_with_418", Answered418),
    "answered_with_503": lambda: fault("answered_with_503", Answered503),
    "upstream": lambda: fault("upstream", UpstreamError),
    "cancelled": lambda: fault("cancelled", asyncio.CancelledError),
    "group": lambda: _group(LookupError("one"), LookupError("two")),
    "mixed_group": lambda: _group(asyncio.CancelledError(), LookupError("one")),
    "left": lambda: _remembered(ClientDisconnect()),
    "left_group": lambda: _group(ClientDisconnect(), WebSocketDisconnect(), asyncio.CancelledError()),
    "left_and_failed_group": lambda: _group(ClientDisconnect(), LookupError("one")),
    "cancelled_group": lambda: _group(asyncio.CancelledError(), asyncio.CancelledError()),
}
"""What a product's view at `/raise/<name>` raises."""

SOCKET_FAULTS = {"answered_with_1011": Answered500, "answered_with_1008": Answered418}
"""What a product raises on a WebSocket of that name."""


async def failing_stream():
    """Yield a part, then fail."""
    yield CHUNK
    raise fault("stream")


def failing_sync_stream():
    """Yield a part, then fail."""
    yield CHUNK
    raise fault("sync_stream")


async def stillborn_stream():
    """Fail before there is a part."""
    if CHUNK:
        raise fault("stillborn_stream")
    yield CHUNK


def stillborn_sync_stream():
    """Fail before there is a part."""
    if CHUNK:
        raise fault("stillborn_stream")
    yield CHUNK


async def long_stream():
    """Yield more than any client of these tests waits for."""
    for _ in range(10_000):
        yield CHUNK
        await asyncio.sleep(0)


async def background():
    """Fail after the answer."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    raise fault("background")


def background_in_thread():
    """Fail after the answer, on a thread."""
    raise fault("background_in_thread")


def work_on_thread():
    """Fail as a view that is not a coroutine."""
    raise fault("thread")


def swallow():
    """Fail, and handle it."""
    try:
        raise fault("swallowed")
    except LookupError:
        return "fine all the same"


def raise_http_error(name, make):
    """Raise what `make` returns for the status in the name, from an error or while handling one."""
    status, _, how = name.partition("_")
    try:
        raise fault(name)
    except LookupError as error:
        if how == "from_error":
            raise make(int(status)) from error
        if how == "from_none":
            raise make(int(status)) from None
        raise make(int(status))  # noqa: B904 - the case: its context is the error
