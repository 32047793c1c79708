"""A file's `Telemetry` beside the product's own, and a host's exporter that gets nothing of either raw."""

from __future__ import annotations

import pytest
from conftest import API_KEY
from programs import run_python
from trackers import PATIENT

# `kept` is an exporter of the host on OpenTelemetry's global provider: what reaches it has passed no gate.
HOST = """
import os, sys, threading
from contextlib import asynccontextmanager, suppress
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from asgi import client_of
from otel_posthog import Telemetry, capture_exception, track
from otel_posthog.emit.emitters import current
from otel_posthog.emit.request_context import within
from otel_posthog.otel.sdk import LoggerProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
import wsgi

kept = InMemoryLogRecordExporter()
logs, spans = LoggerProvider(), TracerProvider()
logs.add_log_record_processor(SimpleLogRecordProcessor(kept))
_logs.set_logger_provider(logs)
trace.set_tracer_provider(spans)

def made(name, **options):
    return Telemetry(
        api_key=os.environ["POSTHOG_API_KEY"], host=os.environ["POSTHOG_HOST"], environment=name,
        database=f"sqlite:///{os.environ['FOLDER']}/{name}.db", batch_delay_s=0.02, **options
    )

def agreed(telemetry):
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)

def raw():
    return [record.log_record.event_name for record in kept.get_finished_logs()]
"""

FILE = (
    HOST
    + """
from otel_posthog.declarative import DeclaredLogExporter, DeclaredSpanExporter, shared
from otel_posthog.integrations.instrumentor import PostHogInstrumentor
from otel_posthog.otel.sdk import BatchLogRecordProcessor

spans.add_span_processor(BatchSpanProcessor(DeclaredSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(DeclaredLogExporter()))
PostHogInstrumentor().instrument()
product = made("product")

def emit(where):
    track(f"tracked in {where}")
    capture_exception(LookupError(f"handled in {where}"))
    with suppress(LookupError), trace.get_tracer("host").start_as_current_span(where):
        raise LookupError(f"failed in {where}")

async def view(_request):
    emit("a request")
    return PlainTextResponse("fine")

async def socket(websocket):
    await websocket.accept()
    emit("a socket")
    await websocket.close()

def wsgi_app(_environ, start_response):
    emit("wsgi")
    start_response("200 OK", [])
    return [b"fine"]

async def fail(_request):
    raise LookupError("unhandled in a request")

@asynccontextmanager
async def lifespan(_app):
    if sys.argv[1] == "in the lifespan":
        assert shared.telemetry().lifecycle.is_running
        agreed(product)
    emit("the lifespan")
    yield

routes = [Route("/", view), WebSocketRoute("/socket", socket)]
if sys.argv[1] == "before the application":
    agreed(product)
with client_of(Starlette(routes=routes, lifespan=lifespan)) as client:
    client.get("/")
    with suppress(Exception), client.websocket_connect("/socket") as connection:
        connection.receive_text()
    wsgi.get(shared.telemetry().wrap_wsgi(wsgi_app), "/")
    watched = product.wrap(Starlette(routes=[Route("/fail", fail)]))
    client_of(shared.telemetry().wrap(watched)).get("/fail")
    print(product.flush(60), raw())
"""
)
PLACES = ("a request", "a socket", "the lifespan", "wsgi")


@pytest.fixture
def variables(sink_url, tmp_path):
    """Return what configures a file's `Telemetry`, whose switches are off, and one made in code."""
    database = f"sqlite:///{tmp_path}/file.db"
    settings = {"POSTHOG_API_KEY": API_KEY, "POSTHOG_HOST": sink_url, "OTEL_POSTHOG_DATABASE": database}
    return settings | {"FOLDER": str(tmp_path), **PATIENT}


def _texts(sink):
    """Return the name of each event that arrived, or the message of its exception."""
    return sorted(
        event.properties.get("$exception_list", [{"value": event.name}])[0]["value"] for event in sink.events
    )


@pytest.mark.parametrize("start", ["before the application", "in the lifespan"])
def test_product_gets_what_happens_in_applications_of_the_file(start, variables, sink):
    """Once the product runs its own, the file's one watches no application: each event is the product's."""
    run = run_python(FILE, start, **variables)

    assert run.stdout == "True []\n", run.stderr
    emitted = [f"{what} in {where}" for what in ("tracked", "handled", "failed") for where in PLACES]
    assert _texts(sink) == sorted([*emitted, "unhandled in a request"])
    assert {event.properties["environment"] for event in sink.events} == {"product"}


NOT_RUNNING = {
    "never started": "owner = made('never').lifecycle.owner",
    "a second default": """
first, second = made("first", default=True), made("second", default=True)
agreed(first)
second.lifecycle.begin()
owner = second.lifecycle.owner
""",
    "shut down": """
ended = made("ended")
agreed(ended)
ended.shutdown()
owner = ended.lifecycle.owner
""",
}


@pytest.mark.parametrize("state", NOT_RUNNING)
def test_telemetry_that_does_not_run_emits_nothing(state, variables, sink):
    """What belongs to it is not even built, and never reaches the host's exporter, as in a worker's task."""
    program = f"""{HOST}
{NOT_RUNNING[state]}
with within(owner):
    track("tracked")
    capture_exception(LookupError("handled"))
    print(current().logger.enabled(event_name="tracked"), raw())
"""
    run = run_python(program, **variables)

    assert run.stdout == "False []\n", run.stderr
    assert sink.events == []


def test_requests_after_the_end_emit_nothing(variables, sink):
    """An application is served on after its `Telemetry` was shut down: nothing is sent, or exported raw."""
    program = f"""{HOST}
async def view(_request):
    track("tracked")
    raise LookupError("unhandled")

telemetry = made("product")
agreed(telemetry)
client = client_of(telemetry.wrap(Starlette(routes=[Route("/", view)])))
client.get("/")
telemetry.shutdown()
client.get("/")
print(raw())
"""
    run = run_python(program, **variables)

    assert run.stdout == "[]\n", run.stderr
    assert _texts(sink) == ["tracked", "unhandled"]
