"""Packages that not every environment of the tests can have beside each other: `nox -s vendors` has them."""

from __future__ import annotations

import json
import logging
from importlib.util import find_spec

import pytest
from programs import run_python


def needs(package):
    """Skip where the package is not installed."""
    try:
        is_there = find_spec(package) is not None
    except ModuleNotFoundError:
        is_there = False
    return pytest.mark.skipif(not is_there, reason=f"{package} is not installed here: nox -s vendors has it")


@needs("opentelemetry.instrumentation.flask")
def test_flask_failure_is_one_event(make_telemetry, sink):
    """Span and log record word a `KeyError` differently; it is one event, unhandled, with its request."""
    from flask import Flask  # noqa: PLC0415 - see the marks
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415
    from opentelemetry.instrumentation.logging.handler import LoggingHandler  # noqa: PLC0415
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    telemetry = make_telemetry(tracer_provider=tracers, logger_provider=loggers, batch_delay_s=0.5)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    app, handler = Flask("product"), LoggingHandler(logger_provider=loggers)
    app.add_url_rule("/items/<key>", view_func=lambda key: {}[key], endpoint="items")
    FlaskInstrumentor().instrument_app(app, tracer_provider=tracers)
    logging.getLogger().addHandler(handler)

    for number in range(3):
        app.test_client().get(f"/items/{number}")

    logging.getLogger().removeHandler(handler)
    assert telemetry.flush(60)
    found = [
        (event.properties["$request_path"], event.properties["$request_route"], _is_handled(event))
        for event in sink.events
    ]
    assert sorted(found) == [(f"/items/{number}", "/items/{key}", False) for number in range(3)]


def _is_handled(event):
    return event.properties["$exception_list"][0]["mechanism"]["handled"]


LOGFIRE = """
import json, sys, time
import logfire
from opentelemetry.trace import get_tracer
from otel_posthog import SpanRule, Telemetry, event
from otel_posthog.delivery.transport import RecordingTransport

@event("run_seen", why="a test", since="1.0")
class RunSeen:
    "A run was seen."

transport = RecordingTransport()
configure = lambda: logfire.configure(send_to_logfire=False, console=False)
if sys.argv[1] == "before":
    configure()
telemetry = Telemetry(
    api_key="phc_test", transport=transport, database=f"sqlite:///{sys.argv[2]}", registry=[RunSeen],
    span_rules=[SpanRule(name="pipeline.run", event="run_seen")], environ={},
)
with telemetry:
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    if sys.argv[1] == "after":
        configure()
    until_s = time.monotonic() + 30
    while not transport.events and time.monotonic() < until_s:  # a later provider is found within a second
        get_tracer("product").start_span("pipeline.run").end()
        telemetry.flush(30)
    try:
        with logfire.span("failing"):
            raise LookupError("it failed")
    except LookupError:
        pass
    telemetry.flush(30)
print(json.dumps(sorted({event["event"] for event in transport.events})))
"""


@needs("logfire")
@pytest.mark.parametrize("when", ["before", "after"])
def test_logfire_is_read(tmp_path, when):
    """Span rules and failed spans become events with Logfire's provider, whenever it is configured."""
    run = run_python(LOGFIRE, when, tmp_path / "app.db")

    assert json.loads(run.stdout) == ["$exception", "run_seen"]


DDTRACE = """
import json, sys
from ddtrace.opentelemetry import TracerProvider
from opentelemetry.trace import set_tracer_provider
from otel_posthog import Telemetry

set_tracer_provider(TracerProvider())
with Telemetry(api_key="phc_test", database=f"sqlite:///{sys.argv[1]}", environ={}) as telemetry:
    print(json.dumps(telemetry.lifecycle.unread_spans))
"""


@needs("ddtrace")
def test_provider_that_takes_no_processor_is_named(tmp_path):
    """Datadog's provider gives its spans to nobody else, which status says by its name."""
    run = run_python(DDTRACE, tmp_path / "app.db")

    assert "ddtrace" in json.loads(run.stdout.splitlines()[-1])
