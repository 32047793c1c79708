"""A product whose requests fail; each failure names its number and the process in which it happened."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_posthog import Telemetry, settings_api, track

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["POSTHOG_HOST"],
    database=os.environ["OTEL_POSTHOG_DATABASE"],
    environment="production",
    batch_delay_s=0.05,
)


def _home(_request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


def _boom(request: Request) -> Response:
    raise RuntimeError(f"boom {request.path_params['number']} of {os.getpid()}")


def _answered(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(str(os.getpid()), 500)


def _swallowed(request: Request) -> Response:
    raise LookupError(f"boom {request.path_params['number']} of {os.getpid()}")


def _track(request: Request) -> Response:
    track("numbered", {"number": request.path_params["number"]})
    return PlainTextResponse(str(os.getpid()))


_routes = [
    Route("/", _home),
    Route("/boom/{number:int}", _boom),
    Route("/swallowed/{number:int}", _swallowed),
    Route("/track/{number:int}", _track),
    settings_api.mount(telemetry, authorize=lambda _connection, _need: True),
]
app = telemetry.wrap(Starlette(routes=_routes, exception_handlers={LookupError: _answered}))
