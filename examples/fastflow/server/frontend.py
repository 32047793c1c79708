"""Serve the front end that Vite has built: one page, and its files."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from otel_posthog import Telemetry
from otel_posthog.consent import Answer

MARK_OFF = '<meta name="error-reporting" content="off" />'
MARK_ON = '<meta name="error-reporting" content="on" />'
NOT_BUILT = "The front end is not built yet. In examples/fastflow/frontend run: npm ci && npm run build\n"
_CONSENT_WAIT_S = 1.0
_POLL_S = 0.005


def frontend(folder: Path, telemetry: Telemetry) -> Starlette:
    """Return an application that answers every path outside of `/assets` with the page."""

    async def show_page(_request: Request) -> Response:
        """Mark the page with what its own security policy allows, which is fixed once it is loaded."""
        try:
            text = await anyio.Path(folder / "index.html").read_text(encoding="utf-8")
        except FileNotFoundError:
            return PlainTextResponse(NOT_BUILT, 503)
        if await is_reporting(telemetry):
            text = text.replace(MARK_OFF, MARK_ON)
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    async def refuse(_request: Request) -> Response:
        raise HTTPException(404)

    return Starlette(
        routes=[
            Route("/api/{rest:path}", refuse),
            Mount("/assets", StaticFiles(directory=folder / "assets", check_dir=False)),
            Route("/{rest:path}", show_page, methods=["GET"]),
        ]
    )


async def is_reporting(telemetry: Telemetry) -> bool:
    """Tell whether error reports are on, by an answer that is fresh; without one they count as off."""
    deadline = time.monotonic() + _CONSENT_WAIT_S
    while (consent := telemetry.recent_consent()) is None:
        if time.monotonic() > deadline:
            return False
        await anyio.sleep(_POLL_S)
    return consent.errors is Answer.GRANTED
