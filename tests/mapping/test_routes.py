"""The route of a request."""

from __future__ import annotations

import pytest

from otel_posthog import attributes
from otel_posthog.mapping.routes import route_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("", ""),
        ("/api/v1/pipelines", "/api/v1/pipelines"),
        ("/api/pipelines/17/run", "/api/pipelines/{id}/run"),
        ("/runs/01912d6e-5f3a-7c1e-8a77-2b1f0c9d8e7f", "/runs/{id}"),
        ("/commits/9fceb02d0ae598e95dc970b74767f19372d61af8", "/commits/{id}"),
        ("/logs/2026-11-25", "/logs/{id}"),
        ("/files/17.pdf", "/files/{id}.pdf"),
        ("/invite/q7Hn3kPz9LmXv2Rt", "/invite/{id}"),
        ("/feedback", "/feedback"),
        ("/decade/deadbeef", "/decade/deadbeef"),
        ("/x/" + "a" * 41, "/x/{id}"),
    ],
)
def test_ids_in_a_path_are_templated(path, expected):
    """Of a path whose route nobody told, parts that stand for one thing are taken out."""
    assert route_of({}, path) == expected


def test_known_route_wins():
    """The framework's own template is told as it is."""
    assert route_of({attributes.HTTP_ROUTE: "/runs/{run_id}"}, "/runs/17") == "/runs/{run_id}"
