"""Odd scopes, odd ways to receive."""

from __future__ import annotations

import asyncio
import copy
from collections import UserDict, defaultdict
from collections.abc import MutableMapping
from types import MappingProxyType

from .harness import body, http_scope, odd, start


async def _answer(_scope, _receive, send):
    await send(start())
    await send(body(b"fine"))


@odd()
async def scope_is_the_very_object(stage):
    """The application gets the server's own scope, and nothing is put into it."""
    scope = http_scope(state={"pool": object()}, extensions={"http.response.trailers": {}})
    before = copy.copy(scope)

    async def app(given, _receive, _send):
        stage.note("same", given is scope, list(given) == list(before))
        stage.note("values", all(given[key] is before[key] for key in before))

    await stage.play(app, scope)
    stage.note("after", list(scope) == list(before), all(scope[key] is before[key] for key in before))


@odd()
async def receive_is_the_very_callable(stage):
    """The application gets the server's own `receive`."""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_message):
        return None

    async def app(_scope, given, _send):
        stage.note("same", given is receive)

    await stage.wrap(app)(http_scope(), receive, send)


@odd()
async def scope_given_by_keyword(stage):
    """Scope, receive and send may come by name."""

    async def app(scope, receive, send):
        stage.note("called", scope["path"], await receive(), await send({"type": "odd"}))

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        return message["type"]

    await stage.wrap(app)(scope=http_scope(), receive=receive, send=send)


@odd()
async def scope_with_unknown_keys(stage):
    """Keys that no specification knows reach the application."""

    async def app(scope, _receive, _send):
        stage.note("scope", scope["granian.odd"], scope[7], scope[None])

    await stage.play(app, {**http_scope(), "granian.odd": [1], 7: "seven", None: "nothing"})


@odd()
async def scope_without_headers(stage):
    """A scope may lack `headers`."""
    scope = http_scope()
    del scope["headers"]
    await stage.play(_answer, scope)


@odd()
async def scope_with_type_only(stage):
    """A scope may hold nothing but its type."""
    await stage.play(_answer, {"type": "http"})


@odd()
async def scope_without_type(stage):
    """A scope without a type is for the application to judge."""

    async def app(scope, _receive, _send):
        stage.note("empty", scope)

    await stage.play(app, {})


@odd()
async def scope_of_nothing(stage):
    """A scope that is no mapping is for the application to judge."""

    async def app(scope, _receive, _send):
        stage.note("scope", scope)

    for scope in (None, 7, "http", ("type", "http")):
        await stage.play(app, scope)


@odd()
async def scope_of_unknown_type(stage):
    """Protocols of the future pass."""

    async def app(scope, receive, send):
        await send({"type": "mqtt.ack", "answer": await receive(), "scope": scope})

    await stage.play(app, {"type": "mqtt", "topic": "odd"}, incoming=[{"type": "mqtt.publish"}])


@odd()
async def scope_of_unhashable_type(stage):
    """A type that cannot be a key of a dictionary passes."""

    async def app(scope, _receive, send):
        await send({"type": scope["type"]})

    for kind in ([], {}, None, b"http", 7, ("http",)):
        await stage.play(app, {"type": kind})


@odd()
async def scope_with_a_type_that_refuses_comparison(stage):
    """A type whose comparison fails passes."""

    class Refusing:
        def __eq__(self, _other):
            raise RuntimeError("compared")

        def __hash__(self):
            return hash("lifespan")

    async def app(scope, _receive, _send):
        stage.note("type", type(scope["type"]).__name__)

    await stage.play(app, {"type": Refusing()})


@odd()
async def scope_of_a_str_subclass_type(stage):
    """A type that is a subclass of `str` counts as what it equals."""

    class Kind(str):
        __slots__ = ()

    await stage.play(_answer, http_scope(type=Kind("http")))


@odd()
async def scope_as_a_mapping_of_its_own(stage):
    """A scope may be any mutable mapping."""

    class Scope(MutableMapping):
        def __init__(self, values):
            self.values_of = dict(values)

        def __getitem__(self, key):
            return self.values_of[key]

        def __setitem__(self, key, value):
            self.values_of[key] = value

        def __delitem__(self, key):
            del self.values_of[key]

        def __iter__(self):
            return iter(self.values_of)

        def __len__(self):
            return len(self.values_of)

    scope = Scope(http_scope())

    async def app(given, receive, send):
        stage.note("same", given is scope)
        await _answer(given, receive, send)

    await stage.play(app, scope)
    stage.note("keys", *scope)


@odd()
async def scope_without_get(stage):
    """A scope may offer item access only."""

    class Scope:
        def __getitem__(self, key):
            return http_scope()[key]

    await stage.play(_answer, Scope())


@odd()
async def scope_whose_get_fails(stage):
    """A scope may refuse `get`."""

    class Scope(dict):
        def get(self, *_arguments):
            raise RuntimeError("no get here")

    await stage.play(_answer, Scope(http_scope()))


@odd()
async def scope_that_fills_itself(stage):
    """No key springs into being in a `defaultdict`."""
    scope = defaultdict(list, {"type": "http"})
    await stage.play(_answer, scope)
    stage.note("keys", *scope)


@odd()
async def scope_that_cannot_be_written(stage):
    """A read-only scope is enough."""
    await stage.play(_answer, MappingProxyType(http_scope()))


