"""Lifespans and WebSockets, odd ones."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from contextlib import suppress

import anyio

from .harness import body, lifespan_scope, odd, start, websocket_scope

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
_var = contextvars.ContextVar("conformance_lifespan_var")


async def _proper(_scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@odd()
async def lifespan_of_the_book(stage):
    """Start and stop."""
    await stage.play(_proper, lifespan_scope(), incoming=[STARTUP, SHUTDOWN])


@odd()
async def lifespan_scope_is_the_very_object(stage):
    """`state` is shared with the server, and with the requests through it."""
    scope = lifespan_scope()
    state = scope["state"]

    async def app(given, receive, send):
        stage.note("same", given is scope, given["state"] is state)
        given["state"]["pool"] = 7
        await _proper(given, receive, send)

    await stage.play(app, scope, incoming=[STARTUP, SHUTDOWN])
    stage.note("state", state, list(scope))


@odd()
async def lifespan_unsupported(stage):
    """An application without lifespan support raises at once, and that is no error."""

    async def app(scope, _receive, _send):
        assert scope["type"] == "http", "only HTTP here"

    await stage.play(app, lifespan_scope(), incoming=[STARTUP])


@odd()
async def lifespan_unsupported_at_the_call(stage):
    """The same from an application that is a plain function."""
    error = NotImplementedError("no lifespan")

    def app(_scope, _receive, _send):
        raise error

    await stage.play(app, lifespan_scope(), incoming=[STARTUP], expected=error)


@odd()
async def lifespan_ignored(stage):
    """An application may return at once."""

    async def app(_scope, _receive, _send):
        return "not mine"

    await stage.play(app, lifespan_scope(), incoming=[STARTUP])


@odd()
async def lifespan_startup_failed(stage):
    """A failed start reaches the server with its message."""

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    await stage.play(app, lifespan_scope(), incoming=[STARTUP])


@odd()
async def lifespan_shutdown_failed(stage):
    """A failed stop reaches the server with its message."""

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "no room"})

    await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN])


@odd(reports=1)
async def lifespan_fails_at_the_start(stage):
    """An exception after the start began reaches the server."""
    error = OSError(28, "no room")

    async def app(_scope, receive, _send):
        await receive()
        raise error

    await stage.play(app, lifespan_scope(), incoming=[STARTUP], expected=error)


@odd(reports=1)
async def lifespan_fails_at_the_end(stage):
    """An exception at the end reaches the server."""
    error = OSError(28, "no room")

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise error

    await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN], expected=error)


@odd()
async def lifespan_cancelled(stage):
    """A server may cancel the lifespan instead of ending it."""

    async def receive():
        if not received:
            received.append("startup")
            return STARTUP
        await asyncio.Event().wait()
        return SHUTDOWN

    received, sent = [], []

    async def send(message):
        sent.append(message)
        started.set()

    async def app(scope, receive, send):
        try:
            await _proper(scope, receive, send)
        except asyncio.CancelledError as error:
            stage.note("cancelled", error.args)
            raise

    started = asyncio.Event()
    task = asyncio.create_task(stage.wrap(app)(lifespan_scope(), receive, send))
    await started.wait()
    task.cancel("enough")
    with suppress(asyncio.CancelledError):
        await task
    stage.note("ended", task.cancelled(), *sent)


@odd()
async def lifespan_entered_at_once(stage):
    """A server that gives up after one turn of the event loop finds the application within."""

    async def app(_scope, receive, _send):
        stage.note("entered")
        try:
            await receive()
        finally:
            stage.note("left")

    task = asyncio.create_task(stage.wrap(app)(lifespan_scope(), asyncio.Event().wait, None))
    await asyncio.sleep(0)
    stage.note("waits", task.done())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    stage.note("ended", task.cancelled())


@odd()
async def lifespan_that_hangs(stage):
    """A server's own timeout ends an application that never answers."""

    async def app(_scope, receive, _send):
        stage.note(await receive())
        try:
            await asyncio.Event().wait()
        finally:
            stage.note("cleaned up")

    messages = [STARTUP]

    async def receive():
        received.set()
        return messages.pop()

    received = asyncio.Event()
    task = asyncio.create_task(stage.wrap(app)(lifespan_scope(), receive, None))
    await received.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(task, 0.01)
    stage.note("ended", task.cancelled())


@odd()
async def lifespan_receives_with_a_timeout(stage):
    """An application that waits for its first message in small steps loses none."""

    async def app(_scope, receive, send):
        message = None
        while message is None:
            with suppress(TimeoutError):
                message = await asyncio.wait_for(receive(), 0.001)
        stage.note("same", message is STARTUP)
        await send({"type": "lifespan.startup.complete"})

    messages = [STARTUP]

    async def receive():
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message):
        stage.note("sent", message)

    await stage.wrap(app)(lifespan_scope(), receive, send)


