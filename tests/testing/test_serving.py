"""`serve`: a real server for as long as the block lasts."""

import sys
import threading

import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_posthog.errors import MissingExtraError
from otel_posthog.testing import PostHogSink, serve


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "otel-posthog-serve"}


@pytest.fixture
def before():
    """Return the servers that run for other tests."""
    return _threads()


def test_serve_answers_at_the_address_it_yields():
    """The yielded URL reaches the application."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])

    with serve(app) as url:
        answer = requests.get(url, timeout=5)

    assert answer.text == "here"
    assert url.startswith("http://127.0.0.1:")


def test_serve_leaves_nothing_behind(before):
    """After the block there is no server, no thread, and the port is free again."""
    with serve(PostHogSink()) as url:
        port = int(url.rpartition(":")[2])

    assert _threads() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    with serve(PostHogSink(), port=port) as again:
        assert again == url


def test_serve_ends_with_the_block_that_fails(before):
    """An exception inside the block stops the server and is passed on."""
    with pytest.raises(ZeroDivisionError), serve(PostHogSink()):
        raise ZeroDivisionError

    assert _threads() == before


def test_serve_runs_the_lifespan():
    """The application starts before the block and has ended after it."""
    calls = []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            calls.append(message["type"])
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    with serve(app):
        assert calls == ["lifespan.startup"]

    assert calls == ["lifespan.startup", "lifespan.shutdown"]


def test_serve_reports_an_application_that_does_not_start(before):
    """A lifespan that fails is an error, not an endless wait."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="did not start"), serve(app):
        pass

    assert _threads() == before


def test_serve_refuses_a_port_in_use():
    """A taken port raises OSError at once."""
    with serve(PostHogSink()) as url:
        port = int(url.rpartition(":")[2])

        with pytest.raises(OSError, match=r"[Aa]ddress already in use"), serve(PostHogSink(), port=port):
            pass


def test_serve_speaks_ipv6():
    """An IPv6 host yields a URL with brackets."""
    with serve(PostHogSink(), host="::1") as url:
        answer = requests.get(f"{url}/api/rules", timeout=5)

    assert url.startswith("http://[::1]:")
    assert answer.status_code == 200


def test_serve_without_uvicorn_names_the_extra(monkeypatch):
    """Where uvicorn is missing, the error says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    with pytest.raises(MissingExtraError, match=r"otel-posthog\[testing\]"), serve(PostHogSink()):
        pass


def test_servers_run_side_by_side():
    """Two servers in one process keep their records apart."""
    first, second = PostHogSink(), PostHogSink()

    with serve(first) as first_url, serve(second) as second_url:
        requests.get(f"{first_url}/only-here", timeout=5)

    assert first_url != second_url
    assert [request.path for request in first.requests] == ["/only-here"]
    assert second.requests == []
