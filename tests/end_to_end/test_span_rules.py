"""Span rules in a running product: what reaches PostHog, and what stands in a request's way."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated
from uuid import UUID, uuid5

import pytest
from asgi import call, client_of, http_scope, some_app
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from programs import run_python

from otel_posthog import Range, RegistryError, SpanRule, TelemetryMiddleware, event
from otel_posthog.mapping.exceptions import UUID_NAMESPACE

SEEN = SpanRule(name="GET /*", event="page_seen")


@event("run_started", why="how large runs are", since="1.0")
class RunStarted:
    """A run began."""

    steps: Annotated[int, Range(0, 100)]
    duration_ms: Annotated[int, Range(0, 10_000_000)]


@pytest.fixture
def host_spans():
    """Return what a host exports of its own tracing."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer_provider(host_spans):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(host_spans))
    yield provider
    provider.shutdown()


@pytest.fixture
def make_granted(make_telemetry):
    """Return a function that makes a running `Telemetry` with both kinds granted."""

    def make(*span_rules, **options):
        telemetry = make_telemetry(span_rules=span_rules, batch_delay_s=60, **options)
        telemetry.start()
        telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
        return telemetry

    return make


def current_span_app(seen):
    """Return an application that notes the span in which it runs."""

    async def app(_scope, _receive, _send):
        seen.append(trace.get_current_span())

    return app


def test_matching_span_becomes_the_event(make_granted, tracer_provider, host_spans, sink):
    """A span that matches is one event with the attributes named, and a uuid that follows from the span."""
    rule = SpanRule(name="run *", event="run_started", properties={"run.steps": "steps"})
    telemetry = make_granted(rule, registry=[RunStarted], tracer_provider=tracer_provider)
    attributes = {"run.steps": 3, "run.owner": "somebody"}

    with tracer_provider.get_tracer("host").start_as_current_span("run nightly", attributes=attributes):
        pass

    assert telemetry.flush()
    [event] = sink.events
    [span] = host_spans.get_finished_spans()
    place = f"{span.context.trace_id:032x}:{span.context.span_id:016x}:run_started"
    assert (event.name, event.properties["steps"]) == ("run_started", 3)
    assert event.properties["duration_ms"] >= 0
    assert UUID(event.uuid) == uuid5(UUID_NAMESPACE, place)
    assert not sink.contains("somebody")


def test_unmatched_span_is_dropped_before_the_queue(make_granted, tracer_provider):
    """What matches no rule starts no batch processor and takes no place."""
    make_granted(SpanRule(name="run *", event="run_started"), tracer_provider=tracer_provider)

    with tracer_provider.get_tracer("host").start_as_current_span("something else"):
        pass

    assert "OtelBatchSpanRecordProcessor" not in [thread.name for thread in threading.enumerate()]


def test_request_makes_an_event_without_any_tracing_of_the_host(make_granted, sink):
    """A rule alone is enough: the middleware makes the span, which nobody else sees."""
    telemetry = make_granted(
        SpanRule(
            name="POST /fail/{number}",
            kind="server",
            event="failure_asked",
            properties={"http.response.status_code": "status"},
        )
    )

    client_of(telemetry.wrap(some_app())).post("/fail/17?token=x", headers={"baggage": "who=somebody"})

    assert telemetry.flush()
    by_name = {event.name: event for event in sink.events}
    assert by_name["failure_asked"].properties["status"] == 500
    assert not sink.contains("somebody")
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)


def test_error_of_a_traced_request_is_told_once_with_its_trace(make_granted, sink):
    """The exception of a request that our middleware traces is one event, and names the span."""
    telemetry = make_granted(SpanRule(name="GET /fail/*", event="failure_asked"))

    client_of(telemetry.wrap(some_app())).get("/fail/1")

    assert telemetry.flush()
    names = sorted(event.name for event in sink.events)
    assert names == ["$exception", "failure_asked"]
    [error] = [event for event in sink.events if event.name == "$exception"]
    assert error.properties["$trace_id"]


def test_client_that_leaves_is_no_error_of_a_traced_request(make_granted, sink):
    """An exception on our own span is the middleware's to judge (R12)."""

    class ClientDisconnectError(Exception):
        pass

    ClientDisconnectError.__name__ = "ClientDisconnect"
    telemetry = make_granted(SEEN)

    async def app(_scope, _receive, _send):
        raise ClientDisconnectError

    with pytest.raises(ClientDisconnectError):
        call(telemetry.wrap(app), http_scope())

    assert telemetry.flush()
    assert [event.name for event in sink.events] == ["page_seen"]


def test_clients_sampling_flag_does_not_decide(make_granted, sink):
    """A client's `traceparent` that says not sampled does not keep an event back."""
    telemetry = make_granted(SEEN)
    header = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}

    client_of(telemetry.wrap(some_app())).get("/fine", headers=header)

    assert telemetry.flush()
    assert [event.name for event in sink.events] == ["page_seen"]


