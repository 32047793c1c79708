"""The settings API: Starlette routes that any ASGI application can mount (requirements R7 to R11).

Besides the three flags it shows what is really sent and why, what a newer version asks for, a preview,
and who changed what.

Who may call is the host application's decision, made by one hook; without it the protected
endpoints refuse everybody.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

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

    from ._settings_bodies import FLAGS, Answers, checked_answers, checked_flags, read_json
except ModuleNotFoundError as error:
    raise MissingExtraError("starlette", "api") from error

_log = logging.getLogger(__name__)

PATH = "/api/settings"

Need = Literal["admin", "user"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A yes of the authorize hook that says who it is: an opaque id for the audit trail, never sent."""

    who: str


Verdict = bool | Allowed | Awaitable[bool | Allowed]
Authorize = Callable[[HTTPConnection, Need], Verdict] | Callable[[HTTPConnection], Verdict]

Endpoint = Callable[[Request], Awaitable[Response]]

_T = TypeVar("_T")
_POLL_S = 0.005
_MAX_ENTRY_ID = 2**31 - 1
_NOT_STORED = {"Cache-Control": "no-store"}


def mount(telemetry: Telemetry, *, authorize: Authorize | None = None, path: str = PATH) -> Mount:
    """Return the routes under one path, for Starlette's and FastAPI's `routes`.

    `authorize(connection, need)` tells whether the caller is an `"admin"` or a logged-in `"user"`; it
    may be async, may take the connection alone, and may raise the framework's HTTPException. A sync one
    runs in Starlette's thread pool. One that fails otherwise refuses. A yes is `True`, or `Allowed(who)`
    with the id under which the host knows the caller.
    """
    return Mount(path, app=Router(_routes(telemetry, authorize)))


def app(telemetry: Telemetry, *, authorize: Authorize | None = None) -> Starlette:
    """Return the same as an application of its own, to be mounted where `PATH` should be."""
    return Starlette(routes=_routes(telemetry, authorize))


async def may_report_errors(telemetry: Telemetry) -> bool:
    """Tell whether error reports are on, by a fresh look at consent; whatever goes wrong, they are not.

    For the page of a front end: its security policy, fixed when it is loaded, says the same.
    """
    consent = await _fresh_consent(telemetry)
    return consent.errors is Answer.GRANTED and telemetry.config.api_key is not None


async def _fresh_consent(telemetry: Telemetry) -> Consent:
    """Wait for an answer without a thread for each caller: anybody may ask."""
    deadline = time.monotonic() + telemetry.config.consent_max_age_s
    while (recent := telemetry.recent_consent()) is None:
        if time.monotonic() > deadline:
            return UNKNOWN
        await anyio.sleep(_POLL_S)
    return recent


