"""Describe a request by OpenTelemetry's semantic conventions (HTTP, URL, server)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from otel_posthog import attributes
from otel_posthog.request_state import RequestUnderWay

_PLAIN = (str, int, float, UUID)  # what routes convert to; of other classes nothing is asked
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
    route = _route(scope, request.path)
    if route is not None:
        found[attributes.HTTP_ROUTE] = route
    for name, value in scope.get("headers", ()):
        if name == b"host":
            found[attributes.SERVER_ADDRESS] = value.decode("latin-1")
            break
    return found


def _route(scope: Mapping[str, Any], path: str) -> str | None:
    """Return the template that the framework matched, as far as it left a note of it in the scope."""
    template = scope.get("path_template")  # Litestar
    if isinstance(template, str) and template:
        return template
    found = scope.get("route")  # FastAPI
    template = getattr(found, "path_format", None)
    parameters = scope.get("path_params")  # Starlette
    if not isinstance(parameters, Mapping):
        parameters = {}
    if isinstance(template, str):
        mounted = str(scope.get("root_path", "")).removeprefix(str(scope.get("app_root_path", "")))
        return _without_values(mounted, parameters) + template
    return _without_values(path, parameters) if parameters else None


def _without_values(path: str, parameters: Mapping[str, object]) -> str:
    """Return the path with the name of each parameter in place of its value."""
    names = {str(value): name for name, value in parameters.items() if type(value) in _PLAIN}
    for text, name in names.items():
        if "/" in text and path.endswith(f"/{text}"):
            path = f"{path[: -len(text)]}{{{name}}}"
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in path.split("/"))
