"""Describe a request by OpenTelemetry's semantic conventions (HTTP, URL, server)."""

from __future__ import annotations

from urllib.parse import quote

from otel_posthog import attributes
from otel_posthog.request_state import RequestUnderWay

_PATH_SAFE = "/:@!$&'()*+,;=~"  # RFC 3986, section 3.3


def request_attributes(request: RequestUnderWay) -> dict[str, object]:
    """Return method, scheme, path and host as the client named it; never the query string.

    Nothing where the scope is malformed: that an error happened counts more than where.
    """
    try:
        return _described(request)
    except (AttributeError, LookupError, TypeError, ValueError):
        return {}


def _described(request: RequestUnderWay) -> dict[str, object]:
    scope = request.scope
    found: dict[str, object] = {
        attributes.URL_SCHEME: scope.get("scheme", "http"),
        attributes.URL_PATH: quote(request.path, safe=_PATH_SAFE, errors="replace"),
        attributes.HTTP_REQUEST_METHOD: scope.get("method", "WEBSOCKET"),
    }
    for name, value in scope.get("headers", ()):
        if name == b"host":
            found[attributes.SERVER_ADDRESS] = value.decode("latin-1")
            break
    return found
