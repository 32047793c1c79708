"""Serve the settings, what is sent and why, a preview and the audit trail as Starlette routes.

The host application decides by one hook who may call; without it the protected endpoints refuse all
requests (requirements R7 to R11).
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Literal, TypeVar, cast

from otel_posthog._runtime.threads import off_loop
from otel_posthog.consent.state import FLAGS, UNKNOWN, Answer, Consent, Settings
from otel_posthog.delivery.gate import DEVELOPMENT
from otel_posthog.errors import ConfigError, MissingExtraError, StoreError
from otel_posthog.registry import Kind
from otel_posthog.telemetry import Telemetry

try:
    import anyio
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route, Router
    from starlette.types import Message, Receive, Scope, Send

except ModuleNotFoundError as error:
    raise MissingExtraError("starlette", "api") from error

_log = logging.getLogger(__name__)

PATH = "/api/settings"
_MAX_BODY_BYTES = 4096  # two answers with their hashes take about 250

Need = Literal["admin", "user"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A yes of the authorize hook with the caller's id for the audit trail, which is never sent."""

    who: str


Verdict = bool | Allowed | None | Awaitable[bool | Allowed | None]
Authorize = Callable[[HTTPConnection, Need], Verdict] | Callable[[HTTPConnection], Verdict]

_T = TypeVar("_T")
_POLL_S = 0.005  # reading the row takes about as long
_MAX_ENTRY_ID = 2**31 - 1  # the largest integer of PostgreSQL's column
_NOT_STORED = {"Cache-Control": "no-store"}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})  # of Sec-Fetch-Site; "none" is no page, but a bookmark
_ORIGIN = re.compile(r"https?://[^/?#\s]+")
# The answer to a commit may be lost, so nobody can say that nothing was changed.
_UNCONFIRMED = "The change is not confirmed, so read the settings again. "
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def mount(
    telemetry: Telemetry,
    *,
    authorize: Authorize | None = None,
    path: str = PATH,
    origins: Collection[str] = (),
) -> Mount:
    """Return the routes under one path, for Starlette's and FastAPI's `routes`.

    `authorize(connection, need)` returns whether the caller is an `"admin"` or a logged-in `"user"`, and
    None if nobody is signed in. It may be async, may take the connection alone, and may raise the
    framework's HTTPException. A sync one runs in Starlette's thread pool. Any other exception refuses. A
    yes is `True`, or `Allowed(who)` with the host's id of the caller. Requests from other sites cannot
    change settings, except those from `origins`, such as `["https://admin.example.com"]`.
    """
    unusable = [origin for origin in origins if not _ORIGIN.fullmatch(origin) or origin != origin.lower()]
    if unusable:
        raise ConfigError(
            f"origins holds {unusable[0]!r}. Write it as a browser does: "
            '["https://admin.example.com"], in lower case and without a path.'
        )
    return Mount(path, app=_Answering(Router(_routes(telemetry, authorize)), origins))


def app(
    telemetry: Telemetry, *, authorize: Authorize | None = None, origins: Collection[str] = ()
) -> Starlette:
    """Return the same as an application of its own, to be mounted at `PATH`."""
    return Starlette(routes=[mount(telemetry, authorize=authorize, path="", origins=origins)])


async def may_report_errors(telemetry: Telemetry) -> bool:
    """Return whether error reports are on according to fresh consent; any failure means no.

    For the page of a front end: its security policy, fixed when it is loaded, agrees with this.
    """
    consent = await _fresh_consent(telemetry)
    return consent.kinds[Kind.ERRORS].answer is Answer.GRANTED and telemetry.config.api_key is not None


async def _fresh_consent(telemetry: Telemetry) -> Consent:
    """Wait for an answer without a thread for each caller: this endpoint needs no login."""
    deadline = time.monotonic() + telemetry.config.consent_max_age_s
    while (recent := telemetry.recent_consent()) is None:
        if time.monotonic() > deadline:
            return UNKNOWN
        await anyio.sleep(_POLL_S)
    return recent


def _routes(telemetry: Telemetry, authorize: Authorize | None) -> list[Route]:
    endpoints = _Endpoints(telemetry, authorize)
    return [
        Route("/telemetry-status", endpoints.get_status, methods=["GET"]),
        Route("/system", endpoints.get_or_put_system, methods=["GET", "PUT"]),
        Route("/consent", endpoints.get_or_put_consent, methods=["GET", "PUT"]),
        Route("/consent-audit", endpoints.get_audit, methods=["GET"]),
        Route("/delivery", endpoints.get_delivery, methods=["GET"]),
        Route("/telemetry-preview", endpoints.get_preview, methods=["GET"]),
        Route("/trigger-test-exception", endpoints.trigger_test_exception, methods=["POST"]),
        Route("/openapi.json", endpoints.get_openapi, methods=["GET"]),
    ]


