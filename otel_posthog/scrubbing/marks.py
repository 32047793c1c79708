"""What stands where a secret stood."""

from __future__ import annotations


def mark(rule: str) -> str:
    """Return the text that names the rule."""
    return f"[scrubbed:{rule}]"
