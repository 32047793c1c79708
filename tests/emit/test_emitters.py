"""Several products in one process: each gets what its applications emit, the default one the rest."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import time
from contextlib import asynccontextmanager

import pytest
from asgi import call, client_of, http_scope
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from otel_posthog import ConfigError, SecurityHeaders, SpanRule, capture_exception, track
from otel_posthog.emit.emitters import current
from otel_posthog.emit.request_context import within
from otel_posthog.registry import Kind

KEY = "phc_key_of_product_{}"
BOTH = {"enable_error_reporting": True, "enable_telemetry": True}
ONLY_EVENTS = {"enable_error_reporting": False, "enable_telemetry": True}


@pytest.fixture
def product(make_telemetry, tmp_path):
    """Return a function that makes and starts the `Telemetry` of another product."""

    def make(name, flags=BOTH, **options):
        telemetry = make_telemetry(
            api_key=KEY.format(name), database=f"sqlite:///{tmp_path / name}.db", **options
        )
        telemetry.start()
        telemetry.update_settings(**flags)
        return telemetry

    return make


@pytest.fixture
def arrived(sink):
    """Return a function that flushes the products and returns whose key came with what."""

    def flush(*telemetries):
        for telemetry in telemetries:
            assert telemetry.flush(60)
        return sorted((event.api_key[-1], _text(event)) for event in sink.events)

    return flush


def _text(event):
    [first, *_] = event.properties.get("$exception_list", [{"value": event.name}])
    return first["value"]


def _fail(name):
    raise LookupError(name)


async def _track_later(name):
    track(name)


def _some_app(name):
    """Return an application that emits in each of the ways in which one can."""

    async def in_request(_request):
        track(f"{name} tracks")
        await asyncio.to_thread(track, f"{name} tracks in a thread")
        return PlainTextResponse("fine", background=BackgroundTask(_track_later, f"{name} tracks later"))

    async def handles(_request):
        capture_exception(LookupError(f"{name} handles"))
        return PlainTextResponse("fine")

    async def fails(_request):
        _fail(f"{name} fails")

    @asynccontextmanager
    async def lifespan(_app):
        track(f"{name} starts")
        task = asyncio.create_task(_track_later(f"{name} has started"))
        yield
        await task

    routes = [Route("/track", in_request), Route("/handle", handles), Route("/fail", fails)]
    return Starlette(routes=routes, lifespan=lifespan)


EMITTED = ("fails", "handles", "has started", "starts", "tracks", "tracks in a thread", "tracks later")


def _visit(app):
    with client_of(app) as client:
        for path in ("/track", "/handle", "/fail"):
            client.get(path)


def test_each_product_gets_what_its_application_emits(product, arrived):
    """Requests, threads, background tasks and the lifespan emit to the product that wraps the application."""
    first, second = product("a"), product("b")

    for telemetry, name in ((first, "a"), (second, "b")):
        # Started by hand as well, so that both run to the end of the test.
        with client_of(telemetry.wrap(_some_app(name))) as client:
            for path in ("/track", "/handle", "/fail"):
                client.get(path)
            assert telemetry.flush(60)

    assert arrived(first, second) == sorted((name, f"{name} {what}") for name in "ab" for what in EMITTED)


@pytest.mark.parametrize("headers", [None, SecurityHeaders()], ids=["plain", "headers"])
def test_denied_errors_leave_events_where_they_belong(product, arrived, headers):
    """Where error reports are off, events of the application still go to its own product."""
    first, second = product("a"), product("b", ONLY_EVENTS, security_headers=headers)

    client_of(second.wrap(_some_app("b"))).get("/track")

    emitted = arrived(first, second)
    assert emitted == [("b", "b tracks"), ("b", "b tracks in a thread"), ("b", "b tracks later")]


def test_request_with_a_span_emits_to_its_product(product, arrived):
    """So does one that gets a span for a span rule."""
    rule = SpanRule(name="GET *", event="got")
    first, second = product("a"), product("b", ONLY_EVENTS, span_rules=[rule])

    client_of(second.wrap(_some_app("b"))).get("/track")

    assert {key for key, _ in arrived(first, second)} == {"b"}
    assert ("b", "got") in arrived(first, second)


def test_first_one_is_the_default(product, arrived):
    """Without a named default the first that runs gets the rest, and after its end the next one."""
    first, second = product("a"), product("b")

    track("while both run")
    first.shutdown()
    track("after the end of the first")

    assert arrived(second) == [("a", "while both run"), ("b", "after the end of the first")]


def test_named_one_is_the_default(product, arrived):
    """`default=True` gets what is emitted outside of all applications, whichever was first."""
    first, second = product("a"), product("b", default=True)

    track("outside")

    assert arrived(first, second) == [("b", "outside")]


def test_second_default_is_an_error(product, make_telemetry):
    """A second default says so at its start, and may start once the first has ended."""
    first, second = product("a", default=True), make_telemetry(default=True)

    with pytest.raises(ConfigError, match=r"another Telemetry\(default=True\) runs"):
        second.start()
    first.shutdown()
    second.start()


def test_second_default_stops_no_application(product, make_telemetry, sink, caplog):
    """Its application runs, the log says why nothing is sent, and no other product gets its events."""
    first, second = product("a", default=True), make_telemetry(default=True)
    second.update_settings(**BOTH)

    _visit(second.wrap(_some_app("b")))

    assert first.flush(60)
    assert sink.events == []
    assert "another Telemetry(default=True) runs in this process" in caplog.text


def test_failed_start_is_not_tried_at_each_request(product, make_telemetry):
    """After one that fails, requests for some time neither start it again nor watch for exceptions."""
    product("a", default=True)
    lifecycle, before_s = make_telemetry(default=True).lifecycle, time.monotonic()

    may_report = lifecycle.touch()

    snapshot = lifecycle.consent_snapshot
    assert (may_report, snapshot.may_report) == (False, False)
    assert snapshot.fresh_until_s > before_s


@pytest.mark.parametrize("named", ["a", "b"])
def test_unhandled_exception_is_one_report(product, arrived, named, monkeypatch):
    """The hooks of two products report what ends a thread once, to the default one."""
    monkeypatch.setattr(threading, "excepthook", lambda _failure: None)
    telemetries = [product(name, default=name == named) for name in "ab"]

    thread = threading.Thread(target=_fail, args=["of nobody"])
    thread.start()
    thread.join(60)

    assert arrived(*telemetries) == [(named, "of nobody")]
    for telemetry in telemetries[::-1]:
        telemetry.shutdown(timeout_s=1)


def test_thread_with_the_context_belongs_to_its_product(product, arrived, monkeypatch):
    """A thread that runs in the context of the application is the application's own."""
    monkeypatch.setattr(threading, "excepthook", lambda _failure: None)
    telemetries = [product(name) for name in "ab"]

    async def app(_scope, _receive, _send):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=[track, "in the thread"])
        thread.start()
        thread.join(60)

    call(telemetries[1].wrap(app), http_scope())

    assert arrived(*telemetries) == [("b", "in the thread")]
    for telemetry in telemetries[::-1]:
        telemetry.shutdown(timeout_s=1)


