"""Serve the settings, what is sent and why, a preview and the audit trail as Starlette routes.

The host application decides by one hook who may call; without it the protected endpoints refuse all
requests (requirements R7 to R11).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from typing import TypeVar

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from otel_posthog._runtime.threads import off_loop
from otel_posthog.browser import BrowserReports
from otel_posthog.config.settings import COLLECTOR
from otel_posthog.consent.state import FLAGS, UNKNOWN, Answer, Consent, Settings
from otel_posthog.delivery.gate import DEVELOPMENT
from otel_posthog.errors import ConfigError, StoreError
from otel_posthog.registry import Kind
from otel_posthog.telemetry import Telemetry
from otel_posthog.web.requests import Answering, Authorize, Gatekeeper, own_origin, read_json, senders_of

PATH = "/api/settings"
_MAX_BODY_BYTES = 4096  # two answers with their hashes take about 250

_T = TypeVar("_T")
_POLL_S = 0.005  # reading the row takes about as long
_MAX_ENTRY_ID = 2**31 - 1  # the largest integer of PostgreSQL's column
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})  # of Sec-Fetch-Site; "none" is no page, but a bookmark
_ORIGIN = re.compile(r"https?://[^/?#\s]+")
# The answer to a commit may be lost, so nobody can say that nothing was changed.
_UNCONFIRMED = "The change is not confirmed, so read the settings again. "


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
    return Mount(
        path,
        app=Answering(
            Router(_routes(telemetry, authorize)), partial(_refuse_other_sites, frozenset(origins))
        ),
    )


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
    config = telemetry.config
    can_send = config.api_key is not None or (config.send_to, config.browser_reports) == (COLLECTOR, "server")
    return consent.kinds[Kind.ERRORS].answer is Answer.GRANTED and can_send


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
        Route("/browser-report", endpoints.reports.take, methods=["POST"]),
        Route("/openapi.json", endpoints.get_openapi, methods=["GET"]),
    ]


def _refuse_other_sites(allowed: frozenset[str], request: Request) -> None:
    """Raise a 403 if a browser says that a page of another origin wants a change."""
    sites, origins = senders_of(request)
    is_report = request.url.path.endswith("/browser-report")  # which has a check of its own
    if is_report or request.method in _SAFE_METHODS or (origins and origins <= allowed):
        return
    own = own_origin(request)
    if sites <= _OWN_SITES if sites else origins <= {own}:
        return
    raise HTTPException(
        403,
        f"Requests from another site cannot change settings; this site is {own}. Behind a proxy, pass on "
        "Host and X-Forwarded-Proto, or list the page's origin in origins.",
    )


# The question is in GET system only while open; its answer has a route of its own, since a page that
# saves all flags must not agree by accident.
class _Endpoints:
    def __init__(self, telemetry: Telemetry, authorize: Authorize | None) -> None:
        self._telemetry = telemetry
        self._gatekeeper = Gatekeeper(authorize, telemetry.log_limiter)
        self.reports = BrowserReports(telemetry, self._gatekeeper)

    async def get_status(self, _request: Request) -> Response:
        """Return whether a front end may report errors; any failure means no."""
        is_on = await may_report_errors(self._telemetry)
        return JSONResponse(
            {
                "enable_error_reporting": is_on,
                "posthog_api_key": self._telemetry.config.api_key if is_on else None,
                "posthog_host": self._telemetry.config.host,
                "browser_reports": self._telemetry.config.browser_reports,
            }
        )

    async def get_or_put_system(self, request: Request) -> Response:
        """Return the three flags, changed first by a PUT, and an open question about the manifest."""
        who = await self._gatekeeper.demand(request, "admin")
        if request.method != "PUT":
            return JSONResponse(await _or_503(lambda: self._system(self._telemetry.settings())))
        changes = _checked_flags(await read_json(request, _MAX_BODY_BYTES))
        return JSONResponse(
            await _or_503(
                lambda: self._system(self._telemetry.update_settings(who=who, **changes)), _UNCONFIRMED
            )
        )

    async def get_or_put_consent(self, request: Request) -> Response:
        """Return what is sent and why, after recording the answers of a PUT."""
        who = await self._gatekeeper.demand(request, "admin")
        if request.method == "PUT":
            answers = _checked_answers(await read_json(request, _MAX_BODY_BYTES))
            await _or_503(lambda: self._answer(answers, who), _UNCONFIRMED)
        status = await off_loop(self._telemetry.status)
        return JSONResponse({kind.value: state.to_json() for kind, state in status.items()})

    async def get_audit(self, request: Request) -> Response:
        """Return who changed the decision and when, from the entry after `after` on."""
        await self._gatekeeper.demand(request, "admin")
        after = request.query_params.get("after", "0")
        is_number = after.isascii() and after.isdigit() and len(after) <= len(str(_MAX_ENTRY_ID))
        if not (is_number and int(after) <= _MAX_ENTRY_ID):
            raise HTTPException(422, "after must be the id of an entry.")
        return JSONResponse({"entries": await _or_503(lambda: self._telemetry.audit(after_id=int(after)))})

    async def get_delivery(self, request: Request) -> Response:
        """Return what was accepted and what became of it, in all processes of the installation."""
        await self._gatekeeper.demand(request, "admin")
        balances = await _or_503(self._telemetry.delivery().by_kind)
        return JSONResponse({kind.value: balance.to_json() for kind, balance in balances.items()})

    async def get_preview(self, request: Request) -> Response:
        """Return what would be sent now, without sending it."""
        await self._gatekeeper.demand(request, "admin")
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
        await self._gatekeeper.demand(request, "user")
        consent = await _fresh_consent(self._telemetry)
        self._telemetry.send_test_exception()
        return JSONResponse({"is_reported": consent.kinds[Kind.ERRORS].answer is Answer.GRANTED})

    async def get_openapi(self, request: Request) -> Response:
        """Describe these endpoints."""
        return JSONResponse({**_openapi(), "servers": [{"url": request.scope.get("root_path") or "/"}]})


async def _or_503(call: Callable[[], _T], consequence: str = "") -> _T:
    try:
        return await off_loop(call)
    except StoreError as error:
        raise HTTPException(503, f"{consequence}{error}", {"Retry-After": "5"}) from None


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
