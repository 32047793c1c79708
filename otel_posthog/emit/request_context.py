"""The current request: what the middleware and emitters share about it, and its description.

A context variable rather than an entry of the scope: the application gets its scope unchanged, and
tasks and threads that a framework starts for the request see the same object.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote
from uuid import UUID

from otel_posthog.otel import attributes

if TYPE_CHECKING:
    from .emitters import Emitter

_R = TypeVar("_R", bound="WatchedRequest")
_NOTHING: Mapping[str, Any] = {}
_DESCRIBING = ("headers", "method", "scheme")


class Owner:
    """One `Telemetry`, as a context names it: what is emitted there belongs to it."""

    def __init__(self, *, is_default: bool = False, is_of_file: bool = False) -> None:
        self.emitter: Emitter | None = None  # while it does not run
        # Whether a context need not name it: no other one runs, or it gives way to the product's own.
        self.is_alone = False
        self.is_default = is_default
        self.is_of_file = is_of_file
        self.owner = self  # a context holds either a request or the owner


class WrappedSend:
    """The owner of a bound method that the application gets in place of the server's `send`."""

    __slots__ = ()

    send: Callable[[Any], Awaitable[None]]
    """The next one towards the server."""


class WatchedCall:
    """One call of the application whose exceptions the middleware reports."""

    __slots__ = ("was_reported",)

    # Whether the exception that ended it was reported: the exception stays as it was raised (docs/adr/0006).
    was_reported: bool


class Notes:
    """What becomes known of a request while it runs."""

    __slots__ = ("announced", "breadcrumbs", "reported", "route", "span")

    def __init__(self) -> None:
        # The exception of a framework's signal; it counts once the response is a failure.
        self.announced: BaseException | None = None
        # The route as a framework names it that leaves it out of the scope.
        self.route: object = None
        # The exception that was reported although the application responded.
        self.reported: BaseException | None = None
        # Context of the span that other instrumentation ended for it, if there was one.
        self.span: Any = None
        self.breadcrumbs: deque[Any] | None = None


