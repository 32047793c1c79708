"""A bare ASGI application, once wrapped and once not, for servers that import it by name."""

from __future__ import annotations

import asyncio
import os

from otel_posthog import Telemetry

_released = asyncio.Event()
_left = asyncio.Event()


async def bare(scope, receive, send):
    """Answer by path."""
    if scope["type"] == "lifespan":
        await _lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await _socket(scope, receive, send)
    else:
        await _PATHS[scope["path"]](scope, receive, send)


async def _lifespan(scope, receive, send):
    await receive()
    scope.get("state", {})["started"] = "by the lifespan"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _socket(scope, receive, send):
    await receive()
    if scope["path"] == "/refuse":
        return await send({"type": "websocket.close", "code": 1008})
    await send(
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-odd", b"1"), (b"x-odd", b"2")]}
    )
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "fail":
            raise RuntimeError("failure on a socket")
        if message.get("text") == "close":
            return await send({"type": "websocket.close", "code": 4321, "reason": "as asked ✓"})
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
    return None


async def _answer(send, content, *, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": content})


async def _fine(_scope, _receive, send):
    await _answer(send, b"fine", headers=[(b"content-length", b"4")])


async def _headers(_scope, _receive, send):
    headers = [
        (b"x-z", b"1"),
        (b"set-cookie", b"a=1"),
        (b"x-a", b"2"),
        (b"set-cookie", b"b=2"),
        (b"x-z", b"3"),
    ]
    await _answer(send, b"ok", headers=[*headers, (b"content-length", b"2")])


async def _no_content(_scope, _receive, send):
    await _answer(send, b"", status=204)


async def _not_modified(_scope, _receive, send):
    await _answer(send, b"", status=304, headers=[(b"etag", b'"odd"')])


async def _unknown_length(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for chunk in (b"first", b"", b"second " * 100, b"third"):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})


async def _large(_scope, _receive, send):
    content = bytes(range(256)) * 8_192
    await _answer(send, content, headers=[(b"content-length", str(len(content)).encode())])


async def _echo(_scope, receive, send):
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    await _answer(send, content, headers=[(b"content-length", str(len(content)).encode())])


async def _state(scope, _receive, send):
    content = scope.get("state", {}).get("started", "no lifespan here").encode()
    await _answer(send, content, headers=[(b"content-length", str(len(content)).encode())])


async def _held(_scope, _receive, send):
    """Send a first chunk, and the second one only when another request has released it."""
    _released.clear()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await _released.wait()
    await send({"type": "http.response.body", "body": b"second"})


async def _release(_scope, _receive, send):
    _released.set()
    await _answer(send, b"released", headers=[(b"content-length", b"8")])


async def _endless(_scope, receive, send):
    """Stream until the client has left, then let the server's exception pass, if it raises one."""
    _left.clear()
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.ensure_future(_client_leaves(receive))
        while not leaving.done():
            await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": True})
            await asyncio.sleep(0.005)
    finally:
        _left.set()


async def _client_leaves(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def _has_left(_scope, _receive, send):
    content = b"yes" if _left.is_set() else b"no!"
    await _answer(send, content, headers=[(b"content-length", b"3")])


async def _fail(_scope, _receive, _send):
    raise LookupError("failure before the start")


async def _fail_late(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("failure after the start")


_PATHS = {
    "/fine": _fine,
    "/headers": _headers,
    "/no-content": _no_content,
    "/not-modified": _not_modified,
    "/unknown-length": _unknown_length,
    "/large": _large,
    "/echo": _echo,
    "/state": _state,
    "/held": _held,
    "/release": _release,
    "/endless": _endless,
    "/has-left": _has_left,
    "/fail": _fail,
    "/fail-late": _fail_late,
}

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["SINK_URL"],
    database=os.environ["DATABASE_URL"],
    environment="production",
    batch_delay_s=float(os.environ.get("BATCH_DELAY_S", "0.05")),
)
app = telemetry.wrap(bare)
