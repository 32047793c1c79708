"""The request under way, as far as the middleware watches it.

A context variable rather than an entry of the scope: the application gets its scope as it came, and
tasks and threads that a framework starts for the request see the same object.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any

_WATCHING_MODULES = f"{__package__}.middleware."


class SendLayer:
    """What stands between the application and the server's `send`: a method of it is handed on instead."""

    __slots__ = ("send",)

    send: Callable[[Any], Awaitable[None]]
    """The next one towards the server."""


class Watched(SendLayer):
    """A call of the application, as far as the middleware watches it."""

    __slots__ = ("has_told",)

    has_told: bool
    """Whether the exception that ended it was reported. The exception itself stays as it was raised."""


class RequestUnderWay(Watched):
    """One request from the moment the middleware sees it until the application has ended."""

    __slots__ = (
        "_token",
        "announced",
        "is_active",
        "nonce",
        "outer",
        "path",
        "reported",
        "scope",
        "span",
        "steps",
    )

    announced: BaseException | None
    """What a framework's signal told of; it counts once the answer is a failure."""
    reported: BaseException | None
    """What was reported although the application answered."""
    outer: BaseException | None
    """What was being handled around the call of the application; it is nobody's error here."""
    nonce: str | None
    """Of the scripts in the answer: None where no policy could name it, empty until asked for."""
    span: Any
    """Context of the span that others made for it and that has ended, if there was one."""
    steps: deque[Any] | None
    """What it did last, None until something is noted."""

    def __init__(self, scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]) -> None:
        self.scope = scope
        self.send = send
        try:
            self.path = scope.get("path", "")  # as it came: Litestar changes the scope of what it mounts
        except Exception:  # noqa: BLE001 - of a foreign class; the application will say so
            self.path = ""
        self.is_active, self.has_told = True, False
        self.announced = self.reported = self.nonce = self.span = self.steps = None
        self.outer = sys.exception()
        self._token: Token[RequestUnderWay | None] = _current.set(self)

    def send_of_server(self) -> Callable[..., object]:
        """Return the server's own `send`, from below the layers that wrapping twice puts on it."""
        send: Callable[..., object] = self.send
        while isinstance(layer := getattr(send, "__self__", None), SendLayer):
            send = layer.send
        return send

    def end(self) -> None:
        """Let nothing that outlives the request count as a part of it, and let the exceptions go."""
        self.is_active = False
        self.announced = self.reported = self.outer = None  # their frames hold this object
        try:  # noqa: SIM105 - `suppress` would cost each request a fifth of a microsecond
            _current.reset(self._token)
        except ValueError:  # a coroutine may be closed in another context than it ran in
            pass


_current: ContextVar[RequestUnderWay | None] = ContextVar("otel_posthog_request", default=None)


def request_under_way() -> RequestUnderWay | None:
    """Return the request within which this code runs, if a middleware watches one."""
    request = _current.get()
    return request if request is not None and request.is_active else None


def request_of_origin() -> RequestUnderWay | None:
    """Return the request that began this code, also where it has ended meanwhile."""
    return _current.get()


def was_reported(error: BaseException) -> bool:
    """Tell whether the request under way has reported this very exception."""
    request = request_under_way()
    return request is not None and request.reported is error


def has_left_an_application(traceback: TracebackType | None) -> bool:
    """Tell whether what has this traceback has ended a call of the application that reported it.

    Its frames tell, so that nothing needs to be written on the exception: the server, and whoever
    pickles it, get it as it was raised.
    """
    return any(
        isinstance(value, Watched) and value.has_told
        for frame, _ in walk_tb(traceback)
        if str(frame.f_globals.get("__name__")).startswith(_WATCHING_MODULES) and not _is_running(frame)
        for value in frame.f_locals.values()
    )


def _is_running(frame: FrameType) -> bool:
    """Tell whether the frame is one of those that led here.

    Its `f_locals` are not to be read: on Python 3.11 and 3.12 they are a copy that stays on the frame,
    and with it the exception that is being handled there, in a circle.
    """
    caller: FrameType | None = sys._getframe()  # noqa: SLF001 - CPython's documented way
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is frame