def test_hosts_provider_gets_the_spans(make_granted, tracer_provider, host_spans, sink):
    """Where the host has a tracer provider, request spans are its own as well."""
    telemetry = make_granted(SEEN, tracer_provider=tracer_provider)

    client_of(telemetry.wrap(some_app())).get("/fine")

    assert telemetry.flush()
    assert [span.name for span in host_spans.get_finished_spans()] == ["GET /fine"]
    assert [event.name for event in sink.events] == ["page_seen"]


def test_instrumented_application_is_not_traced_twice(make_granted, tracer_provider, host_spans, sink):
    """An application that FastAPI's instrumentation traces keeps its one span, named after the route."""
    app = FastAPI()
    app.get("/items/{item}")(lambda item: item)
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=tracer_provider, exclude_spans=["receive", "send"]
    )
    telemetry = make_granted(
        SpanRule(name="GET /items/{id}", event="item_seen", properties={"http.route": "route"}),
        tracer_provider=tracer_provider,
    )

    client_of(telemetry.wrap(app)).get("/items/17")

    assert telemetry.flush()
    assert [span.name for span in host_spans.get_finished_spans()] == ["GET /items/{item}"]
    assert [event.properties["route"] for event in sink.events] == ["/items/{item}"]


@pytest.mark.parametrize("is_outside", [True, False])
def test_hosts_own_middleware_is_not_doubled(make_granted, tracer_provider, host_spans, is_outside):
    """Where the host's own OpenTelemetryMiddleware stands around or within, there is one span."""
    telemetry = make_granted(SEEN, tracer_provider=tracer_provider)
    if is_outside:
        app = OpenTelemetryMiddleware(telemetry.wrap(some_app()), tracer_provider=tracer_provider)
    else:
        app = telemetry.wrap(OpenTelemetryMiddleware(some_app(), tracer_provider=tracer_provider))

    client_of(app).get("/fine")

    servers = [span for span in host_spans.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
    assert len(servers) == 1


def test_wrapping_twice_makes_one_span(make_granted, sink):
    """An application wrapped twice is one event a request."""
    telemetry = make_granted(SEEN)

    client_of(telemetry.wrap(telemetry.wrap(some_app()))).get("/fine")

    assert telemetry.flush()
    assert len(sink.events) == 1


def test_added_middleware_traces_as_well(make_granted, sink):
    """`app.add_middleware` works as `wrap` does."""
    telemetry = make_granted(SEEN)
    app = some_app()
    app.add_middleware(TelemetryMiddleware, telemetry=telemetry)

    client_of(app).get("/fine")

    assert telemetry.flush()
    assert [event.name for event in sink.events] == ["page_seen"]


def test_span_stands_in_the_way_only_while_telemetry_is_on(make_granted):
    """After a withdrawal a request makes no span, and after a new grant it does again (R4)."""
    seen = []
    telemetry = make_granted(SEEN)
    app = telemetry.wrap(current_span_app(seen))

    for is_on in (True, False, True):
        telemetry.update_settings(enable_telemetry=is_on)
        call(app, http_scope())

    assert [span.is_recording() or span.get_span_context().is_valid for span in seen] == [True, False, True]


def test_scope_of_a_traced_request_is_untouched(make_granted):
    """The application sees the very scope and receive that the server gave."""
    seen = []

    async def app(*connection):
        seen.append(connection)

    scope, receive = http_scope(), object()

    async def send(_message):
        return None

    asyncio.run(make_granted(SEEN).wrap(app)(scope, receive, send))

    assert seen[0][0] is scope
    assert seen[0][1] is receive


def test_rule_on_a_failing_span_inside_a_request(make_granted, tracer_provider, sink):
    """A root span made by hand in a request gives its event; its exception is the request's to judge."""
    telemetry = make_granted(SpanRule(name="import", event="import_tried"), tracer_provider=tracer_provider)

    async def app(_scope, _receive, _send):
        context = trace.set_span_in_context(trace.INVALID_SPAN)
        try:
            with tracer_provider.get_tracer("host").start_as_current_span("import", context=context):
                int("handled by the application")
        except ValueError:
            pass

    call(telemetry.wrap(app), http_scope())

    assert telemetry.flush()
    assert [event.name for event in sink.events] == ["import_tried"]


def test_rule_with_an_unknown_event_stops_the_start(make_telemetry):
    """A rule that names what nobody declared is an error at once, not a silence later."""
    with pytest.raises(RegistryError, match="Did you mean 'run_started'"):
        make_telemetry(registry=[RunStarted], span_rules=[SpanRule(name="x", event="run_startet")])


@pytest.mark.parametrize("is_on", [False, True])
def test_instrumentation_is_loaded_only_when_needed(is_on, sink_url, database_url):
    """Until telemetry is on, not even OpenTelemetry's middleware is imported."""
    program = """
        import sys
        from asgi import client_of, some_app
        from otel_posthog import SpanRule, Telemetry

        rules = [SpanRule(name="GET /*", event="page_seen")]
        telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], span_rules=rules)
        if sys.argv[3] == "True":
            telemetry.update_settings(enable_telemetry=True)
        with client_of(telemetry.wrap(some_app())) as client:
            client.get("/fine")
        print("opentelemetry.instrumentation.asgi" in sys.modules)
    """
    run = run_python(program, sink_url, database_url, is_on)

    assert run.stdout.split() == [str(is_on)]