def _routes(telemetry: Telemetry, authorize: Authorize | None) -> list[Route]:
    endpoints = _Endpoints(telemetry, _Guard(telemetry, authorize))
    return [
        Route("/telemetry-status", _answering(endpoints.get_status), methods=["GET"]),
        Route("/system", _answering(endpoints.get_or_put_system), methods=["GET", "PUT"]),
        Route("/consent", _answering(endpoints.get_or_put_consent), methods=["GET", "PUT"]),
        Route("/consent-audit", _answering(endpoints.get_audit), methods=["GET"]),
        Route("/telemetry-preview", _answering(endpoints.get_preview), methods=["GET"]),
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

    async def demand(self, connection: HTTPConnection, need: Need) -> str | None:
        """Return who the caller is, if the hook says so; raise a 403 where it does not say yes."""
        if self._authorize is None:
            raise HTTPException(403, "No authorize hook is set, so nobody may do this.")
        try:
            verdict = await self._ask(connection, need)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - a hook that fails has not said yes
            self._telemetry.notices.warn(
                _log, "The authorize hook failed (%s), so it refuses", type(error).__name__
            )
            verdict = False
        if isinstance(verdict, Allowed):
            return str(verdict.who)
        if verdict is not True:
            raise HTTPException(
                403, f"This needs the rights of {'an admin' if need == 'admin' else 'a user'}."
            )
        return None

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
        is_on = await may_report_errors(self._telemetry)
        return _json(
            {
                "enable_error_reporting": is_on,
                "posthog_api_key": self._telemetry.config.api_key if is_on else None,
                "posthog_host": self._telemetry.config.host,
            }
        )

    async def get_or_put_system(self, request: Request) -> Response:
        """Return the three flags, after changing those that a PUT names, and what is asked, if anything."""
        who = await self._guard.demand(request, "admin")
        if request.method != "PUT":
            return _json(await _or_503(lambda: self._system(self._telemetry.settings())))
        changes = checked_flags(await read_json(request))
        return _json(await _or_503(lambda: self._system(self._telemetry.update_settings(who=who, **changes))))

    async def get_or_put_consent(self, request: Request) -> Response:
        """Return what is sent and why, after noting the answers that a PUT brings."""
        who = await self._guard.demand(request, "admin")
        if request.method == "PUT":
            answers = checked_answers(await read_json(request))
            await _or_503(lambda: self._answer(answers, who))
        status = await off_loop(self._telemetry.status)
        return _json({kind.value: state.to_json() for kind, state in status.items()})

    async def get_audit(self, request: Request) -> Response:
        """Return who changed the decision and when, from the entry after `after` on."""
        await self._guard.demand(request, "admin")
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and int(after) <= _MAX_ENTRY_ID):
            raise HTTPException(422, "after must be the id of an entry.")
        return _json({"entries": await _or_503(lambda: self._telemetry.audit(after_id=int(after)))})

    async def get_preview(self, request: Request) -> Response:
        """Return what would be sent now; nothing is."""
        await self._guard.demand(request, "admin")
        return _json((await off_loop(self._telemetry.preview)).to_json())

    def _system(self, row: Settings) -> dict[str, object]:
        flags: dict[str, object] = {name: getattr(row, name) for name in FLAGS}
        try:
            questions = self._telemetry.questions(row)
        except StoreError:  # the row could be read: flags can be changed all the same
            return flags
        asked = {kind.value: question.to_json() for kind, question in questions.items()}
        return {**flags, "consent_question": asked} if asked else flags

    def _answer(self, answers: Answers, who: str | None) -> None:
        row = self._telemetry.settings()
        for kind, manifest in answers.manifests.items():
            if not row.is_granted(kind):
                raise HTTPException(409, f"{kind.value} is off. Switch it on to agree to all of it.")
            if manifest != self._telemetry.registry.manifest(kind).hash:
                raise HTTPException(409, f"{kind.value} asks for another manifest now. Read it again.")
        self._telemetry.answer(agreed=answers.agreed, declined=answers.declined, who=who)

    async def trigger_test_exception(self, request: Request) -> Response:
        """Report a test exception, in development only."""
        if self._telemetry.config.environment != DEVELOPMENT:
            raise HTTPException(404, "Test exceptions exist in development only.")
        await self._guard.demand(request, "user")
        consent = await _fresh_consent(self._telemetry)
        self._telemetry.send_test_exception()
        return _json({"is_reported": consent.errors is Answer.GRANTED})

    async def get_openapi(self, request: Request) -> Response:
        """Describe these endpoints."""
        return JSONResponse(document(request.scope.get("root_path", "")))


def _takes_two(hook: Callable[..., object]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(hook).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    return sum(parameter.kind in positional for parameter in parameters) > 1


async def _or_503(call: Callable[[], _T]) -> _T:
    try:
        return await off_loop(call)
    except StoreError as error:
        raise HTTPException(503, f"Nothing was changed: {error}", {"Retry-After": "5"}) from None


def _json(content: object) -> Response:
    return JSONResponse(content, headers=_NOT_STORED)
