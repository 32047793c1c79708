"""OpenTelemetry's middleware beside a request instead of around it.

It is entered before the application and left after it, and told what it wants to know of the answer.
The application itself gets what the server gave: OpenTelemetry's middleware would answer `send` by
itself, lose what the application returns, and fail on scopes and messages that it does not know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import coroutine
from typing import cast

from .middleware.asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function
from .request_state import SendLayer

_PLACE = "otel_posthog.request_span"
"""Where OpenTelemetry's copy of the scope holds the span."""


class Traced:
    """The application, with a span for each request."""

    def __init__(self, app: ASGIApp, make_middleware: Callable[[ASGIApp], ASGIApp]) -> None:
        self._app = app
        self._middleware = make_middleware(_stand_still)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; see the class."""
        span = _begun(self._middleware, scope, send)
        if span is None:
            return await self._app(scope, receive, send)
        try:
            return await self._app(scope, receive, span.send_told)
        except BaseException as error:
            span.note(error)
            raise
        finally:
            span.end()


class _RequestSpan(SendLayer):
    """OpenTelemetry's middleware at a standstill, with the `send` that the application gets."""

    __slots__ = ("middleware", "tell")

    middleware: Coroutine[None, None, None]
    tell: Send | None
    """Its own `send`; None before it has begun, and after it has ended."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.tell = None

    @as_coroutine_function
    def send_told(self, message: Message) -> Awaitable[None]:
        if self.tell is not None:
            try:
                outline = _outline(message)
                if outline is not None:
                    _step(cast("Coroutine[None, None, None]", self.tell(outline)))
            except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
                pass
        return self.send(message)

    def note(self, error: BaseException) -> None:
        """Let OpenTelemetry note what ended the request, and leave the exception as it is."""
        traceback = _TRACEBACK.__get__(error)
        try:
            self.middleware.throw(error)
        except BaseException:  # noqa: BLE001, S110 - the same one, or what it raises when it is looked at
            pass
        finally:
            _TRACEBACK.__set__(error, traceback)

    def end(self) -> None:
        """Let OpenTelemetry's middleware come to its end, where no exception has brought it there."""
        self.tell = None
        _step(self.middleware)


_TRACEBACK = BaseException.__dict__["__traceback__"]  # past `__setattr__` and the like of its class


def _begun(middleware: ASGIApp, scope: Scope, send: Send) -> _RequestSpan | None:
    """Return the span of the request, or None where OpenTelemetry can make nothing of the scope."""
    span = _RequestSpan(send)
    try:
        copied = {**scope, _PLACE: span}
        if not isinstance(copied.get("headers"), (list, tuple)):
            copied["headers"] = ()  # what can be read once is the application's
        span.middleware = cast(
            "Coroutine[None, None, None]", middleware(copied, _receive_nothing, _send_nothing)
        )
        span.middleware.send(None)
    except Exception:  # noqa: BLE001 - an odd request costs its span only
        return None
    return span


def _outline(message: Message) -> Message | None:
    """Return what OpenTelemetry wants to know of the message, if anything."""
    kind = message.get("type")
    if kind == "http.response.start":
        headers = message.get("headers")
        readable = list(headers) if isinstance(headers, (list, tuple)) else []
        return {"type": kind, "status": message.get("status"), "headers": readable}
    if kind == "http.response.body":
        return None if message.get("more_body") else {"type": kind}
    return {"type": kind} if kind == "websocket.send" else None


def _step(waiting: Coroutine[None, None, None]) -> None:
    try:
        waiting.send(None)
    except Exception:  # noqa: BLE001, S110 - StopIteration for its end, and a fault costs the span only
        pass
    else:
        waiting.close()


async def _stand_still(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stand in for the application: OpenTelemetry's middleware waits here while the real one runs."""
    scope[_PLACE].tell = send
    await _pause()


@coroutine
def _pause() -> Generator[None, None, None]:
    yield


async def _receive_nothing() -> Message:
    return {}


async def _send_nothing(_message: Message) -> None:
    """Stand in for the server's."""
