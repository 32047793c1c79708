"""The settings API by itself: who is an admin is one hook, the rest is `settings_api.mount`.

Run it: `uvicorn examples.settings_api:app`, with POSTHOG_API_KEY set. Then, as the only admin:
`curl -H 'Authorization: Bearer let-me-in' http://127.0.0.1:8000/api/settings/system`
"""

from __future__ import annotations

import os
import secrets

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_posthog import SecurityHeaders, Telemetry, settings_api
from otel_posthog.settings_api import Allowed, Need

ADMIN_TOKEN = os.environ.get("ADMIN_TOKEN", "let-me-in")


def authorize(connection: HTTPConnection, need: Need) -> Allowed | None:
    """Decide who may do what; a real product checks its own sessions here. Everybody else gets a 401."""
    given = connection.headers.get("authorization", "")
    if not secrets.compare_digest(given.encode(), f"Bearer {ADMIN_TOKEN}".encode()):
        return None
    return Allowed(f"the only {need}")  # recorded in the audit trail, and never sent


async def home(_request: object) -> PlainTextResponse:
    """Show that the product is there."""
    return PlainTextResponse("See /api/settings/openapi.json\n")


telemetry = Telemetry(
    database=os.environ.get("DATABASE_URL", "sqlite:///data/app.db"), security_headers=SecurityHeaders()
)
app = telemetry.wrap(Starlette(routes=[Route("/", home), settings_api.mount(telemetry, authorize=authorize)]))
