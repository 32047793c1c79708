"""The span of a request beside the one that OpenTelemetry's own middleware makes."""

from __future__ import annotations

import pytest
from asgi import call, http_scope
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog.pipeline.traced_app import TracedApp

HEADERS = [
    (b"host", b"product.example"),
    (b"user-agent", b"test"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]
SERVED = {"client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "http_version": "1.1"}


@pytest.fixture
def spans():
    """Return what was exported."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans):
    """Return a tracer whose spans are exported at once."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider.get_tracer("x")
    provider.shutdown()


def _answering(status):
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


def _told(span):
    return span.name, span.kind, span.parent.trace_id, dict(span.attributes), span.status.status_code


@pytest.mark.parametrize("status", [200, 404, 500])
def test_span_tells_what_opentelemetrys_own_does(tracer, spans, status):
    """Name, kind, parent, attributes and status are the same."""
    scope = {**http_scope("/items/1", headers=HEADERS), **SERVED}
    app = _answering(status)

    call(OpenTelemetryMiddleware(app, tracer=tracer, exclude_spans=["receive", "send"]), scope)
    call(TracedApp(app, tracer), scope)

    theirs, ours = spans.get_finished_spans()
    assert _told(ours) == _told(theirs)


def test_exception_is_noted(tracer, spans):
    """An exception that leaves the application stands on the span, which counts as failed."""

    async def app(_scope, _receive, _send):
        raise LookupError("of the application")

    with pytest.raises(LookupError):
        call(TracedApp(app, tracer), http_scope())

    [span] = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "LookupError")
    assert [event.attributes["exception.type"] for event in span.events] == ["LookupError"]


def test_work_after_the_answer_is_no_part(tracer, spans):
    """The span ends with the answer's last message, as OpenTelemetry's own does."""
    ended = []

    async def app(scope, receive, send):
        await _answering(200)(scope, receive, send)
        ended.extend(spans.get_finished_spans())

    call(TracedApp(app, tracer), http_scope())

    assert len(ended) == len(spans.get_finished_spans()) == 1


def test_answer_that_ends_twice_logs_nothing(tracer, spans, caplog):
    """An odd application is the server's business; the host's log gets no warning from its span."""

    async def app(_scope, _receive, send):
        for _ in range(2):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

    call(TracedApp(app, tracer), http_scope())

    assert len(spans.get_finished_spans()) == 1
    assert caplog.records == []
