"""What OpenTelemetry's auto-instrumentation loads, and when it does something."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from conftest import API_KEY
from frameworks import client
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from programs import environment, run_python
from starlette.applications import Starlette
from starlette.routing import Route
from trackers import PATIENT
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.declarative import DeclaredSpanExporter, shared
from otel_posthog.integrations.instrumentor import PostHogInstrumentor

ORIGINAL = Starlette.__call__


async def _fail(_request):
    raise LookupError("in a view")


@pytest.fixture
def instrumentor():
    """Return the instrumentor of this process; it is undone after the test."""
    made = PostHogInstrumentor()
    yield made
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


@pytest.fixture
def exporter(sink_url, database_url):
    """Return an exporter as a file makes it, with both kinds granted."""
    telemetry = Telemetry(database=database_url, environ={}, spool_dir=":memory:")
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()
    made = DeclaredSpanExporter(
        api_key=API_KEY, host=sink_url, database=database_url, batch_delay_s=0.02, shutdown_timeout_s=30.0
    )
    yield made
    made.shutdown()


@pytest.fixture
def app():
    """Return an application that fails."""
    return Starlette(routes=[Route("/fail", _fail)])


def test_opentelemetry_finds_it():
    """It is named posthog in OpenTelemetry's group of instrumentors."""
    [found] = entry_points(group="opentelemetry_instrumentor", name="posthog")

    assert found.load() is PostHogInstrumentor


def test_without_an_exporter_nothing_happens(instrumentor):
    """A process whose configuration does not name posthog is left as it is."""
    instrumentor.instrument()

    assert Starlette.__call__ is ORIGINAL
    assert shared.telemetry() is None


def test_unusable_block_instruments_nothing(instrumentor, caplog):
    """A mistake in the block leaves the process as it is; the exporter has logged it."""
    with caplog.at_level(logging.ERROR):
        made = DeclaredSpanExporter(api_kei="phc")
    instrumentor.instrument()

    assert Starlette.__call__ is ORIGINAL
    made.shutdown()


def test_uninstrument_puts_everything_back(instrumentor, exporter, app, sink):
    """Once undone, classes are the frameworks' own, and nothing is reported."""
    instrumentor.instrument()
    assert Starlette.__call__ is not ORIGINAL

    instrumentor.uninstrument()

    client.get(app, "/fail")
    assert Starlette.__call__ is ORIGINAL
    assert sink.events == []


def test_instrumenting_twice_reports_once(instrumentor, exporter, app, sink):
    """A second call changes nothing."""
    instrumentor.instrument()
    instrumentor.instrument()

    client.get(app, "/fail")
    shared.telemetry().flush()

    assert [event.name for event in sink.events] == ["$exception"]


PROVIDERS = """
from contextlib import suppress
from opentelemetry import _logs, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otel_posthog import track
from otel_posthog.declarative import DeclaredLogExporter, DeclaredSpanExporter, shared
from otel_posthog.integrations.instrumentor import PostHogInstrumentor
from otel_posthog.otel.sdk import BatchLogRecordProcessor, LoggerProvider
from starlette.applications import Starlette
from frameworks import client

spans, logs = TracerProvider(), LoggerProvider()
spans.add_span_processor(BatchSpanProcessor(DeclaredSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(DeclaredLogExporter()))
trace.set_tracer_provider(spans)
_logs.set_logger_provider(logs)
PostHogInstrumentor().instrument()
"""
BOTH = (
    PROVIDERS
    + """
client.get(Starlette(), "/nowhere")
with spans.get_tracer("host").start_as_current_span("any", attributes={"posthog.event": "seen"}):
    pass
failure = {"exception.type": "KeyError", "exception.message": "k"}
logs.get_logger("host").emit(event_name="failure", attributes=failure)
track("made")
print(shared.telemetry().flush(timeout_s=60))
"""
)
SIMPLE = """
file_format: "1.0"
propagator: {composite: [{tracecontext: }]}
tracer_provider:
  processors:
    - simple: {exporter: {posthog: {}}}
"""
IN_ORDER = """
import sys
from opentelemetry import trace
from opentelemetry.configuration import configure_sdk, load_config_file
from asgi import client_of
from otel_posthog.integrations.instrumentor import PostHogInstrumentor
from starlette.applications import Starlette
from starlette.routing import Route

configure_sdk(load_config_file(sys.argv[1]))
PostHogInstrumentor().instrument()

async def fail(_request):
    with trace.get_tracer("host").start_as_current_span("work"):
        raise LookupError("in a view")

with client_of(Starlette(routes=[Route("/fail", fail)])) as visitor:
    visitor.get("/fail")
trace.get_tracer_provider().shutdown()
"""
AFTER_THE_END = (
    PROVIDERS
    + """
from asgi import client_of
from starlette.routing import Route

errors = []

async def fail(_request):
    errors.append(LookupError("in a view"))
    raise errors[0]

with client_of(Starlette(routes=[Route("/fail", fail)])) as visitor:
    visitor.get("/fail")
assert not shared.telemetry().lifecycle.is_running
with suppress(ValueError), spans.get_tracer("host").start_as_current_span("any"):
    raise ValueError("on a span")
for kind, message, error in (("KeyError", "logged", None), ("LookupError", "in a view", errors[0])):
    recorded = {"exception.type": kind, "exception.message": message}
    logs.get_logger("host").emit(event_name="failure", attributes=recorded, exception=error)
for provider in (spans, logs):
    provider.shutdown()
"""
)


