"""Spans of a host that uses OpenTelemetry already."""

from __future__ import annotations

from contextlib import suppress

import pytest
from asgi import call, client_of, http_scope, some_app
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from otel_posthog import capture_exception

WAIT_S = 30.0  # a busy machine maps the long stack of a test slowly


@pytest.fixture
def tracer_provider():
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def tracer(tracer_provider):
    return tracer_provider.get_tracer("host")


@pytest.fixture
def granted(make_telemetry, tracer_provider):
    telemetry = make_telemetry(tracer_provider=tracer_provider, batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    return telemetry


def test_failed_root_span_is_one_exception(granted, tracer, sink):
    """The exception that ends a local root span with ERROR is one `$exception`."""
    with pytest.raises(ValueError, match="fatal"), tracer.start_as_current_span("root"):
        raise ValueError("fatal")

    assert granted.flush(WAIT_S)
    [event] = sink.events
    [entry] = event.properties["$exception_list"]
    assert (event.name, entry["type"], entry["value"]) == ("$exception", "ValueError", "fatal")
    assert entry["stacktrace"]["frames"][-1]["function"] == "test_failed_root_span_is_one_exception"
    assert event.issues == ()


class Wrapper:
    """A provider of the host's own class, which passes on whatever is asked of it."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __getattr__(self, name):
        return getattr(self._wrapped, name)


def test_wrapped_provider_is_extended(make_telemetry, tracer_provider, tracer, sink):
    """Spans of a provider arrive although its class is not the SDK's."""
    telemetry = make_telemetry(tracer_provider=Wrapper(tracer_provider))
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)

    with pytest.raises(ValueError, match="fatal"), tracer.start_as_current_span("root"):
        raise ValueError("fatal")

    assert telemetry.flush(WAIT_S)
    assert [event.name for event in sink.events] == ["$exception"]


def test_nested_spans_tell_an_exception_once(granted, tracer, sink):
    """An exception on its way through several spans is one event."""
    with (
        pytest.raises(ValueError, match="fatal"),
        tracer.start_as_current_span("root"),
        tracer.start_as_current_span("child"),
    ):
        raise ValueError("fatal")

    assert granted.flush(WAIT_S)
    assert len(sink.events) == 1


def test_handled_exception_on_a_span_is_none(granted, tracer, sink):
    """An exception that a span recorded, but that did not fail the root span, is not an error (R12)."""
    with tracer.start_as_current_span("root") as root:
        root.record_exception(ValueError("handled"))
        with tracer.start_as_current_span("child") as child:
            child.record_exception(ValueError("handled"))
            child.set_status(Status(StatusCode.ERROR))

    assert granted.flush(WAIT_S)
    assert sink.requests == []


def test_log_record_and_span_tell_one_exception(granted, tracer, sink):
    """What a log record and the root span both tell is one event, with our frames."""

    def fail():
        error = ValueError("told twice")
        capture_exception(error)
        raise error

    with pytest.raises(ValueError, match="told twice"), tracer.start_as_current_span("root"):
        fail()

    assert granted.flush(WAIT_S)
    assert len(sink.events) == 1
    assert sink.events[0].properties["$trace_id"]


def test_span_and_later_report_by_hand_are_one(granted, tracer, sink):
    """An exception that ended a root span and is then captured by hand is one event (R16)."""
    try:
        with tracer.start_as_current_span("root"):
            int("told twice")
    except ValueError as error:
        capture_exception(error)

    assert granted.flush(WAIT_S)
    assert len(sink.events) == 1


@pytest.mark.parametrize(("is_handled", "expected"), [(True, 0), (False, 1)])
def test_root_span_inside_a_request_leaves_it_to_the_middleware(granted, tracer, sink, is_handled, expected):
    """Within a request only the middleware knows whether the application handled an exception (R12)."""

    async def app(_scope, _receive, _send):
        try:
            with tracer.start_as_current_span("made by hand"):
                int("in a span")
        except ValueError:
            if not is_handled:
                raise

    with suppress(ValueError):
        call(granted.wrap(app), http_scope())

    assert granted.flush(WAIT_S)
    assert len(sink.events) == expected


def test_instrumented_application_reports_once(granted, tracer_provider, sink):
    """Inside OpenTelemetryMiddleware each propagating exception is still exactly one event."""
    app = OpenTelemetryMiddleware(granted.wrap(some_app()), tracer_provider=tracer_provider)
    client = client_of(app)

    for number in range(5):
        client.get(f"/fail/{number}")

    assert granted.flush(WAIT_S)
    values = sorted(event.properties["$exception_list"][0]["value"] for event in sink.events)
    assert values == [f"failure number {number}" for number in range(5)]


def test_span_that_names_an_event_becomes_it(granted, tracer, sink):
    """A span with `posthog.event` is one event with its duration, and takes no other attribute along."""
    attributes = {
        "posthog.event": "report_generated",
        "posthog.property.pages": 3,
        "client.address": "198.51.100.7",
    }
    with tracer.start_as_current_span("GET /", attributes=attributes):
        pass

    assert granted.flush(WAIT_S)
    [event] = sink.events
    assert event.name == "report_generated"
    assert event.properties["pages"] == 3
    assert event.properties["duration_ms"] >= 0
    assert not sink.contains("198.51.100.7")


def test_ordinary_spans_become_nothing(granted, tracer, sink):
    """Any other span is dropped before the queue."""
    with tracer.start_as_current_span("root", attributes={"http.url": "https://example.org/?q=1"}):
        pass

    assert granted.flush(WAIT_S)
    assert sink.requests == []


def test_scope_of_a_request_is_untouched(telemetry):
    """The application sees the very scope, receive and send that the server gave."""
    seen = []

    async def app(*connection):
        seen.append(connection)

    scope, receive, send = http_scope(), object(), object()
    coroutine = telemetry.wrap(app)(scope, receive, send)
    with pytest.raises(StopIteration):
        coroutine.send(None)

    assert seen[0][0] is scope
    assert seen[0][1] is receive
    assert seen[0][2] is send
