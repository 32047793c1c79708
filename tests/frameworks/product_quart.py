"""The product in Quart."""

from __future__ import annotations

from quart import Quart, Response, abort, current_app, request, websocket, wrappers
from werkzeug.exceptions import default_exceptions

from .behaviours import CAUSED
from .faults import (
    FAULTS,
    SOCKET_FAULTS,
    Answered418,
    Answered500,
    Answered503,
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
    "/raise/answered_with_500": "announces no exception with a handler of its type, see test_blind_spots.py",
    "/dependency_before_view": "no dependencies",
    "/dependency_before_answer": "no dependencies",
    "/dependency_after_answer": "no dependencies",
    "/mounted/unhandled": "no mounts",
    "/mounted/answered_with_500": "no mounts",
    "/socket/caused_1011": "no exceptions that close a WebSocket",
}
_GROUPED = ("ExceptionGroup", "unhandled errors in a TaskGroup")
_HTTP_ERRORS = {path: default_exceptions[int(path[6:9])]() for path in CAUSED}
REPORTED_AS = {path: (type(error).__name__, str(error)) for path, error in _HTTP_ERRORS.items()}
"""From 0.23 on Quart serves each request in a group of tasks: what propagates is a member of it."""
if hasattr(wrappers, "ClientDisconnectedError"):
    LACKS["/raise/cancelled"] = "waits for the client to leave"
    REPORTED_AS |= dict.fromkeys(("/stream", "/sync_stream", "/stillborn_stream"), _GROUPED)
    REPORTED_AS["/raise/mixed_group"] = ("BaseExceptionGroup", _GROUPED[1])


async def _raise_fault(name):
    raise FAULTS[name]()  # noqa: RSE102 - makes the exception


async def _fail(name):
    await request.get_data()
    raise fault(name)


async def _read():
    await request.get_data()
    return ""


def _thread():
    work_on_thread()


async def _fail_by_http_error(name):
    raise_http_error(name, lambda status: default_exceptions[status]())


async def _swallowed():
    return swallow()


async def _swallowed_then_500():
    return swallow(), 500


async def _background():
    current_app.add_background_task(background)
    return ""


async def _background_in_thread():
    current_app.add_background_task(background_in_thread)
    return ""


def _answering(make):
    async def view():
        return make()

    return view


async def _serve_socket(name):
    if name == "before_accept":
        raise fault(name)
    await websocket.accept()
    if name == "left":
        await websocket.receive()
    if name == "deliberate_1011":
        return await websocket.close(1011)
    if name == "fine":
        return await websocket.close(1000)
    raise fault(name, SOCKET_FAULTS.get(name, LookupError))


_VIEWS = {
    "/raise/<name>": _raise_fault,
    "/fail/<name>": _fail,
    "/read": _read,
    "/thread": _thread,
    "/fine": _answering(lambda: "fine"),
    "/forbidden": _answering(lambda: abort(403)),
    "/deliberate_500": _answering(lambda: abort(500)),
    "/deliberate_503": _answering(lambda: abort(503)),
    "/http/<name>": _fail_by_http_error,
    "/plain_500": _answering(lambda: ("failed", 500)),
    "/swallowed": _swallowed,
    "/swallowed_then_500": _swallowed_then_500,
    "/background": _background,
    "/background_in_thread": _background_in_thread,
    "/stream": _answering(lambda: Response(failing_stream())),
    "/sync_stream": _answering(lambda: Response(failing_sync_stream())),
    "/stillborn_stream": _answering(lambda: Response(stillborn_stream())),
    "/long_stream": _answering(lambda: Response(long_stream())),
}


async def _answer_with_500(_error):
    if request:
        return "failed", 500
    return await websocket.close(1011)


async def _answer_with_418(_error):
    if request:
        return "short and stout", 418
    return await websocket.close(1008)


async def _answer_with_503(_error):
    return "closed", 503


def build(handlers):
    """Return an application with these handlers."""
    app = Quart(__name__)
    for path, view in _VIEWS.items():
        app.add_url_rule(path, path, view)
    app.add_websocket("/socket/<name>", "socket", _serve_socket)
    for kind, handler in handlers.items():
        app.register_error_handler(kind, handler)
    return app


app = build({Answered500: _answer_with_500, Answered418: _answer_with_418, Answered503: _answer_with_503})
app_with_own_500 = build({500: _answer_with_500})


def with_lifespan(lifespan):
    """Return an application with that lifespan."""
    app = Quart(__name__)

    @app.while_serving
    async def serve():
        async with lifespan(app):
            yield

    return app