class _Answering:
    """Refuse changes by pages of other sites, and answer each refusal as JSON that nothing stores.

    Each framework would format a refusal differently, and a cache may keep some of them.
    """

    def __init__(self, router: Router, origins: Collection[str]) -> None:
        self._router = router
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unstored(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_NOT_STORED)
            await send(message)

        if scope["type"] != "http":
            return await self._router(scope, receive, send)
        scope["starlette.exception_handlers"] = {}, {}  # those of the host would come first
        try:
            self._refuse_other_sites(Request(scope))
            await self._router(scope, receive, send_unstored)
        except HTTPException as refused:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)
            await answer(scope, receive, send_unstored)

    def _refuse_other_sites(self, request: Request) -> None:
        """Raise a 403 if a browser says that a page of another origin wants a change."""
        sites, origins = (set(request.headers.getlist(name)) for name in ("sec-fetch-site", "origin"))
        if request.method in _SAFE_METHODS or (origins and origins <= self._origins):
            return
        own = _own_origin(request)
        if sites <= _OWN_SITES if sites else origins <= {own}:
            return
        raise HTTPException(
            403,
            f"Requests from another site cannot change settings; this site is {own}. Behind a proxy, pass on "
            "Host and X-Forwarded-Proto, or list the page's origin in origins.",
        )


def _own_origin(request: Request) -> str:
    """Return this server's origin as a browser writes it, without a default port."""
    scheme, host = request.scope.get("scheme", "http"), request.headers.get("host", "")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}".lower()