def test_logged_exception_is_one_report_with_one_breadcrumb(product, sink, arrived):
    """Each handler takes what its own application logs, as far as its settings say."""
    settings = {"capture_logged": True, "steps_from_logs": True}
    telemetries = [product("a", **settings), product("b", **settings), product("c")]

    async def app(_scope, _receive, _send):
        logging.getLogger("of.the.product").warning("careful")
        try:
            _fail("logged")
        except LookupError:
            logging.getLogger("of.the.product").exception("it failed")

    for telemetry in telemetries:
        call(telemetry.wrap(app), http_scope())

    assert arrived(*telemetries) == [("a", "logged"), ("b", "logged")]
    for event in sink.events:
        assert [step["$message"] for step in event.properties["$exception_steps"]] == ["careful"]


def _swallow(error):
    async def answer(_request, _error):
        return PlainTextResponse("failed", status_code=500)

    async def fails(_request):
        raise error

    return Starlette(routes=[Route("/", fails)], exception_handlers={LookupError: answer})


@pytest.mark.parametrize("path", ["/inner/fail", "/inner/swallow/"])
@pytest.mark.parametrize("inner_flags", [BOTH, ONLY_EVENTS], ids=["granted", "denied"])
def test_failure_of_a_mounted_product_is_one_report(product, arrived, path, inner_flags):
    """It goes to the inner product, and to the outer one only if the inner one reports nothing."""
    outer, inner = product("a"), product("b", inner_flags)
    mounted = Starlette(routes=[Mount("/swallow", _swallow(LookupError("fails"))), Mount("/", _some_app(""))])
    app = outer.wrap(Starlette(routes=[Mount("/inner", inner.wrap(mounted))]))

    client_of(app).get(path)

    [(key, text)] = arrived(outer, inner)
    assert key == ("b" if inner_flags is BOTH else "a")
    assert text.strip() == "fails"


