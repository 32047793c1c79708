"""What we send beside what posthog-python itself sends for the same exception (`tests/golden`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from acme.runs import engine
from posthog.version import VERSION

from otel_posthog import capture_exception

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "goldens.json").read_text())
DIFFERENCES = {
    "with_notes": {"value": "plain\nfirst note\nsecond note"},  # posthog-python leaves notes out
    "with_text_and_message": {"value": "told by __str__"},  # it takes `message` and `detail` for the text
}


def _expected(name):
    golden = GOLDEN["goldens"][name]
    golden["$exception_list"][0] |= DIFFERENCES.get(name, {})
    for entry in golden["$exception_list"]:
        for frame in entry.get("stacktrace", {"frames": []})["frames"]:
            frame.setdefault("in_app", False)  # posthog-python says nothing of generated code
            if frame["context_line"] is None:  # and names lines that are not there
                del frame["context_line"], frame["pre_context"], frame["post_context"]
    return golden


def _sent(sink):
    properties = sink.events[-1].properties
    for entry in properties["$exception_list"]:
        stack = entry.get("stacktrace", {"frames": []})
        stack["frames"] = [frame for frame in stack["frames"] if frame["module"].startswith("acme.")]
    return {key: properties[key] for key in ("$exception_list", "$exception_level")}


@pytest.mark.parametrize("name", [name for name in GOLDEN["goldens"] if name != "by_hand"])
def test_event_equals_posthogs_own(granted, sink, name):
    """Type, module, value, mechanism and every field of every frame are the same, entry by entry (R15)."""
    capture_exception(engine.caught(getattr(engine, name)))

    assert granted.flush(timeout_s=60)
    assert _sent(sink) == _expected(name)


def test_event_of_one_that_was_never_raised_equals_posthogs_own(granted, sink):
    """The calls that led to the report stand for its stack, and are marked as such (R15)."""
    engine.by_hand(capture_exception)

    assert granted.flush(timeout_s=60)
    assert _sent(sink) == _expected("by_hand")


def test_goldens_say_by_whom_they_were_made():
    """The files come from posthog-python, of the version that is installed."""
    assert GOLDEN["made_by"] == f"posthog-python {VERSION}"