@odd()
async def scope_as_user_dict(stage):
    """A `UserDict` is a scope."""
    await stage.play(_answer, UserDict(http_scope()))


@odd()
async def scope_headers_that_can_be_read_once(stage):
    """Request headers that are an iterator are left to the application."""

    async def app(scope, receive, send):
        stage.note("headers", scope["headers"])
        await _answer(scope, receive, send)

    await stage.play(app, http_scope(headers=iter([(b"host", b"product.example"), (b"x-odd", b"1")])))


@odd(reports=1)
async def scope_with_half_a_character(stage):
    """A path that is no Unicode text changes nothing about the error."""
    error = ValueError("half a character")

    async def app(_scope, _receive, _send):
        raise error

    await stage.play(app, http_scope(path="/\udc80"), expected=error)


@odd(reports=3)
async def scope_malformed_and_failing(stage):
    """An error is told although the scope cannot be described."""
    for more in ({"headers": None}, {"path": b"/bytes"}, {"headers": [b"host"], "method": 7}):
        error = ValueError("in a malformed scope")

        async def app(_scope, _receive, _send, error=error):
            raise error

        await stage.play(app, http_scope(**more), expected=error)


@odd(reports=1)
async def scope_emptied_by_the_app(stage):
    """An application may clear its scope before it fails."""
    error = ValueError("after clearing")

    async def app(scope, _receive, _send):
        scope.clear()
        raise error

    scope = http_scope()
    await stage.play(app, scope, expected=error)
    stage.note("scope", scope)


@odd()
async def scope_written_by_the_app(stage):
    """What the application writes into its scope, the server sees."""
    scope = http_scope(state={})

    async def app(given, _receive, _send):
        given["route"] = "/odd/{id}"
        given["state"]["user"] = 7
        given["root_path"] += "/mounted"

    await stage.play(app, scope)
    stage.note("scope", scope)


@odd()
async def receive_the_same_dictionary_twice(stage):
    """The server's messages come as the very objects."""
    message = {"type": "http.request", "body": b"again", "more_body": True}
    seen = []

    async def app(_scope, receive, _send):
        seen.extend([await receive(), await receive()])

    await stage.play(app, http_scope(), incoming=[message, message])
    stage.note("same", *[each is message for each in seen])


@odd()
async def receive_after_the_client_left(stage):
    """`receive` may be called again after the disconnect."""

    async def app(_scope, receive, _send):
        for _ in range(5):
            stage.note("received", await receive())

    await stage.play(app, http_scope())


@odd()
async def receive_malformed_messages(stage):
    """What the server hands out is not looked at."""

    async def app(_scope, receive, _send):
        for _ in range(5):
            stage.note("received", await receive())

    await stage.play(app, http_scope(), incoming=[None, "text", 7, {}, {"type": None}])


@odd()
async def receive_concurrently(stage):
    """Several tasks may receive at once."""

    async def app(_scope, receive, _send):
        messages = await asyncio.gather(*(receive() for _ in range(20)))
        stage.note("numbers", *[message["number"] for message in messages])

    incoming = [{"type": "http.request", "number": number} for number in range(20)]
    await stage.play(app, http_scope(), incoming=incoming)


@odd()
async def receive_that_returns_a_future(stage):
    """What `receive()` returns is the server's own awaitable."""
    future = asyncio.get_running_loop().create_future()
    future.set_result({"type": "http.disconnect"})

    async def app(_scope, receive, _send):
        stage.note("same", receive() is future, await receive())

    await stage.wrap(app)(http_scope(), lambda: future, None)


@odd()
async def receive_with_a_timeout(stage):
    """A `receive` that is given up can be called again."""
    calls = []

    async def receive():
        calls.append("called")
        if len(calls) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                calls.append("cancelled")
                raise
        return {"type": "http.disconnect"}

    async def app(_scope, receive, _send):
        try:
            async with asyncio.timeout(0.01):
                await receive()
        except TimeoutError:
            stage.note("timed out", *calls)
        stage.note("then", await receive())

    await stage.wrap(app)(http_scope(), receive, None)
    stage.note("calls", *calls)


@odd()
async def receive_in_another_task(stage):
    """A task may listen for the disconnect while the answer is streamed."""

    async def app(_scope, receive, send):
        listener = asyncio.create_task(receive())
        await send(start())
        stage.note("heard", await listener)
        await send(body(b"late"))

    await stage.play(app, http_scope())


@odd()
async def receive_a_large_upload(stage):
    """Each part of an upload comes as it is."""
    parts = [bytes([number]) * 65_536 for number in range(64)]
    incoming = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    seen = []

    async def app(_scope, receive, _send):
        seen.extend([(await receive())["body"] for _ in parts])

    await stage.play(app, http_scope(), incoming=incoming)
    stage.note("same", all(one is other for one, other in zip(seen, parts, strict=True)))


@odd()
async def receive_that_is_cancelled_by_the_server(stage):
    """A server that cancels within `receive` cancels the application."""

    async def receive():
        raise asyncio.CancelledError("the server's")

    async def app(_scope, receive, _send):
        await receive()

    try:
        await stage.wrap(app)(http_scope(), receive, None)
    except asyncio.CancelledError as error:
        stage.note_error(error)
