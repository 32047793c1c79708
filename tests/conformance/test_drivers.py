"""What drives a wrapped application: other event loops, a thousand at once, and what is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.lowlevel
import uvloop

from .all_cases import CASES
from .harness import OWN_HEADERS, body, facts, http_scope, lifespan_scope, start

CONCURRENT_REQUESTS = 1_000
_number = contextvars.ContextVar("conformance_number")


@pytest.fixture(autouse=True)
def _begun(wrapping):
    wrapping.begin()


def _differing(wrapping, make_runner):
    """Return the names of the cases in which wrapped and bare differ."""
    found = []
    for case in CASES:
        wrapping.begin()
        bare, wrapped = (
            facts(case, wrap, adds_headers=wrapping.adds_headers, make_runner=make_runner)
            for wrap in (lambda app: app, wrapping.wrap)
        )
        if wrapped != bare:
            found.append(case.name)
    return found


def test_uvloop(wrapping):
    """All cases hold under uvloop."""
    assert _differing(wrapping, partial(asyncio.Runner, loop_factory=uvloop.new_event_loop)) == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_asyncio_debug_mode(wrapping):
    """All cases hold in asyncio's debug mode."""
    assert _differing(wrapping, partial(asyncio.Runner, debug=True)) == []


def test_trio(wrapping):
    """An application runs under trio, which knows no asyncio."""
    seen = []

    async def app(scope, receive, send):
        seen.append((await receive())["type"])
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            seen.append((await receive())["type"])
            return await send({"type": "lifespan.shutdown.complete"})
        await trio.lowlevel.checkpoint()
        await send(start())
        raise LookupError("under trio")

    async def connection(scope, *incoming):
        waiting = list(incoming)

        async def receive():
            await trio.lowlevel.checkpoint()
            return {"type": waiting.pop(0)}

        async def send(message):
            await trio.lowlevel.checkpoint()
            seen.append(message["type"])

        await wrapping.wrap(app)(scope, receive, send)

    trio.run(connection, lifespan_scope(), "lifespan.startup", "lifespan.shutdown")
    with pytest.raises(LookupError, match="under trio"):
        trio.run(connection, http_scope(), "http.request")

    assert seen == [
        "lifespan.startup",
        "lifespan.startup.complete",
        "lifespan.shutdown",
        "lifespan.shutdown.complete",
        "http.request",
        "http.response.start",
    ]


def test_cancellation_under_trio(wrapping):
    """Trio's cancellation ends the application."""

    async def app(_scope, _receive, _send):
        await trio.sleep_forever()

    async def call():
        with trio.move_on_after(0.01) as scope:
            await wrapping.wrap(app)(http_scope(), None, None)
        return scope.cancelled_caught

    assert trio.run(call)


def test_a_thousand_requests_at_once(wrapping):
    """Requests that are under way together mix neither messages, nor variables, nor errors."""

    async def app(scope, _receive, send):
        _number.set(scope["number"])
        await asyncio.sleep(0.001 * (scope["number"] % 7))
        await send(start(200 + scope["number"] % 100))
        await asyncio.sleep(0)
        if scope["number"] % 10 == 0:
            raise LookupError(scope["number"])
        await send(body(str(_number.get()).encode()))

    wrapped = wrapping.wrap(app)

    async def one(number):
        sent = []

        async def send(message):
            await asyncio.sleep(0)
            sent.append(message)

        try:
            await wrapped(http_scope(number=number), None, send)
        except LookupError as error:
            sent.append({"body": error.args})
        return sent[0]["status"], sent[1]["body"]

    async def all_of_them():
        return await asyncio.gather(*map(one, range(CONCURRENT_REQUESTS)))

    assert asyncio.run(all_of_them()) == [
        (200 + number % 100, str(number).encode() if number % 10 else (number,))
        for number in range(CONCURRENT_REQUESTS)
    ]


class Scope(dict):
    """A scope that can be watched."""


class Message(dict):
    """A message that can be watched."""


class Failure(Exception):  # noqa: N818 - of the application
    """An exception that can be watched."""


@pytest.mark.parametrize("status", [200, 500])
def test_nothing_is_kept(wrapping, status):
    """Scope, messages and exception are free as soon as the server lets them go, without a collection."""

    async def app(_scope, receive, send):
        watched.append(weakref.ref(await receive()))
        try:
            raise Failure("of the application")
        except Failure as error:
            watched.append(weakref.ref(error))
            message = Message(start(status, [], extra=Message()))
            watched.extend([weakref.ref(message), weakref.ref(message["extra"])])
            await send(message)
            raise

    async def receive():
        return Message(type="http.request")

    async def send(_message):
        return None

    async def call():
        scope = Scope(http_scope())
        watched.append(weakref.ref(scope))
        with suppress(Failure):
            await wrapping.wrap(app)(scope, receive, send)

    watched = []
    gc.collect()
    gc.disable()
    try:
        asyncio.run(call())
        kept = [reference() for reference in watched if reference() is not None]
    finally:
        gc.enable()

    assert len(watched) == 5
    assert kept == []


def test_context_of_a_background_task(wrapping):
    """A task that outlives its request keeps nothing of the request alive that it does not hold itself."""
    released = []

    class Server:
        async def send(self, _message):
            return None

    async def app(scope, _receive, send):
        tasks.append(asyncio.create_task(event.wait()))
        watched.append(weakref.ref(scope))
        try:
            raise Failure("answered")
        except Failure as error:
            watched.append(weakref.ref(error))
            await send(start(500))

    async def request():
        server = Server()
        watched.append(weakref.ref(server))
        await wrapping.wrap(app)(Scope(http_scope()), None, server.send)

    async def call():
        await request()
        gc.collect()
        released.extend(reference() is None for reference in watched)
        event.set()
        await tasks[0]

    event, tasks, watched = asyncio.Event(), [], []
    asyncio.run(call())

    assert released == [True] * 3


def test_headers_are_there(wrapping):
    """The headers that other tests leave out of the comparison are on each final answer, once."""

    async def app(scope, _receive, send):
        await send(start(scope["status"], [(b"x-odd", b"1")]))

    async def call(status):
        sent = []

        async def send(message):
            sent.append(message)

        await wrapping.wrap(app)(http_scope(status=status, scheme="https"), None, send)
        return [name for name, _ in sent[0]["headers"]]

    for status in (200, 204, 304, 404, 500):
        names = asyncio.run(call(status))
        assert names[0] == b"x-odd"
        assert sorted(names[1:]) == (sorted(OWN_HEADERS) if wrapping.adds_headers else [])
    assert asyncio.run(call(103)) == [b"x-odd"]
