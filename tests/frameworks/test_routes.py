"""Nested routers, mounts and a root path in six frameworks: the route that a report names."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from fastapi import APIRouter, FastAPI
from frameworks import client, product_bare, product_django
from frameworks.faults import fault
from litestar import Litestar, Router, asgi, get
from litestar.types import Receive, Scope, Send
from quart import Blueprint, Quart
from starlette.applications import Starlette
from starlette.routing import Mount, Route

PATH = "/api/acme/users/5"
ROUTE = "/api/{tenant}/users/{id}"


async def _fail(*_arguments, **_parameters):
    raise fault("in a route")


def _starlette():
    users = Mount("/{tenant}", routes=[Mount("/users", routes=[Route("/{id:int}", _fail)])])
    return Starlette(routes=[Mount("/api", routes=[users])])


def _fastapi():
    users, tenant, app = APIRouter(prefix="/users"), APIRouter(), FastAPI()

    @users.get("/{id}")
    async def show(id: int) -> None:  # noqa: A002 - the name of the parameter
        await _fail()

    tenant.include_router(users, prefix="/{tenant}")
    app.include_router(tenant, prefix="/api")
    return app


def _litestar():
    @get("/users/{id:int}")
    async def show() -> None:
        await _fail()

    tenant = Router("/{tenant:str}", route_handlers=[show])
    return Litestar([Router("/api", route_handlers=[tenant])], openapi_config=None)


def _quart():
    app, api, users = Quart(__name__), Blueprint("api", __name__), Blueprint("users", __name__)
    users.add_url_rule("/users/<int:id>", "show", _fail)
    api.register_blueprint(users, url_prefix="/<string(minlength=2):tenant>")
    app.register_blueprint(api, url_prefix="/api")
    return app


_USERS = [path("users/<int:id>", _fail), re_path(r"^items/(?P<id>[0-9]{1,4})$", _fail)]


class _Urls:
    urlpatterns = (path("api/", include([path("<slug:tenant>/", include(_USERS))])),)
    handler500 = staticmethod(lambda _request: HttpResponse(status=500))


FRAMEWORKS = {
    "django": product_django.Handler,
    "fastapi": _fastapi,
    "litestar": _litestar,
    "quart": _quart,
    "starlette": _starlette,
}
each = pytest.mark.parametrize("name", FRAMEWORKS)


@pytest.fixture(autouse=True)
def _urls():
    with override_settings(ROOT_URLCONF=_Urls):
        yield


@each
@pytest.mark.parametrize("root_path", ["", "/proxy", "/api"])
def test_route_has_every_prefix_and_no_root_path(reports, name, root_path):
    """The route has the prefixes of all routers, and not the path under which a server has the product."""
    client.get(reports.wrap(FRAMEWORKS[name]()), PATH, root_path=root_path)

    assert [(each.path, each.route) for each in reports.all()] == [(root_path + PATH, ROUTE)]


@each
@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_mounted_application_has_its_prefix(reports, name, root_path):
    """Mounts within mounts are a part of the route, whatever framework is behind them."""
    app = Starlette(routes=[Mount("/outer", routes=[Mount("/inner", FRAMEWORKS[name]())])])

    client.get(reports.wrap(app), f"/outer/inner{PATH}", root_path=root_path)

    assert [each.route for each in reports.all()] == [f"/outer/inner{ROUTE}"]


def test_mount_has_its_parameter(reports):
    """A parameter of a mount is named like those of routes."""
    app = Starlette(routes=[Mount("/of/{house}", _fastapi())])

    client.get(reports.wrap(app), f"/of/5{PATH}")

    assert [each.route for each in reports.all()] == [f"/of/{{house}}{ROUTE}"]


def test_django_names_regular_expressions_by_their_groups(reports):
    """A route that is a regular expression reads like any other."""
    client.get(reports.wrap(product_django.Handler()), "/api/acme/items/5")

    assert [each.route for each in reports.all()] == ["/api/{tenant}/items/{id}"]


def test_values_that_repeat_a_prefix_are_named_once(reports):
    """A value that equals a part of the prefix is not mistaken for it."""
    client.get(reports.wrap(_starlette()), "/api/api/users/5")

    assert [each.route for each in reports.all()] == [ROUTE]


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_root_path_of_fastapi_is_no_part_of_the_route(reports):
    """`FastAPI(root_path=…)` says where the product is, too."""
    app = FastAPI(root_path="/proxy")

    @app.get("/users/{id}")
    async def show(id: int) -> None:  # noqa: A002 - the name of the parameter
        await _fail()

    client.get(reports.wrap(app), "/users/5")

    assert [each.route for each in reports.all()] == ["/users/{id}"]


def test_mount_of_litestar_is_in_the_route(reports):
    """An application that Litestar mounts without a copy of the scope has the mount's prefix."""

    @asgi("/inner", is_mount=True, copy_scope=False)
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await Starlette(routes=[Route("/users/{id}/", _fail)])(scope, receive, send)

    client.get(reports.wrap(Litestar([inner], openapi_config=None)), "/inner/users/5")

    assert [each.route for each in reports.all()] == ["/inner/users/{id}/"]


@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_bare_callable_has_its_path_without_what_varies(reports, root_path):
    """Without a framework the route is made from the path, and has no root path either."""

    async def app(scope, receive, send):
        await product_bare.app(scope | {"path": "/raise/unhandled"}, receive, send)

    client.get(reports.wrap(app), PATH, root_path=root_path)

    assert [each.route for each in reports.all()] == ["/api/acme/users/{id}"]
