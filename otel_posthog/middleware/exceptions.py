"""Pure ASGI middleware: report each exception that ends as a 500, change nothing (requirement R12).

The application gets scope and receive as they came, and a `send` that looks at each message and
returns what the server's `send` returns. While error reports are denied it gets that one itself.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from time import monotonic
from typing import Protocol

from otel_posthog.analytics import emit_answered, emit_leaving, guarded
from otel_posthog.outlook import Outlook
from otel_posthog.request_state import (
    Place,
    RequestUnderWay,
    ended,
    enter,
    exception,
    has_left_an_application,
    leave,
    origins,
)

from . import blame, signals
from .asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function
from .blame import FAILURE_STATUS
from .description import request_attributes
from .lifespan import run_lifespan
from .security import SecurityHeadersMiddleware


class Tracing(Protocol):
    """What decides whether a request gets a span."""

    def app_for(self, scope: Scope) -> ASGIApp | None:
        """Return the application to call for a span of this request, None where none is wanted."""


class Lifecycle(Protocol):
    """What the middleware needs of a `Telemetry`; none of it raises."""

    outlook: Outlook

    def touch(self) -> bool:
        """Start if that has not happened yet, and look at consent again if it is older than allowed.

        Tell whether exceptions may be reported, as far as is known.
        """

    def secure(self, app: ASGIApp) -> SecurityHeadersMiddleware | None:
        """Return what sets the product's security headers, None where it wants none."""

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
    ``app.add_middleware(TelemetryMiddleware, telemetry=telemetry)``, which costs a request a fifth of a
    microsecond more. What is reported, and what cannot be told apart: `docs/middleware.md`.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Lifecycle) -> None:
        self.app = app
        self._watched = watch(app, telemetry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; see the class."""
        return await self._watched(scope, receive, send)


def watch(app: ASGIApp, telemetry: Lifecycle) -> ASGIApp:
    """Return the application with its exceptions reported, its headers set, spans where rules want them."""
    signals.listen()
    security = telemetry.secure(app)
    unwatched = telemetry.trace(security or app)
    if unwatched is None:
        return _watched(app, telemetry, security, None)
    within_span = _watched(app, telemetry, security, None)
    return _watched(app, telemetry, security, (unwatched, telemetry.trace(within_span)))


def _watched(
    app: ASGIApp,
    telemetry: Lifecycle,
    security: SecurityHeadersMiddleware | None,
    tracings: tuple[Tracing | None, Tracing | None] | None,
) -> ASGIApp:
    """Return the application, called with a request of ours in its context while it may be reported.

    `tracings` are those of the application bare and watched. A closure: to call an instance would cost
    each request a tenth of a microsecond more.
    """
    inner = security or app
    outlook, touch = telemetry.outlook, telemetry.touch
    http_request = _HttpRequest if security is None else _SecuredHttpRequest

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            kind = scope["type"]
            make = http_request if kind == "http" else _WebSocketRequest if kind == "websocket" else None
        except Exception:  # noqa: BLE001 - no ASGI scope; the application will say so
            make = None
        if make is None:
            return await _run_unwatched(inner, telemetry, scope, receive, send)
        may_report = outlook.may_report if monotonic() <= outlook.fresh_until_s else touch()
        if tracings is not None and (traced := _traced(tracings[may_report], scope)) is not None:
            return await traced(scope, receive, send)
        if not may_report:
            return await inner(scope, receive, send)
        # What `begin` and `end` do, in place: each call costs as much as an object.
        request = make()
        request.notes = request.nonce = None
        request.has_told = False
        request.security = security
        request.scope = scope
        request.send = send
        request.outer = exception()
        try:
            request.path = scope["path"] if "path" in scope else ""  # noqa: SIM401 - `get` costs more
        except Exception:  # noqa: BLE001 - of a foreign class; the application will say so
            request.path = ""
        place: Place = [request]
        token = enter(place)
        try:
            return await app(scope, receive, request.pass_on)
        except BaseException as error:
            _on_propagating(request, error)
            raise
        finally:
            if origins.are_asked_for:
                place.append(ended(request))
            place[0] = request.outer = request.notes = None
            try:  # noqa: SIM105 - `suppress` would cost each request a fifth of a microsecond
                leave(token)
            except ValueError:  # a coroutine may be closed in another context than it ran in
                pass

    watched.app = app  # type: ignore[attr-defined]  # whoever looks for a layer goes inwards by it
    return watched


async def _run_unwatched(
    app: ASGIApp, telemetry: Lifecycle, scope: Scope, receive: Receive, send: Send
) -> None:
    if _is_lifespan(scope):
        return await run_lifespan(app, telemetry, scope, receive, send)
    return await app(scope, receive, send)


def _traced(tracing: Tracing | None, scope: Scope) -> ASGIApp | None:
    return None if tracing is None else tracing.app_for(scope)


def _is_lifespan(scope: Scope) -> bool:
    try:
        return (scope.get("type") == "lifespan") is True
    except Exception:  # noqa: BLE001 - no ASGI scope; the application will say so
        return False


class _HttpRequest(RequestUnderWay):
    """One over HTTP; its `pass_on` is what the application gets as `send`."""

    __slots__ = ()

    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:  # the status first: most messages have none
            if (
                "status" in message
                and message["status"] == FAILURE_STATUS
                and message.get("type") == "http.response.start"
            ):
                _on_failure_answer(self, sys.exception())
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
            pass
        return self.send(message)


class _SecuredHttpRequest(RequestUnderWay):
    """One whose answer gets the product's headers."""

    __slots__ = ()

    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:
            if "status" in message and message.get("type") == "http.response.start":
                status = message["status"]
                if status == FAILURE_STATUS:
                    _on_failure_answer(self, sys.exception())
                message = self.security.secured(message, status, self)
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
            pass
        return self.send(message)


class _WebSocketRequest(RequestUnderWay):
    """One over a WebSocket."""

    __slots__ = ()

    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:
            kind = message.get("type")
            if kind == "websocket.close" and message.get("code") in blame.FAILURE_CLOSE_CODES:
                _on_failure_close(self, sys.exception(), message["code"])
            elif kind == "websocket.http.response.start" and message.get("status") == FAILURE_STATUS:
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
    elif error is request.noted().announced or not blame.asked_for_status(error, FAILURE_STATUS):
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
        return earlier is request.noted().reported or has_left_an_application(earlier.__traceback__)

    if blame.comes_from(error, was_told):
        request.has_told = True
    elif blame.is_error(error, request.send_of_server()):
        request.has_told = emit_leaving(error, lambda: request_attributes(request))


def _own(request: RequestUnderWay, active: BaseException | None) -> BaseException | None:
    """Return the request's own exception; one that was being handled around the call is not."""
    if active is None or active is request.outer or blame.is_flow_control(active):
        return request.noted().announced
    return active


def _report_answered(request: RequestUnderWay, error: BaseException) -> None:
    if blame.is_error(error, request.send_of_server()):
        emit_answered(error, lambda: request_attributes(request))
        request.noted().reported = error
