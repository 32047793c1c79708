"""The product in Starlette."""

from __future__ import annotations

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

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
    "/dependency_before_view": "no dependencies",
    "/dependency_before_answer": "no dependencies",
    "/dependency_after_answer": "no dependencies",
}
REPORTED_AS = {
    path: ("HTTPException", f"{path[6:9]}: {HTTPStatus(int(path[6:9])).phrase}") for path in CAUSED
}
REPORTED_AS["/socket/caused_1011"] = ("WebSocketException", "1011: ")


async def raise_fault(request):
    """Raise what the path names."""
    raise FAULTS[request.path_params["name"]]()  # noqa: RSE102 - makes the exception


async def fail(request):
    """Raise an exception that names the path."""
    await request.body()
    raise fault(request.path_params["name"])


async def read(request):
    """Read all that the client sends."""
    await request.body()
    return Response()


async def forbid(_request):
    """Refuse."""
    raise HTTPException(403)


async def give_up(_request):
    """Answer with 500 on purpose."""
    raise HTTPException(500)


async def close(_request):
    """Answer with 503 on purpose."""
    raise HTTPException(503)


async def fail_by_http_error(request):
    """Raise the HTTP error that the path names."""
    raise_http_error(request.path_params["name"], HTTPException)


async def swallow_then_500(_request):
    """Handle an exception, then answer with 500 on purpose."""
    swallow()
    return Response(status_code=500)


def answering(make):
    """Return a view with that answer."""

    async def view(_request):
        return make()

    return view


def _sync(_request):
    return work_on_thread()


async def answer_with_500(connection, _error):
    """Handle an exception by a failure."""
    if isinstance(connection, Request):
        return Response("failed", status_code=500)
    return await connection.close(1011)


async def answer_with_418(connection, _error):
    """Handle an exception by something else."""
    if isinstance(connection, Request):
        return Response("short and stout", status_code=418)
    return await connection.close(1008)


async def answer_with_503(_request, _error):
    """Handle an exception by an invitation to come again."""
    return Response("closed", status_code=503)


async def serve_socket(websocket):
    """Do on a WebSocket what the path names."""
    name = websocket.path_params["name"]
    if name == "before_accept":
        raise fault(name)
    await websocket.accept()
    if name == "left":
        await websocket.receive_text()
    if name == "deliberate_1011":
        raise WebSocketException(1011)
    if name == "caused_1011":
        raise WebSocketException(1011) from fault(name)
    if name == "fine":
        return await websocket.close()
    raise fault(name, SOCKET_FAULTS.get(name, LookupError))


HANDLERS = {Answered500: answer_with_500, Answered418: answer_with_418, Answered503: answer_with_503}
inner = Starlette(routes=[Route("/{name}", raise_fault)])
inner_with_slashes = Starlette(routes=[Route("/{name}/", raise_fault)])
ROUTES = [
    Route("/raise/{name}", raise_fault),
    Route("/fail/{name}", fail),
    Route("/thread", _sync),
    Route("/read", read),
    Route("/fine", answering(Response)),
    Route("/forbidden", forbid),
    Route("/deliberate_500", give_up),
    Route("/deliberate_503", close),
    Route("/http/{name}", fail_by_http_error),
    Route("/plain_500", answering(lambda: Response(status_code=500))),
    Route("/swallowed", answering(lambda: PlainTextResponse(swallow()))),
    Route("/swallowed_then_500", swallow_then_500),
    Route("/background", answering(lambda: Response(background=BackgroundTask(background)))),
    Route(
        "/background_in_thread",
        answering(lambda: Response(background=BackgroundTask(background_in_thread))),
    ),
    Route("/stream", answering(lambda: StreamingResponse(failing_stream()))),
    Route("/sync_stream", answering(lambda: StreamingResponse(failing_sync_stream()))),
    Route("/stillborn_stream", answering(lambda: StreamingResponse(stillborn_stream()))),
    Route("/long_stream", answering(lambda: StreamingResponse(long_stream()))),
    Mount("/mounted", inner),
    WebSocketRoute("/socket/{name}", serve_socket),
]
app = Starlette(routes=ROUTES, exception_handlers=HANDLERS)
app_with_own_500 = Starlette(routes=ROUTES, exception_handlers={500: answer_with_500})


def with_lifespan(lifespan):
    """Return an application with that lifespan."""
    return Starlette(lifespan=lifespan)
