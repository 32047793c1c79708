"""What cannot be seen or told apart, as `docs/middleware.md` says: these tests keep that list true."""

from __future__ import annotations

import pytest
from frameworks import client, faults, product_django, product_litestar, product_quart, product_starlette
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import Response
from starlette.routing import Route

from otel_posthog import capture_exception


async def _pass_on(request, call_next):
    return await call_next(request)


def _errors(reports):
    return [report.error for report in reports.all()]


def test_handler_in_another_task_is_not_seen(reports):
    """Behind `BaseHTTPMiddleware` the handler runs in another task: from outside its 500 has no exception."""
    app = Starlette(
        routes=product_starlette.ROUTES,
        exception_handlers=product_starlette.HANDLERS,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)],
    )

    answer = client.get(reports.wrap(app), "/raise/answered_with_500")

    assert _errors(reports) == []
    assert answer.status == 500


@pytest.mark.parametrize("product", [product_django, product_quart], ids=["django", "quart"])
def test_handler_that_is_not_announced_is_not_seen(reports, product):
    """Quart's handlers by type and Django's `process_exception` answer after the `except`, unannounced."""
    answer = client.get(reports.wrap(product.app), "/raise/answered_with_500")

    assert _errors(reports) == []
    assert answer.status == 500


def test_failure_returned_from_an_except_block_is_not_seen(reports):
    """A view that returns its 500 has left the `except` block by the time the framework sends it."""

    async def view(_request):
        try:
            raise faults.fault("returned")
        except LookupError:
            return Response(status_code=500)

    client.get(reports.wrap(Starlette(routes=[Route("/", view)])), "/")

    assert _errors(reports) == []


def test_unrelated_exception_is_taken_for_the_reason(reports):
    """A 500 that is sent within an `except` block counts as that exception's, whatever it was sent for."""

    async def app(_scope, _receive, send):
        try:
            raise faults.fault("not in the cache")
        except LookupError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body"})

    client.get(reports.wrap(app), "/")

    assert _errors(reports) == [("LookupError", "not in the cache")]


def test_foreign_exception_with_a_status_is_taken_for_an_http_error(reports):
    """What a client library raises with `status_code = 500` looks like an HTTP error where it is answered."""
    client.get(reports.wrap(product_litestar.app), "/raise/upstream")

    assert _errors(reports) == []


def test_failure_by_another_status_is_handled(reports):
    """An exception that a handler answers with 503 counts as handled (R12)."""
    client.get(reports.wrap(product_starlette.app), "/raise/answered_with_503")

    assert _errors(reports) == []


def test_report_by_hand_shows_what_is_not_seen(reports):
    """`capture_exception` in the handler is the remedy, and never makes two events of one."""

    async def handler(_request, error):
        capture_exception(error)
        return Response(status_code=500)

    app = Starlette(
        routes=product_starlette.ROUTES,
        exception_handlers={faults.Answered500: handler},
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)],
    )

    client.get(reports.wrap(app), "/raise/answered_with_500")

    assert _errors(reports) == [("Answered500", "answered_with_500")]
