"""The same exception gives the same report, whoever records it and whichever way it comes."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from acme.runs import engine
from asgi import call, http_scope
from fastapi import FastAPI
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from otel_posthog import capture_exception
from otel_posthog.mapping import BaseProperties, event_from_log
from otel_posthog.otel.records import RecordedLog
from otel_posthog.registry import Kind

WAYS = [
    "plain",
    "without_message",
    "with_own_type",
    "from_cause",
    "in_context",
    "from_none",
    "as_group",
    "as_nested_group",
    "of_several_lines",
    "with_errno",
    "with_notes",
    "not_compiled",
]
OLD_HANDLER_LACKS = {"not_compiled"}  # it records `args[0]`, and the text has no more of a SyntaxError


class Host:
    """An installation whose host has providers of its own."""

    def __init__(self, make_telemetry):
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.telemetry = make_telemetry(
            tracer_provider=self.tracer_provider, logger_provider=self.logger_provider
        )
        self.telemetry.start()
        self.telemetry.update_settings(enable_error_reporting=True)

    @property
    def tracer(self):
        return self.tracer_provider.get_tracer("instrumentation.of.others")

    @property
    def logger(self):
        return self.logger_provider.get_logger("instrumentation.of.others")


@pytest.fixture
def host(make_telemetry):
    """Return an installation with error reports on."""
    return Host(make_telemetry)


def _failing(way):
    async def app(_scope, _receive, _send):
        way()

    return app


def _swallow(function, *arguments):
    with suppress(Exception):  # it has been seen on its way
        function(*arguments)


def _by_middleware(host, way):
    _swallow(call, host.telemetry.wrap(_failing(way)), http_scope())


def _by_hand(_host, way):
    try:
        way()
    except Exception as error:  # noqa: BLE001 - every kind
        capture_exception(error)


def _by_log_record(host, way):
    try:
        way()
    except Exception as error:  # noqa: BLE001 - every kind
        host.logger.emit(severity_number=SeverityNumber.ERROR, body="it failed", exception=error)


def _by_old_handler(host, way):
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        handler = LoggingHandler(logger_provider=host.logger_provider)
    logger = logging.getLogger("product.of.old")
    logger.addHandler(handler)
    try:
        way()
    except Exception:
        logger.exception("it failed")
    finally:
        logger.removeHandler(handler)


def _by_root_span(host, way):
    def job():
        with host.tracer.start_as_current_span("job"):
            way()

    _swallow(job)


def _by_asgi_instrumentation(host, way):
    app = OpenTelemetryMiddleware(_failing(way), tracer_provider=host.tracer_provider)
    _swallow(call, app, http_scope())


def _by_fastapi_instrumentation(host, way):
    app = FastAPI()

    @app.get("/fail")
    def fail():
        way()

    FastAPIInstrumentor.instrument_app(app, tracer_provider=host.tracer_provider)
    _swallow(call, app, http_scope(path="/fail"))


SIDES = [
    _by_middleware,
    _by_log_record,
    _by_old_handler,
    _by_root_span,
    _by_asgi_instrumentation,
    _by_fastapi_instrumentation,
]


def _told(properties):
    """Return type, module, value and the product's frames of each exception."""
    return [
        (
            entry["type"],
            entry["module"],
            entry["value"],
            entry["mechanism"].get("source"),
            entry["mechanism"].get("parent_id"),
            [
                (frame["filename"], frame["lineno"], frame["function"], frame["module"], frame["in_app"])
                for frame in entry.get("stacktrace", {"frames": []})["frames"]
                if frame["module"].startswith("acme.")
            ],
        )
        for entry in properties["$exception_list"]
    ]


def _events_by(host, sink, side, ways):
    """Return the only event of each way to fail, as this side tells it."""
    events = {}
    for way in ways:
        side(host, way)
        assert host.telemetry.flush(timeout_s=60)
        [events[way.__name__]] = sink.events
        sink.clear()
    return events


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.__name__.removeprefix("_by_"))
def test_every_side_tells_the_same(host, sink, side):
    """Type, value, causes, file, line, function and module do not depend on who recorded the exception."""
    lacking = OLD_HANDLER_LACKS if side is _by_old_handler else set()
    ways = [getattr(engine, name) for name in WAYS if name not in lacking]
    by_hand = _events_by(host, sink, _by_hand, ways)

    by_side = _events_by(host, sink, side, ways)

    told = {name: _told(event.properties) for name, event in by_side.items()}
    assert told == {name: _told(event.properties) for name, event in by_hand.items()}
    assert all(exceptions[0][-1] for exceptions in told.values()), "each has frames of the product"
    assert {event.issues for event in by_side.values()} == {()}


