"""The product in Flask, which is served by WSGI."""

from __future__ import annotations

from flask import Flask, Response, abort, request
from werkzeug.exceptions import default_exceptions
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from .behaviours import CAUSED
from .faults import (
    CHUNK,
    FAULTS,
    Answered418,
    Answered503,
    failing_sync_stream,
    fault,
    raise_http_error,
    stillborn_sync_stream,
    swallow,
    work_on_thread,
)

_HTTP_ERRORS = {path: default_exceptions[int(path[6:9])]() for path in CAUSED}
REPORTED_AS = {path: (type(error).__name__, str(error)) for path, error in _HTTP_ERRORS.items()}
LACKS = {
    "/raise/answered_with_500": "announces no exception with a handler of its type",
    "/mounted/answered_with_500": "announces no exception with a handler of its type",
}


def _raise_fault(name):
    raise FAULTS[name]()  # noqa: RSE102 - makes the exception


def _fail(name):
    raise fault(name)


def _fail_by_http_error(name):
    raise_http_error(name, lambda status: default_exceptions[status]())


VIEWS = {
    "/raise/<name>": _raise_fault,
    "/fail/<name>": _fail,
    "/http/<name>": _fail_by_http_error,
    "/number/<int:number>/of/<path:place>": lambda number, place: _fail(f"{number} of {place}"),
    "/thread": work_on_thread,
    "/read": lambda: request.data,
    "/fine": lambda: "fine",
    "/forbidden": lambda: abort(403),
    "/deliberate_500": lambda: abort(500),
    "/deliberate_503": lambda: abort(503),
    "/plain_500": lambda: ("on purpose", 500),
    "/swallowed": swallow,
    "/swallowed_then_500": lambda: (swallow(), 500),
    "/sync_stream": lambda: Response(failing_sync_stream()),
    "/stillborn_stream": lambda: Response(stillborn_sync_stream()),
    "/parts": lambda: Response(iter([CHUNK, CHUNK])),
}


def build():
    """Return the product as Flask builds it."""
    made = Flask(__name__)
    for rule, view in VIEWS.items():
        made.add_url_rule(rule, endpoint=rule.replace(".", "_"), view_func=view)
    made.register_error_handler(Answered418, lambda _error: ("short and stout", 418))
    made.register_error_handler(Answered503, lambda _error: ("closed", 503))
    return made


inner = Flask(__name__)
inner.add_url_rule("/<name>", view_func=_raise_fault)
app = build()
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/mounted": inner})