def test_shared_logger_provider_doubles_nothing(product, arrived):
    """Two products with one provider of the host: each sends its own records, and none of the other's."""
    provider = LoggerProvider(shutdown_on_exit=False)
    first, second = (product(name, logger_provider=provider) for name in "ab")

    for telemetry, name in ((first, "a"), (second, "b")):
        client_of(telemetry.wrap(_some_app(name))).get("/fail")
    track("outside")

    assert arrived(first, second) == [("a", "a fails"), ("a", "outside"), ("b", "b fails")]


@pytest.mark.parametrize("kind", list(Kind))
def test_shared_logger_asks_the_consent_of_its_product(product, kind):
    """With one provider for both, a product whose admin has denied a kind builds no record of it."""
    provider = LoggerProvider(shutdown_on_exit=False)
    denied = {"enable_error_reporting": False, "enable_telemetry": False}
    first, second = product("a", denied, logger_provider=provider), product("b", logger_provider=provider)

    name, found = (None if kind is Kind.ERRORS else "any"), []
    for telemetry in (first, second):
        with within(telemetry.lifecycle.owner):
            found.append(current().logger.enabled(event_name=name))

    assert found == [False, True]


def test_spans_of_a_shared_provider_are_counted_by_their_product(product, arrived):
    """A span rule of each product matches the spans of its own application."""
    provider = TracerProvider(shutdown_on_exit=False)
    first, second = (
        product(name, tracer_provider=provider, span_rules=[SpanRule(name="work", event=f"worked_{name}")])
        for name in "ab"
    )
    tracer = provider.get_tracer("of.the.product")

    async def app(_scope, _receive, _send):
        with tracer.start_as_current_span("work"):
            pass

    call(second.wrap(app), http_scope())

    assert arrived(first, second) == [("b", "worked_b")]


def test_test_report_goes_to_the_product_that_is_asked(product, arrived):
    """An admin's test exception arrives at the admin's product, whichever is the default."""
    first, second = product("a"), product("b")

    second.send_test_exception()

    assert arrived(first, second) == [("b", "Test exception of the backend")]


def test_task_that_fails_unawaited_is_reported_to_its_product(product, sink):
    """Both products watch the loop; one reports, that of the task where Python says which that is."""
    first, second = product("a"), product("b")

    async def app(scope, _receive, _send):
        if scope["type"] == "http":
            asyncio.create_task(_fail_later()).add_done_callback(lambda _task: ended.set())
            await ended.wait()

    async def _fail_later():
        _fail("unawaited")

    async def run():
        async with first, second:
            for telemetry in (first, second):
                telemetry.lifecycle.begin()
            await second.wrap(app)(http_scope(), None, None)
            gc.collect()  # a task that failed is reported when it is freed
            await asyncio.to_thread(first.flush, 60)
            await asyncio.to_thread(second.flush, 60)

    ended = asyncio.Event()
    asyncio.run(run())

    [event] = sink.events
    assert _text(event) == "unawaited"
    has_context = hasattr(asyncio.Task, "get_context")
    assert event.api_key == KEY.format("b" if has_context else "a")
