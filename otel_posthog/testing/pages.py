"""Serve the sink's own page, its read API, and what posthog-js asks for at its start.

Any page on this machine may read (`GET`, CORS `*`); only the sink's own page may delete. A correctly
configured browser never asks for a configuration; the sink answers so that a test can see that it did.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from functools import cache
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from otel_posthog.testing.records import RecordLog
from otel_posthog.testing.rules import RULES

_CONFIG_PATH = re.compile(r"/array/(?P<token>[^/]+)/config")
_FLAG_PATHS = frozenset({"/flags", "/decide"})
# The answer of a project with every feature off, in the form that posthog-js reads.
_ALL_OFF: dict[str, object] = {
    **dict.fromkeys(("hasFeatureFlags", "errorsWhileComputingFlags", "autocaptureExceptions"), False),
    **dict.fromkeys(
        ("captureDeadClicks", "capturePerformance", "heatmaps", "sessionRecording", "surveys"), False
    ),
    **dict.fromkeys(("autocapture_opt_out", "defaultIdentifiedOnly", "elementsChainAsString"), True),
    **{name: {} for name in ("featureFlags", "featureFlagPayloads", "flags", "toolbarParams")},
    "supportedCompression": ["gzip", "gzip-js"],
    "siteApps": [],
}
_READABLE = {"access-control-allow-origin": "*", "cache-control": "no-store"}
# The page shows texts that tests sent, so it may load nothing and run no script of theirs.
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def answer(scope: Scope, log: RecordLog) -> Response | None:
    """Return the answer to a request for the page or its API, or None for any other request."""
    path, method = scope["path"], scope["method"]
    if path == "/" and method == "GET":
        return HTMLResponse(_page(), headers=_PAGE_HEADERS)
    return _answer_api(method, path, scope["query_string"].decode("latin-1"), log)


def answer_start_request(path: str) -> Response:
    """Return a configuration with everything off, or 404."""
    config = _CONFIG_PATH.fullmatch(path)
    if config is not None:
        return JSONResponse({**_ALL_OFF, "token": config["token"]})
    if path.rstrip("/") in _FLAG_PATHS:
        return JSONResponse(_ALL_OFF)
    return PlainTextResponse("The sink has nothing here.", status_code=404)


def _answer_api(method: str, path: str, query: str, log: RecordLog) -> Response | None:
    if not path.startswith("/api/"):
        return None
    match method, path:
        case "GET", "/api/events":
            return _events(log, query)
        case "GET", "/api/rules":
            return JSONResponse({"rules": _rules()}, headers=_READABLE)
        case "DELETE", "/api/events":
            log.clear()
            return Response(status_code=204)
        case "OPTIONS", _:
            return Response(status_code=204, headers={**_READABLE, "access-control-allow-methods": "GET"})
    return JSONResponse({"detail": "There is nothing here."}, status_code=404, headers=_READABLE)


def _events(log: RecordLog, query: str) -> Response:
    text = parse_qs(query).get("after", ["0"])[0]
    if not text.isdecimal():
        detail = "after must be a sequence number, as in /api/events?after=17"
        return JSONResponse({"detail": detail}, status_code=422, headers=_READABLE)
    events, refused = log.events, log.refused
    kept = [event.sequence for event in events[:1]] + [request.sequence for request in refused[:1]]
    content = {
        "last": log.last_sequence,
        "oldest": min(kept, default=None),
        "events": [_json(event) for event in reversed(events) if event.sequence > int(text)],
        "refused": [_json(request) for request in reversed(refused) if request.sequence > int(text)],
    }
    return JSONResponse(content, headers=_READABLE)


def _json(record: object) -> dict[str, object]:
    fields = asdict(record)  # type: ignore[call-overload]  # both kinds of records are dataclasses
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}


def _rules() -> list[dict[str, object]]:
    shown = ("id", "verdict", "status", "description", "source")
    return [{field: getattr(rule, field) for field in shown} for rule in RULES]


@cache
def _page() -> str:
    return files("otel_posthog.testing").joinpath("sink.html").read_text(encoding="utf-8")
