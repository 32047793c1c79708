"""Odd ways to send, odd servers behind `send`."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, UserDict, defaultdict
from types import MappingProxyType

from asgiref.sync import async_to_sync, iscoroutinefunction

from .harness import body, http_scope, odd, start


def _taking(stage):
    """Return a server's `send` that is no coroutine function: it acts when it is called."""
    done = asyncio.get_running_loop().create_future()
    done.set_result("taken")

    def send(message):
        stage.note("taken", message)
        return done

    return send, done


@odd()
async def send_returns_something(stage):
    """What awaiting `send` returns reaches the application."""

    async def send(message):
        return ["credit", message["type"]]

    async def app(_scope, _receive, send):
        stage.note("returned", await send(start()), await send(body()))

    await stage.play(app, http_scope(), send=send)


@odd()
async def send_returns_a_future(stage):
    """What `send()` returns is the server's own awaitable."""
    send, done = _taking(stage)

    async def app(_scope, _receive, send):
        stage.note("same", send(start()) is done, send(body()) is done, await send(body()))

    await stage.play(app, http_scope(), send=send)


@odd()
async def send_returns_an_awaitable_of_its_own(stage):
    """What `send()` returns may be any awaitable."""

    class Sent:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "sent"

    async def app(_scope, _receive, send):
        stage.note("kind", type(send(start())).__name__, await send(body()))

    await stage.play(app, http_scope(), send=lambda _message: Sent())


@odd(reports=1)
async def send_returns_nothing_to_await(stage):
    """A server's plain function that returns None fails in the application as it always would."""

    async def app(_scope, _receive, send):
        await send(start())

    await stage.play(app, http_scope(), send=lambda _message: None)


@odd()
async def send_raises_oserror(stage):
    """The server tells by an `OSError` that the client has left: no error of the application."""
    error = ConnectionResetError("the client has left")

    async def send(_message):
        raise error

    async def app(_scope, _receive, send):
        await send(start())

    await stage.play(app, http_scope(), send=send, expected=error)


@odd()
async def send_raises_oserror_at_the_call(stage):
    """The same from a `send` that is a plain function."""
    error = ConnectionResetError("the client has left")

    def send(_message):
        raise error

    async def app(_scope, _receive, send):
        await send(start())

    await stage.play(app, http_scope(), send=send, expected=error)


@odd()
async def send_raises_oserror_from_an_object(stage):
    """The same from a `send` that is an object."""
    error = BrokenPipeError("the client has left")

    class Send:
        async def __call__(self, message):
            if message["type"] == "http.response.body":
                raise error

    async def app(_scope, _receive, send):
        await send(start())
        await send(body(b"half", more_body=True))

    await stage.play(app, http_scope(), send=Send(), expected=error)


@odd()
async def send_raises_oserror_that_the_app_handles(stage):
    """An application may find out that the client has left, and clean up."""

    async def send(_message):
        raise OSError("the client has left")

    async def app(_scope, _receive, send):
        try:
            await send(start())
        except OSError as error:
            stage.note("handled", str(error))

    await stage.play(app, http_scope(), send=send)


@odd()
async def send_as_coroutine_for_later(stage):
    """A coroutine made by `send` does nothing until it is awaited."""

    async def app(_scope, _receive, send):
        first, second = send(start()), send(body(b"second"))
        stage.note("nothing sent yet")
        await first
        await second

    await stage.play(app, http_scope())


@odd()
async def send_never_awaited(stage):
    """A `send` that acts when called needs no await."""
    send, _ = _taking(stage)

    async def app(_scope, _receive, send):
        send(start())
        send(body())

    await stage.play(app, http_scope(), send=send)


@odd()
async def send_in_tasks(stage):
    """What `send` returns is fit for a task."""

    async def app(_scope, _receive, send):
        await asyncio.create_task(send(start()))
        await asyncio.gather(*(send(body(bytes([number]), more_body=True)) for number in range(20)))
        await asyncio.wait_for(send(body()), 1)

    await stage.play(app, http_scope())


