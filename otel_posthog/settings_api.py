"""The settings API: Starlette routes that any ASGI application can mount (requirements R7 to R11).

Who may call is the host application's decision, made by one hook; without it the protected
endpoints refuse everybody.
"""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal, cast

from ._off_loop import off_loop
from .consent import UNKNOWN, Answer, Consent
from .errors import MissingExtraError, StoreError
from .gate import DEVELOPMENT
from .openapi import document
from .settings import Settings
from .telemetry import Telemetry

try:
    import anyio
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route, Router
except ModuleNotFoundError as error:
    raise MissingExtraError("starlette", "api") from error

_log = logging.getLogger(__name__)

PATH = "/api/settings"
MAX_BODY_BYTES = 4096
FLAGS = ("is_setup_completed", "enable_error_reporting", "enable_telemetry")

Need = Literal["admin", "user"]
Verdict = bool | Awaitable[bool]
Authorize = Callable[[HTTPConnection, Need], Verdict] | Callable[[HTTPConnection], Verdict]

Endpoint = Callable[[Request], Awaitable[Response]]

_POLL_S = 0.005
_NOT_STORED = {"Cache-Control": "no-store"}


def mount(telemetry: Telemetry, *, authorize: Authorize | None = None, path: str = PATH) -> Mount:
    """Return the routes under one path, for Starlette's and FastAPI's `routes`.

    `authorize(connection, need)` tells whether the caller is an `"admin"` or a logged-in `"user"`; it
    may be async, may take the connection alone, and may raise the framework's HTTPException. A sync one
    runs in Starlette's thread pool. One that fails otherwise refuses.
    """
    return Mount(path, app=Router(_routes(telemetry, authorize)))


def app(telemetry: Telemetry, *, authorize: Authorize | None = None) -> Starlette:
    """Return the same as an application of its own, to be mounted where `PATH` should be."""
    return Starlette(routes=_routes(telemetry, authorize))


def _routes(telemetry: Telemetry, authorize: Authorize | None) -> list[Route]:
    endpoints = _Endpoints(telemetry, _Guard(telemetry, authorize))
    return [
        Route("/telemetry-status", _answering(endpoints.get_status), methods=["GET"]),
        Route("/system", _answering(endpoints.get_or_put_system), methods=["GET", "PUT"]),
        Route("/trigger-test-exception", _answering(endpoints.trigger_test_exception), methods=["POST"]),
        Route("/openapi.json", endpoints.get_openapi, methods=["GET"]),
    ]


def _answering(endpoint: Endpoint) -> Endpoint:
    """Answer an HTTPException as JSON here: each framework would show it in another form."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as refused:
            return JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)

    return answer


class _Guard:
    """Ask the host's hook; everything but a plain yes is a no."""

    def __init__(self, telemetry: Telemetry, authorize: Authorize | None) -> None:
        self._telemetry = telemetry
        self._authorize = authorize
        self._takes_need = authorize is not None and _takes_two(authorize)

    async def demand(self, connection: HTTPConnection, need: Need) -> None:
        """Return if the caller is one, raise a 403 if not."""
        if self._authorize is None:
            raise HTTPException(403, "No authorize hook is set, so nobody may do this.")
        try:
            is_allowed = await self._ask(connection, need)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - a hook that fails has not said yes
            self._telemetry.notices.warn(
                _log, "The authorize hook failed (%s), so it refuses", type(error).__name__
            )
            is_allowed = False
        if is_allowed is not True:
            raise HTTPException(
                403, f"This needs the rights of {'an admin' if need == 'admin' else 'a user'}."
            )

    async def _ask(self, connection: HTTPConnection, need: Need) -> object:
        hook = cast("Callable[..., Verdict]", self._authorize)
        arguments = (connection, need) if self._takes_need else (connection,)
        if inspect.iscoroutinefunction(hook):
            return await hook(*arguments)
        verdict: object = await run_in_threadpool(hook, *arguments)
        return await verdict if inspect.isawaitable(verdict) else verdict


class _Endpoints:
    def __init__(self, telemetry: Telemetry, guard: _Guard) -> None:
        self._telemetry = telemetry
        self._guard = guard

    async def get_status(self, _request: Request) -> Response:
        """Tell a front end whether it may report errors; whatever goes wrong, the answer is no."""
        consent = await self._consent()
        is_on = consent.errors is Answer.GRANTED and self._telemetry.config.api_key is not None
        return _json(
            {
                "enable_error_reporting": is_on,
                "posthog_api_key": self._telemetry.config.api_key if is_on else None,
                "posthog_host": self._telemetry.config.host,
            }
        )

    async def get_or_put_system(self, request: Request) -> Response:
        """Return the three flags, after changing those that a PUT names."""
        await self._guard.demand(request, "admin")
        if request.method != "PUT":
            return await _row_or_503(self._telemetry.settings)
        changes = _checked(await _body(request))
        return await _row_or_503(lambda: self._telemetry.update_settings(**changes))

    async def trigger_test_exception(self, request: Request) -> Response:
        """Report a test exception, in development only."""
        if self._telemetry.config.environment != DEVELOPMENT:
            raise HTTPException(404, "Test exceptions exist in development only.")
        await self._guard.demand(request, "user")
        consent = await self._consent()
        self._telemetry.send_test_exception()
        return _json({"is_reported": consent.errors is Answer.GRANTED})

    async def _consent(self) -> Consent:
        """Wait for an answer without a thread for each caller: anybody may ask."""
        deadline = time.monotonic() + self._telemetry.config.consent_max_age_s
        while (recent := self._telemetry.recent_consent()) is None:
            if time.monotonic() > deadline:
                return UNKNOWN
            await anyio.sleep(_POLL_S)
        return recent

    async def get_openapi(self, request: Request) -> Response:
        """Describe these endpoints."""
        return JSONResponse(document(request.scope.get("root_path", "")))


def _takes_two(hook: Callable[..., object]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(hook).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    return sum(parameter.kind in positional for parameter in parameters) > 1


async def _body(request: Request) -> object:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is not JSON.") from None


def _checked(body: object) -> dict[str, bool]:
    if not isinstance(body, dict):
        raise HTTPException(422, f"Send an object with any of {', '.join(FLAGS)}.")
    for name, value in body.items():
        if name not in FLAGS:
            raise HTTPException(422, f"There is no setting {name[:100]!r}. Known are {', '.join(FLAGS)}.")
        if not isinstance(value, bool):
            raise HTTPException(422, f"{name} must be true or false, not {type(value).__name__}.")
    return body


async def _row_or_503(call: Callable[[], Settings]) -> Response:
    try:
        row = await off_loop(call)
    except StoreError as error:
        raise HTTPException(503, f"Nothing was changed: {error}", {"Retry-After": "5"}) from None
    return _json({name: getattr(row, name) for name in FLAGS})


def _json(content: object) -> Response:
    return JSONResponse(content, headers=_NOT_STORED)
