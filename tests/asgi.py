"""Small ASGI applications and a client that calls them as a server would."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient


async def _fine(_request):
    return PlainTextResponse("fine")


async def _fail(request):
    raise LookupError(f"failure number {request.path_params['number']}")


async def _teapot(_request):
    raise HTTPException(418, "a client's mistake")


async def _deliberate_503(_request):
    raise HTTPException(503, "closed for today")


async def _handled(_request):
    try:
        int("handled by the application")
    except ValueError:
        return PlainTextResponse("fine all the same")


async def _socket(websocket):
    await websocket.accept()
    raise RuntimeError("failure on a socket")


def some_app() -> Starlette:
    """Return an application with a route for each way in which a request can end."""
    return Starlette(
        routes=[
            Route("/fine", _fine),
            Route("/fail/{number}", _fail, methods=["GET", "POST"]),
            Route("/teapot", _teapot),
            Route("/closed", _deliberate_503),
            Route("/handled", _handled),
            WebSocketRoute("/socket", _socket),
        ]
    )


def client_of(app) -> TestClient:
    """Return a client that gets the server's answer instead of the exception."""
    return TestClient(app, raise_server_exceptions=False)


def call(app, scope) -> None:
    """Run one connection of a scope that needs no messages; exceptions come through."""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_message):
        return None

    asyncio.run(app(scope, receive, send))


def http_scope(path="/", *, method="GET", query=b"", headers=()):
    """Return the scope of an HTTP request."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "https",
        "query_string": query,
        "headers": list(headers),
    }
