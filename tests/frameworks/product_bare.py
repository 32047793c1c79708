"""The product as a bare callable, as people write one by hand."""

from __future__ import annotations

import asyncio

from .behaviours import CAUSED
from .faults import (
    FAULTS,
    Answered418,
    Answered500,
    Answered503,
    HTTPError,
    background,
    background_in_thread,
    failing_stream,
    failing_sync_stream,
    fault,
    long_stream,
    raise_http_error,
    stillborn_stream,
    swallow,
    work_on_thread,
)

LACKS = {
    "/dependency_before_view": "no dependencies",
    "/dependency_before_answer": "no dependencies",
    "/dependency_after_answer": "no dependencies",
    "/mounted/unhandled": "no mounts",
    "/mounted/answered_with_500": "no mounts",
}
REPORTED_AS = {path: ("HTTPError", f"status {path[6:9]}") for path in CAUSED}
REPORTED_AS["/socket/caused_1011"] = ("Answered500", "caused_1011")
_STATUS_OF = {Answered500: 500, Answered418: 418, Answered503: 503}
_PLAIN = {"/fine": 200, "/plain_500": 500, "/forbidden": 403, "/deliberate_500": 500, "/deliberate_503": 503}


async def app(scope, receive, send):
    """Serve one connection."""
    if scope["type"] == "websocket":
        await _serve_socket(scope["path"].removeprefix("/socket/"), receive, send)
        return
    try:
        await _serve(scope["path"], receive, send)
    except tuple(_STATUS_OF) as error:
        await _answer(send, _STATUS_OF[type(error)])
    except HTTPError as error:
        await _answer(send, error.status_code)


async def app_with_own_500(scope, receive, send):
    """Serve one connection; an error page for everything that was not foreseen."""
    try:
        await app(scope, receive, send)
    except Exception:
        await _answer(send, 500)
        raise


async def _serve(path, receive, send):
    directory, _, name = path.rpartition("/")
    if directory == "/raise":
        raise FAULTS[name]()  # noqa: RSE102 - makes the exception
    if directory == "/fail":
        await receive()
        raise fault(name)
    if directory == "/http":
        raise_http_error(name, HTTPError)
    if path in _VIEWS:
        await _VIEWS[path](receive, send)
    else:
        await _answer(send, _PLAIN.get(path, 404))


async def _answer(send, status):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _in_thread(_receive, _send):
    await asyncio.to_thread(work_on_thread)


async def _swallow(_receive, send):
    swallow()
    await _answer(send, 200)


async def _swallow_then_500(_receive, send):
    swallow()
    await _answer(send, 500)


async def _then_background(_receive, send):
    await _answer(send, 200)
    await background()


async def _then_background_in_thread(_receive, send):
    await _answer(send, 200)
    await asyncio.to_thread(background_in_thread)


async def _read(receive, send):
    while (await receive()).get("more_body"):
        pass
    await _answer(send, 200)


def _streaming(make):
    async def view(_receive, send):
        parts = make()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return view


async def _on_a_thread_each():
    parts = failing_sync_stream()
    while True:
        yield await asyncio.to_thread(next, parts)


_VIEWS = {
    "/thread": _in_thread,
    "/swallowed": _swallow,
    "/swallowed_then_500": _swallow_then_500,
    "/background": _then_background,
    "/background_in_thread": _then_background_in_thread,
    "/read": _read,
    "/stream": _streaming(failing_stream),
    "/sync_stream": _streaming(_on_a_thread_each),
    "/stillborn_stream": _streaming(stillborn_stream),
    "/long_stream": _streaming(long_stream),
}


_CLOSED_WITH = {"deliberate_1011": 1011, "fine": 1000}


async def _serve_socket(name, receive, send):
    await receive()
    if name == "before_accept":
        raise fault(name)
    await send({"type": "websocket.accept"})
    if name == "left":
        await receive()
    elif name == "unhandled":
        raise fault(name)
    elif name in _CLOSED_WITH:
        await send({"type": "websocket.close", "code": _CLOSED_WITH[name]})
    else:
        await _fail_and_close(name, send)


async def _fail_and_close(name, send):
    try:
        raise fault(name, Answered500)
    except Answered500:
        await send({"type": "websocket.close", "code": int(name.rpartition("_")[2])})


def with_lifespan(lifespan):
    """Return an application with that lifespan, which leaves failures to the server."""

    async def starting_and_ending(_scope, receive, send):
        await receive()
        async with lifespan(None):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return starting_and_ending
