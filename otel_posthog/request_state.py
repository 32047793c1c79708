"""The request under way, as far as the middleware watches it.

A context variable rather than an entry of the scope: the application gets its scope as it came, and
tasks and threads that a framework starts for the request see the same object.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from types import FrameType, TracebackType
from typing import Any

_WATCHING_MODULES = f"{__package__}.middleware."
_NOTHING: Mapping[str, Any] = {}
_DESCRIBING = ("headers", "method", "scheme")


class SendLayer:
    """What stands between the application and the server's `send`: a method of it is handed on instead."""

    __slots__ = ()

    send: Callable[[Any], Awaitable[None]]
    """The next one towards the server."""


class Watched:
    """A call of the application, as far as the middleware watches it."""

    __slots__ = ("has_told",)

    has_told: bool
    """Whether the exception that ended it was reported. The exception itself stays as it was raised."""


class Notes:
    """What becomes known of a request on its way."""

    __slots__ = ("announced", "reported", "span", "steps")

    def __init__(self) -> None:
        self.announced: BaseException | None = None
        """What a framework's signal told of; it counts once the answer is a failure."""
        self.reported: BaseException | None = None
        """What was reported although the application answered."""
        self.span: Any = None
        """Context of the span that others made for it and that has ended, if there was one."""
        self.steps: deque[Any] | None = None
        """What it did last, None until something is noted."""


class RequestUnderWay(Watched, SendLayer):
    """One request from the moment the middleware sees it until the application has ended.

    It has no `__init__`, which would cost each request a twentieth of a microsecond: `begin` sets what
    is needed, and so does the middleware in place. Nor has it a place for each of its notes, of which
    most requests have none: to make and to free them costs as much.
    """

    __slots__ = ("nonce", "notes", "outer", "path", "scope", "security", "send")

    scope: Mapping[str, Any]
    path: Any
    """As it came: Litestar changes the scope of what it mounts."""
    outer: BaseException | None
    """What was being handled around the call of the application; it is nobody's error here."""
    security: Any
    """What sets headers and policy of the answer, None where the product wants none."""
    nonce: str | None
    """Of the scripts in the answer: None until asked for."""
    notes: Notes | None
    """None until there is one; who reads or writes them asks `noted`."""

    def noted(self) -> Notes:
        """Return its notes, empty ones if there were none."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes

    def send_of_server(self) -> Callable[..., object]:
        """Return the server's own `send`, from below the layers that wrapping twice puts on it."""
        send: Callable[..., object] = self.send
        while isinstance(layer := getattr(send, "__self__", None), SendLayer):
            send = layer.send
        return send


Place = list[RequestUnderWay | None]
"""Where a context finds its request: emptied at the end, since a task that outlives it keeps its context.

What the request holds, up to the server's `send`, then goes with it. A list, because nothing that can
be emptied costs less.
"""


class _Origins:
    """Whether somebody still asks for requests that have ended."""

    __slots__ = ("are_asked_for",)

    def __init__(self) -> None:
        self.are_asked_for = False


origins = _Origins()
_current: ContextVar[Place | None] = ContextVar("otel_posthog_request", default=None)
enter, leave, exception = _current.set, _current.reset, sys.exception  # looked up once


def remember_origins() -> None:
    """Keep what describes a request, for a framework that tells of what fails after its end."""
    origins.are_asked_for = True


def begin(
    request: RequestUnderWay, scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]
) -> tuple[Place, Token[Place | None]]:
    """Let the request begin here; what the middleware does in place, where time counts."""
    request.notes = request.nonce = request.security = None
    request.has_told = False
    request.scope = scope
    request.path = path_of(scope)
    request.send = send
    request.outer = exception()
    place: Place = [request]
    return place, enter(place)


def end(request: RequestUnderWay, place: Place, token: Token[Place | None]) -> None:
    """Let nothing that outlives the request count as a part of it, as the middleware does in place."""
    if origins.are_asked_for:
        place.append(ended(request))
    place[0] = request.outer = request.notes = None  # frames of exceptions hold the request
    with suppress(ValueError):  # a coroutine may be closed in another context than it ran in
        leave(token)


def ended(request: RequestUnderWay) -> RequestUnderWay:
    """Return what describes a request that has ended, and holds nothing else of it."""
    description = RequestUnderWay()
    description.scope, description.path = _described(request.scope), request.path
    return description


def _described(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {name: scope[name] for name in _DESCRIBING if name in scope}
    except Exception:  # noqa: BLE001 - of a foreign class
        return _NOTHING


def path_of(scope: Mapping[str, Any]) -> object:
    """Return the path of a request, empty where its scope refuses."""
    try:
        return scope.get("path", "")
    except Exception:  # noqa: BLE001 - of a foreign class; the application will say so
        return ""


def request_under_way() -> RequestUnderWay | None:
    """Return the request within which this code runs, if a middleware watches one."""
    place = _current.get()
    return None if place is None else place[0]


def request_of_origin() -> RequestUnderWay | None:
    """Return the request that began this code, or what describes it where it has ended meanwhile."""
    place = _current.get()
    return None if place is None else place[-1]


def was_reported(error: BaseException) -> bool:
    """Tell whether the request under way has reported this very exception."""
    request = request_under_way()
    return request is not None and request.noted().reported is error


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
