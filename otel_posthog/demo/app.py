"""The example app: a page, four things to do, and the settings API."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from otel_posthog import settings_api
from otel_posthog.analytics import track
from otel_posthog.registry import spec_of
from otel_posthog.telemetry import Telemetry

from .events import EVENTS, FAILURE_MESSAGE, PLANTED_TOKEN, SECRET_LABEL, ReportGenerated

_NONCE_BYTES = 16
_NOT_STORED = {"Cache-Control": "no-store"}


def example_app(telemetry: Telemetry, *, sink_url: str, received: Callable[[], int]) -> Starlette:
    """Return the app; `received` tells how many requests have reached the local PostHog."""
    endpoints = _Endpoints(sink_url, received)
    return Starlette(
        routes=[
            Route("/", endpoints.show_page, methods=["GET"]),
            Route("/api/demo", endpoints.tell_state, methods=["GET"]),
            Route("/api/fail", endpoints.fail, methods=["POST"]),
            Route("/api/missing", endpoints.miss, methods=["POST"]),
            Route("/api/track", endpoints.track_report, methods=["POST"]),
            Route("/api/track-secret", endpoints.track_secret, methods=["POST"]),
            settings_api.mount(telemetry, authorize=_everybody),
        ],
        # A page elsewhere could point its own name at 127.0.0.1 and then flip the switches.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={Exception: _answer_500},
    )


async def _everybody(_connection: HTTPConnection) -> bool:
    """Let everybody be admin: the demo listens on loopback only. A product must never do this."""
    return True


async def _answer_500(_request: Request, _error: Exception) -> Response:
    """Say that the connection ends: uvicorn closes it after an exception, and a client may reuse it."""
    return JSONResponse({"detail": "Internal Server Error"}, 500, headers={"Connection": "close"})


class _Endpoints:
    def __init__(self, sink_url: str, received: Callable[[], int]) -> None:
        self._sink_url = sink_url
        self._received = received
        self._actions = 0

    async def show_page(self, _request: Request) -> Response:
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        page = _page().replace("{{nonce}}", nonce).replace("{{sink}}", self._sink_url)
        return HTMLResponse(page, headers=_page_headers(nonce, self._sink_url))

    async def tell_state(self, _request: Request) -> Response:
        content = {
            "actions": self._actions,
            "requests": self._received(),
            "failure_message": FAILURE_MESSAGE,
            "secret_label": SECRET_LABEL,
            "events": _declared(),
        }
        return JSONResponse(content, headers=_NOT_STORED)

    async def fail(self, _request: Request) -> Response:
        self._actions += 1
        _query_database()

    async def miss(self, _request: Request) -> Response:
        self._actions += 1
        raise HTTPException(404, "There is no such report.")

    async def track_report(self, _request: Request) -> Response:
        self._actions += 1
        track(ReportGenerated(format="pdf", pages=12, is_scheduled=False))
        return JSONResponse({"is_done": True})

    async def track_secret(self, _request: Request) -> Response:
        """Track as a careless caller would: an undeclared property, and a secret in a declared one."""
        self._actions += 1
        careless = {"provider": "github", "label": SECRET_LABEL, "api_token": PLANTED_TOKEN}
        track("integration_connected", careless)
        return JSONResponse({"is_done": True})


def _query_database() -> NoReturn:
    raise ConnectionError(FAILURE_MESSAGE)


def _declared() -> dict[str, dict[str, str]]:
    specs = [spec for spec in map(spec_of, EVENTS) if spec is not None]
    return {spec.name: {"description": spec.description, "why": spec.why} for spec in specs}


def _page_headers(nonce: str, sink_url: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        f"connect-src 'self' {sink_url}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        **_NOT_STORED,
    }


@cache
def _page() -> str:
    return files("otel_posthog.demo").joinpath("page.html").read_text(encoding="utf-8")
