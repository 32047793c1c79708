"""Manifests that somebody agreed to long ago, as they stand in databases, decide as they did then."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import jsonschema
import pytest

from otel_posthog import Buckets, MaxChars, Range, Version, event
from otel_posthog.registry import Kind, Registry
from otel_posthog.registry.documents import schema_of
from otel_posthog.registry.manifest import hash_of, parse

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
KEPT = sorted(GOLDEN.glob("*.json"))


@event("run_finished", why="to know more", since="2.0")
class RunFinished:
    """A run ended, as of today."""

    success: bool
    trigger: Literal["manual", "timer", "webhook", "other"]
    steps: Annotated[int, Range(0, 1000)]
    seconds: Annotated[float, Buckets(0, 1, 10, 60)]
    python: Version
    label: Annotated[str, MaxChars(40)]
    added: bool


GIVEN = {
    "success": True,
    "trigger": "timer",
    "steps": 7,
    "seconds": 5,
    "python": "3.13.1",
    "label": "abcdef",
    "added": True,
    "share": 0.5,
}


@pytest.mark.parametrize("path", KEPT, ids=[path.name for path in KEPT])
def test_kept_text_is_read_as_it_was_written(path):
    """The text has the hash in its name, is read without a loss, and is written again byte for byte."""
    text = path.read_text(encoding="utf-8")
    manifest = parse(text)

    assert hash_of(text) == path.stem.rpartition("-")[2]
    assert manifest.text == text
    jsonschema.Draft202012Validator.check_schema(schema_of(manifest))


def test_earliest_manifest_still_decides():
    """What leaves of today's event is what the earliest manifest let out, in its form, until its last day."""
    text = next(GOLDEN.glob("telemetry-1-*.json")).read_text(encoding="utf-8")
    registry = Registry([RunFinished], today=lambda: date(2027, 6, 30))
    registry.remember(hash_of(text), lambda _name: text)

    left = registry.examine("run_finished", GIVEN, hash_of(text)).properties
    registry.today = lambda: date(2027, 7, 1)
    later = registry.examine("run_finished", GIVEN, hash_of(text)).properties

    assert left == {
        "success": True,
        "trigger": "other",
        "steps": 7,
        "seconds": "1-60",
        "python": "3.13",
    }
    assert later == {key: value for key, value in left.items() if key != "steps"}
    assert {change.property for change in registry.added(Kind.TELEMETRY, hash_of(text))} == {
        "",  # the event itself has no last day any more
        "trigger",
        "steps",
        "seconds",
        "label",
        "added",
    }
