"""What other instrumentations record of one failure, with the real packages: one event, by its meaning."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from wsgiref.util import setup_testing_defaults

import pytest
from asgi import client_of
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from django.urls import path
from fastapi import FastAPI
from frameworks import product_django
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from programs import run_python

from otel_posthog import SpanRule

SLOW_S = 0.5  # long enough for a request to end before its batch is sent


class Providers:
    """The host's providers, with a `Telemetry` that reads them."""

    def __init__(self, make_telemetry, **options):
        resource = Resource({"service.version": "4.2", "deployment.environment.name": "staging"})
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        options |= {"tracer_provider": self.tracers, "logger_provider": self.loggers}
        self.telemetry = make_telemetry(batch_delay_s=SLOW_S, **options)
        self.telemetry.start()
        self.telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)

    @contextmanager
    def logging(self):
        """Let OpenTelemetry's handler have what the product logs."""
        handler, logger = LoggingHandler(logger_provider=self.loggers), logging.getLogger()
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield logging.getLogger("product")
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


@pytest.fixture
def providers(make_telemetry):
    """Return the host's providers behind a running `Telemetry` with both kinds granted."""
    return Providers(make_telemetry)


def _reports(sink):
    return [event.properties for event in sink.events if event.name == "$exception"]


def _handled(properties):
    return properties["$exception_list"][0]["mechanism"]["handled"]


def _log(logger, level):
    try:
        {}[logging.getLevelName(level)]
    except LookupError:
        logger.log(level, "something happened", exc_info=True)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_exception_that_is_logged_below_error_is_none(providers, sink, level):
    """What a product logs for information, with its traceback, is no error."""
    with providers.logging() as logger:
        _log(logger, level)

    assert providers.telemetry.flush()
    assert _reports(sink) == []


@pytest.mark.parametrize(("level", "sent"), [(logging.ERROR, "error"), (logging.CRITICAL, "fatal")])
def test_logged_exception_has_its_level_and_was_handled(providers, sink, level, sent):
    """From ERROR on a logged exception is one event, handled, with its severity and its source lines."""
    with providers.logging() as logger:
        _log(logger, level)

    assert providers.telemetry.flush()
    [report] = _reports(sink)
    assert (report["$exception_level"], _handled(report)) == (sent, True)
    assert "getLevelName(level)" in report["$exception_list"][0]["stacktrace"]["frames"][-1]["context_line"]


def _fail(_request, key):
    return {}[key]


class _Urls:
    urlpatterns = (path("items/<key>", _fail),)


def _wsgi(address):
    environ = {"PATH_INFO": address}
    setup_testing_defaults(environ)
    with suppress(KeyError):
        list(WSGIHandler()(environ, lambda _status, _headers: None))


@pytest.fixture
def django(providers):
    """Instrument Django by OpenTelemetry's package."""
    instrumentor = DjangoInstrumentor()
    with override_settings(ROOT_URLCONF=_Urls, MIDDLEWARE=[]):
        instrumentor.instrument(tracer_provider=providers.tracers)
        yield
        instrumentor.uninstrument()


def test_logged_and_traced_failure_is_one_event(providers, django, sink):
    """Log record and span word a `KeyError` differently; it is one event, unhandled, with its request."""
    assert product_django.app  # Django is configured once
    with providers.logging():
        for number in range(3):
            _wsgi(f"/items/{number}")

    assert providers.telemetry.flush()
    found = [(each["$request_path"], each["$request_route"], _handled(each)) for each in _reports(sink)]
    assert sorted(found) == [(f"/items/{number}", "/items/{key}", False) for number in range(3)]