@pytest.fixture
def variables(sink_url, database_url):
    """Return what configures exporters by the environment."""
    settings = {"POSTHOG_API_KEY": API_KEY, "POSTHOG_HOST": sink_url, "OTEL_POSTHOG_DATABASE": database_url}
    return settings | PATIENT


def test_exporter_sends_nothing_that_a_processor_has_read(exporter, sink, variables):
    """Spans and logs of the host are events once, although a declared exporter is behind its processors."""
    run = run_python(BOTH, **variables)

    assert run.stdout == "True\n", run.stderr
    assert sorted(event.name for event in sink.events) == ["$exception", "made", "seen"]


def test_exporter_sends_what_comes_after_the_end(exporter, sink, variables):
    """After the lifespan the processors are closed: the exporters send the rest, and nothing twice."""
    run = run_python(AFTER_THE_END, **variables)

    assert run.stderr == ""
    reported = [event.properties["$exception_list"][0]["value"] for event in sink.events]
    assert sorted(reported) == ["in a view", "logged", "on a span"]


def test_exporter_without_a_queue_comes_second(exporter, sink, variables, tmp_path):
    """A `simple` processor exports at once; ours reads the span before, so its error is the request's."""
    file = tmp_path / "simple.yaml"
    file.write_text(SIMPLE)

    run = run_python(IN_ORDER, file, **variables)

    assert run.stderr == ""
    [event] = sink.events
    assert event.properties["$exception_list"][0]["value"] == "in a view"
    assert event.properties["$request_path"] == "/fail"


def test_first_record_starts_hooks_as_well(instrumentor, exporter, sink):
    """A program without an application reports what no code of it handles, from its first record on."""
    spans = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(exporter))
    instrumentor.instrument()

    with spans.get_tracer("host").start_as_current_span("any", attributes={"posthog.event": "seen"}):
        pass
    spans.force_flush()
    sys.excepthook(LookupError, LookupError("unhandled"), None)
    shared.telemetry().flush()

    assert sorted(event.name for event in sink.events) == ["$exception", "seen"]
    spans.shutdown()


def test_telemetry_of_the_product_takes_precedence(instrumentor, exporter, app, sink, make_telemetry, caplog):
    """Once the product starts its own, the file's one ends, and a failing request is one event."""
    instrumentor.instrument()
    client.get(app, "/fine")
    of_file = shared.telemetry()
    assert of_file.lifecycle.is_running

    with caplog.at_level(logging.WARNING):
        product = make_telemetry(environment="of the product")
        product.start()
    wait_until(lambda: not of_file.lifecycle.is_running, timeout_s=30)
    client.get(product.wrap(app), "/fail")
    product.flush(timeout_s=30)

    assert [event.properties["environment"] for event in sink.events] == ["of the product"]
    assert "so that no event is sent twice" in caplog.text


def test_file_does_not_start_beside_a_running_telemetry(instrumentor, exporter, app, make_telemetry):
    """Where the product's own runs already, that of the file never starts."""
    product = make_telemetry()
    product.start()
    instrumentor.instrument()

    client.get(app, "/fail")

    assert not shared.telemetry().lifecycle.is_running


def test_nothing_is_imported_for_it(sink_url, database_url):
    """Instrumenting loads no framework, no server, no database driver; a later import is instrumented."""
    program = f"""
import sys
from otel_posthog.declarative import DeclaredSpanExporter
from otel_posthog.integrations.instrumentor import PostHogInstrumentor
exporter = DeclaredSpanExporter(api_key="phc_test", host={sink_url!r}, database={database_url!r})
PostHogInstrumentor().instrument()
loaded = {{"starlette", "litestar", "quart", "flask", "django", "uvicorn", "hypercorn", "sqlalchemy"}}
print(sorted(loaded & sys.modules.keys()))
from starlette.applications import Starlette
print(Starlette.__call__.__code__.co_filename.split("/")[-2])
"""
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )

    assert run.stdout.splitlines() == ["[]", "integrations"]
