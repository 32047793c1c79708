"""Count what became of events, by reason."""

from __future__ import annotations

import threading
from collections import Counter

DROPS = frozenset(
    {
        "before_send_failed",
        "expired",
        "queue_full",
        "refused",
        "shutdown",
        "spool_full",
        "too_large",
        "unmappable",
        "unreadable",
        "unregistered",
        "unscrubbable",
    }
)
"""Reasons for which an event is lost that consent would have let go; docs/delivery.md tells each.

The heartbeat tells these. Of what was withdrawn not even the number leaves.
"""


class Counts:
    """Counters safe in threads and signal handlers; the names are what `Telemetry.delivery()` shows."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()
        self._lock = threading.RLock()

    def add(self, reason: str, number: int = 1) -> None:
        """Count so many events under the reason."""
        if number:
            with self._lock:
                self._counter[reason] += number

    def as_dict(self) -> dict[str, int]:
        """Return a copy."""
        with self._lock:
            return dict(self._counter)

    def dropped(self) -> dict[str, int]:
        """Return how many events were lost, by reason; a reason that did not occur is left out."""
        with self._lock:
            return {reason: number for reason, number in self._counter.items() if reason in DROPS}

    def after_fork(self) -> None:
        """Start at nothing in a child: what the parent counts is the parent's."""
        self._lock = threading.RLock()
        self._counter = Counter()