def test_exporters_behind_stock_processors_send_one_event(make_telemetry, django, sink):
    """Without our processors it is one event as well, by its type and the frame that raised it."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    pipeline, tracers, loggers = telemetry._pipeline, TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(pipeline.span_exporter()))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(pipeline.log_exporter()))
    handler = LoggingHandler(logger_provider=loggers)
    logging.getLogger("product").addHandler(handler)

    with (
        suppress(KeyError),
        tracers.get_tracer("x").start_as_current_span("GET", attributes={"url.path": "/a"}),
    ):
        try:
            {}["a"]
        except KeyError:
            logging.getLogger("product").exception("failed")
            raise
    logging.getLogger("product").removeHandler(handler)

    assert telemetry.flush()
    assert len(_reports(sink)) == 1
    tracers.shutdown()
    loggers.shutdown()


def test_same_failure_of_two_functions_is_two_events(providers, sink):
    """Within one trace, functions that raise alike are two failures."""

    def first():
        raise LookupError("alike")

    def second():
        raise LookupError("alike")

    with providers.logging() as logger, providers.tracers.get_tracer("x").start_as_current_span("both"):
        for fail in (first, second):
            try:
                fail()
            except LookupError:
                logger.exception("failed")

    assert providers.telemetry.flush()
    assert len(_reports(sink)) == 2


def test_failure_that_is_logged_and_ends_the_request_is_unhandled(make_telemetry, sink):
    """Logged, recorded on the span, instrumented and seen by the middleware: one event, unhandled."""
    providers, app = Providers(make_telemetry, capture_logged=True), FastAPI()

    def raise_from_view():
        raise LookupError("one failure")

    @app.get("/items/{number}")
    async def view(number: int) -> None:
        try:
            raise_from_view()
        except LookupError as error:
            logging.getLogger("product").exception("failed")
            trace.get_current_span().record_exception(error)
            raise

    FastAPIInstrumentor.instrument_app(app, tracer_provider=providers.tracers)
    with providers.logging():
        client_of(providers.telemetry.wrap(app)).get("/items/5")

    assert providers.telemetry.flush()
    [report] = _reports(sink)
    assert (_handled(report), report["$request_route"]) == (False, "/items/{number}")


def _fastapi(providers):
    app = FastAPI(telemetry={"tracer_provider": providers.tracers, "logger_provider": providers.loggers})

    @app.get("/items/{number}")
    async def view(number: int) -> None:
        if number < 0:
            raise LookupError("below zero")

    return app


@pytest.mark.parametrize("is_wrapped", [True, False], ids=["wrapped", "bare"])
def test_own_telemetry_of_fastapi_reports_the_request(providers, sink, is_wrapped):
    """What FastAPI logs about a failure is one event with method, path and route."""
    app = _fastapi(providers)

    client_of(providers.telemetry.wrap(app) if is_wrapped else app).get("/items/-1")

    assert providers.telemetry.flush()
    [report] = _reports(sink)
    described = report["$request_method"], report["$request_path"], report["$request_route"], _handled(report)
    assert described == ("GET", "/items/-1", "/items/{number}", False)


def test_own_telemetry_of_fastapi_makes_one_event_of_a_rule(make_telemetry, sink):
    """A request that FastAPI traces itself gets no second span of ours."""
    providers = Providers(make_telemetry, span_rules=[SpanRule(name="GET /items/*", event="item_read")])
    client = client_of(providers.telemetry.wrap(_fastapi(providers)))

    for number in range(3):
        client.get(f"/items/{number}")

    assert providers.telemetry.flush()
    assert [event.name for event in sink.events] == ["item_read"] * 3


def test_resource_of_the_host_names_version_and_environment(providers, make_telemetry, sink):
    """The host's resource is the default for both; an argument wins."""
    named = make_telemetry(tracer_provider=providers.tracers, environment="test", service_version="5")

    with providers.logging() as logger:
        _log(logger, logging.ERROR)

    assert providers.telemetry.flush()
    [report] = _reports(sink)
    assert (report["service_version"], report["environment"]) == ("4.2", "staging")
    assert (named.config.service_version, named.config.environment) == ("5", "test")


LATE = """
    import sys
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from otel_posthog import SpanRule, Telemetry
    from otel_posthog.testing import PostHogSink, serve
    from waiting import wait_until

    sink, rule = PostHogSink(), SpanRule(name="job", event="job_run")
    with serve(sink) as url:
        telemetry = Telemetry(api_key="phc_test", host=url, database=sys.argv[1], span_rules=[rule])
        with telemetry:
            telemetry.update_settings(enable_telemetry=True)
            trace.set_tracer_provider(TracerProvider())

            def is_read():
                trace.get_tracer("vendor").start_span("job").end()
                return telemetry.flush() and sink.events

            wait_until(is_read, timeout_s=30)
    print(sink.events[0].name)
"""


def test_provider_that_is_set_late_is_read(database_url):
    """A vendor that configures itself after the start has its spans read, too."""
    ended = run_python(LATE, database_url)

    assert ended.stdout.split() == ["job_run"]


class _Vendors(trace.NoOpTracerProvider.__base__):
    """A provider as vendors write one, without processors."""

    def get_tracer(self, *_arguments, **_options):
        return trace.NoOpTracer()


def test_provider_without_processors_is_named(make_telemetry, caplog):
    """Where spans cannot be read, the log says so once, and so does the status."""
    telemetry = make_telemetry(tracer_provider=_Vendors())

    for _ in range(2):
        telemetry.start()

    [line] = [record for record in caplog.records if "takes no span processors" in record.getMessage()]
    assert "_Vendors" in line.getMessage()
    assert {each.unread_spans for each in telemetry.status().values()} == {f"{__name__}._Vendors"}
