"""Where applications are wrapped: in the classes of frameworks, and in what servers run."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from flask import Flask
from frameworks import client, product_django
from frameworks.doors import FRAMEWORKS
from hypercorn.app_wrappers import ASGIWrapper
from servers import WAIT_S, call, serving
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from trackers import PATIENT
from uvicorn.config import Config
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.emit.request_context import current_request
from otel_posthog.integrations.applications import Applications

PROGRAMS = Path(sys.executable).parent
SERVERS = {
    "uvicorn": "uvicorn {app} --port {port} --lifespan on",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi --port {port} {app}",
    "daphne": "daphne --bind 127.0.0.1 --port {port} {app}",
    "gunicorn": "gunicorn {app} --no-control-socket --bind 127.0.0.1:{port} -k asgi",
    "gunicorn with uvicorn": "gunicorn {app} --no-control-socket --bind 127.0.0.1:{port} "
    "-k uvicorn.workers.UvicornWorker",
    "gunicorn sync": "gunicorn {app}_of_wsgi --no-control-socket --bind 127.0.0.1:{port}",
    "gunicorn with a product's own class": "gunicorn {app}_of_wsgi --no-control-socket "
    "--bind 127.0.0.1:{port} -k gunicorn_workers.OwnWorker",
    "gunicorn with a class of uvicorn's": "gunicorn {app} --no-control-socket --bind 127.0.0.1:{port} "
    "-k gunicorn_workers.OwnUvicornWorker",
    "gunicorn threads": "gunicorn {app}_of_wsgi --no-control-socket --bind 127.0.0.1:{port} -k gthread",
}


class Wrapping:
    """In place of a `Telemetry`: notes each call of a wrapped application."""

    def __init__(self):
        self.calls = []

    def wrap(self, app):
        """Note the types of scopes."""

        async def noting(scope, receive, send):
            self.calls.append(scope["type"])
            await app(scope, receive, send)

        return noting

    def wrap_wsgi(self, app):
        """Note the paths."""

        def noting(environ, start_response):
            self.calls.append(environ["PATH_INFO"])
            return app(environ, start_response)

        return noting


@pytest.fixture
def wrapping():
    """Return what notes calls, while applications are watched."""
    made = Wrapping()
    applications = Applications(lambda: made)
    applications.watch_imports()
    yield made
    applications.restore()


async def _fine(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _wsgi_get(app, path):
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "host.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": sys.stdin.buffer,
    }
    answers = []
    body = app(environ, lambda status, *_more: answers.append(status))
    body.close()
    return answers


def _flask():
    app = Flask("product")
    app.add_url_rule("/fine", view_func=lambda: "fine")
    return app


def _django():
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415 - `product_django` has to configure it

    assert product_django.app
    return WSGIHandler()


@pytest.mark.parametrize("make", [_flask, _django])
def test_wsgi_framework_is_wrapped(wrapping, make):
    """Flask and Django pass each request through what wraps WSGI, and answer as before."""
    answers = _wsgi_get(make(), "/nowhere")

    assert wrapping.calls == ["/nowhere"]
    assert answers == ["404 NOT FOUND" if make is _flask else "404 Not Found"]


def test_wsgi_is_left_alone_where_nothing_wraps_it():
    """A `Telemetry` without such a method leaves the application as it is."""
    applications = Applications(object)
    applications.watch_imports()

    answers = _wsgi_get(_flask(), "/fine")

    applications.restore()
    assert answers == ["200 OK"]


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_server_makes_its_application_bare(wrapping, framework):
    """What a server runs is wrapped there, and a request passes one wrapper only."""
    app = framework(routes=[Route("/fine", lambda _request: None)])
    config = Config(app, log_config=None)
    config.load()

    client.get(config.loaded_app, "/nowhere")

    assert wrapping.calls == ["http"]


def test_middleware_around_a_framework_is_within_the_wrapper(wrapping):
    """The callable that a product gives to its server is what is wrapped, with all within it."""
    inner = Starlette()

    async def around(scope, receive, send):
        assert wrapping.calls == ["http"]
        await inner(scope, receive, send)

    client.get(ASGIWrapper(around).app, "/nowhere")

    assert wrapping.calls == ["http"]


def test_mounted_application_is_part_of_the_request(reporting):
    """Within a watched request the class of a framework calls the application itself."""
    seen = []

    async def note(scope, receive, send):
        seen.append(current_request())
        await _fine(scope, receive, send)

    inner = Starlette(routes=[Mount("/", note)])
    client.get(Starlette(routes=[Mount("/inner", inner)]), "/inner/x")

    assert [request.path for request in seen] == ["/inner/x"]


@pytest.fixture
def reporting(granted):
    """Return a running `Telemetry` that watches the applications of this process."""
    applications = Applications(lambda: granted)
    applications.watch_imports()
    yield granted
    applications.restore()


def test_wrapped_application_is_not_wrapped_again(wrapping, telemetry):
    """What the product has wrapped itself goes to the server as it is."""
    own = telemetry.wrap(_fine)

    assert ASGIWrapper(own).app is own


def test_fault_of_ours_leaves_the_application_bare(caplog):
    """If the `Telemetry` cannot be made, the application runs without it."""

    def fail():
        raise OSError("no room on the device")

    applications = Applications(fail)
    applications.watch_imports()
    answer = client.get(Starlette(), "/nowhere")
    applications.restore()

    assert answer.status == 404
    assert "not watched (OSError)" in caplog.text


def test_many_applications_are_not_kept(wrapping):
    """A process that makes applications without end keeps some of them only."""
    for _ in range(100):
        client.get(Starlette(), "/nowhere")

    assert len(wrapping.calls) == 100


def test_calls_stay_coroutine_functions(wrapping):
    """Servers tell ASGI from WSGI by that."""
    assert all(inspect.iscoroutinefunction(framework.__call__) for framework in FRAMEWORKS)


@pytest.mark.parametrize("server", SERVERS)
def test_bare_callable_reports_under_a_server(server, sink, sink_url, database_url, tmp_path):
    """An application without a framework and without code of ours reports its failure, and stops in order."""
    with Telemetry(database=database_url, environ={}, spool_dir=":memory:") as telemetry:
        telemetry.update_settings(enable_error_reporting=True)
    environment = {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "OTEL_LOGS_EXPORTER": "posthog",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": sink_url,
        "OTEL_POSTHOG_DATABASE": database_url,
        "PYTHONWARNINGS": "ignore",
        **PATIENT,
    }
    command = SERVERS[server].replace("{app}", "bare_product:app").split()
    runner = (str(PROGRAMS / "opentelemetry-instrument"),)

    with serving(command, tmp_path / "log", runner=runner, **environment) as (url, _process):
        with suppress(httpx2.TransportError):  # a server may close the connection instead
            assert call("GET", f"{url}/fail").status_code == 500
        wait_until(lambda: sink.events, timeout_s=WAIT_S)

    [event] = sink.events
    assert event.properties["$exception_list"][0]["type"] == "LookupError", (tmp_path / "log").read_text()
    assert event.properties["$request_path"] == "/fail"
