"""Exceptions of an application, as the local PostHog receives them."""

from __future__ import annotations

import gc
import weakref
from contextlib import asynccontextmanager, suppress

import pytest
from asgi import call, client_of, http_scope, some_app
from starlette.applications import Starlette

from otel_posthog import capture_exception


def _exceptions(sink):
    return [event for event in sink.events if event.name == "$exception"]


def test_each_propagating_exception_is_one_event(granted, sink):
    """Each exception that ends as a 500 is exactly one `$exception` (R12)."""
    client = client_of(granted.wrap(some_app()))

    answers = [client.get(f"/fail/{number}") for number in range(20)]

    assert {answer.status_code for answer in answers} == {500}
    assert granted.flush()
    values = [event.properties["$exception_list"][0]["value"] for event in _exceptions(sink)]
    assert sorted(values) == sorted(f"failure number {number}" for number in range(20))


def test_exception_says_where_it_happened(granted, sink):
    """Method, path and URL are told, without host, query, fragment and credentials (R12)."""
    client = client_of(granted.wrap(some_app()))

    client.post("/fail/1?token=planted-in-query#fragment", headers={"host": "user:pw@organisation.example"})

    assert granted.flush()
    [event] = _exceptions(sink)
    assert event.properties["$request_method"] == "POST"
    assert event.properties["$request_path"] == "/fail/1"
    assert event.properties["$current_url"] == "http://host.invalid/fail/1"
    assert not sink.contains("planted-in-query")
    assert not sink.contains("organisation.example")


def test_own_host_stands_in_the_url_where_the_product_wants_it(make_telemetry, sink):
    """With `send_host` the host name is part of `$current_url`, credentials never are."""
    telemetry = make_telemetry(send_host=True)
    client = client_of(telemetry.wrap(some_app()))
    telemetry.update_settings(enable_error_reporting=True)

    client.get("/fail/1", headers={"host": "user:pw@organisation.example"})

    assert telemetry.flush()
    assert _exceptions(sink)[0].properties["$current_url"] == "http://organisation.example/fail/1"


@pytest.mark.parametrize("path", ["/fine", "/teapot", "/closed", "/handled", "/missing"])
def test_what_the_application_handled_is_no_error(granted, sink, path):
    """HTTP errors, deliberate 503s and handled exceptions are not reported (R12)."""
    client = client_of(granted.wrap(some_app()))

    client.get(path)

    assert granted.flush()
    assert sink.requests == []


def test_exception_on_a_websocket_is_reported(granted, sink):
    """An exception on a WebSocket is reported too (R12)."""
    client = client_of(granted.wrap(some_app()))

    with pytest.raises(RuntimeError), client.websocket_connect("/socket"):
        pass

    assert granted.flush()
    [event] = _exceptions(sink)
    assert event.properties["$exception_list"][0]["value"] == "failure on a socket"


def test_exception_in_lifespan_is_reported(telemetry, sink):
    """A failure of the application's start-up is reported before the process ends (R12)."""
    telemetry.update_settings(enable_error_reporting=True)

    async def app(_scope, receive, _send):
        await receive()
        raise OSError("no room on the device")

    with pytest.raises(OSError, match="no room"):
        call(telemetry.wrap(app), {"type": "lifespan"})

    assert telemetry.flush()
    assert _exceptions(sink)[0].properties["$exception_list"][0]["type"] == "OSError"


def test_a_client_that_left_is_no_error(granted, sink):
    """An exception by which a framework says that the client left is not reported (R12)."""

    class ClientDisconnect(Exception):  # noqa: N818 - Starlette's name
        pass

    async def app(_scope, _receive, _send):
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        call(granted.wrap(app), http_scope())

    assert granted.flush()
    assert sink.requests == []


def test_exception_is_raised_again_unchanged(granted):
    """The server gets the very object that the application raised."""
    error = ValueError("the very one")

    async def app(_scope, _receive, _send):
        raise error

    with pytest.raises(ValueError, match="the very one") as caught:
        call(granted.wrap(app), http_scope())

    assert caught.value is error


def test_wrapping_twice_reports_once(granted, sink):
    """The same exception object is reported once, however many middlewares see it (R16)."""
    client = client_of(granted.wrap(granted.wrap(some_app())))

    client.get("/fail/7")

    assert granted.flush()
    assert len(_exceptions(sink)) == 1


