"""Modes of Django and Quart, which announce an exception by a signal and answer later, or elsewhere."""

from __future__ import annotations

import pytest
from django.test import override_settings
from frameworks import client, product_django, product_quart

from otel_posthog import TelemetryMiddleware


def _errors(reports):
    return [report.error for report in reports.all()]


def _is_told_once(reports):
    """Tell whether the exception is in one report, first or in a group of the framework's."""
    [report] = reports.all()
    return ("LookupError", "unhandled") in report.chain


@pytest.mark.parametrize("mode", ["DEBUG", "DEBUG_PROPAGATE_EXCEPTIONS"])
def test_debugging_django_reports_once(reports, mode):
    """Django's page for developers, and its leaving the exception to the server, are one event each."""
    with override_settings(**{mode: True}):
        client.get(reports.wrap(product_django.app), "/raise/unhandled")

    assert _is_told_once(reports)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_django_page_of_another_status_is_no_error(reports, status):
    """Where `handler500` answers with another status the product has handled the exception (R12)."""
    answer = client.get(reports.wrap(product_django.WithErrorPage(status)), "/raise/unhandled")

    assert _errors(reports) == []
    assert answer.status == status


def test_failing_page_of_django_is_one_report(reports):
    """Where `handler500` fails itself there is one event, of that failure: the server gets it."""
    client.get(reports.wrap(product_django.WithErrorPage("no status")), "/raise/unhandled")

    assert _errors(reports) == [("TypeError", "HTTP status code must be an integer.")]


@pytest.mark.parametrize("mode", ["DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS"])
def test_debugging_quart_reports_once(reports, mode):
    """Quart's page for developers, and its leaving the exception to the server, are one event each."""
    app = product_quart.build({})
    app.config[mode] = True

    client.get(reports.wrap(app), "/raise/unhandled")

    assert _is_told_once(reports)


@pytest.mark.parametrize("mode", ["DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS"])
def test_debugging_quart_reports_a_socket_once(reports, mode):
    """On a WebSocket as well."""
    app = product_quart.build({})
    app.config[mode] = True

    client.websocket(reports.wrap(app), "/socket/unhandled")

    assert _is_told_once(reports)


def test_quart_page_of_another_status_is_no_error(reports):
    """Where the handler for 500 answers with another status the product has handled the exception (R12)."""

    async def answer_with_200(_error):
        return "never mind"

    answer = client.get(reports.wrap(product_quart.build({500: answer_with_200})), "/raise/unhandled")

    assert _errors(reports) == []
    assert answer.status == 200


@pytest.mark.parametrize("app", [product_django.app, product_quart.app], ids=["django", "quart"])
def test_announced_exception_may_name_a_status(reports, app):
    """To Django and Quart a `status_code` on an exception means nothing: it is unhandled (R12)."""
    client.get(reports.wrap(app), "/raise/upstream")

    assert _errors(reports) == [("UpstreamError", "upstream")]


def test_middleware_inside_of_quart_reports_once(reports):
    """Set in the place of `asgi_app`, as Quart documents it, it reports the same."""
    app = product_quart.build({})
    app.asgi_app = TelemetryMiddleware(app.asgi_app, telemetry=reports.telemetry)

    client.get(app, "/raise/unhandled")

    assert _is_told_once(reports)
