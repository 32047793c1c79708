"""Requests to the same product in six frameworks: what is reported, and what the server gets."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from frameworks import client, faults, product_starlette
from frameworks.behaviours import REQUESTS
from frameworks.products import PRODUCTS, each
from starlette.applications import Starlette
from starlette.responses import Response

CONCURRENT = 50

# Django says so for each iterator that is no asynchronous one; here it is the subject.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous")

every_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)


@each(REQUESTS)
def test_failed_request_is_one_report(reports, product, behaviour):
    """Each request that fails is one event with its exception, method and path; others are none (R12)."""
    answer = client.get(reports.wrap(product.app), behaviour.path)

    found = [(report.error, report.method, report.path) for report in reports.all()]
    expected = product.REPORTED_AS.get(behaviour.path, behaviour.reported)
    assert found == ([(expected, "GET", behaviour.path)] if expected else [])
    assert behaviour.status in {None, answer.status}


@each(REQUESTS)
def test_server_gets_what_it_would_get_without_us(reports, product, behaviour):
    """Messages are the same, and what is raised is the application's very object where it was before."""
    with reports.closed():
        bare = _outcome(product.app, behaviour.path)

    wrapped = _outcome(reports.wrap(product.app), behaviour.path)

    assert wrapped == bare


@each([behaviour for behaviour in REQUESTS if behaviour.reported])
def test_exception_of_the_application_is_in_the_report(reports, product, behaviour):
    """Where a framework puts an exception of its own around, the application's stands below it (R15)."""
    client.get(reports.wrap(product.app), behaviour.path)

    [report] = reports.all()
    assert behaviour.reported in report.chain


@every_product
def test_own_error_page_hides_nothing(reports, product):
    """An exception that the product's handler for all else answers is reported as it is (R12)."""
    answer = client.get(reports.wrap(product.app_with_own_500), "/raise/unhandled")

    assert [report.error for report in reports.all()] == [("LookupError", "unhandled")]
    assert answer.status == 500


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_handler_on_a_thread_hides_nothing(reports, framework):
    """A handler that is no coroutine runs on a thread; the exception it answers is reported all the same."""

    def answer_with_500(_request, _error):
        return Response(status_code=500)

    app = framework(exception_handlers={faults.Answered500: answer_with_500})
    app.add_route("/fault/{name}", product_starlette.raise_fault)

    client.get(reports.wrap(app), "/fault/answered_with_500")

    assert [report.error for report in reports.all()] == [("Answered500", "answered_with_500")]


@every_product
@pytest.mark.parametrize("path", ["/raise/unhandled", "/stream", "/thread"])
def test_wrapping_thrice_reports_once(reports, product, path):
    """The same exception is reported once, however many middlewares see it (R16)."""
    client.get(reports.wrap(reports.wrap(reports.wrap(product.app))), path)

    assert len(reports.all()) == 1


@every_product
def test_concurrent_failures_are_told_apart(reports, product):
    """Of many failing requests at once each is one event with its own path."""
    paths = [f"/fail/{number}" for number in range(CONCURRENT)]

    client.get_all(reports.wrap(product.app), paths)

    found = [(report.path, report.error[1]) for report in reports.all()]
    assert sorted(found) == sorted((path, path.rpartition("/")[2]) for path in paths)


@every_product
@pytest.mark.parametrize("path", ["/plain_500", "/deliberate_500", "/swallowed_then_500"])
def test_exception_around_the_call_is_not_the_requests_own(reports, product, path):
    """What was being handled when the server called the application is no error of a deliberate 500."""
    answer = client.get(_called_while_handling(reports.wrap(product.app)), path)

    assert reports.all() == []
    assert answer.status == 500


@every_product
def test_exception_around_the_call_hides_none(reports, product):
    """A request that fails is reported by its own exception, whatever is being handled around it."""
    client.get(_called_while_handling(reports.wrap(product.app)), "/raise/unhandled")

    assert [report.error for report in reports.all()] == [("LookupError", "unhandled")]


@every_product
def test_client_that_leaves_while_sending_is_no_error(reports, product):
    """A client that breaks off its own request is not reported (R12)."""
    first = {"type": "http.request", "body": b"half", "more_body": True}

    client.get(reports.wrap(product.app), "/read", incoming=[first, {"type": "http.disconnect"}])

    assert reports.all() == []


@every_product
@pytest.mark.parametrize("sendable", [0, 1, 2])
def test_client_that_leaves_while_receiving_is_no_error(reports, product, sendable):
    """The `OSError` of the server's `send` is not reported, at the head as little as in the body (R12)."""
    answer = client.get(reports.wrap(product.app), "/long_stream", sendable=sendable)

    assert reports.all() == []
    assert len(answer.messages) == sendable


@every_product
def test_cancelled_request_is_no_error(reports, product):
    """A request that the server cancels in the middle of its answer is not reported (R12)."""
    answer = client.get_and_cancel(reports.wrap(product.app), "/long_stream")

    assert reports.all() == []
    assert answer.status == 200


def _outcome(app, path):
    faults.made.clear()
    answer = client.get(app, path)
    is_own = any(answer.raised is error for error in faults.made)
    return answer.messages, type(answer.raised), str(answer.raised), is_own


def _called_while_handling(app):
    async def call(scope, receive, send):
        try:
            int("a fault of the server")
        except ValueError:
            await app(scope, receive, send)

    return call
