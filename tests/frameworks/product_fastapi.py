"""The product in FastAPI: Starlette's views and FastAPI's own dependencies, handlers and mounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import StreamingResponse
from starlette.routing import Route

from . import product_starlette
from .faults import (
    FAULTS,
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

LACKS = {}
REPORTED_AS = product_starlette.REPORTED_AS


async def _fail_before_view():
    raise fault("dependency_before_view")
    yield


async def _fail_before_answer():
    yield
    raise fault("dependency_before_answer")


async def _fail_after_answer():
    yield
    raise fault("dependency_after_answer")


def _build(handlers):
    app = FastAPI(exception_handlers=handlers)
    _add_failures(app)
    _add_answers(app)
    _add_streams(app)
    _add_dependencies(app)
    app.websocket("/socket/{name}")(_serve_socket)
    inner = FastAPI(routes=[Route("/{name}", product_starlette.raise_fault)])
    app.mount("/mounted", inner)
    return app


def _add_failures(app):
    @app.get("/raise/{name}")
    async def raise_fault(name: str) -> None:
        raise FAULTS[name]()  # noqa: RSE102 - makes the exception

    @app.get("/thread")
    def thread() -> None:
        work_on_thread()

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403)

    @app.get("/deliberate_500")
    async def deliberate_500() -> None:
        raise HTTPException(500)

    @app.get("/deliberate_503")
    async def deliberate_503() -> None:
        raise HTTPException(503)

    @app.get("/http/{name}")
    async def fail_by_http_error(name: str) -> None:
        raise_http_error(name, HTTPException)

    app.add_route("/fail/{name}", product_starlette.fail)
    app.add_route("/read", product_starlette.read)


def _add_answers(app):
    @app.get("/fine")
    async def fine() -> str:
        return "fine"

    @app.get("/plain_500", status_code=500)
    async def plain_500() -> str:
        return "failed"

    @app.get("/swallowed")
    async def swallowed() -> str:
        return swallow()

    @app.get("/swallowed_then_500")
    async def swallowed_then_500(response: Response) -> str:
        response.status_code = 500
        return swallow()

    @app.get("/background")
    async def in_background(tasks: BackgroundTasks) -> None:
        tasks.add_task(background)

    @app.get("/background_in_thread")
    def in_background_in_thread(tasks: BackgroundTasks) -> None:
        tasks.add_task(background_in_thread)


def _add_streams(app):
    for make in (failing_stream, failing_sync_stream, stillborn_stream, long_stream):
        app.get(f"/{make.__name__.removeprefix('failing_')}")(_streaming(make))


def _streaming(make):
    async def view() -> StreamingResponse:
        return StreamingResponse(make())

    return view


def _add_dependencies(app):
    @app.get("/dependency_before_view")
    async def before_view(_needed: Annotated[None, Depends(_fail_before_view)]) -> None:
        """Do nothing."""

    @app.get("/dependency_before_answer")
    async def before_answer(
        _needed: Annotated[None, Depends(_fail_before_answer, scope="function")],
    ) -> None:
        """Do nothing."""

    @app.get("/dependency_after_answer")
    async def after_answer(_needed: Annotated[None, Depends(_fail_after_answer)]) -> None:
        """Do nothing."""


async def _serve_socket(websocket: WebSocket, name: str) -> None:
    await product_starlette.serve_socket(websocket)


app = _build(product_starlette.HANDLERS)
app_with_own_500 = _build({Exception: product_starlette.answer_with_500})


def with_lifespan(lifespan):
    """Return an application with that lifespan."""
    return FastAPI(lifespan=lifespan)
