"""Wrap applications where servers take them or frameworks are called, each once.

A server gets what `Telemetry.wrap` returns, so a request costs what it costs in code. Any other caller
finds a wrapper in the class of the framework, until a server is seen. Nothing is imported for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook, resolve_path

from otel_posthog.emit.request_context import current_request
from otel_posthog.emit.tracebacks import own_frame

if TYPE_CHECKING:
    from otel_posthog.telemetry import Telemetry

_log = logging.getLogger(__name__)
_MAX_KEPT = 32  # applications that are called without a server; then they are wrapped again
_GUNICORN = "gunicorn.workers."  # modules of its workers; what only inherits from their base may serve ASGI
_WATCHING = "otel_posthog.middleware."  # modules of what the product has wrapped itself

Call = Callable[..., Any]
Wrap = Callable[[Any], Call]


def _after(
    original: Call, wrap: Wrap, *, attribute: str, is_served: Callable[[object], bool] = lambda _server: True
) -> Call:
    """Replace the method of a server: that attribute is wrapped after it."""

    @wraps(original)
    def call(server: object, *arguments: object, **options: object) -> object:
        result = original(server, *arguments, **options)
        if is_served(server):
            setattr(server, attribute, wrap(getattr(server, attribute)))
        return result

    return call


def _before(original: Call, wrap: Wrap) -> Call:
    """Replace the function of a server: its first argument is wrapped."""
    return wraps(original)(lambda app, *arguments: original(wrap(app), *arguments))


def _asgi(original: Call, wrap: Wrap) -> Call:
    """Replace `__call__` of a framework, by a coroutine function as servers expect it."""

    @wraps(original)
    @own_frame
    async def call(app: object, scope: object, receive: object, send: object) -> object:
        return await wrap(app)(scope, receive, send)

    return call


def _wsgi(original: Call, wrap: Wrap) -> Call:
    return wraps(original)(lambda app, environ, start_response: wrap(app)(environ, start_response))


def _serves_wsgi(worker: object) -> bool:
    """Return False for uvicorn's and aiohttp's, which keep another application where WSGI's is kept."""
    modules = {cls.__module__ for cls in type(worker).__mro__}
    return any(name.startswith(_GUNICORN) for name in modules - {f"{_GUNICORN}base"})


_WSGI_SERVER = "gunicorn.workers.base:Worker.load_wsgi"
_SERVERS: dict[str, Callable[[Call, Wrap], Call]] = {
    "uvicorn.config:Config.load": partial(_after, attribute="loaded_app"),
    "hypercorn.app_wrappers:ASGIWrapper.__init__": partial(_after, attribute="app"),
    "daphne.server:Server.__init__": partial(_after, attribute="application"),
    "gunicorn.workers.gasgi:ASGIWorker.load_wsgi": partial(_after, attribute="asgi"),
    _WSGI_SERVER: partial(_after, attribute="wsgi", is_served=_serves_wsgi),
    "granian.asgi:LifespanProtocol.__init__": partial(_after, attribute="callable"),
    "granian.server.mp:_asgi_call_wrap": _before,
    "granian.server.mt:_asgi_call_wrap": _before,
    "granian.server.embed:_asgi_call_wrap": _before,
}
_FRAMEWORKS: dict[str, Callable[[Call, Wrap], Call]] = {
    "starlette.applications:Starlette.__call__": _asgi,  # FastAPI's calls it
    "litestar.app:Litestar.__call__": _asgi,
    "quart.app:Quart.__call__": _asgi,
    "django.core.handlers.asgi:ASGIHandler.__call__": _asgi,
    "flask.app:Flask.__call__": _wsgi,
    "django.core.handlers.wsgi:WSGIHandler.__call__": _wsgi,
}


class Applications:
    """The applications of this process, wrapped by the `Telemetry` that `telemetry` returns, if any."""

    def __init__(self, telemetry: Callable[[], Telemetry | None]) -> None:
        self._telemetry = telemetry
        self._ignored: set[str] = set()
        self._replaced: dict[str, tuple[object, str, Call, Call]] = {}
        self._kept: dict[int, Call] = {}  # each holds its application, so no other one gets its id

    def watch_imports(self) -> None:
        """Replace what is imported already, and the rest when it is imported."""
        for path in (*_SERVERS, *_FRAMEWORKS):
            register_post_import_hook(partial(self._replace, path), path.partition(":")[0])

    def restore(self, paths: Iterable[str] = (*_SERVERS, *_FRAMEWORKS)) -> None:
        """Put back what was replaced, and replace it no more; what is wrapped already stays so."""
        self._ignored.update(paths)
        for path in self._replaced.keys() & self._ignored:
            owner, name, original, ours = self._replaced.pop(path)
            if getattr(owner, name) is ours:
                setattr(owner, name, original)

    def _replace(self, path: str, module: ModuleType) -> None:
        if path in self._ignored:
            return
        try:
            owner, name, original = resolve_path(module, path.partition(":")[2])
            wrap = partial(self._serve, path) if path in _SERVERS else partial(self._called, path, original)
            ours = (_SERVERS | _FRAMEWORKS)[path](original, wrap)
            setattr(owner, name, ours)
            self._replaced[path] = (owner, name, original, ours)
        except Exception as error:  # noqa: BLE001 - another version has to be imported all the same
            _log.warning("%s cannot be wrapped (%s)", path, type(error).__name__)

    def _serve(self, path: str, app: Call) -> Call:
        """Return the application for a server, after which the classes of frameworks need no wrapper."""
        self.restore(_FRAMEWORKS)
        return self._wrapped(app, "wrap_wsgi" if path == _WSGI_SERVER else "wrap")

    def _called(self, path: str, original: Call, app: object) -> Call:
        """Return what to call for an application; within a request that is watched, it is bare."""
        if path in self._ignored or current_request() is not None:
            return partial(original, app)
        wrapped = self._kept.get(id(app))
        if wrapped is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            bound = partial(original, app)
            bound.app = app  # type: ignore[attr-defined]  # tools that search the layers follow it inwards
            wrapped = self._wrapped(bound, "wrap" if _FRAMEWORKS[path] is _asgi else "wrap_wsgi")
            self._kept[id(app)] = wrapped
        return wrapped

    def _wrapped(self, app: Call, method: str) -> Call:
        try:
            is_watched = str(getattr(app, "__module__", "")).startswith(_WATCHING)
            telemetry = None if is_watched else self._telemetry()
            wrapped: Call = getattr(telemetry, method, lambda bare: bare)(app)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
            _log.warning("An application is not watched (%s)", type(error).__name__)
            return app
        return wrapped
