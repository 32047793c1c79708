"""Pure ASGI middleware: report each exception that ends as a 500, change nothing (requirement R12).

The application gets scope and receive unchanged, and a `send` that examines each message and returns
what the server's `send` returns. While error reports are denied it gets the server's `send` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from time import monotonic
from typing import Any, Protocol

from otel_posthog.emit.capture import emit_exception, emit_request_error, guarded, log_fault
from otel_posthog.emit.failures import (
    FAILURE_CLOSE_CODES,
    FAILURE_STATUS,
    follows_report,
    is_error,
    is_failure,
    reason_of,
)
from otel_posthog.emit.request_context import (
    Origins,
    Slot,
    WatchedRequest,
    current_request,
    empty,
    ended,
    enter,
    exception,
    leave,
    originating_request,
    owned,
    request_attributes,
    within,
)
from otel_posthog.emit.tracebacks import own_frame

from .asgi import (
    ASGIApp,
    Lifecycle,
    Message,
    Receive,
    Scope,
    Send,
    Tracing,
    as_coroutine_function,
    run_lifespan,
    type_of,
)

_FAULT = "an exception could not be examined"
_FLOW_CONTROL = (StopIteration, StopAsyncIteration)
_UID = "otel_posthog"  # Django keeps one receiver of a uid


class HasLifecycle(Protocol):
    """A `Telemetry`."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Return what starts and stops it."""


class TelemetryMiddleware:
    """Report exceptions of the wrapped application, and run its `Telemetry` with its lifespan.

    Use ``telemetry.wrap(app)``, or where the framework's own object must stay
    ``app.add_middleware(TelemetryMiddleware, telemetry=telemetry)``, which costs a request a fifth of a
    microsecond more. What is reported, and what cannot be distinguished: `docs/middleware.md`.
    """

    def __init__(self, app: ASGIApp, *, telemetry: HasLifecycle) -> None:
        self.app = app
        self._watched = watch(app, telemetry.lifecycle)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; see the class."""
        return await self._watched(scope, receive, send)


def watch(app: ASGIApp, telemetry: Lifecycle) -> ASGIApp:
    """Return the application with its exceptions reported, its headers set, spans for its rules."""
    listen()
    within_span = _watched(app, telemetry, None)
    unwatched = telemetry.trace(app if telemetry.security is None else within_span)
    if unwatched is None:
        return within_span
    return _watched(app, telemetry, (unwatched, telemetry.trace(within_span)))


def _watched(  # noqa: C901 - a closure without further calls, see below
    app: ASGIApp, telemetry: Lifecycle, tracings: tuple[Tracing | None, Tracing | None] | None
) -> ASGIApp:
    """Return the application, called with a `WatchedRequest` in its context while errors may be reported."""
    # `tracings` are those of the application bare and watched. A closure: calling an instance would cost
    # each request a tenth of a microsecond more.
    snapshot, touch = telemetry.consent_snapshot, telemetry.touch
    security, owner = telemetry.security, telemetry.owner
    http, websocket = owned(_HttpRequest, owner), owned(_WebSocketRequest, owner)
    with_headers = None if security is None else http

    @own_frame
    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            kind = scope["type"]
            make = http if kind == "http" else websocket if kind == "websocket" else None
        except Exception:  # noqa: BLE001 - no ASGI scope; the application will report it
            make = None
        if make is None:
            return await _run_apart(app, telemetry, scope, receive, send)
        may_report = snapshot.may_report if monotonic() <= snapshot.fresh_until_s else touch()
        if tracings is not None and (traced := _app_within_span(tracings[may_report], telemetry, scope)):
            return await traced(scope, receive, send)
        if not may_report and owner.is_alone and make is not with_headers:
            try:
                return await app(scope, receive, send)
            except BaseException as error:
                request = make()
                _on_unwatched(request, scope, send, error)
                raise
        # Inline, since each call costs as much as an object. One object is both the request and the holder
        # of `send`: a second one would cost a tenth of a microsecond.
        request = make()
        request.notes = request.nonce = None
        request.was_reported = False
        request.security = security
        request.scope = scope
        request.send = send
        request.outer = exception()
        try:
            request.path = scope["path"] if "path" in scope else ""  # noqa: SIM401 - `get` costs more
        except Exception:  # noqa: BLE001 - of a third-party class; the application will report it
            request.path = ""
        slot: Slot = [request]
        token = enter(slot)
        try:
            return await app(scope, receive, request.pass_on)
        except BaseException as error:
            on_propagating(request, error)
            raise
        finally:
            if Origins.are_kept:
                slot.append(ended(request))
            slot[0] = owner
            # Frames of exceptions hold the request, so it must not hold exceptions.
            request.outer = request.notes = None
            try:  # noqa: SIM105 - `suppress` would cost each request a fifth of a microsecond
                leave(token)
            except ValueError:  # a coroutine may be closed in another context than it ran in
                pass

    watched.app = app  # type: ignore[attr-defined]  # tools that search the layers follow it inwards
    return watched


@own_frame
async def _run_apart(app: ASGIApp, telemetry: Lifecycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Run what is not watched; what it emits belongs to its `Telemetry` all the same."""
    with within(telemetry.owner):
        if type_of(scope) == "lifespan":
            return await run_lifespan(app, telemetry, scope, receive, send)
        return await app(scope, receive, send)


def _app_within_span(tracing: Tracing | None, telemetry: Lifecycle, scope: Scope) -> ASGIApp | None:
    traced = None if tracing is None else tracing.app_for(scope)
    return traced if traced is None or telemetry.owner.is_alone else partial(_run_apart, traced, telemetry)


