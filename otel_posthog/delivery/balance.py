"""State what became of the accepted events, as immutable values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from otel_posthog.registry import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What became of the accepted events of one kind, in all processes of an installation."""

    accepted: int = 0
    sent: int = 0  # accepted by PostHog
    handed_over: int = 0  # accepted by a Collector
    waiting: int = 0  # on disk, or in the memory of a process
    dropped: Mapping[str, int]  # by reason
    reported: Mapping[str, int]  # by reason, what of the dropped was in a heartbeat
    since_s: float | None = None  # when counting began, in seconds since 1970; None for this process's start

    @property
    def unaccounted(self) -> int:
        """How many accepted events are nowhere; 0 unless this library has miscounted."""
        settled = self.sent + self.handed_over + self.waiting + sum(self.dropped.values())
        return self.accepted - settled

    def __str__(self) -> str:
        """Return the balance as a line of text."""
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items())
        dropped = sum(self.dropped.values())
        return (
            f"{self.accepted} accepted = {self.sent} sent + {self.handed_over} handed over + "
            f"{self.waiting} waiting + {dropped} dropped{f' ({reasons})' if reasons else ''}"
        )

    def to_json(self) -> dict[str, object]:
        """Return the balance as data."""
        return {
            "accepted": self.accepted,
            "sent": self.sent,
            "handed_over": self.handed_over,
            "waiting": self.waiting,
            "dropped": dict(self.dropped),
            "since_s": self.since_s,
        }


Drops = Mapping[str, Mapping[str, int]]  # by kind and reason


class Delivered(dict[str, int]):
    """What one process has counted since its start; the balance of the installation on request."""

    def __init__(self, counted: Mapping[str, int], balances: Callable[[], dict[Kind, Balance]]) -> None:
        super().__init__(counted)
        self._balances = balances

    def by_kind(self) -> dict[Kind, Balance]:
        """Return the balance of each kind in all processes, as the spool's file has it."""
        return self._balances()
