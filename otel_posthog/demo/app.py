"""Serve the example app: a page, four actions with planted secrets, and the settings API."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from otel_posthog import settings_api
from otel_posthog.emit.capture import track
from otel_posthog.registry import MaxChars, Range, event, spec_of
from otel_posthog.telemetry import Telemetry


@event("report_generated", why="Shows which formats are worth the work.", since="1.0")
class ReportGenerated:
    """A report was made."""

    format: Literal["pdf", "html", "csv"]
    pages: Annotated[int, Range(1, 500)]
    is_scheduled: bool


@event("integration_connected", why="Shows which services people use together.", since="1.0")
class IntegrationConnected:
    """An outside service was connected."""

    provider: Literal["github", "gitlab"]
    label: Annotated[str, MaxChars(120)]


EVENTS: tuple[type, ...] = (ReportGenerated, IntegrationConnected)

# Invented; the page and the tests look for them in what was sent.
PLANTED_PASSWORD = "correct-horse-battery"  # noqa: S105 - a decoy
PLANTED_EMAIL = "alice@example.com"
PLANTED_QUERY = "coupon=WINTER-4711"
PLANTED_TOKEN = "ghp_0000decoy0000decoy0000decoy0000decoy"  # noqa: S105 - a decoy
PLANTED = (PLANTED_PASSWORD, PLANTED_EMAIL, PLANTED_QUERY, PLANTED_TOKEN)

FAILURE_MESSAGE = (
    f"cannot reach postgresql://report:{PLANTED_PASSWORD}@db.example:5432/reports?{PLANTED_QUERY} "
    f"for {PLANTED_EMAIL}"
)
SECRET_LABEL = f"{PLANTED_EMAIL} uses {PLANTED_TOKEN}"


_NONCE_BYTES = 16
_NOT_STORED = {"Cache-Control": "no-store"}


def example_app(telemetry: Telemetry, *, sink_url: str, received: Callable[[], int]) -> Starlette:
    """Return the app; `received` returns how many requests the local PostHog has received."""
    endpoints = _Endpoints(sink_url, received)
    return Starlette(
        routes=[
            Route("/", endpoints.show_page, methods=["GET"]),
            Route("/api/demo", endpoints.state, methods=["GET"]),
            Route("/api/fail", endpoints.fail, methods=["POST"]),
            Route("/api/missing", endpoints.miss, methods=["POST"]),
            Route("/api/track", endpoints.track_report, methods=["POST"]),
            Route("/api/track-secret", endpoints.track_secret, methods=["POST"]),
            settings_api.mount(telemetry, authorize=_allow_everyone),
        ],
        # Or a website could point its own name at 127.0.0.1 and change the settings.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={Exception: _answer_500},
    )


# Everyone is an admin, since the demo listens on loopback only. A product must never do this.
async def _allow_everyone(_connection: HTTPConnection) -> bool:
    return True


async def _answer_500(_request: Request, _error: Exception) -> Response:
    # uvicorn closes the connection after an exception; without this header a client may reuse it.
    return JSONResponse({"detail": "Internal Server Error"}, 500, headers={"Connection": "close"})


@dataclass(slots=True)
class _Endpoints:
    sink_url: str
    received: Callable[[], int]
    actions: int = 0

    async def show_page(self, _request: Request) -> Response:
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        page = _page().replace("{{nonce}}", nonce).replace("{{sink}}", self.sink_url)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            f"connect-src 'self' {self.sink_url}; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", **_NOT_STORED}
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, **headers})

    async def state(self, _request: Request) -> Response:
        specs = [spec for spec in map(spec_of, EVENTS) if spec is not None]
        content = {
            "actions": self.actions,
            "requests": self.received(),
            "failure_message": FAILURE_MESSAGE,
            "secret_label": SECRET_LABEL,
            "events": {spec.name: {"description": spec.description, "why": spec.why} for spec in specs},
        }
        return JSONResponse(content, headers=_NOT_STORED)

    async def fail(self, _request: Request) -> Response:
        self.actions += 1
        _query_database()

    async def miss(self, _request: Request) -> Response:
        self.actions += 1
        raise HTTPException(404, "There is no such report.")

    async def track_report(self, _request: Request) -> Response:
        self.actions += 1
        track(ReportGenerated(format="pdf", pages=12, is_scheduled=False))
        return JSONResponse({"is_done": True})

    async def track_secret(self, _request: Request) -> Response:
        """Track an undeclared property, and a secret in a declared one."""
        self.actions += 1
        careless = {"provider": "github", "label": SECRET_LABEL, "api_token": PLANTED_TOKEN}
        track("integration_connected", careless)
        return JSONResponse({"is_done": True})


def _query_database() -> NoReturn:
    raise ConnectionError(FAILURE_MESSAGE)


@cache
def _page() -> str:
    return files("otel_posthog.demo").joinpath("page.html").read_text(encoding="utf-8")