def _recorded(scope, record):
    """Return a log record of OTLP as the mapping reads it."""
    return RecordedLog(
        scope=scope,
        event_name=record.event_name or None,
        attributes={item.key: _plain(item.value) for item in record.attributes},
        time_ns=record.time_unix_nano,
        accepted_ns=record.observed_time_unix_nano,
        trace_id=int.from_bytes(record.trace_id),
        span_id=int.from_bytes(record.span_id),
    )


def _plain(value):
    return getattr(value, value.WhichOneof("value"))


def test_otlp_tells_the_same(host, sink):
    """What a Collector hands on of an instrumentation's record tells what the process itself told of it."""
    kept = InMemoryLogRecordExporter()
    host.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    ways = [getattr(engine, name) for name in WAYS]

    expected = _events_by(host, sink, _by_log_record, ways)

    told = {}
    for way, kept_log in zip(ways, kept.get_finished_logs(), strict=True):
        [logs] = encode_logs([kept_log]).resource_logs[0].scope_logs
        record = _recorded(logs.scope.name, logs.log_records[0])
        event = event_from_log(record, Kind.ERRORS, BaseProperties(environment="production"))
        told[way.__name__] = _told(event.properties)
    assert told == {name: _told(event.properties) for name, event in expected.items()}


def _semconv_log(error, host, event_name="http.server.request.exception"):
    """Emit as `OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN=logs` asks instrumentations to."""
    host.logger.emit(event_name=event_name, severity_number=SeverityNumber.ERROR, exception=error)


def test_exception_told_by_log_only_is_one_event(host, sink):
    """An instrumentation that tells exceptions by log records only is heard (`…_OPT_IN=logs`)."""
    with host.tracer.start_as_current_span("job", record_exception=False):
        _semconv_log(engine.caught(engine.plain), host)

    assert host.telemetry.flush(timeout_s=60)
    [event] = sink.events
    assert _told(event.properties)[0][:3] == ("ValueError", None, "plain")


def test_exception_told_by_log_and_span_is_one_event(host, sink):
    """One that tells it both ways is heard once (`…_OPT_IN=logs/dup`)."""

    def job():
        with host.tracer.start_as_current_span("job"):
            try:
                engine.plain()
            except ValueError as error:
                _semconv_log(error, host)
                raise

    _swallow(job)

    assert host.telemetry.flush(timeout_s=60)
    assert len(sink.events) == 1


@pytest.mark.parametrize("is_traced", [True, False], ids=["traced", "untraced"])
def test_log_record_of_a_request_that_fails_is_one_event(host, sink, is_traced):
    """Logged by others and then propagated: one event, which says of which request it is (R12, R16)."""

    async def app(_scope, _receive, _send):
        try:
            engine.plain()
        except ValueError as error:
            _semconv_log(error, host)
            raise

    wrapped = host.telemetry.wrap(app)
    if is_traced:
        wrapped = OpenTelemetryMiddleware(wrapped, tracer_provider=host.tracer_provider)
    _swallow(call, wrapped, http_scope(method="POST", path="/runs/17"))

    assert host.telemetry.flush(timeout_s=60)
    [event] = sink.events
    assert (event.properties["$request_method"], event.properties["$request_route"]) == ("POST", "/runs/{id}")


def test_instrumented_framework_within_our_middleware_is_one_event(host, sink):
    """The middleware tells it, with the trace of the span that the framework's instrumentation made."""
    app = FastAPI()

    @app.get("/runs/{run_id}")
    def fail(run_id: int):
        engine.plain()

    FastAPIInstrumentor.instrument_app(app, tracer_provider=host.tracer_provider)
    _swallow(call, host.telemetry.wrap(app), http_scope(path="/runs/17"))

    assert host.telemetry.flush(timeout_s=60)
    [event] = sink.events
    assert event.properties["$request_route"] == "/runs/{run_id}"
    assert len(event.properties["$trace_id"]) == 32


def test_span_that_ends_while_something_else_is_handled_tells_its_own(host, sink):
    """An exception that happens to be handled around a failing span is not taken for the span's."""
    try:
        {}["other"]
    except KeyError as other:
        capture_exception(other)
        _by_root_span(host, engine.plain)

    assert host.telemetry.flush(timeout_s=60)
    assert sorted(event.properties["$exception_list"][0]["type"] for event in sink.events) == [
        "KeyError",
        "ValueError",
    ]