@odd()
async def lifespan_closed(stage):
    """A lifespan that is thrown away is closed without another await, before and after the shutdown."""
    for incoming in ([STARTUP], [STARTUP, SHUTDOWN]):
        waiting, reached = list(incoming), asyncio.Event()
        noted = []

        async def receive(waiting=waiting, reached=reached):
            if waiting:
                return waiting.pop(0)
            reached.set()
            return await asyncio.Event().wait()

        async def send(_message):
            return None

        async def app(_scope, receive, _send, noted=noted):
            try:
                while True:
                    await receive()
            finally:
                noted.append("cleaned up")

        coroutine = stage.wrap(app)(lifespan_scope(), receive, send)
        driver = asyncio.create_task(_drive(coroutine, reached))
        await driver
        coroutine.close()
        stage.note("closed", coroutine.cr_frame, *noted)


async def _drive(coroutine, until):
    """Step a coroutine as a task would, until the event is set."""
    while not until.is_set():
        future = coroutine.send(None)
        if until.is_set():
            return
        if future is None:
            await asyncio.sleep(0)
        else:
            future._asyncio_future_blocking = False
            await future


@odd(reports=1)
async def lifespan_fails_in_a_cancelled_scope(stage):
    """The application's exception stays the one that is raised although each await is cancelled."""
    error = OSError("at the end")

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        scope.cancel()
        raise error

    with anyio.CancelScope() as scope:
        await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN], expected=error)


@odd()
async def lifespan_with_odd_messages(stage):
    """Messages that no specification knows pass both ways."""
    odd_ones = [None, 7, "text", [], {"type": []}, {"type": None}, {}, {"type": "lifespan.odd"}]

    async def app(_scope, receive, send):
        for expected in odd_ones:
            message = await receive()
            stage.note("same", message is expected)
            await send(message)

    await stage.play(app, lifespan_scope(), incoming=odd_ones)


@odd()
async def lifespan_messages_that_fill_themselves(stage):
    """No key springs into being in a `defaultdict`."""
    message = defaultdict(list)

    async def app(_scope, receive, send):
        await send(await receive())

    await stage.play(app, lifespan_scope(), incoming=[message])
    stage.note("keys", *message)


@odd()
async def lifespan_send_never_awaited(stage):
    """A server's plain `send` acts when it is called, in a lifespan too."""
    done = asyncio.get_running_loop().create_future()
    done.set_result("taken")

    def send(message):
        stage.note("taken", message)
        return done

    async def app(_scope, receive, send):
        await receive()
        stage.note("same", send({"type": "lifespan.startup.complete"}) is done)

    await stage.play(app, lifespan_scope(), incoming=[STARTUP], send=send)


@odd()
async def lifespan_variables_reach_the_caller(stage):
    """Context variables set by a lifespan are visible to the server's task."""

    async def app(scope, receive, send):
        _var.set("started")
        await _proper(scope, receive, send)

    before = set(contextvars.copy_context())
    await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN])
    stage.note("after", set(contextvars.copy_context()) - before == {_var})


@odd()
async def lifespan_returns_a_value(stage):
    """What a lifespan returns reaches the server."""

    async def app(scope, receive, send):
        await _proper(scope, receive, send)
        return 7

    await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN])


@odd()
async def lifespan_twice_at_once(stage):
    """Two servers may run one application in one process."""
    await asyncio.gather(
        *(stage.play(_proper, lifespan_scope(), incoming=[STARTUP, SHUTDOWN]) for _ in range(1))
    )
    first, second = Stopwatch(), Stopwatch()

    async def server(watch):
        incoming = [STARTUP, SHUTDOWN]

        async def receive():
            if len(incoming) == 1:
                await watch.stop.wait()
            return incoming.pop(0)

        async def send(message):
            watch.seen.append(message["type"])
            watch.started.set()

        await stage.wrap(_proper)(lifespan_scope(), receive, send)

    tasks = [asyncio.create_task(server(watch)) for watch in (first, second)]
    for watch in (first, second):
        await watch.started.wait()
    for watch, task in zip((second, first), reversed(tasks), strict=True):
        watch.stop.set()
        await task
    stage.note("seen", *first.seen, *second.seen)


class Stopwatch:
    """What one of two servers saw."""

    def __init__(self) -> None:
        self.started, self.stop = asyncio.Event(), asyncio.Event()
        self.seen: list[str] = []


@odd()
async def lifespan_receives_and_sends_in_tasks(stage):
    """A lifespan may be split over tasks."""

    async def app(_scope, receive, send):
        await asyncio.create_task(receive())
        await asyncio.create_task(send({"type": "lifespan.startup.complete"}))
        await asyncio.create_task(receive())
        await asyncio.create_task(send({"type": "lifespan.shutdown.complete"}))

    await stage.play(app, lifespan_scope(), incoming=[STARTUP, SHUTDOWN])


@odd()
async def lifespan_that_exits(stage):
    """An exit in a lifespan ends the process as it always would."""

    async def app(_scope, receive, _send):
        await receive()
        raise SystemExit(3)

    await stage.play(app, lifespan_scope(), incoming=[STARTUP])


