"""The attribute names that records share with their readers."""

from __future__ import annotations

import re
from pathlib import Path

from otel_posthog.otel import attributes

PAGE = Path(__file__).parents[2] / "docs" / "opentelemetry.md"


def test_each_name_is_documented():
    """The table in the documentation holds every attribute of ours, and no other."""
    own = {
        name for name in vars(attributes).values() if isinstance(name, str) and name.startswith("posthog.")
    }

    documented = set(re.findall(r"^\| `(posthog\.[\w.]+)` \|", PAGE.read_text(), re.MULTILINE))

    assert documented == own
