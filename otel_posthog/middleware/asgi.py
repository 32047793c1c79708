"""ASGI (version 3.0): its types, its lifespan protocol, and the consent that each request reads."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from math import inf
from typing import Any, Protocol, TypeVar

from otel_posthog.emit.capture import emit_request_error, guarded
from otel_posthog.emit.failures import is_error
from otel_posthog.emit.request_context import Owner, WatchedCall
from otel_posthog.emit.tracebacks import own_frame

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_F = TypeVar("_F", bound=Callable[..., Awaitable[None]])
_SHUTDOWN = "lifespan.shutdown"
_FAILED = frozenset({"lifespan.startup.failed", "lifespan.shutdown.failed"})

# A `send` of ours returns the server's own awaitable, so it is no coroutine function, while a server's
# is. It is marked as one, since asgiref warns otherwise.
if sys.version_info >= (3, 12):
    from inspect import markcoroutinefunction

    as_coroutine_function = markcoroutinefunction
else:
    from asyncio import coroutines

    def as_coroutine_function(send: _F) -> _F:
        """Do what `inspect.markcoroutinefunction` does from Python 3.12 on."""
        send._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        return send


class ConsentSnapshot:
    """The answer for error reports, set at each refresh so that a request costs no call.

    Times are in seconds of monotonic time.
    """

    __slots__ = ("fresh_until_s", "may_report", "reporting_until_s")

    def __init__(self) -> None:
        # Whether error reports are not denied.
        self.may_report = True
        # When consent must be refreshed, or telemetry started: before its start each request asks.
        self.fresh_until_s = -inf
        # Until when error reports are known to be granted. Older than a second, PostHog's hosts leave the
        # security policy; while anything may be sent, the drainer refreshes every 0.75 s.
        self.reporting_until_s = -inf


class Tracing(Protocol):
    """The decision whether a request gets a span."""

    def app_for(self, scope: Scope) -> ASGIApp | None:
        """Return the application to call for a span of this request, None for no span."""


class Lifecycle(Protocol):
    """The part of a `Telemetry` that the middleware uses; none of it raises."""

    @property
    def owner(self) -> Owner:
        """Return what everything under the middleware belongs to."""

    def begin(self) -> None:
        """Start without waiting."""

    async def astart(self) -> None:
        """Start; returns when consent is known, or after a reasonable wait."""

    async def ashutdown(self) -> None:
        """Flush and stop."""

    @property
    def consent_snapshot(self) -> ConsentSnapshot:
        """Return the last answer about consent."""

    def touch(self) -> bool:
        """Start if necessary, refresh consent if it is older than allowed.

        Returns whether exceptions may be reported, as far as is known.
        """

    @property
    def security(self) -> object | None:
        """Return the `ResponseHeaders` of the product, None if it wants none."""

    def trace(self, app: ASGIApp) -> Tracing | None:
        """Return the decision which requests get a span, None without span rules."""


@own_frame
async def run_lifespan(
    app: ASGIApp, telemetry: Lifecycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Start before the application starts, stop once it has ended, even by an exception.

    Failures are reported, also one of which the application only informs the server (Quart).
    """
    telemetry.begin()
    received: set[str] = set()
    watched = WatchedCall()
    watched.was_reported = False

    # The application is entered at once, since a server that gives up early must find it inside; consent
    # is awaited at its first receive.
    async def note_and_receive() -> Message:
        if not received:
            await telemetry.astart()
        message = await receive()
        received.add(type_of(message))
        return message

    def report_and_send(message: Message) -> Awaitable[None]:
        kind = type_of(message)
        if kind in _FAILED:
            _report(watched, sys.exception(), telemetry.owner)
        if kind == "lifespan.shutdown.complete":  # the server may end the process after it
            return _stop_and_send(telemetry, send, message)
        return send(message)

    try:
        return await app(scope, note_and_receive, as_coroutine_function(report_and_send))
    except GeneratorExit:
        received.clear()  # the coroutine is being closed: nothing may be awaited any more
        raise
    except BaseException as error:
        if received:  # an app without lifespan support raises before it receives anything
            _report(watched, error, telemetry.owner)
        raise
    finally:
        if _SHUTDOWN in received:
            with suppress(CancelledError):  # what the application raised or returned has to arrive
                await telemetry.ashutdown()


async def _stop_and_send(telemetry: Lifecycle, send: Send, message: Message) -> None:
    await telemetry.ashutdown()
    return await send(message)


def type_of(message: Scope | Message) -> str:
    """Return the type, empty if it is no scope or message of ASGI; application or server will report it."""
    try:
        kind = message.get("type")
    except Exception:  # noqa: BLE001 - of a third-party class
        return ""
    # A subclass of `str` may do anything when it is compared.
    return kind if type(kind) is str else ""


@guarded
def _report(watched: WatchedCall, error: BaseException | None, owner: Owner) -> None:
    if error is not None and not watched.was_reported and is_error(error):
        watched.was_reported = emit_request_error(error, dict, owner)