CONNECT = {"type": "websocket.connect"}


def _text(text):
    return {"type": "websocket.receive", "text": text, "bytes": None}


@odd()
async def websocket_echo(stage):
    """Texts and bytes go and come."""

    async def app(_scope, receive, send):
        stage.note("connected", await receive())
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"X-Odd", b"1")]})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
        stage.note("left", message)

    both = {"type": "websocket.receive", "text": None, "bytes": b"\x00\xff"}
    left = {"type": "websocket.disconnect", "code": 1001, "reason": "going"}
    await stage.play(app, websocket_scope(), incoming=[CONNECT, _text("odd ✓"), _text(""), both, left])


@odd()
async def websocket_scope_is_the_very_object(stage):
    """The application gets the server's own scope, and nothing is put into it."""
    scope = websocket_scope(extensions={"websocket.http.response": {}})
    keys = list(scope)

    async def app(given, _receive, _send):
        stage.note("same", given is scope, list(given) == keys)

    await stage.play(app, scope)


@odd()
async def websocket_closes(stage):
    """Codes and reasons of a close pass; none of them is an error without an exception."""

    async def app(_scope, receive, send):
        await receive()
        for code in (1000, 1008, 1011, 3000, 4999, 4500, None, "1011", [1011]):
            await send({"type": "websocket.close", "code": code, "reason": "odd ✓"})
        await send({"type": "websocket.close"})

    await stage.play(app, websocket_scope(), incoming=[CONNECT])


@odd(reports=1)
async def websocket_fails(stage):
    """An exception on a socket reaches the server."""
    error = ValueError("on a socket")

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        raise error

    await stage.play(app, websocket_scope(), incoming=[CONNECT], expected=error)


@odd(reports=1)
async def websocket_closes_for_an_exception(stage):
    """A close with 1011 while an exception is handled passes as it is."""

    async def app(_scope, receive, send):
        await receive()
        try:
            raise ValueError("on a socket")
        except ValueError:
            await send({"type": "websocket.close", "code": 1011, "reason": "sorry"})

    await stage.play(app, websocket_scope(), incoming=[CONNECT])


@odd()
async def websocket_denied_with_an_answer(stage):
    """`websocket.http.response` passes as the very messages, streamed."""
    messages = [
        start(403, [(b"x-odd", b"1"), (b"x-odd", b"2")], type="websocket.http.response.start"),
        body(b"no", more_body=True, type="websocket.http.response.body"),
        body(b"thing", type="websocket.http.response.body"),
    ]

    async def app(_scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    scope = websocket_scope(extensions={"websocket.http.response": {}})
    wire = await stage.play(app, scope, incoming=[CONNECT])
    stage.note("same", *[one is other for one, other in zip(wire.sent, messages, strict=True)])


@odd()
async def websocket_receive_after_the_end(stage):
    """`receive` may be called again after the disconnect, and `send` after the close."""

    async def app(_scope, receive, send):
        for _ in range(4):
            stage.note("received", await receive())
        await send({"type": "websocket.close"})
        await send({"type": "websocket.send", "text": "late"})

    await stage.play(app, websocket_scope(), incoming=[CONNECT, {"type": "websocket.disconnect"}])


@odd()
async def websocket_malformed(stage):
    """What is no message is for server and application to judge."""
    odd_ones = [None, 7, "text", [], {}, {"type": []}, {"type": "websocket.odd"}, {"type": "websocket.send"}]

    async def app(_scope, receive, send):
        for expected in odd_ones:
            message = await receive()
            stage.note("same", message is expected)
            await send(message)

    await stage.play(app, websocket_scope(), incoming=odd_ones)


@odd()
async def websocket_full_duplex(stage):
    """Receiving and sending go on at once."""

    async def app(_scope, receive, send):
        async def listen():
            for _ in range(10):
                stage.note("received", (await receive())["text"])

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            for number in range(10):
                await send({"type": "websocket.send", "text": str(number)})

    await stage.play(app, websocket_scope(), incoming=[_text(str(number)) for number in range(10)])


@odd()
async def websocket_client_left(stage):
    """A client that leaves while the application sends is no error."""
    error = ConnectionResetError("the client has left")

    async def send(_message):
        raise error

    async def app(_scope, _receive, send):
        await send({"type": "websocket.send", "text": "odd"})

    await stage.play(app, websocket_scope(), send=send, expected=error)


@odd()
async def websocket_without_anything(stage):
    """A scope of nothing but its type, and an application that does nothing."""

    async def app(_scope, _receive, _send):
        return None

    await stage.play(app, {"type": "websocket"})


@odd()
async def websocket_large_message(stage):
    """Large messages are handed over, not copied."""
    content = bytes(8 * 1024 * 1024)

    async def app(_scope, _receive, send):
        await send({"type": "websocket.send", "bytes": content})

    taken = []

    async def send(message):
        taken.append(message)

    await stage.play(app, websocket_scope(), send=send)
    stage.note("same", taken[0]["bytes"] is content)
