"""A product whose requests are counted by the test: each answer names the process that gave it."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_posthog import Telemetry, settings_api, track

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["SINK_URL"],
    database=os.environ["DATABASE_URL"],
    spool_dir=os.environ["SPOOL_DIR"],
    environment="production",
    batch_delay_s=float(os.environ.get("BATCH_DELAY_S", "0.05")),
    retry_initial_s=0.05,
    retry_max_s=0.2,
    probe_interval_s=0.2,
)


async def _track(request):
    track("numbered", {"number": request.path_params["number"], "pid": os.getpid()})
    return PlainTextResponse("tracked")


def _named(app):
    async def name(scope, receive, send):
        async def send_with_pid(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-pid", str(os.getpid()).encode())]
            await send(message)

        await app(scope, receive, send_with_pid if scope["type"] == "http" else send)

    return name


_routes = [
    Route("/track/{number:int}", _track),
    settings_api.mount(telemetry, authorize=lambda _connection, _need: True),
]
app = _named(telemetry.wrap(Starlette(routes=_routes)))
