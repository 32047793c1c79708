"""The route of a request: as the framework told it, else its path without what names a single thing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_posthog import attributes

ID = "{id}"
_LONG_PART_CHARS = 40  # names of routes are shorter
_NUMBERED_CHARS = 16  # and so are those with a number in them
_SINGLE = re.compile(
    r"\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?=[a-f]*\d)[0-9a-f]{6,}|\d{4}-\d\d-\d\d",
    re.IGNORECASE,
)


def route_of(recorded: Mapping[str, object], path: str) -> str:
    """Return `http.route` where it is known, else the path with `{id}` for each part that names one thing."""
    route = recorded.get(attributes.HTTP_ROUTE)
    if isinstance(route, str) and route:
        return route
    return "/".join(map(_templated, path.split("/")))


def _templated(part: str) -> str:
    stem, dot, ending = part.partition(".")
    if _SINGLE.fullmatch(stem):
        return f"{ID}{dot}{ending}"
    has_digit = any(character.isdigit() for character in part)
    is_single = len(part) > _LONG_PART_CHARS or (len(part) >= _NUMBERED_CHARS and has_digit)
    return ID if is_single else part