@odd()
async def send_from_a_thread(stage):
    """Another thread may send through the loop."""

    async def app(_scope, _receive, send):
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def work():
            for message in (start(), body(b"from a thread")):
                asyncio.run_coroutine_threadsafe(send(message), loop).result(5)
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=work).start()
        await done.wait()

    await stage.play(app, http_scope())


@odd()
async def send_after_the_app_has_returned(stage):
    """A task that outlives the call may still send."""
    tasks = []

    async def app(_scope, _receive, send):
        async def late():
            await asyncio.sleep(0.001)
            await send(start())
            await send(body(b"late"))

        tasks.append(asyncio.create_task(late()))

    await stage.play(app, http_scope())
    await tasks[0]


@odd()
async def send_a_failure_after_the_app_has_returned(stage):
    """The same with a 500, which belongs to no request any more."""
    tasks = []

    async def app(_scope, _receive, send):
        async def late():
            await asyncio.sleep(0.001)
            await send(start(500))

        tasks.append(asyncio.create_task(late()))

    await stage.play(app, http_scope())
    await tasks[0]


@odd()
async def send_what_is_no_message(stage):
    """What is no message is for the server to judge."""

    async def app(_scope, _receive, send):
        for message in (None, "http.response.start", 7, [], {}, {"type": None}, {"status": 500}, object()):
            await send(message)

    await stage.play(app, http_scope())


@odd()
async def send_malformed_messages(stage):
    """Messages with odd values pass."""

    async def app(_scope, _receive, send):
        for message in (
            {"type": "http.response.start"},
            {"type": "http.response.start", "status": None},
            {"type": "http.response.start", "status": "200"},
            {"type": "http.response.start", "status": [500]},
            {"type": "http.response.start", "status": 200, "headers": None},
            {"type": "http.response.start", "status": 200, "headers": 7},
            {"type": "http.response.start", "status": 200, "headers": "text"},
            {"type": "http.response.start", "status": 200, "headers": [b"x"]},
            {"type": "http.response.start", "status": 200, "headers": [("str", "str")]},
            {"type": "http.response.start", "status": 200, "headers": [(None, None)]},
            {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b", b"c")]},
            {"type": ["http.response.start"], "status": 500},
            {"type": b"http.response.start", "status": 500},
        ):
            await send(message)

    await stage.play(app, http_scope())


@odd()
async def send_unknown_messages(stage):
    """Messages of extensions and of the future pass as the very objects."""
    messages = [
        {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
        {"type": "http.response.debug", "info": {"template": "odd.html"}},
        {"type": "http.response.push", "path": "/style.css", "headers": []},
        {"type": "http.response.informational", "status": 103, "headers": [(b"link", b"</a>")]},
        {"type": "granian.odd", "anything": object()},
    ]

    async def app(_scope, _receive, send):
        for message in messages:
            await send(message)

    wire = await stage.play(app, http_scope())
    stage.note("same", *[one is other for one, other in zip(wire.sent, messages, strict=True)])


@odd()
async def send_informational_answers(stage):
    """Answers below 200 pass as they are, before the final one."""
    hint = start(103, [(b"link", b"</style.css>; rel=preload")])

    async def app(_scope, _receive, send):
        await send(start(100, []))
        await send(hint)
        await send(start())
        await send(body())

    wire = await stage.play(app, http_scope())
    stage.note("same", wire.sent[1] is hint)
    stage.note("informational", *[message["headers"] for message in wire.sent[:2]])


@odd()
async def send_trailers(stage):
    """Trailers pass, announced and sent."""

    async def app(_scope, _receive, send):
        await send(start(trailers=True))
        await send(body(b"content"))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"2")]})

    await stage.play(app, http_scope(extensions={"http.response.trailers": {}}))


