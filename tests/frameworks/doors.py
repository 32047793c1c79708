"""The two ways to connect a product: `Telemetry` in its code, and a file with the instrumentor."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.core.handlers.asgi import ASGIHandler
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette
from uvicorn.config import Config

from otel_posthog import Telemetry
from otel_posthog.declarative import DeclaredSpanExporter, shared
from otel_posthog.integrations.instrumentor import PostHogInstrumentor

FRAMEWORKS = (ASGIHandler, Litestar, Quart, Starlette)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A running `Telemetry`, and what makes an application report to it."""

    name: str
    telemetry: Telemetry

    def wrap(self, app):
        """Return what a server calls: the application itself, or what uvicorn makes of it."""
        if self.name == "code":
            return self.telemetry.wrap(app)
        if isinstance(app, FRAMEWORKS):
            return app
        config = Config(app, interface="asgi3", log_config=None, proxy_headers=False)
        config.load()
        return config.loaded_app

    @contextmanager
    def open(self):
        """Instrument the process, if that is the door: a server that is seen makes frameworks bare again."""
        if self.name == "code":
            yield
            return
        PostHogInstrumentor().instrument()
        try:
            yield
        finally:
            PostHogInstrumentor().uninstrument()

    @contextmanager
    def closed(self):
        """Show what an application does without us, within `open`."""
        if self.name == "code":
            yield
            return
        PostHogInstrumentor().uninstrument()
        try:
            yield
        finally:
            PostHogInstrumentor().instrument()


@contextmanager
def _in_code(**settings):
    with Telemetry(**settings, environ={}) as telemetry:
        yield Door(name="code", telemetry=telemetry)


@contextmanager
def _by_file(**settings):
    exporter = DeclaredSpanExporter(**settings)
    try:
        telemetry = shared.telemetry()
        telemetry.start()
        yield Door(name="file", telemetry=telemetry)
    finally:
        exporter.shutdown()


def _granted(door, url, database):
    @contextmanager
    def opened():
        settings = {"api_key": "phc_test_key_of_no_project", "host": url, "batch_delay_s": 0.02}
        with door(**settings, database=database, shutdown_timeout_s=30.0) as found:
            found.telemetry.update_settings(enable_error_reporting=True)
            yield found

    return opened()


DOORS = {"code": partial(_granted, _in_code), "file": partial(_granted, _by_file)}
"""Each makes a context with a `Door`, of the address of a PostHog and the URL of a database."""
