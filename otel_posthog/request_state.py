"""The request under way, as far as the middleware watches it.

A context variable rather than an entry of the scope: the application gets its scope as it came, and
tasks and threads that a framework starts for the request see the same object.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from types import FrameType, TracebackType
from typing import Any

_WATCHING_MODULES = f"{__package__}.middleware."
_NOTHING: Mapping[str, Any] = {}
_DESCRIBING = ("headers", "method", "scheme")


class SendLayer:
    """What stands between the application and the server's `send`: a method of it is handed on instead."""

    __slots__ = ("send",)

    send: Callable[[Any], Awaitable[None]]
    """The next one towards the server."""


class Watched:
    """A call of the application, as far as the middleware watches it."""

    __slots__ = ("__dict__",)

    has_told = False
    """Whether the exception that ended it was reported. The exception itself stays as it was raised."""


class RequestUnderWay(Watched):
    """One request from the moment the middleware sees it until the application has ended.

    What is seldom set stands on the class: it costs nothing until it is.
    """

    __slots__ = ("nonce", "outer", "path", "scope", "send", "token")

    scope: Mapping[str, Any]
    send: Callable[[Any], Awaitable[None]] | None
    path: Any
    """As it came: Litestar changes the scope of what it mounts."""
    outer: BaseException | None
    """What was being handled around the call of the application; it is nobody's error here."""
    nonce: str | None
    """Of the scripts in the answer: None where no policy could name it, empty until asked for."""
    token: Token[RequestUnderWay | None] | None
    """Of the context variable; None once the application has ended."""
    announced: BaseException | None = None
    """What a framework's signal told of; it counts once the answer is a failure."""
    reported: BaseException | None = None
    """What was reported although the application answered."""
    span: Any = None
    """Context of the span that others made for it and that has ended, if there was one."""
    steps: deque[Any] | None = None
    """What it did last, None until something is noted."""

    def send_of_server(self) -> Callable[..., object] | None:
        """Return the server's own `send`, from below the layers that wrapping twice puts on it."""
        send: Callable[..., object] | None = self.send
        while isinstance(layer := getattr(send, "__self__", None), SendLayer):
            send = layer.send
        return send

    @property
    def is_active(self) -> bool:
        """Whether the application is still at it."""
        return self.token is not None

    def end(self) -> None:
        """Let nothing that outlives the request count as a part of it, and let go what it holds.

        A task of the application keeps this object, in its context, as long as it lives.
        """
        token, self.token = self.token, None
        if token is None:
            return
        self.outer = self.send = None
        if self.announced is not None or self.reported is not None:
            self.announced = self.reported = None  # their frames hold this object
        self.scope = _described(self.scope) if _origins.are_asked_for else _NOTHING
        try:  # noqa: SIM105 - `suppress` would cost each request a fifth of a microsecond
            leave(token)
        except ValueError:  # a coroutine may be closed in another context than it ran in
            pass


class _Origins:
    """Whether somebody still asks for requests that have ended."""

    are_asked_for = False


_origins = _Origins()
_current: ContextVar[RequestUnderWay | None] = ContextVar("otel_posthog_request", default=None)
enter, leave, exception = _current.set, _current.reset, sys.exception  # looked up once


def remember_origins() -> None:
    """Keep what describes a request, for a framework that tells of what fails after its end."""
    _origins.are_asked_for = True


def _described(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {name: scope[name] for name in _DESCRIBING if name in scope}
    except Exception:  # noqa: BLE001 - of a foreign class
        return _NOTHING


def begin_request(scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]) -> RequestUnderWay:
    """Return the request that begins here; what the middleware does in place, where time counts."""
    request = RequestUnderWay()
    request.scope, request.send, request.path = scope, send, path_of(scope)
    request.nonce, request.outer = None, exception()
    request.token = enter(request)
    return request


def path_of(scope: Mapping[str, Any]) -> object:
    """Return the path of a request, empty where its scope refuses."""
    try:
        return scope.get("path", "")
    except Exception:  # noqa: BLE001 - of a foreign class; the application will say so
        return ""


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
    while traceback is not None:
        frame = traceback.tb_frame
        name = frame.f_globals.get("__name__")
        if type(name) is str and name.startswith(_WATCHING_MODULES) and _has_told(frame):
            return True
        traceback = traceback.tb_next
    return False


def _has_told(frame: FrameType) -> bool:
    """Tell whether the frame watched a call that has ended with a report."""
    if _is_running(frame):
        return False
    return any(isinstance(value, Watched) and value.has_told for value in frame.f_locals.values())


def _is_running(frame: FrameType) -> bool:
    """Tell whether the frame is one of those that led here.

    Its `f_locals` are not to be read: on Python 3.11 and 3.12 they are a copy that stays on the frame,
    and with it the exception that is being handled there, in a circle.
    """
    caller: FrameType | None = sys._getframe()  # noqa: SLF001 - CPython's documented way
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is frame