@odd()
async def send_a_path(stage):
    """`http.response.pathsend` passes."""

    async def app(_scope, _receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": "/srv/files/large"})

    await stage.play(app, http_scope(extensions={"http.response.pathsend": {}}))


@odd()
async def send_a_file(stage):
    """`http.response.zerocopysend` passes with the very file."""
    file = object()
    message = {"type": "http.response.zerocopysend", "file": file, "offset": 7, "count": 11}

    async def app(_scope, _receive, send):
        await send(start())
        await send(message)

    wire = await stage.play(app, http_scope(extensions={"http.response.zerocopysend": {}}))
    stage.note("same", wire.sent[1] is message, wire.sent[1]["file"] is file)


@odd()
async def send_messages_of_odd_classes(stage):
    """Messages may be any mapping, and pass as the very objects."""

    class Message(dict):
        pass

    kinds = [Message, OrderedDict, UserDict, MappingProxyType]
    starts = [kind(start()) for kind in kinds]
    bodies = [kind(body(b"odd")) for kind in kinds]

    async def app(_scope, _receive, send):
        for message in (*starts, *bodies):
            await send(message)

    wire = await stage.play(app, http_scope())
    stage.note("bodies", *[one is other for one, other in zip(wire.sent[4:], bodies, strict=True)])
    stage.note_message_identity(
        "starts", all(one is other for one, other in zip(wire.sent[:4], starts, strict=True))
    )


@odd()
async def send_messages_that_fill_themselves(stage):
    """No key springs into being in a `defaultdict`."""
    messages = [defaultdict(int, {"type": "http.response.start"}), defaultdict(list), defaultdict(int)]

    async def app(_scope, _receive, send):
        for message in messages:
            await send(message)

    await stage.play(app, http_scope())
    stage.note("keys", *[list(message) for message in messages])


@odd()
async def send_messages_that_refuse_to_be_read(stage):
    """A message that cannot be read is for the server to judge."""

    class Closed(dict):
        def __getitem__(self, key):
            raise RuntimeError("read")

        def get(self, *_arguments):
            raise ZeroDivisionError("read")

    class Slotted:
        __slots__ = ()

    taken = []

    async def take(message):
        taken.append(message)

    sent = [Closed(start(500)), Closed(), Slotted(), type, Closed]

    async def app(_scope, _receive, send):
        for message in sent:
            await send(message)

    await stage.play(app, http_scope(), send=take)
    stage.note("same", *[one is other for one, other in zip(taken, sent, strict=True)])


@odd()
async def send_values_that_refuse_comparison(stage):
    """Types and statuses whose comparison fails pass."""

    class Refusing:
        def __eq__(self, _other):
            raise RuntimeError("compared")

        def __ge__(self, _other):
            raise RuntimeError("compared")

        __hash__ = None

    class Undecided:
        def __eq__(self, _other):
            return self

        def __bool__(self):
            raise RuntimeError("asked")

        __hash__ = None

    async def app(_scope, _receive, send):
        for odd_one in (Refusing(), Undecided()):
            await send({"type": odd_one, "status": 500})
            await send({"type": "http.response.start", "status": odd_one})

    await stage.play(app, http_scope())


@odd()
async def send_the_same_message_in_each_request(stage):
    """A message that an application keeps is never changed."""
    first, second = start(headers=[(b"x-kept", b"1")]), body(b"kept")

    async def app(_scope, _receive, send):
        await send(first)
        await send(second)

    for _ in range(3):
        await stage.play(app, http_scope())
    stage.note("kept", list(first), len(first["headers"]), first["headers"][0])


@odd()
async def send_one_body_message_over_and_over(stage):
    """An application may change and resend one dictionary for each chunk."""
    message = body(more_body=True)

    async def app(_scope, _receive, send):
        await send(start())
        for number in range(5):
            message["body"] = bytes([number])
            await send(message)
        message["more_body"] = False
        await send(message)

    await stage.play(app, http_scope())


@odd()
async def send_headers_of_odd_kinds(stage):
    """Headers may be a list, a tuple or read once, of lists or tuples."""
    pairs = ((b"X-Mixed-CASE", b"1"), (b"x-second", b"2"))

    async def app(_scope, _receive, send):
        for headers in (list(pairs), pairs, iter(pairs), (each for each in pairs), [list(p) for p in pairs]):
            await send(start(headers=headers))

    await stage.play(app, http_scope())


@odd()
async def send_headers_that_come_twice(stage):
    """Duplicates, order, case and odd bytes of headers stay."""
    headers = [
        (b"Set-Cookie", b"a=1"),
        (b"x-z", b""),
        (b"set-cookie", b"b=2; Path=/"),
        (b"X-Z", b"\xff\xfe"),
        (b"set-cookie", b"a=1"),
        (b"Vary", b"a"),
        (b"vary", b"b"),
        (b"content-length", b"2"),
    ]

    async def app(_scope, _receive, send):
        await send(start(headers=headers))
        await send(body(b"ok"))

    await stage.play(app, http_scope())


@odd()
async def send_no_headers(stage):
    """`headers` may be missing or empty."""

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send(start(headers=[]))
        await send(start(headers=()))

    await stage.play(app, http_scope())


@odd()
async def send_headers_as_bytearray(stage):
    """Header names and values may be other bytes-like objects."""

    async def app(_scope, _receive, send):
        await send(start(headers=[(bytearray(b"x-odd"), memoryview(b"1")), (memoryview(b"x"), b"2")]))

    await stage.play(app, http_scope())


@odd()
async def send_bodies_of_odd_kinds(stage):
    """Bodies are not looked at."""

    async def app(_scope, _receive, send):
        await send(start())
        for content in (b"", bytearray(b"array"), memoryview(b"view"), "text", None, [1], 7):
            await send(body(content, more_body=True))
        await send({"type": "http.response.body"})

    await stage.play(app, http_scope())


@odd()
async def send_a_very_large_body(stage):
    """A large body is handed over, not copied."""
    content = bytes(32 * 1024 * 1024)
    taken = []

    async def take(message):
        taken.append(message)

    async def app(_scope, _receive, send):
        await send(start())
        await send(body(content))

    await stage.play(app, http_scope(), send=take)
    stage.note("same", taken[1]["body"] is content)


@odd()
async def send_in_lockstep(stage):
    """Each chunk arrives before the next one is made."""
    arrived = asyncio.Queue()
    asked = asyncio.Queue()

    async def app(_scope, _receive, send):
        await send(start())
        for number in range(50):
            await asked.get()
            await send(body(bytes([number]), more_body=True))
        await send(body())

    async def client():
        stage.note("began", await arrived.get())
        for _ in range(50):
            asked.put_nowait(None)
            stage.note("chunk", (await arrived.get())["body"])

    async with asyncio.TaskGroup() as group:
        group.create_task(client())
        group.create_task(stage.wrap(app)(http_scope(), None, arrived.put))


@odd()
async def send_with_back_pressure(stage):
    """A slow client slows the application down, chunk by chunk."""
    window = asyncio.Semaphore(2)
    order = []

    async def send(message):
        await window.acquire()
        order.append(("sent", message.get("body")))

    async def app(_scope, _receive, send):
        await send(start())
        for number in range(6):
            order.append(("making", number))
            await send(body(bytes([number]), more_body=True))

    async def client():
        for _ in range(6):
            await asyncio.sleep(0.001)
            order.append(("read", None))
            window.release()

    async with asyncio.TaskGroup() as group:
        group.create_task(stage.play(app, http_scope(), send=send))
        group.create_task(client())
    stage.note("order", order)


@odd()
async def send_answers_without_content(stage):
    """HEAD, 204, 205 and 304 pass as the application sends them."""

    async def app(scope, _receive, send):
        await send(start(scope["status"], [(b"content-length", b"7"), (b"etag", b'"odd"')]))
        await send(body(b"" if scope["status"] != 200 else b"content"))

    for method, status in (("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304), ("OPTIONS", 204)):
        await stage.play(app, http_scope(method=method, status=status))


@odd()
async def send_odd_statuses(stage):
    """Statuses are passed as they are."""
    from http import HTTPStatus  # noqa: PLC0415 - beside its one use

    async def app(_scope, _receive, send):
        for status in (HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR, 500.0, True, 999, -1, 10**30):
            await send(start(status))

    wire = await stage.play(app, http_scope())
    stage.note("kinds", *[type(message["status"]).__name__ for message in wire.sent])


@odd()
async def send_a_failure_on_purpose(stage):
    """A 500 without an exception is no exception."""

    async def app(_scope, _receive, send):
        await send(start(500))
        await send(body(b"on purpose"))

    await stage.play(app, http_scope())


@odd(reports=1)
async def send_a_failure_for_an_exception(stage):
    """A 500 sent while an exception is handled is that exception, and stays the answer it is."""

    async def app(_scope, _receive, send):
        try:
            raise ValueError("answered")
        except ValueError as error:
            await send(start(500, [(b"x-error", b"1")]))
            await send(body(b"sorry"))
            stage.note_error(error, error)

    await stage.play(app, http_scope())


@odd(reports=1)
async def send_a_failure_then_raise(stage):
    """As Starlette does: answer 500, then raise; one report, both effects."""
    error = ValueError("answered and raised")

    async def app(_scope, _receive, send):
        try:
            raise error
        except ValueError:
            await send(start(500))
            await send(body(b"sorry"))
            raise

    await stage.play(app, http_scope(), expected=error)


@odd()
async def send_start_twice(stage):
    """A second start is the server's to refuse."""

    async def app(_scope, _receive, send):
        await send(start())
        await send(start(404))
        await send(body())

    await stage.play(app, http_scope())


@odd()
async def send_in_the_wrong_order(stage):
    """A body before its start, and more after the end, are the server's to refuse."""

    async def app(_scope, _receive, send):
        await send(body(b"early"))
        await send(start())
        await send(body())
        await send(body(b"late"))

    await stage.play(app, http_scope())


@odd()
async def send_nothing(stage):
    """No answer at all is the server's to notice."""

    async def app(_scope, _receive, _send):
        return None

    await stage.play(app, http_scope())


@odd()
async def send_nothing_after_the_start(stage):
    """An answer without an end is the server's to notice."""

    async def app(_scope, _receive, send):
        await send(start())

    await stage.play(app, http_scope())


@odd()
async def work_after_the_answer(stage):
    """The call lasts as long as the application works, and the answer is out before."""

    async def app(_scope, _receive, send):
        await send(start())
        await send(body(b"done"))
        await asyncio.sleep(0.005)
        stage.note("worked")

    await stage.play(app, http_scope())


@odd(reports=1)
async def failure_after_the_answer(stage):
    """An exception in the work after the answer reaches the server."""
    error = ValueError("after the answer")

    async def app(_scope, _receive, send):
        await send(start())
        await send(body(b"done"))
        await asyncio.sleep(0)
        raise error

    await stage.play(app, http_scope(), expected=error)


@odd()
async def send_by_position_only(stage):
    """`send` takes its message by position or by the name that the server gave it."""

    async def app(_scope, _receive, send):
        await send(message=start())
        await send(message=body())

    await stage.play(app, http_scope())


@odd()
async def send_tells_that_it_is_asynchronous(stage):
    """Libraries that ask whether `send` is a coroutine function get the answer of the server's."""

    async def app(_scope, _receive, send):
        stage.note("asynchronous", iscoroutinefunction(send))
        for message in (start(), body(b"from a thread")):
            await asyncio.to_thread(async_to_sync(send), message)

    await stage.play(app, http_scope())


@odd()
async def send_is_kept_and_shared(stage):
    """Two requests at once do not mix their messages, though one sends through the other's `send`."""
    sends = {}

    async def app(scope, _receive, send):
        sends[scope["path"]] = send
        await send(start(headers=[(b"x-path", scope["path"].encode())]))
        await asyncio.sleep(0.001)
        other = "/b" if scope["path"] == "/a" else "/a"
        await sends[other](body(scope["path"].encode()))

    taken = {"/a": [], "/b": []}

    def server(path):
        async def send(message):
            taken[path].append(message)

        return stage.wrap(app)(http_scope(path=path), None, send)

    await asyncio.gather(server("/a"), server("/b"))
    stage.note("bodies", *[taken[path][1]["body"] for path in taken])
