"""Tell which exceptions are a request's own error, and which only happened to be about (requirement R12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from traceback import walk_tb

FAILURE_STATUS = 500
FAILURE_CLOSE_CODES = frozenset({1011, 4500})
"""Of a WebSocket: RFC 6455, section 7.4.1, and Litestar's 4000 plus the HTTP status."""

# Starlette, uvicorn, Litestar, Quart and Django raise these when a client goes away; matched by name
# because this half imports no framework.
CLIENT_LEFT = frozenset(
    {
        "ClientDisconnect",
        "ClientDisconnected",
        "ClientDisconnectedError",
        "RequestAborted",
        "WebSocketDisconnect",
        "WebSocketDisconnected",
    }
)
MAX_RELATED = 100
"""Exceptions of one chain or group that are looked at."""


def is_error(error: BaseException, send: Callable[..., object] | None = None) -> bool:
    """Tell whether the exception is an error at all: no cancellation, no exit, no client that left.

    A group is one if any of its members is. What was raised from a client's leaving is none, such as
    Litestar's "Exception caught after response started"; `send` is the server's.
    """
    members = _related(error, with_causes=False)
    return any(isinstance(member, Exception) and _is_single_error(member, send) for member in members)


def is_flow_control(error: BaseException) -> bool:
    """Tell whether the exception ends an iteration; such a one never leaves a coroutine."""
    return isinstance(error, (StopIteration, StopAsyncIteration))


def asked_for_status(error: BaseException, status: int) -> bool:
    """Tell whether the exception itself names this status: a framework's deliberate HTTP error."""
    return getattr(error, "status_code", None) == status


def asked_for_close(error: BaseException, code: int) -> bool:
    """Tell whether the exception itself names this close code, or is an HTTP error of a framework."""
    return getattr(error, "code", None) == code or isinstance(getattr(error, "status_code", None), int)


def comes_from(error: BaseException, is_earlier: Callable[[BaseException], bool]) -> bool:
    """Tell whether such an earlier exception is this one, or a cause, context or member of it."""
    return any(is_earlier(related) for related in _related(error, with_causes=True))


def _is_single_error(error: Exception, send: Callable[..., object] | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return False
    reasons = [root for root in _roots(error, send) if isinstance(root, Exception)]
    return not reasons or not all(_tells_of_leaving(reason, send) for reason in reasons)


def _tells_of_leaving(error: BaseException, send: Callable[..., object] | None) -> bool:
    if not CLIENT_LEFT.isdisjoint(cls.__name__ for cls in type(error).__mro__):
        return True
    return send is not None and _is_raised_by(error, send)


def _is_raised_by(error: BaseException, send: Callable[..., object]) -> bool:
    """Tell whether the server's `send` raised it, as ASGI (HTTP 2.4) lets it do once the client has left."""
    if not isinstance(error, OSError):
        return False
    function = send if hasattr(send, "__code__") else getattr(send, "__func__", type(send).__call__)
    code = getattr(function, "__code__", None)
    return code is not None and any(frame.f_code is code for frame, _ in walk_tb(error.__traceback__))


def _roots(error: BaseException, send: Callable[..., object] | None) -> Iterator[BaseException]:
    """Yield what it was raised from in the end, by `from` only: a context may be any coincidence."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_RELATED:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        elif current.__cause__ is not None and not _tells_of_leaving(current, send):
            waiting.append(current.__cause__)
        else:
            yield current


def _related(error: BaseException, *, with_causes: bool) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_RELATED:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if with_causes:
            waiting += (current.__cause__, current.__context__)
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
