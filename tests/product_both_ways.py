"""A product whose events leave both ways: straight to PostHog, and to a Collector."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from asgi import client_of
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_posthog import (
    MaxChars,
    Range,
    SpanRule,
    Telemetry,
    capture_exception,
    event,
    track,
)

SECRET = "Planted7secret9"
CALLER = {"user_agent.original": "a browser", "client.address": "1.2.3.4"}
RULES = [
    {
        "name": "POST /pipelines/{id}/run",
        "kind": "server",
        "event": "pipeline_run_started",
        "properties": {"pipeline.trigger": "triggered_by"},
    }
]


@event("pipeline_run_started", why="which triggers are worth improving", since="1.0")
class PipelineRunStarted:
    """A pipeline run began."""

    triggered_by: Literal["manual", "webhook"]
    note: Annotated[str, MaxChars(100)] | None = None
    duration_ms: Annotated[int, Range(0, 86_400_000)] | None = None


EVENTS = [PipelineRunStarted]


class Product:
    """A `Telemetry` that sends to PostHog, or to a Collector."""

    def __init__(self, database, sink_url=None, collector=None):
        self.resource = Resource({"service.version": "4.2", "deployment.environment.name": "staging"})
        self.logs, self.traces = LoggerProvider(self.resource), TracerProvider(resource=self.resource)
        common = {
            "database": database,
            "registry": EVENTS,
            "span_rules": [SpanRule(**rule) for rule in RULES],
            "logger_provider": self.logs,
            "tracer_provider": self.traces,
            "environ": {},
            "batch_delay_s": 0.05,
        }
        if sink_url is None:
            way = {"send_to": "collector", "collector_endpoint": f"{collector}/v1/logs"}
        else:
            way = {"api_key": "phc_test", "host": sink_url}
        self.telemetry = Telemetry(**common, **way)
        self._tracer = self.traces.get_tracer("product")

    def __enter__(self):
        self.telemetry.start()
        return self

    def __exit__(self, *_error):
        for part in (self.traces, self.logs, self.telemetry):
            part.shutdown()

    def do_everything(self):
        """Make a record of each kind of which something may become; return how many events those are."""
        track(PipelineRunStarted(triggered_by="manual"))
        track("pipeline_run_started", {"triggered_by": "webhook", "note": f"password={SECRET}", "more": 1})
        track("undeclared")
        with self._tracer.start_as_current_span("unmapped", attributes={"n": 1}):
            track(PipelineRunStarted(triggered_by="webhook"))
            capture_exception(_failure(f"within a trace, token={SECRET}"), properties={"step": "sync"})
        capture_exception(_failure("without a trace"))
        capture_exception(ExceptionGroup("several", [ValueError("one"), _failure("two")]))
        self._fail_in_nested_spans()
        trigger = {"pipeline.trigger": "manual", **CALLER}
        for kind in (SpanKind.SERVER, SpanKind.CLIENT):
            self._tracer.start_span("POST /pipelines/7/run", kind=kind, attributes=trigger).end()
        named = {"posthog.event": "pipeline_run_started", "triggered_by": "manual"} | CALLER
        self._tracer.start_span("any", attributes=named).end()
        self._ask("/fail")
        self._ask("/handled")
        self._log_as_others_do()
        return 12

    def _fail_in_nested_spans(self):
        """Fail, and end the spans later: while an exception is handled, only one of the two may tell it."""
        error = _failure("on a root span")
        root = self._tracer.start_span("root")
        child = self._tracer.start_span("child", set_span_in_context(root))
        for span in (child, root):
            span.record_exception(error)
            span.set_status(StatusCode.ERROR)
            span.end()

    def _ask(self, path):
        def fail(_request):
            raise RuntimeError("in a request")

        def handled(_request):
            with suppress(RuntimeError), self._tracer.start_as_current_span("handled"):
                raise RuntimeError("that the application handles")
            return PlainTextResponse("fine")

        app = Starlette(routes=[Route("/fail", fail), Route("/handled", handled)])
        client_of(self.telemetry.wrap(app)).get(f"{path}?secret={SECRET}")

    def _log_as_others_do(self):
        logger = self.logs.get_logger("other.instrumentation")
        told = {"exception.type": "KeyError", "exception.message": "by others"}
        logger.emit(event_name="some.exception", attributes=told | {"exception.stacktrace": _STACK})
        logger.emit(event_name="pipeline_run_started", attributes={"triggered_by": "manual"})
        logger.emit(event_name="not_registered", attributes={"triggered_by": "manual"})
        logger.emit(body="only a line")


_STACK = 'Traceback (most recent call last):\n  File "/srv/x.py", line 3, in run\nKeyError: by others\n'


def _failure(message):
    """Return a raised exception with a cause."""
    try:
        _fail(message)
    except RuntimeError as error:
        return error


def _fail(message):
    try:
        int("no number")
    except ValueError as error:
        raise RuntimeError(message) from error