def test_causes_and_frames_are_told(granted, sink):
    """The chain of causes comes outermost first, each with its frames and no local variable (R15)."""

    def inner():
        planted_local = "planted-in-a-local-variable"
        return {}[len(planted_local)]

    def outer():
        try:
            inner()
        except KeyError as error:
            raise RuntimeError("the outer one") from error

    try:
        outer()
    except RuntimeError as error:
        capture_exception(error, properties={"step": "sync"})

    assert granted.flush()
    [event] = _exceptions(sink)
    first, second = event.properties["$exception_list"]
    assert (first["type"], second["type"], second["mechanism"]["source"]) == (
        "RuntimeError",
        "KeyError",
        "cause",
    )
    assert [frame["function"] for frame in second["stacktrace"]["frames"]] == ["outer", "inner"]
    assert second["stacktrace"]["frames"][-1]["context_line"].strip() == "return {}[len(planted_local)]"
    assert first["mechanism"]["handled"] is True
    assert event.properties["step"] == "sync"


@pytest.mark.parametrize("is_raised", [True, False], ids=["raised", "never raised"])
def test_reported_exception_is_let_go(granted, is_raised):
    """After the report nothing of ours holds the exception, nor what its frames hold."""

    class OwnError(Exception):
        pass

    def report():
        error = OwnError()
        if is_raised:
            with suppress(OwnError):
                raise error
        capture_exception(error.with_traceback(error.__traceback__))
        error.__traceback__ = None  # its frame holds the exception itself
        return weakref.ref(error)

    gc.collect()
    gc.disable()
    try:
        reference = report()
        assert reference() is None
    finally:
        gc.enable()
    assert granted.flush(timeout_s=60)


def test_exceptions_need_their_own_flag(telemetry, sink):
    """With telemetry granted and error reporting denied no exception leaves (R2)."""
    telemetry.update_settings(enable_telemetry=True)
    client = client_of(telemetry.wrap(some_app()))

    client.get("/fail/1")

    assert telemetry.flush()
    assert sink.requests == []


def test_every_exception_passes_posthogs_rules(granted, sink):
    """What is sent breaks no rule of PostHog's ingestion, and nothing would be dropped or altered."""
    client = client_of(granted.wrap(some_app()))

    client.get("/fail/1")

    assert granted.flush()
    assert [event.issues for event in sink.events] == [()]
    assert sink.refused == []


def test_odd_path_neither_hides_nor_loses_the_exception(granted, sink):
    """A path with half a character in it is told as well as it can be."""

    async def app(_scope, _receive, _send):
        raise ValueError("the application's own")

    with pytest.raises(ValueError, match="the application's own"):
        call(granted.wrap(app), http_scope(path="/\udc80"))

    assert granted.flush()
    assert _exceptions(sink)[0].properties["$request_path"] == "/%3F"


def test_failing_end_of_the_application_is_reported(make_telemetry, sink):
    """An exception at the end of the application's lifespan is reported before the telemetry stops (R12)."""
    telemetry = make_telemetry()
    telemetry.update_settings(enable_error_reporting=True)

    @asynccontextmanager
    async def lifespan(_app):
        yield
        raise OSError("failure at the end")

    with (
        pytest.raises(OSError, match="failure at the end"),
        client_of(telemetry.wrap(Starlette(lifespan=lifespan))),
    ):
        pass

    assert _exceptions(sink)[0].properties["$exception_list"][0]["value"] == "failure at the end"


def test_secrets_over_several_source_lines_stay(granted, sink, tmp_path):
    """A key or value that reaches over several lines of source does not leave with the context."""
    body = "\n".join(f"planted{number:02}" + "A" * 50 for number in range(30))
    source = f'''
PEM = """-----BEGIN PRIVATE KEY-----
{body}
-----END PRIVATE KEY-----"""
def fail():
    password = (
        "planted-horse-battery"
    )
    raise RuntimeError("boom")
'''
    module = tmp_path / "module.py"
    module.write_text(source)
    names = {}
    exec(compile(source, str(module), "exec"), names)

    try:
        names["fail"]()
    except RuntimeError as error:
        capture_exception(error)

    assert granted.flush()
    frame = _exceptions(sink)[0].properties["$exception_list"][0]["stacktrace"]["frames"][-1]
    assert frame["context_line"] == '    raise RuntimeError("boom")'
    assert not sink.contains("planted")
