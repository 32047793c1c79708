"""The current request: what the middleware and emitters share about it, and its description.

A context variable rather than an entry of the scope: the application gets its scope unchanged, and
tasks and threads that a framework starts for the request see the same object.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any
from urllib.parse import quote
from uuid import UUID

from otel_posthog.otel import attributes

_NOTHING: Mapping[str, Any] = {}
_DESCRIBING = ("headers", "method", "scheme")


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

    # No `__init__`, which would cost each request a twentieth of a microsecond: `begin` sets what is needed,
    # and the middleware does the same inline. The notes are one object, not four slots: most requests have
    # none, and setting and freeing slots costs as much.
    __slots__ = ("nonce", "notes", "outer", "path", "scope", "security", "send")

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


# What a context holds: emptied when the request ends, since a task that outlives it keeps its context. The
# server's `send` and all else that the request holds are then freed. A list is the cheapest object that can
# be emptied.
Slot = list[WatchedRequest | None]


class Origins:
    """Whether ended requests are still asked for."""

    are_kept = False


current_slot: ContextVar[Slot | None] = ContextVar("otel_posthog_request", default=None)
enter, leave, exception = current_slot.set, current_slot.reset, sys.exception  # looked up once


def begin(
    request: WatchedRequest, scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]
) -> tuple[Slot, Token[Slot | None]]:
    """Make this the current request; `watch` does the same inline, as it runs on each request."""
    request.notes = request.nonce = request.security = None
    request.was_reported = False
    request.scope = scope
    try:
        request.path = scope.get("path", "")
    except Exception:  # noqa: BLE001 - of a third-party class; the application will report it
        request.path = ""
    request.send = send
    request.outer = exception()
    slot: Slot = [request]
    return slot, enter(slot)


def end(request: WatchedRequest, slot: Slot, token: Token[Slot | None]) -> None:
    """Empty the slot, so that code that outlives the request is no part of it."""
    if Origins.are_kept:
        slot.append(ended(request))
    slot[0] = request.outer = request.notes = None  # frames of exceptions hold the request
    with suppress(ValueError):  # a coroutine may be closed in another context than it ran in
        leave(token)


def ended(request: WatchedRequest) -> WatchedRequest:
    """Return a request that describes one that has ended, and holds nothing else of it."""
    description = WatchedRequest()
    description.path, description.scope, description.notes = request.path, _NOTHING, None
    with suppress(Exception):  # a scope of a third-party class
        description.scope = {name: request.scope[name] for name in _DESCRIBING if name in request.scope}
    return description


def current_request() -> WatchedRequest | None:
    """Return the request within which this code runs, if a middleware watches one."""
    slot = current_slot.get()
    return None if slot is None else slot[0]


def originating_request() -> WatchedRequest | None:
    """Return the request that started this code; if it has ended, one that describes it."""
    slot = current_slot.get()
    return None if slot is None else slot[-1]


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
