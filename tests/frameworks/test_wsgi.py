"""The same product in Flask and Django under WSGI: what is reported, and what the server gets."""

from __future__ import annotations

import pytest
import wsgi
from frameworks import faults, product_django_wsgi, product_flask
from frameworks.behaviours import REQUESTS
from werkzeug.middleware.dispatcher import DispatcherMiddleware

PRODUCTS = {"django": product_django_wsgi, "flask": product_flask}
# Of ASGI alone: streams that are asynchronous, and what no WSGI framework has.
ONLY_ASGI = ("/stream", "/background", "/dependency")
BEHAVIOURS = [behaviour for behaviour in REQUESTS if not behaviour.path.startswith(ONLY_ASGI)]

every_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
each = pytest.mark.parametrize(
    ("product", "behaviour"),
    [
        pytest.param(product, behaviour, id=f"{name}{behaviour.path}")
        for name, product in PRODUCTS.items()
        for behaviour in BEHAVIOURS
        if behaviour.path not in product.LACKS
    ],
)


@each
def test_failed_request_is_one_report(reports, product, behaviour):
    """Each request that fails is one event with its exception, method and path; others are none (R12)."""
    answer = wsgi.get(reports.telemetry.wrap_wsgi(product.app), behaviour.path)

    found = [(report.error, report.method, report.path) for report in reports.all()]
    expected = product.REPORTED_AS.get(behaviour.path, behaviour.reported)
    assert found == ([(expected, "GET", behaviour.path)] if behaviour.reported else [])
    assert behaviour.status in {None, answer.status}


@each
def test_server_gets_what_it_would_get_without_us(reports, product, behaviour):
    """Status, headers and body are the same, and what is raised is the application's very object."""
    bare = _outcome(product.app, behaviour.path)

    wrapped = _outcome(reports.telemetry.wrap_wsgi(product.app), behaviour.path)

    assert wrapped == bare


@every_product
@pytest.mark.parametrize("path", ["/raise/unhandled", "/sync_stream", "/thread"])
def test_wrapping_thrice_reports_once(reports, product, path):
    """The same exception is reported once, however many middlewares see it (R16)."""
    wrap = reports.telemetry.wrap_wsgi

    wsgi.get(wrap(wrap(wrap(product.app))), path)

    assert len(reports.all()) == 1


@every_product
def test_client_that_leaves_while_sending_is_no_error(reports, product):
    """A client that breaks off its own request is not reported (R12)."""
    wsgi.get(reports.telemetry.wrap_wsgi(product.app), "/read", leaves=True)

    assert reports.all() == []


@every_product
def test_client_that_leaves_while_receiving_is_no_error(reports, product):
    """A server that closes a body which it has not read to its end finds it as it was (R12)."""
    answer = wsgi.get(reports.telemetry.wrap_wsgi(product.app), "/parts", parts=1)

    assert answer.body == [faults.CHUNK]
    assert answer.raised is None
    assert reports.all() == []


@every_product
def test_debugging_framework_reports_once(reports, product):
    """A framework that leaves the exception to the server is one event."""
    app = product_flask.build() if product is product_flask else product.app
    if product is product_flask:
        app.config["PROPAGATE_EXCEPTIONS"] = True

    answer = wsgi.get(reports.telemetry.wrap_wsgi(app), "/raise/unhandled")

    assert (answer.raised is None) is (product is not product_flask)
    assert [report.error for report in reports.all()] == [("LookupError", "unhandled")]


@every_product
def test_exception_around_the_call_is_not_the_requests_own(reports, product):
    """What was being handled when the server called the application is no error of a deliberate 500."""
    app = reports.telemetry.wrap_wsgi(product.app)

    def call(environ, start_response):
        try:
            int("a fault of the server")
        except ValueError:
            return app(environ, start_response)

    answer = wsgi.get(call, "/plain_500")

    assert reports.all() == []
    assert answer.status == 500


@every_product
@pytest.mark.parametrize("script_name", ["", "/deployed/here"])
@pytest.mark.parametrize("mount", ["", "/inner"])
def test_route_is_the_template_wherever_it_is_mounted(reports, sink, product, script_name, mount):
    """`$request_route` has the mounts of the product and not where a server puts it; the path has both."""
    app = DispatcherMiddleware(_not_found, {mount: product.app}) if mount else product.app
    path = f"{mount}/number/17/of/a/place"

    wsgi.get(reports.telemetry.wrap_wsgi(app), path, SCRIPT_NAME=script_name)

    assert len(reports.all()) == 1
    [event] = sink.events
    assert event.properties["$request_route"] == f"{mount}/number/{{number}}/of/{{place}}"
    assert event.properties["$request_path"].startswith(f"{script_name}{mount}/number/")


def _not_found(_environ, start_response):
    start_response("404 Not Found", [])
    return []


def _outcome(app, path):
    faults.made.clear()
    answer = wsgi.get(app, path)
    is_own = any(answer.raised is error for error in faults.made)
    return answer.statuses, answer.headers, answer.body, type(answer.raised), str(answer.raised), is_own
