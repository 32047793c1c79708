"""Events that are too large are shortened, and say so."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from otel_posthog.events import Event
from otel_posthog.registry import TRIMMED
from otel_posthog.trimming import trimmed

MAX_BYTES = 20_000


def some_event(**properties):
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return Event(name="something", properties=properties, timestamp=moment, uuid=UUID(int=1), accepted_ns=1)


def test_event_that_fits_stays_as_it_is():
    """Nothing is touched below the limit."""
    event = some_event(text="x" * 1000, frames=list(range(300)))

    assert trimmed(event, MAX_BYTES) is event


@pytest.mark.parametrize(
    "properties",
    [
        {"text": "x" * 50_000},
        {"deep": {"deeper": [{"text": "x" * 50_000}]}},
        {"frames": [{"function": f"f{number}", "line": "x" * 80} for number in range(1000)]},
        {f"property_{number}": "x" * 1_000 for number in range(100)},
        {"text": '"\\' * 20_000},
    ],
    ids=["text", "deep text", "list", "many texts", "escapes"],
)
def test_large_event_is_shortened_and_marked(properties):
    """Long texts and long lists are cut until the event fits; it keeps its identity and says so."""
    event = some_event(kept=3, **properties)

    shorter = trimmed(event, MAX_BYTES)

    assert shorter.size_bytes() <= MAX_BYTES
    assert (shorter.uuid, shorter.timestamp, shorter.name) == (event.uuid, event.timestamp, event.name)
    assert (shorter.properties["kept"], shorter.properties[TRIMMED]) == (3, True)


def test_both_ends_of_a_list_stay():
    """Of a long stack the outermost and the innermost frames stay."""
    event = some_event(frames=[{"number": number, "line": "x" * 80} for number in range(1000)])

    frames = trimmed(event, MAX_BYTES).properties["frames"]

    assert [frames[0]["number"], frames[-1]["number"]] == [0, 999]


def test_event_that_cannot_be_shortened_enough_is_none():
    """Where many small things make it large, nothing is left to cut."""
    assert trimmed(some_event(**{f"property_{n}": n for n in range(5_000)}), MAX_BYTES) is None
