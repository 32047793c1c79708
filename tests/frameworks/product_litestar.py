"""The product in Litestar."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from litestar import Litestar, Request, Response, WebSocket, asgi, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, PermissionDeniedException, WebSocketException
from litestar.handlers import BaseRouteHandler
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

from . import product_starlette
from .behaviours import CAUSED
from .faults import (
    FAULTS,
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
    "/dependency_after_answer": "ends its generators before the answer",
    "/socket/answered_with_1011": "no exception handlers for WebSockets",
    "/socket/answered_with_1008": "no exception handlers for WebSockets",
}
_LATE = ("LitestarException", "Exception caught after response started")
REPORTED_AS = dict.fromkeys(
    ("/background", "/background_in_thread", "/stream", "/sync_stream", "/stillborn_stream"), _LATE
)
REPORTED_AS |= {
    path: ("HTTPException", f"{path[6:9]}: {HTTPStatus(int(path[6:9])).phrase}") for path in CAUSED
}
REPORTED_AS["/socket/caused_1011"] = ("WebSocketException", "for a reason")
"""What the server gets once the answer has begun; the exception itself is its cause."""


@get("/raise/{name:str}")
async def _raise_fault(request: Request) -> None:
    raise FAULTS[request.path_params["name"]]()  # noqa: RSE102 - makes the exception


@get("/fail/{name:str}")
async def _fail(request: Request) -> None:
    await request.body()
    raise fault(request.path_params["name"])


@get("/read")
async def _read(request: Request) -> None:
    await request.body()


@get("/thread", sync_to_thread=True)
def _thread() -> None:
    work_on_thread()


@get("/fine")
async def _fine() -> str:
    return "fine"


@get("/forbidden")
async def _forbidden() -> None:
    raise PermissionDeniedException


@get("/deliberate_500")
async def _deliberate_500() -> None:
    raise HTTPException(status_code=500)


@get("/deliberate_503")
async def _deliberate_503() -> None:
    raise HTTPException(status_code=503)


@get("/http/{name:str}")
async def _fail_by_http_error(request: Request) -> None:
    raise_http_error(request.path_params["name"], lambda status: HTTPException(status_code=status))


@get("/plain_500", status_code=500)
async def _plain_500() -> str:
    return "failed"


@get("/swallowed")
async def _swallowed() -> str:
    return swallow()


@get("/swallowed_then_500", status_code=500)
async def _swallowed_then_500() -> str:
    return swallow()


@get("/background")
async def _background() -> Response[None]:
    return Response(None, background=BackgroundTask(background))


@get("/background_in_thread")
async def _background_in_thread() -> Response[None]:
    return Response(None, background=BackgroundTask(asyncio.to_thread, background_in_thread))


@get("/stream")
async def _stream() -> Stream:
    return Stream(failing_stream())


@get("/sync_stream")
async def _sync_stream() -> Stream:
    return Stream(failing_sync_stream())


@get("/stillborn_stream")
async def _stillborn_stream() -> Stream:
    return Stream(stillborn_stream())


@get("/long_stream")
async def _long_stream() -> Stream:
    return Stream(long_stream())


async def _fail_before_view():
    raise fault("dependency_before_view")
    yield


async def _fail_before_answer():
    yield
    raise fault("dependency_before_answer")


@get("/dependency_before_view", dependencies={"needed": Provide(_fail_before_view)})
async def _dependency_before_view(needed: NamedDependency[None]) -> None:
    """Do nothing."""


@get("/dependency_before_answer", dependencies={"needed": Provide(_fail_before_answer)})
async def _dependency_before_answer(needed: NamedDependency[None]) -> None:
    """Do nothing."""


@asgi("/mounted", is_mount=True, copy_scope=True)
async def _mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await product_starlette.inner_with_slashes(scope, receive, send)


@websocket("/socket/{name:str}")
async def _serve_socket(socket: WebSocket) -> None:
    name = socket.path_params["name"]
    if name == "before_accept":
        raise fault(name)
    await socket.accept()
    if name == "left":
        await socket.receive_text()
    if name == "deliberate_1011":
        raise WebSocketException(code=1011, detail="on purpose")
    if name == "caused_1011":
        raise WebSocketException(code=1011, detail="for a reason") from fault(name)
    if name == "fine":
        return await socket.close()
    raise fault(name)


def _answer_with_500(_request: Request, _error: Exception) -> Response[str]:
    return Response("failed", status_code=500)


def _answer_with_418(_request: Request, _error: Exception) -> Response[str]:
    return Response("short and stout", status_code=418)


def _answer_with_503(_request: Request, _error: Exception) -> Response[str]:
    return Response("closed", status_code=503)


def _build(handlers):
    views = [view for view in globals().values() if isinstance(view, BaseRouteHandler)]
    return Litestar(views, exception_handlers=handlers, openapi_config=None)


app = _build({Answered500: _answer_with_500, Answered418: _answer_with_418, Answered503: _answer_with_503})
app_with_own_500 = _build({500: _answer_with_500})


def with_lifespan(lifespan):
    """Return an application with that lifespan."""
    return Litestar(lifespan=[lifespan], openapi_config=None)
