"""WSGI (PEP 3333): the reports, labels and headers of ASGI, with nothing changed for server and application.

There is no lifespan: the first request starts the `Telemetry`, and the end of the process stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Self

from otel_posthog.emit.capture import guarded
from otel_posthog.emit.failures import FAILURE_STATUS, is_error
from otel_posthog.emit.request_context import (
    Slot,
    WatchedRequest,
    empty,
    enter,
    exception,
    leave,
    owned,
    template_of,
)
from otel_posthog.emit.tracebacks import own_frame

from .asgi import Lifecycle
from .exceptions import listen, on_failure, on_propagating

StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def watch_wsgi(app: WSGIApp, telemetry: Lifecycle) -> WSGIApp:
    """Return the application with its exceptions reported and its headers set."""
    listen()
    snapshot, touch = telemetry.consent_snapshot, telemetry.touch
    security, owner = telemetry.security, telemetry.owner
    make = owned(_Exchange, owner)

    @own_frame
    def watched(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        may_report = snapshot.may_report if monotonic() <= snapshot.fresh_until_s else touch()
        if not may_report and owner.is_alone and security is None:
            try:
                return app(environ, start_response)
            except BaseException as error:
                request = make()  # of this frame, for `was_reported`
                request.report(environ, start_response, error)
                raise
        request = make()
        request.begin(environ, start_response)
        request.security = security
        try:
            body: Iterable[bytes] = request.run(app, environ, request.start)
        except BaseException:
            empty(request, request.slot)
            raise
        # What has a length is there already, and a server sends a file of its wrapper by other means.
        wrapper = environ.get("wsgi.file_wrapper")
        if hasattr(body, "__len__") or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            empty(request, request.slot)
            return body
        request.body = body
        return request

    return watched


class _Exchange(WatchedRequest):
    """A request, and the body of its response as the server gets it."""

    __slots__ = ("body", "environ", "mount", "parts", "path_info", "respond", "slot", "write")

    body: Iterable[bytes]
    parts: Iterator[bytes]
    slot: Slot
    write: Any

    def begin(self, environ: dict[str, Any], start_response: StartResponse) -> None:
        self.notes = self.nonce = self.write = None
        self.was_reported = False
        self.environ, self.respond, self.outer = environ, start_response, exception()
        # As they came: a dispatcher within the application moves parts from one to the other.
        self.mount, self.path_info = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        self.slot = [self]

    @property
    def send(self) -> Any:  # type: ignore[override]  # nobody sets it
        return self.write  # of the server's functions the one that raises when the client has left

    @property
    def path(self) -> str:
        return _decoded(f"{self.mount}{self.path_info}")

    @property
    def scope(self) -> Mapping[str, Any]:  # type: ignore[override]  # nobody sets it
        """Return what describes the request, as ASGI names it; computed for a report only."""
        environ = self.environ
        rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
        return {
            "scheme": environ.get("wsgi.url_scheme", "http"),
            "method": environ.get("REQUEST_METHOD", "GET"),
            "headers": [(b"host", environ["HTTP_HOST"].encode("latin-1"))] if "HTTP_HOST" in environ else (),
            "app_root_path": _decoded(self.mount),
            "root_path": _decoded(environ.get("SCRIPT_NAME", "")),
            "path": _decoded(environ.get("PATH_INFO", "")),
            "path_template": template_of(rule) if isinstance(rule, str) else None,
        }

    def start(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        """Pass the response's start on; the application gets this as `start_response`."""
        try:
            code = int(status[:3])
            if code >= FAILURE_STATUS:
                on_failure(self, code, exc_info[1] if exc_info else None)
            if self.security is not None:
                headers = self.security.secured_texts(headers, code, self)
        except Exception:  # noqa: BLE001, S110 - no WSGI; the server will report it
            pass
        try:
            write = self.write = self.respond(status, headers, *([exc_info] if exc_info else []))
        finally:
            exc_info = None  # its traceback holds this frame, if the server raises it
        return write

    @own_frame
    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a part of the application, and report how it fails."""
        token = enter(self.slot)
        try:
            return function(*arguments)
        except StopIteration:
            raise
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            leave(token)

    @guarded
    def report(self, environ: dict[str, Any], start_response: StartResponse, error: BaseException) -> None:
        """Report what ended a call although reports are denied: consent is read again first."""
        self.begin(environ, start_response)
        self.security = self.outer = None
        token = enter(self.slot)
        try:
            self._fail(error)
        finally:
            leave(token)
            empty(self, self.slot)

    @guarded
    def _fail(self, error: BaseException) -> None:
        read = getattr(self.environ.get("wsgi.input"), "read", None)
        if is_error(error, read):  # reading fails when the client has left, too
            on_propagating(self, error)

    @own_frame
    def __iter__(self) -> Self:
        self.parts = self.run(iter, self.body)
        return self

    @own_frame
    def __next__(self) -> Any:
        return self.run(self.parts.__next__)

    @own_frame
    def close(self) -> None:
        """Close the application's body; the request has ended."""
        try:
            if hasattr(self.body, "close"):
                self.run(self.body.close)
        finally:
            empty(self, self.slot)


def _decoded(text: str) -> str:
    """Return a path of the environ, which holds bytes as Latin-1 (PEP 3333), as text."""
    return text.encode("latin-1", "replace").decode(errors="replace")
