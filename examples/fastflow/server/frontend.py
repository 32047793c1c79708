"""Serve the front end that Vite has built: one page, and its files."""

from __future__ import annotations

from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from otel_posthog import Telemetry, settings_api

MARK_OFF = '<meta name="error-reporting" content="off" />'
MARK_ON = '<meta name="error-reporting" content="on" />'
NOT_BUILT = "The front end is not built yet. In examples/fastflow/frontend run: npm ci && npm run build\n"


def frontend(folder: Path, telemetry: Telemetry) -> Starlette:
    """Return an application that answers every path outside of `/assets` with the page."""

    async def show_page(_request: Request) -> Response:
        """Mark the page with what its own security policy allows, which is fixed once it is loaded."""
        try:
            text = await anyio.Path(folder / "index.html").read_text(encoding="utf-8")
        except FileNotFoundError:
            return PlainTextResponse(NOT_BUILT, 503)
        if await settings_api.may_report_errors(telemetry):
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
