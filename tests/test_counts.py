"""What became of events, by reason."""

from __future__ import annotations

import re
from pathlib import Path

from otel_posthog.counts import DROPS, Counts

ROOT = Path(__file__).parents[1]
NO_DROPS = {
    "sent",
    "withdrawn",
    "told_before",
    "suppressed",
    "trimmed",
    "outside_declaration",
    "before_send",
}


def test_drops_are_told_apart():
    """What was lost is told without what was sent, repeated or withdrawn."""
    counts = Counts()
    for reason in ("sent", "queue_full", "withdrawn", "expired", "queue_full"):
        counts.add(reason)

    assert counts.dropped() == {"queue_full": 2, "expired": 1}


def test_each_reason_is_documented():
    """Each reason in the source stands in the table of docs/delivery.md, and no other.

    What the gateway counts beside events is on its own page.
    """
    package = ROOT / "otel_posthog"
    files = set(package.rglob("*.py")) - set((package / "gateway").rglob("*.py"))
    sources = "".join(path.read_text() for path in files)
    used = set(re.findall(r'counts\.add\(\s*"(\w+)"', sources))
    table = (ROOT / "docs" / "delivery.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", table, re.MULTILINE))

    assert used == documented == DROPS | NO_DROPS
