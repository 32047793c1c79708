"""Breadcrumbs by their age."""

from __future__ import annotations

from math import inf

import pytest

from otel_posthog.mapping import with_steps_since

S_NS = 1_000_000_000
EVENT = {"$message": "run", "$timestamp": "1970-01-01T00:00:02.000+00:00", "type": "event"}
LOG = {"$message": "slow", "$timestamp": "1970-01-01T00:00:03.000+00:00", "type": "log"}


@pytest.mark.parametrize(
    ("since_ns", "events_since_ns", "left"),
    [
        (0, 0, [EVENT, LOG]),
        (2 * S_NS, 0, [EVENT, LOG]),
        (2 * S_NS + 1_000_000, 0, [LOG]),
        (0, 2 * S_NS + 1_000_000, [LOG]),
        (-inf, inf, [LOG]),
        (inf, 0, []),
    ],
)
def test_breadcrumbs_are_as_old_as_they_say(since_ns, events_since_ns, left):
    """Each is kept from its time on, and one that names a product event from the later of two."""
    kept = with_steps_since({"a": 1, "$exception_steps": [EVENT, LOG]}, since_ns, events_since_ns)

    assert kept == {"a": 1, **({"$exception_steps": left} if left else {})}


@pytest.mark.parametrize("step", [{}, {"$timestamp": 5}, {"$timestamp": "yesterday"}, "text", None], ids=repr)
def test_breadcrumb_without_a_time_is_the_oldest(step):
    """What a product's own function has put there is kept only while nothing was withdrawn."""
    properties = {"$exception_steps": [step]}

    assert with_steps_since(properties, 0, 0) is properties
    assert with_steps_since(properties, 1, 0) == {}


def test_other_properties_are_returned_as_they_are():
    """Without breadcrumbs nothing is copied."""
    properties = {"$exception_steps": "no list"}

    assert with_steps_since(properties, inf, inf) is properties
