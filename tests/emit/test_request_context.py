"""The route of a failed request, as each framework leaves a note of it."""

from __future__ import annotations

import pytest
from asgi import client_of
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.routing import Mount, Route


def _starlette():
    async def fail(_request):
        raise LookupError("of the application")

    inner = Starlette(routes=[Route("/runs/{run_id:int}/log", fail)])
    routes = [
        Route("/runs/{run_id:int}", fail),
        Route("/files/{path:path}", fail),
        Route("/plain", fail),
        Mount("/{tenant}/api", inner),
    ]
    return Starlette(routes=routes)


def _fastapi():
    app, inner = FastAPI(), FastAPI()

    def fail(run_id: int) -> None:
        raise LookupError(f"of run {run_id}")

    app.get("/runs/{run_id}")(fail)
    inner.get("/runs/{run_id}/log")(fail)
    app.mount("/inner", inner)
    return app


def _litestar():
    @get("/runs/{run_id:int}")
    async def fail() -> None:
        raise LookupError("of the application")

    return Litestar([fail])


def _fastapi_included():
    users, version, app = APIRouter(prefix="/users"), APIRouter(), FastAPI()

    def fail(user_id: int) -> None:
        raise LookupError(f"of user {user_id}")

    users.get("/{user_id}")(fail)
    version.include_router(users, prefix="/v1")
    app.include_router(version, prefix="/api")
    app.include_router(users, prefix="/tenants/{tenant}")
    return app


async def _bare(_scope, _receive, _send):
    raise LookupError("of the application")


@pytest.mark.parametrize(
    ("app", "path", "route"),
    [
        (_starlette, "/runs/17", "/runs/{run_id}"),
        (_starlette, "/files/a/b.txt", "/files/{path}"),
        (_starlette, "/plain", "/plain"),
        (_starlette, "/acme/api/runs/17/log", "/{tenant}/api/runs/{run_id}/log"),
        (_fastapi, "/runs/17", "/runs/{run_id}"),
        (_fastapi, "/inner/runs/17/log", "/inner/runs/{run_id}/log"),
        (_fastapi_included, "/api/v1/users/17", "/api/v1/users/{user_id}"),
        (_fastapi_included, "/tenants/acme/users/17", "/tenants/{tenant}/users/{user_id}"),
        (_litestar, "/runs/17", "/runs/{run_id}"),
        (lambda: _bare, "/runs/17", "/runs/{id}"),
    ],
)
def test_route_goes_with_the_exception(granted, sink, app, path, route):
    """The template that the framework matched is told beside the path; without one, ids are taken out."""
    client_of(granted.wrap(app())).get(path)

    assert granted.flush(timeout_s=60)
    [event] = sink.events
    assert (event.properties["$request_path"], event.properties["$request_route"]) == (path, route)


def test_odd_notes_in_the_scope_are_survived(granted, sink):
    """What others keep under these names costs the route, and not the report."""

    async def app(scope, _receive, _send):
        scope |= {
            "route": 5,
            "path_params": {"x": object(), 5: 17},
            "path_template": b"/x",
            "root_path": None,
        }
        raise LookupError("of the application")

    client_of(granted.wrap(app)).get("/runs/17")

    assert granted.flush(timeout_s=60)
    assert len(sink.events) == 1
