"""Start and stop the telemetry with the application (ASGI's lifespan protocol)."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

from otel_posthog.analytics import emit_answered, emit_leaving, guarded
from otel_posthog.request_state import Watched

from .asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function
from .blame import is_error

_SHUTDOWN = "lifespan.shutdown"
_FAILED = frozenset({"lifespan.startup.failed", "lifespan.shutdown.failed"})


class StartStop(Protocol):
    """What starts and stops; none of it raises."""

    def begin(self) -> None:
        """Start without waiting."""

    async def astart(self) -> None:
        """Start; returns when consent is known, or has been asked for as long as is reasonable."""

    async def ashutdown(self) -> None:
        """Flush and stop."""


async def run_lifespan(
    app: ASGIApp, telemetry: StartStop, scope: Scope, receive: Receive, send: Send
) -> None:
    """Start before the application starts, stop once it has ended, whichever way it ends.

    The application is entered at once; what may have to wait does so where it asks for its first message.
    Failures are reported, also one that the application only tells the server of (Quart).
    """
    telemetry.begin()
    received: set[str] = set()
    watched = Watched()
    watched.has_told = False

    async def note_and_receive() -> Message:
        if not received:
            await telemetry.astart()
        message = await receive()
        received.add(_type_of(message))
        return message

    def report_and_send(message: Message) -> Awaitable[None]:
        kind = _type_of(message)
        if kind in _FAILED:
            _report_failed(watched, sys.exception())
        if kind == "lifespan.shutdown.complete":  # the server may end the process after it
            return _stop_and_send(telemetry, send, message)
        return send(message)

    try:
        return await app(scope, note_and_receive, as_coroutine_function(report_and_send))
    except GeneratorExit:
        received.clear()  # thrown away: nothing may be awaited any more
        raise
    except BaseException as error:
        if received:  # an app without lifespan support raises before it receives anything
            _report_leaving(watched, error)
        raise
    finally:
        if _SHUTDOWN in received:
            with suppress(CancelledError):  # what the application raised or returned has to arrive
                await telemetry.ashutdown()


async def _stop_and_send(telemetry: StartStop, send: Send, message: Message) -> None:
    await telemetry.ashutdown()
    return await send(message)


def _type_of(message: Message) -> str:
    """Return an empty text for what is no ASGI message; application or server will say so."""
    try:
        kind = message.get("type")
    except Exception:  # noqa: BLE001 - of a foreign class
        return ""
    return kind if type(kind) is str else ""


@guarded
def _report_failed(watched: Watched, error: BaseException | None) -> None:
    if error is not None and is_error(error):
        emit_answered(error, dict)
        watched.has_told = True


@guarded
def _report_leaving(watched: Watched, error: BaseException) -> None:
    if not watched.has_told and is_error(error):
        watched.has_told = emit_leaving(error, dict)