class WatchedRequest(WatchedCall, WrappedSend):
    """One request, from its arrival in the middleware until the application has ended."""

    # No `__init__`, which would cost each request a twentieth of a microsecond: the middleware sets what is
    # needed. The notes are one object, not more slots: most requests have none, and slots cost as much.
    __slots__ = ("nonce", "notes", "outer", "path", "scope", "security", "send")

    owner: ClassVar[Owner]
    scope: Mapping[str, Any]
    # As it came: Litestar changes the scope of what it mounts.
    path: Any
    # The exception being handled around the call of the application; it is not the request's.
    outer: BaseException | None
    # The middleware that sets headers and policy of the response, None if the product wants none.
    security: Any
    # Of the scripts in the response: None until asked for.
    nonce: str | None
    # None until something is noted; writers call `noted`.
    notes: Notes | None

    def noted(self) -> Notes:
        """Return its notes, creating them if necessary."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes


# What a context holds: a request, and its owner once it has ended, since a task that outlives it keeps its
# context. The server's `send` and all else that the request holds are then freed. A list is the cheapest
# object that can be emptied.
Slot = list[WatchedRequest | Owner]


class Origins:
    """Whether ended requests are still asked for."""

    are_kept = False


current_slot: ContextVar[Slot | None] = ContextVar("otel_posthog_request", default=None)
enter, leave, exception = current_slot.set, current_slot.reset, sys.exception  # looked up once


def empty(request: WatchedRequest, slot: Slot) -> None:
    """Leave only the owner in the slot, so that code that outlives the request is no part of it."""
    if Origins.are_kept:
        slot.append(ended(request))
    slot[0] = request.owner
    request.outer = request.notes = None  # frames of exceptions hold the request


def ended(request: WatchedRequest) -> WatchedRequest:
    """Return a request that describes one that has ended, and holds nothing else of it."""
    description = WatchedRequest()
    description.path, description.scope, description.notes = request.path, _NOTHING, None
    with suppress(Exception):  # a scope of a third-party class
        description.scope = {name: request.scope[name] for name in _DESCRIBING if name in request.scope}
    return description


def owned(cls: type[_R], owner: Owner) -> type[_R]:
    """Return a class for the requests of this owner, so that naming it costs them nothing."""
    made: type[_R] = type(cls.__name__, (cls,), {"__slots__": (), "owner": owner})
    return made


@contextmanager
def within(owner: Owner) -> Iterator[None]:
    """Let what is emitted in the block, and in tasks that it starts, belong to this owner."""
    token = enter([owner])
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine may be closed in another context than it ran in
            leave(token)


def current_owner() -> Owner | None:
    """Return the `Telemetry` under which this code runs, also after its request; None outside of any."""
    slot = current_slot.get()
    return slot[0].owner if slot else None


def current_request() -> WatchedRequest | None:
    """Return the request within which this code runs, if a middleware watches one."""
    slot = current_slot.get()
    return slot[0] if slot and isinstance(slot[0], WatchedRequest) else None


def originating_request() -> WatchedRequest | None:
    """Return the request that started this code; if it has ended, one that describes it."""
    slot = current_slot.get()
    return slot[-1] if slot and isinstance(slot[-1], WatchedRequest) else None


_PLAIN = (str, int, float, UUID)  # what routes convert to; no method of another class is called
_PATH_SAFE = "/:@!$&'()*+,;=~"  # RFC 3986, section 3.3
# A parameter as Django and Quart write it, and as a regular expression names it.
_PARAMETER = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)|<(?:[^<>:]*:)?(\w+)>")


def request_attributes(request: WatchedRequest | None) -> dict[str, object]:
    """Return method, scheme, path and host as the client named it; never the query string."""
    if request is None:
        return {}
    try:
        scope, path = request.scope, request.path
        deployed = str(scope.get("app_root_path", scope.get("root_path", "")))
        found: dict[str, object] = {
            attributes.URL_SCHEME: scope.get("scheme", "http"),
            attributes.URL_PATH: quote(path, safe=_PATH_SAFE, errors="replace"),
            attributes.HTTP_REQUEST_METHOD: scope.get("method", "WEBSOCKET"),
        }
        route = _route(request, path.removeprefix(deployed), deployed)
        if route is not None:
            found[attributes.HTTP_ROUTE] = route
        elif deployed:
            found[attributes.ROOT_PATH] = quote(deployed, safe=_PATH_SAFE, errors="replace")
        for name, value in scope.get("headers", ()):
            if name == b"host":
                found[attributes.SERVER_ADDRESS] = value.decode("latin-1")
                break
    # The scope is malformed: that an error happened counts more than where.
    except (AttributeError, LookupError, TypeError, ValueError):
        return {}
    return found


def _route(request: WatchedRequest, path: str, deployed: str) -> str | None:
    """Return the template of the path that the framework matched, with the prefixes of mounts."""
    scope = request.scope
    parameters = scope.get("path_params")
    if not isinstance(parameters, Mapping):
        parameters = {}
    template = _template(request)
    if template is None:
        return _without_values(path, parameters) if parameters else None
    mounted = str(scope.get("root_path", "")).removeprefix(deployed)  # Starlette's mounts add to it
    inner = str(scope.get("path", "")).rstrip("/")  # and Litestar's cut the path
    outer = path.rstrip("/").removesuffix(inner) if path.rstrip("/").endswith(inner) else ""
    prefix = mounted if mounted.startswith(outer) else outer + mounted
    values = {name: value for name, value in parameters.items() if f"{{{name}}}" not in template}
    return _without_values(prefix, values) + template


def template_of(route: str) -> str:
    """Return the route with `{name}` for each parameter, however its framework writes it."""
    named = _PARAMETER.sub(lambda found: f"{{{found[1] or found[2]}}}", route)
    return "/" + re.sub(r"\\Z|[\^$\\]", "", named).lstrip("/")


def _template(request: WatchedRequest) -> str | None:
    scope, notes = request.scope, request.notes
    if notes is not None and isinstance(notes.route, str):  # Django, Quart
        return template_of(notes.route)
    template = scope.get("path_template")  # Litestar
    if isinstance(template, str) and template:
        return template
    found, fastapi = scope.get("route"), scope.get("fastapi")  # Starlette, FastAPI
    # From FastAPI 0.137 on, the route lacks the prefixes under which its router is included.
    included = fastapi.get("effective_route_context") if isinstance(fastapi, Mapping) else None
    if getattr(included, "original_route", None) is found is not None:
        found = included
    template = getattr(found, "path_format", None)
    return template if isinstance(template, str) and not hasattr(found, "routes") else None


def _without_values(path: str, parameters: Mapping[str, object]) -> str:
    """Return the path with the name of each parameter in place of its value, from the last one on."""
    end = len(path)
    for name, value in reversed(list(parameters.items())):
        at = f"{path[:end]}/".rfind(f"/{value}/") if type(value) in _PLAIN else -1
        if at >= 0 and value != "":
            path, end = f"{path[: at + 1]}{{{name}}}{path[at + 1 + len(str(value)) :]}", at
    return path
