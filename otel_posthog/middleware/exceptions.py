"""Pure ASGI middleware: report what propagates, change nothing.

Scope, receive and send are handed on as they are, and an exception is re-raised as it came
(requirement R12). The middleware also starts and stops its `Telemetry` with the application.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote

from otel_posthog import attributes
from otel_posthog.analytics import RequestUnderWay, emit_exception

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# Starlette, uvicorn, Litestar and Django raise these when a client goes away; matched by name
# because this half imports no framework.
CLIENT_LEFT = frozenset({"ClientDisconnect", "ClientDisconnected", "RequestAborted", "WebSocketDisconnect"})


class Lifecycle(Protocol):
    """What the middleware needs of a `Telemetry`; none of it raises."""

    def touch(self) -> None:
        """Start if that has not happened yet, and look at consent again if it is older than allowed."""

    async def astart(self) -> None:
        """Start; returns when consent is known, or has been asked for as long as is reasonable."""

    async def ashutdown(self) -> None:
        """Flush and stop, within the configured timeout."""


class TelemetryMiddleware:
    """Report exceptions that propagate out of the wrapped application.

    Use ``telemetry.wrap(app)``, or where the framework's own object must stay
    ``app.add_middleware(TelemetryMiddleware, telemetry=telemetry)``.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Lifecycle) -> None:
        self.app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; see the class."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        self._telemetry.touch()
        try:
            with RequestUnderWay():
                await self.app(scope, receive, send)
        except Exception as error:
            if not _client_left(error):
                emit_exception(error, lambda: _request_attributes(scope), handled=False)
            raise

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the application starts, stop once it has ended, whichever way it ends."""
        await self._telemetry.astart()
        received: set[str] = set()

        async def note_and_receive() -> Message:
            message = await receive()
            received.add(message["type"])
            return message

        async def stop_and_send(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":  # the server may end the process after it
                await self._telemetry.ashutdown()
            await send(message)

        try:
            await self.app(scope, note_and_receive, stop_and_send)
        except Exception as error:
            if received:  # an app without lifespan support raises before it receives anything
                emit_exception(error, dict, handled=False)
            raise
        finally:
            if "lifespan.shutdown" in received:
                await self._telemetry.ashutdown()


def _client_left(error: BaseException) -> bool:
    return any(cls.__name__ in CLIENT_LEFT for cls in type(error).__mro__)


def _request_attributes(scope: Scope) -> dict[str, object]:
    """Describe the request by OpenTelemetry's semantic conventions, without its query string."""
    found: dict[str, object] = {
        attributes.URL_SCHEME: scope.get("scheme", "http"),
        attributes.URL_PATH: quote(scope.get("path", ""), safe="/:@!$&'()*+,;=~", errors="replace"),
        attributes.HTTP_REQUEST_METHOD: scope.get("method", "WEBSOCKET"),
    }
    for name, value in scope.get("headers", ()):
        if name == b"host":
            found[attributes.SERVER_ADDRESS] = value.decode("latin-1")
            break
    return found