# The question is in GET system only while open; its answer has a route of its own, since a page that
# saves all flags must not agree by accident.
class _Endpoints:
    def __init__(self, telemetry: Telemetry, authorize: Authorize | None) -> None:
        self._telemetry = telemetry
        self._authorize = authorize
        self._takes_need = authorize is not None and _takes_two(authorize)

    async def get_status(self, _request: Request) -> Response:
        """Return whether a front end may report errors; any failure means no."""
        is_on = await may_report_errors(self._telemetry)
        return JSONResponse(
            {
                "enable_error_reporting": is_on,
                "posthog_api_key": self._telemetry.config.api_key if is_on else None,
                "posthog_host": self._telemetry.config.host,
            }
        )

    async def get_or_put_system(self, request: Request) -> Response:
        """Return the three flags, changed first by a PUT, and an open question about the manifest."""
        who = await self._demand(request, "admin")
        if request.method != "PUT":
            return JSONResponse(await _or_503(lambda: self._system(self._telemetry.settings())))
        changes = _checked_flags(await _read_json(request))
        return JSONResponse(
            await _or_503(
                lambda: self._system(self._telemetry.update_settings(who=who, **changes)), _UNCONFIRMED
            )
        )

    async def get_or_put_consent(self, request: Request) -> Response:
        """Return what is sent and why, after recording the answers of a PUT."""
        who = await self._demand(request, "admin")
        if request.method == "PUT":
            answers = _checked_answers(await _read_json(request))
            await _or_503(lambda: self._answer(answers, who), _UNCONFIRMED)
        status = await off_loop(self._telemetry.status)
        return JSONResponse({kind.value: state.to_json() for kind, state in status.items()})

    async def get_audit(self, request: Request) -> Response:
        """Return who changed the decision and when, from the entry after `after` on."""
        await self._demand(request, "admin")
        after = request.query_params.get("after", "0")
        is_number = after.isascii() and after.isdigit() and len(after) <= len(str(_MAX_ENTRY_ID))
        if not (is_number and int(after) <= _MAX_ENTRY_ID):
            raise HTTPException(422, "after must be the id of an entry.")
        return JSONResponse({"entries": await _or_503(lambda: self._telemetry.audit(after_id=int(after)))})

    async def get_delivery(self, request: Request) -> Response:
        """Return what was accepted and what became of it, in all processes of the installation."""
        await self._demand(request, "admin")
        balances = await _or_503(self._telemetry.delivery().by_kind)
        return JSONResponse({kind.value: balance.to_json() for kind, balance in balances.items()})

    async def get_preview(self, request: Request) -> Response:
        """Return what would be sent now, without sending it."""
        await self._demand(request, "admin")
        return JSONResponse((await off_loop(self._telemetry.preview)).to_json())

    def _system(self, row: Settings) -> dict[str, object]:
        flags: dict[str, object] = {name: getattr(row, name) for name in FLAGS}
        try:
            questions = self._telemetry.questions(row)
        except StoreError:  # the row could be read: flags can be changed all the same
            return flags
        asked = {kind.value: question.to_json() for kind, question in questions.items()}
        return {**flags, "consent_question": asked} if asked else flags

    def _answer(self, answers: Mapping[Kind, tuple[str, str]], who: str | None) -> None:
        row = self._telemetry.settings()
        for kind, (_, manifest) in answers.items():
            if not row.kinds[kind].is_granted:
                raise HTTPException(409, f"{kind.value} is off. Switch it on to agree to all of it.")
            if manifest != self._telemetry.registry.manifest(kind).hash:
                raise HTTPException(409, f"{kind.value} asks for another manifest now. Read it again.")
        chosen: dict[str, list[Kind]] = {"agree": [], "decline": []}
        for kind, (answer, _) in answers.items():
            chosen[answer].append(kind)
        self._telemetry.answer(agreed=chosen["agree"], declined=chosen["decline"], who=who)

    async def trigger_test_exception(self, request: Request) -> Response:
        """Report a test exception, in development only."""
        if self._telemetry.config.environment != DEVELOPMENT:
            raise HTTPException(404, "Test exceptions exist in development only.")
        await self._demand(request, "user")
        consent = await _fresh_consent(self._telemetry)
        self._telemetry.send_test_exception()
        return JSONResponse({"is_reported": consent.kinds[Kind.ERRORS].answer is Answer.GRANTED})

    async def get_openapi(self, request: Request) -> Response:
        """Describe these endpoints."""
        return JSONResponse({**_openapi(), "servers": [{"url": request.scope.get("root_path") or "/"}]})

    async def _demand(self, connection: HTTPConnection, need: Need) -> str | None:
        """Return the caller's id, if the host's hook returns one; raise a 401 or 403 unless it says yes."""
        if self._authorize is None:
            raise HTTPException(403, "No authorize hook is set, so nobody may do this.")
        try:
            verdict = await self._ask(connection, need)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - a hook that fails has not said yes
            self._telemetry.log_limiter.warning(
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


async def _or_503(call: Callable[[], _T], consequence: str = "") -> _T:
    try:
        return await off_loop(call)
    except StoreError as error:
        raise HTTPException(503, f"{consequence}{error}", {"Retry-After": "5"}) from None


async def _read_json(request: Request) -> object:
    """Return the body as data; raise HTTPException for one that is too large or is not JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise HTTPException(413, f"The body is larger than {_MAX_BODY_BYTES} bytes.")
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


def _checked_flags(body: object) -> dict[str, bool]:
    """Return the flags to change; raise HTTPException for anything else."""
    if not isinstance(body, dict):
        raise HTTPException(422, f"Send an object with any of {', '.join(FLAGS)}.")
    for name, value in body.items():
        if name not in FLAGS:
            raise HTTPException(422, f"There is no setting {name[:100]!r}. Known are {', '.join(FLAGS)}.")
        if not isinstance(value, bool):
            raise HTTPException(422, f"{name} must be true or false, not {type(value).__name__}.")
    return body


def _checked_answers(body: object) -> dict[Kind, tuple[str, str]]:
    """Return each kind's answer and the manifest that was shown; raise HTTPException for anything else."""
    if not isinstance(body, dict) or not body:
        raise HTTPException(422, f"Send an object with any of {', '.join(Kind)}.")
    answers = {}
    for name, value in body.items():
        if name not in tuple(Kind):
            raise HTTPException(422, f"There is no kind {name[:100]!r}. Known are {', '.join(Kind)}.")
        match value:
            case {"answer": "agree" | "decline" as answer, "manifest": str(manifest)} if len(value) == 2:  # noqa: PLR2004 - these two and no more
                answers[Kind(name)] = answer, manifest
            case _:
                raise HTTPException(
                    422, f'{name} must be {{"answer": "agree" or "decline", "manifest": the hash shown}}.'
                )
    return answers


@cache
def _openapi() -> dict[str, object]:
    """Return `openapi.json` with our version."""
    loaded: dict[str, dict[str, object]] = json.loads(
        files(__package__).joinpath("openapi.json").read_bytes()
    )
    return {**loaded, "info": {**loaded["info"], "version": version("otel-posthog")}}
