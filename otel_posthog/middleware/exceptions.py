"""Pure ASGI middleware: report each exception that ends as a 500, change nothing (requirement R12).

The application gets scope and receive as they came, and a `send` that looks at each message and
returns what the server's `send` returns. While error reports are denied it gets that one itself.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from copy import copy
from typing import Protocol

from otel_posthog.analytics import emit_answered, emit_leaving, guarded
from otel_posthog.request_state import RequestUnderWay, has_left_an_application

from . import blame, signals
from .asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function
from .description import request_attributes
from .lifespan import run_lifespan

_WATCHED = frozenset({"http", "websocket"})


class Tracing(Protocol):
    """What decides whether a request gets a span."""

    def app_for(self, scope: Scope) -> ASGIApp | None:
        """Return the application to call for a span of this request, None where none is wanted."""


class Lifecycle(Protocol):
    """What the middleware needs of a `Telemetry`; none of it raises."""

    def touch(self) -> bool:
        """Start if that has not happened yet, and look at consent again if it is older than allowed.

        Tell whether exceptions may be reported, as far as is known.
        """

    def secure(self, app: ASGIApp) -> ASGIApp:
        """Return the application with the product's security headers, or as it is."""

    def trace(self, app: ASGIApp) -> Tracing | None:
        """Return what gives requests to the application a span, None where no span rule exists."""

    def begin(self) -> None:
        """Start without waiting."""

    async def astart(self) -> None:
        """Start; returns when consent is known, or has been asked for as long as is reasonable."""

    async def ashutdown(self) -> None:
        """Flush and stop, within the configured timeout."""


class TelemetryMiddleware:
    """Report exceptions of the wrapped application, and run its `Telemetry` with its lifespan.

    Use ``telemetry.wrap(app)``, or where the framework's own object must stay
    ``app.add_middleware(TelemetryMiddleware, telemetry=telemetry)``. What is reported, and what
    cannot be told apart: `docs/middleware.md`.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Lifecycle) -> None:
        self.app = app
        self._inner = telemetry.secure(app)
        self._telemetry = telemetry
        self._touch = telemetry.touch
        self._tracing: Tracing | None = None
        self._tracing_unwatched: Tracing | None = None
        watching = copy(self)  # stands within the span and makes no other
        self._tracing = telemetry.trace(watching)
        self._tracing_unwatched = telemetry.trace(self._inner)
        signals.listen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; see the class."""
        try:
            kind = scope.get("type")
            is_watched = kind in _WATCHED
            is_lifespan = not is_watched and (kind == "lifespan") is True
        except Exception:  # noqa: BLE001 - no ASGI scope; the application will say so
            kind, is_watched, is_lifespan = None, False, False
        if is_lifespan:
            return await run_lifespan(self._inner, self._telemetry, scope, receive, send)
        if not is_watched:
            return await self._inner(scope, receive, send)
        may_report = self._touch()
        tracing = self._tracing if may_report else self._tracing_unwatched
        if tracing is not None and (traced := tracing.app_for(scope)) is not None:
            return await traced(scope, receive, send)
        if not may_report:
            return await self._inner(scope, receive, send)
        request = _Request(scope, send)
        watched = request.send_http if kind == "http" else request.send_websocket
        try:
            return await self._inner(scope, receive, watched)
        except BaseException as error:
            _on_propagating(request, error)
            raise
        finally:
            request.end()


class _Request(RequestUnderWay):
    """A request with the `send` that the application gets: a method costs half of what a closure does."""

    __slots__ = ()

    @as_coroutine_function
    def send_http(self, message: Message) -> Awaitable[None]:
        try:
            if message.get("type") == "http.response.start" and message.get("status") == blame.FAILURE_STATUS:
                _on_failure_answer(self, sys.exception())
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
            pass
        return self.send(message)

    @as_coroutine_function
    def send_websocket(self, message: Message) -> Awaitable[None]:
        try:
            kind = message.get("type")
            if kind == "websocket.close" and message.get("code") in blame.FAILURE_CLOSE_CODES:
                _on_failure_close(self, sys.exception(), message["code"])
            elif kind == "websocket.http.response.start" and message.get("status") == blame.FAILURE_STATUS:
                _on_failure_answer(self, sys.exception())
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
            pass
        return self.send(message)


@guarded
def _on_failure_answer(request: RequestUnderWay, active: BaseException | None) -> None:
    """Report what the answer 500 stands for: the exception being handled, or one that was announced."""
    error = _own(request, active)
    if error is None:
        signals.listen()  # the framework may have been imported since
    elif error is request.announced or not blame.asked_for_status(error, blame.FAILURE_STATUS):
        _report_answered(request, error)


@guarded
def _on_failure_close(request: RequestUnderWay, active: BaseException | None, code: int) -> None:
    error = _own(request, active)
    if error is not None and not blame.asked_for_close(error, code):
        _report_answered(request, error)


@guarded
def _on_propagating(request: RequestUnderWay, error: BaseException) -> None:
    """Report the exception, unless what it comes from was reported already, or a client left."""

    def was_told(earlier: BaseException) -> bool:
        return earlier is request.reported or has_left_an_application(earlier.__traceback__)

    if blame.comes_from(error, was_told):
        request.has_told = True
    elif blame.is_error(error, request.send_of_server()):
        request.has_told = emit_leaving(error, lambda: request_attributes(request))


def _own(request: RequestUnderWay, active: BaseException | None) -> BaseException | None:
    """Return the request's own exception; one that was being handled around the call is not."""
    if active is None or active is request.outer or blame.is_flow_control(active):
        return request.announced
    return active


def _report_answered(request: RequestUnderWay, error: BaseException) -> None:
    if blame.is_error(error, request.send_of_server()):
        emit_answered(error, lambda: request_attributes(request))
        request.reported = error
