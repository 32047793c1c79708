"""Cost of a request in process: ours beside peers, interleaved in one run.

An application that answers at once is called as a server would call it. Measured is the thread's CPU
time, which other processes disturb least. Each way of wrapping it is interleaved with the bare application;
prints medians over the rounds, and for span rules the overhead beside that of OpenTelemetryMiddleware. What
a file's instrumentor gives to uvicorn is measured first, beside `wrap` of the same `Telemetry`: a second one
in the process would end it.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from importlib.metadata import version
from typing import Any

import sentry_sdk
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from posthog import Posthog
from posthog.integrations.asgi import PosthogASGIMiddleware
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from uvicorn.config import Config

from otel_posthog import SecurityHeaders, SpanRule, Telemetry
from otel_posthog.declarative import DeclaredSpanExporter, shared
from otel_posthog.integrations.instrumentor import PostHogInstrumentor

ROUNDS = 60
REQUESTS = 1_000
NOBODY = "http://127.0.0.1:9"
PACKAGES = (
    "otel-posthog",
    "posthog",
    "sentry-sdk",
    "opentelemetry-instrumentation-asgi",
    "opentelemetry-sdk",
)
RULES = [SpanRule(name=f"POST /api/thing{number}/{{id}}", event="thing_posted") for number in range(100)]
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
BODY = {"type": "http.response.body", "body": b"{}"}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "https",
    "path": "/api/items",
    "raw_path": b"/api/items",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"example.org"), (b"accept", b"*/*"), (b"user-agent", b"benchmark")],
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


async def bare(_scope: object, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
    """Answer."""
    await send(START)
    await send(BODY)


async def receive() -> Message:
    """Stand in for a server."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Message) -> None:
    """Stand in for a server."""


class Ours:
    """Telemetries, each with a database of its own; one runs at a time, as in most products."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._made: list[Telemetry] = []

    def wrap(
        self, *, errors: bool = False, telemetry: bool = False, beside: bool = False, **options: Any
    ) -> App:
        """Return the application wrapped, with these kinds granted, alone or beside the one before."""
        if not beside:
            self.stop()
        made = Telemetry(
            api_key="phc_benchmark",
            host=NOBODY,
            database=f"sqlite:///{self._folder}/{len(self._made)}.db",
            environ={},
            **options,
        )
        made.start()
        made.update_settings(enable_error_reporting=errors, enable_telemetry=telemetry)
        self._made.append(made)
        return made.wrap(bare)

    def stop(self) -> None:
        """Stop them all."""
        for telemetry in self._made:
            telemetry.shutdown(timeout_s=0)


def measure_instrumented(folder: str) -> dict[str, list[float]]:
    """Return the times of a request that the instrumentor watches, with errors on."""
    exporter = DeclaredSpanExporter(
        api_key="phc_benchmark", host=NOBODY, database=f"sqlite:///{folder}/file.db"
    )
    PostHogInstrumentor().instrument()
    config = Config(bare, interface="asgi3", log_config=None, proxy_headers=False)
    config.load()
    telemetry = shared.telemetry()
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    apps = {"bare": bare, "wrapped": telemetry.wrap(bare), "instrumented": config.loaded_app}
    times = asyncio.run(measure(apps))
    PostHogInstrumentor().uninstrument()
    exporter.shutdown()
    return times


def ways(ours: Ours) -> dict[str, Callable[[], App]]:
    """Return what wraps the application, for each way."""
    sentry_sdk.init(dsn=f"http://key@{NOBODY.removeprefix('http://')}/1", default_integrations=False)
    client = Posthog("phc_benchmark", host=NOBODY)
    return {
        "otel-posthog, off": ours.wrap,
        "otel-posthog, off, beside another product": partial(ours.wrap, beside=True),
        "otel-posthog, errors on": partial(ours.wrap, errors=True),
        "otel-posthog, errors and headers on": partial(
            ours.wrap, errors=True, security_headers=SecurityHeaders()
        ),
        "otel-posthog, telemetry on, no span rules": partial(ours.wrap, telemetry=True),
        "otel-posthog, telemetry off, span rules": partial(ours.wrap, span_rules=RULES),
        "otel-posthog, telemetry on, span rules": partial(ours.wrap, telemetry=True, span_rules=RULES),
        "PosthogASGIMiddleware": partial(PosthogASGIMiddleware, bare, client=client),
        "SentryAsgiMiddleware": partial(SentryAsgiMiddleware, bare),
        "OpenTelemetryMiddleware": partial(
            OpenTelemetryMiddleware,
            bare,
            tracer_provider=TracerProvider(resource=Resource({}), shutdown_on_exit=False),
            exclude_spans=["receive", "send"],
        ),
    }


async def measure(apps: dict[str, App]) -> dict[str, list[float]]:
    """Return microseconds a request for each round."""
    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, app in apps.items():
            began = time.thread_time()
            for _ in range(REQUESTS):
                await app(dict(SCOPE), receive, send)
            times[name].append((time.thread_time() - began) / REQUESTS * 1e6)
    return times


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        instrumented = measure_instrumented(folder)
        ours = Ours(folder)
        times = {
            name: asyncio.run(measure({"bare": bare, "wrapped": make()})) for name, make in ways(ours).items()
        }
        ours.stop()
    print(f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}")
    print(f"{ROUNDS} rounds of {REQUESTS} requests\n")
    print("| a request through | bare, µs | wrapped, µs | overhead, µs |\n|---|---:|---:|---:|")
    overheads = {}
    for name, measured in times.items():
        pairs = zip(measured["bare"], measured["wrapped"], strict=True)
        overheads[name] = statistics.median(wrapped - bare_one for bare_one, wrapped in pairs)
        medians = " | ".join(f"{statistics.median(measured[each]):.2f}" for each in ("bare", "wrapped"))
        print(f"| {name} | {medians} | {overheads[name]:.2f} |")
    named = ", ".join(f"{name} {statistics.median(values):.2f} µs" for name, values in instrumented.items())
    print(f"\nFrom a file: {named}")
    share = overheads["otel-posthog, telemetry on, span rules"] / overheads["OpenTelemetryMiddleware"]
    print(f"\nSpan rules: {share - 1:+.1%} beside OpenTelemetryMiddleware itself")


if __name__ == "__main__":
    main()
