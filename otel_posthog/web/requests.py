"""Ask the host's hook who may call (R11), read a bounded JSON body, answer each refusal as JSON."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, cast

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.errors import MissingExtraError

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, HTTPConnection, Request
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

except ModuleNotFoundError as error:
    raise MissingExtraError("starlette", "api") from error

_log = logging.getLogger(__name__)

Need = Literal["admin", "user"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A yes of the authorize hook with the caller's id for the audit trail, which is never sent."""

    who: str


Verdict = bool | Allowed | None | Awaitable[bool | Allowed | None]
Authorize = Callable[[HTTPConnection, Need], Verdict] | Callable[[HTTPConnection], Verdict]

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Answering:
    """Refuse the requests that `check` raises for, and answer each refusal as JSON that nothing stores.

    Each framework would format a refusal differently, and a cache may keep some of them.
    """

    def __init__(self, app: ASGIApp, check: Callable[[Request], None]) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unstored(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["starlette.exception_handlers"] = {}, {}  # those of the host would come first
        try:
            self._check(Request(scope))
            await self._app(scope, receive, send_unstored)
        except HTTPException as refused:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)
            await answer(scope, receive, send_unstored)


class Gatekeeper:
    """Ask the host's hook who may call."""

    def __init__(self, authorize: Authorize | None, log_limiter: LogLimiter) -> None:
        self._authorize = authorize
        self._log_limiter = log_limiter
        self._takes_need = authorize is not None and _takes_two(authorize)

    async def demand(self, connection: HTTPConnection, need: Need) -> str | None:
        """Return the caller's id, if the host's hook returns one; raise a 401 or 403 unless it says yes."""
        if self._authorize is None:
            raise HTTPException(403, "No authorize hook is set, so nobody may do this.")
        try:
            verdict = await self._ask(connection, need)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - a hook that fails has not said yes
            self._log_limiter.warning(
                _log, "The authorize hook failed (%s), so it refuses", type(error).__name__
            )
            verdict = False
        if verdict is None:
            raise HTTPException(401, "Nobody is signed in.", {"WWW-Authenticate": "Session"})
        if isinstance(verdict, Allowed):
            return str(verdict.who)
        if verdict is not True:
            role = "an admin" if need == "admin" else "a user"
            raise HTTPException(403, f"This needs the rights of {role}.")
        return None

    async def _ask(self, connection: HTTPConnection, need: Need) -> object:
        hook = cast("Callable[..., Verdict]", self._authorize)
        arguments = (connection, need) if self._takes_need else (connection,)
        if inspect.iscoroutinefunction(hook):
            return await hook(*arguments)
        verdict: object = await run_in_threadpool(hook, *arguments)
        return await verdict if inspect.isawaitable(verdict) else verdict


def _takes_two(hook: Callable[..., object]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    kinds = [parameter.kind for parameter in inspect.signature(hook).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in positional for kind in kinds) > 1


def own_origin(request: Request) -> str:
    """Return this server's origin as a browser writes it, without a default port."""
    scheme, host = request.scope.get("scheme", "http"), request.headers.get("host", "")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}".lower()


def senders_of(request: Request) -> tuple[set[str], set[str]]:
    """Return the values of `Sec-Fetch-Site` and of `Origin`, each empty if the client sends none."""
    sites, origins = (set(request.headers.getlist(name)) for name in ("sec-fetch-site", "origin"))
    return sites, origins


async def read_json(request: Request, max_bytes: int) -> object:
    """Return the body as data; raise HTTPException for one that is too large or is not JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise HTTPException(413, f"The body is larger than {max_bytes} bytes.")
    except ClientDisconnect:
        raise HTTPException(400, "The body is not complete.") from None
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is not JSON.") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs as an object; raise HTTPException if a key is repeated, since parsers differ then."""
    content: dict[str, object] = {}
    for name, value in pairs:
        if name in content:
            raise HTTPException(422, f"The body contains {name[:100]!r} twice.")
        content[name] = value
    return content