class _HttpRequest(WatchedRequest):
    """One over HTTP; the application gets its `pass_on` as `send`."""

    __slots__ = ()

    # A plain method that returns the server's awaitable: it adds no frame to the application's stack.
    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:  # the status first, as most messages have none, and the type last, as most statuses are fine
            if (
                "status" in message
                and ((status := message["status"]) >= FAILURE_STATUS or self.security is not None)
                and message.get("type") == "http.response.start"
            ):
                if status >= FAILURE_STATUS:
                    on_failure(self, status)
                if self.security is not None:
                    message = self.security.secured(message, status, self)
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will report it
            pass
        return self.send(message)


class _WebSocketRequest(WatchedRequest):
    __slots__ = ()

    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:
            kind = message.get("type")
            if kind == "websocket.close" and message.get("code") in FAILURE_CLOSE_CODES:
                on_failure(self, message["code"])
            elif kind == "websocket.http.response.start" and message["status"] >= FAILURE_STATUS:
                on_failure(self, message["status"])
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will report it
            pass
        return self.send(message)


def on_failure(request: WatchedRequest, ended_with: int, given: BaseException | None = None) -> None:
    """Report the cause of a 5xx or of such a close: one given, being handled, or announced."""
    try:
        announced = None if request.notes is None else request.notes.announced
        error = sys.exception() if given is None else given
        # What was being handled around the call is not the request's.
        if error is None or error is request.outer or issubclass(type(error), _FLOW_CONTROL):
            error = announced
        if error is None:
            listen()  # the framework may have been imported since
            return
        is_announced = error is announced and ended_with == FAILURE_STATUS
        is_cause = is_announced or is_failure(error, request, ended_with)
        if is_cause and is_error(error, request.send) and _emit(error, request):
            request.noted().reported = error
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        log_fault(_FAULT, fault)


def on_propagating(request: WatchedRequest, error: BaseException) -> None:
    """Report the exception, unless it follows one that was reported, or the client disconnected."""
    try:
        if follows_report(error, request):
            request.was_reported = True
        elif is_error(error, request.send):
            request.was_reported = _emit(error, request)
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        log_fault(_FAULT, fault)


@guarded
def _on_unwatched(request: WatchedRequest, scope: Scope, send: Send, error: BaseException) -> None:
    """Report the exception although reports are denied: consent is read again before it is dropped."""
    request.notes = request.nonce = request.security = request.outer = None
    request.was_reported = False
    request.scope, request.send, request.path = scope, send, scope.get("path", "")
    slot: Slot = [request]
    token = enter(slot)
    on_propagating(request, error)
    empty(request, slot)
    leave(token)


def _emit(error: BaseException, request: WatchedRequest) -> bool:
    return emit_request_error(error, partial(request_attributes, request), request.owner)


# Django, Flask and Quart respond outside of their `except`, so the exception is no longer being handled when
# the 500 passes. No framework is imported: one that is not loaded serves no request.
@guarded
def listen() -> None:
    """Connect to the signals of the loaded frameworks; repeating it is harmless."""
    django, flask, quart = map(sys.modules.get, ("django.core.signals", "flask.signals", "quart.signals"))
    if django is not None:
        django.got_request_exception.connect(_on_django, weak=False, dispatch_uid=_UID)
    if flask is not None:
        flask.got_request_exception.connect(_on_flask)
        _observe_http_errors(sys.modules["flask.app"].Flask, lambda: None)
    if quart is not None:
        Origins.are_kept = True  # a background task may fail after its request has ended
        quart.got_request_exception.connect(_on_quart)
        quart.got_websocket_exception.connect(_on_quart_unanswered)
        quart.got_background_exception.connect(_on_quart_unanswered)
        _observe_http_errors(sys.modules["quart.app"].Quart, _quart_route)


def _on_django(request: object = None, **_arguments: object) -> None:
    _announce(sys.exception(), getattr(getattr(request, "resolver_match", None), "route", None))


def _on_flask(_app: object, *, exception: BaseException, **_arguments: object) -> None:
    _announce(exception)


async def _on_quart(_app: object, *, exception: BaseException, **_arguments: object) -> None:
    """Note it; a coroutine, because Quart runs plain receivers on a thread."""
    _announce(exception, _quart_route())


def _observe_http_errors(framework: Any, route: Callable[[], object]) -> None:
    """Note the HTTP errors of Flask or Quart that have a cause; they announce none of them."""
    answer = framework.handle_http_exception
    if getattr(answer, _UID, False):
        return

    @wraps(answer)
    def handle_http_exception(app: object, error: BaseException) -> object:
        _announce_caused(error, route)
        return answer(app, error)

    setattr(handle_http_exception, _UID, True)
    framework.handle_http_exception = handle_http_exception


@guarded
def _announce_caused(error: BaseException, route: Callable[[], object]) -> None:
    request = current_request()
    if request is not None and reason_of(error, request) is not None:
        _announce(error, route())


async def _on_quart_unanswered(_app: object, *, exception: BaseException, **_arguments: object) -> None:
    """Report at once: a background task has no response, and a WebSocket closes as after a success."""
    origin, request = originating_request(), current_request()
    if origin is not None and (route := _quart_route()) is not None:
        origin.noted().route = route
    if not is_error(exception, request.send if request else None):
        return
    is_reported = emit_exception(exception, partial(request_attributes, origin), handled=False)
    if is_reported and request is not None:
        request.noted().reported = exception


def _announce(error: BaseException | None, route: object = None) -> None:
    request = current_request()
    if request is not None:
        request.noted().announced, request.noted().route = error, route


def _quart_route() -> object:
    connection: Any = sys.modules["quart"]
    connection = connection.request or connection.websocket  # false outside of one
    return getattr(connection.url_rule, "rule", None) if connection else None
