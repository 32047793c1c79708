"""Applications within applications, and middleware in between: one event per failing request."""

from __future__ import annotations

import pytest
from frameworks import client, product_starlette
from frameworks.products import PRODUCTS
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from otel_posthog import TelemetryMiddleware

FAILURES = ["/raise/unhandled", "/raise/answered_with_500", "/stream"]


def _is_told_once(reports, path):
    """Tell whether the exception of that path is in one report, first or below one of a framework."""
    [report] = reports.all()
    return report.path == f"/legacy{path}" and path.rpartition("/")[2] in [text for _, text in report.chain]


def _mounted_in_starlette(app):
    return Starlette(routes=[Mount("/legacy", app)])


def _mounted_in_litestar(app):
    @asgi("/legacy", is_mount=True, copy_scope=True)
    async def legacy(scope: Scope, receive: Receive, send: Send) -> None:
        inner = {**scope, "path": "/legacy" + scope["path"].rstrip("/"), "root_path": "/legacy"}
        await app(inner, receive, send)

    return Litestar([legacy], openapi_config=None)


OUTER = {"starlette": _mounted_in_starlette, "litestar": _mounted_in_litestar}
INNER = [name for name in PRODUCTS if name != "bare"]


@pytest.mark.parametrize("path", FAILURES)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_mounted_application_reports_once(reports, outer, inner, path):
    """The exception of a mounted application is one event, with the path as the client named it."""
    if path in PRODUCTS[inner].LACKS:
        pytest.skip(f"{inner}: {PRODUCTS[inner].LACKS[path]}")

    client.get(reports.wrap(OUTER[outer](PRODUCTS[inner].app)), f"/legacy{path}")

    assert _is_told_once(reports, path)


@pytest.mark.parametrize("path", FAILURES)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_wrapped_application_may_be_mounted_in_another(reports, outer, inner, path):
    """Wrapped inside and outside, a failing request is still one event."""
    if path in PRODUCTS[inner].LACKS:
        pytest.skip(f"{inner}: {PRODUCTS[inner].LACKS[path]}")

    client.get(reports.wrap(OUTER[outer](reports.wrap(PRODUCTS[inner].app))), f"/legacy{path}")

    assert _is_told_once(reports, path)


async def _pass_on(request, call_next):
    return await call_next(request)


def _with(*middleware):
    return Starlette(
        routes=product_starlette.ROUTES,
        exception_handlers=product_starlette.HANDLERS,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on), *middleware],
    )


@pytest.mark.parametrize("path", FAILURES)
def test_innermost_middleware_sees_behind_another_task(reports, path):
    """Added innermost, the middleware reports what Starlette's `BaseHTTPMiddleware` would hide, once."""
    app = _with(Middleware(TelemetryMiddleware, telemetry=reports.telemetry))

    client.get(app, path)

    assert [report.chain[0][1] for report in reports.all()] == [path.rpartition("/")[2]]


@pytest.mark.parametrize("path", FAILURES)
def test_innermost_middleware_and_wrapping_report_once(reports, path):
    """Both at once are no more than one event per failing request."""
    app = _with(Middleware(TelemetryMiddleware, telemetry=reports.telemetry))

    client.get(reports.wrap(app), path)

    assert [report.chain[0][1] for report in reports.all()] == [path.rpartition("/")[2]]


@pytest.mark.parametrize("path", ["/raise/unhandled", "/stream", "/background", "/thread"])
def test_what_propagates_is_seen_through_another_task(reports, path):
    """What Starlette's `BaseHTTPMiddleware` lets through is reported from outside as well, once."""
    client.get(reports.wrap(_with()), path)

    assert [report.chain[0][1] for report in reports.all()] == [path.rpartition("/")[2]]


@pytest.mark.parametrize("path", ["/plain_500", "/deliberate_500", "/swallowed_then_500", "/fine"])
def test_no_error_is_none_behind_another_task(reports, path):
    """Deliberate answers stay unreported wherever the middleware sits."""
    app = _with(Middleware(TelemetryMiddleware, telemetry=reports.telemetry))

    client.get(reports.wrap(app), path)

    assert reports.all() == []


@pytest.mark.parametrize("sendable", [0, 1, 2])
def test_client_that_leaves_is_none_behind_another_task(reports, sendable):
    """A client that leaves in the middle of the answer is not reported through `BaseHTTPMiddleware`."""
    client.get(reports.wrap(_with()), "/long_stream", sendable=sendable)

    assert reports.all() == []
