"""When the daily heartbeat is owed: pure functions over a moment and what the lease says.

All days and times are UTC, so daylight saving changes nothing. A day begins at the heartbeat's time of
day, and only the latest one counts: who was down for a week catches up once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

CLOCK_SKEW_S = 3600
"""Stamps further ahead than the clocks of a well-kept cluster differ come from a clock that was wrong."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The latest moment at which a heartbeat was due."""

    at: datetime
    day: str
    """The date of that moment, as ISO text."""
    newest_day: str
    """The latest day that a well-kept clock somewhere else may have reached by now."""
    next_in_s: float
    """Seconds until the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """What the row of `system_heartbeat` says, with the stamps as they are: a hand may have written there."""

    now_s: int
    done_day: object
    claimed_until: object
    is_same_consent: bool
    """Whether the row belongs to the consent that is in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Start anew under a new consent: nothing is owed for the day on which it was given."""

    due: Due


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Try to get the day."""

    due: Due


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing for so long: the day is done, or another worker is at it."""

    seconds: float
    is_done: bool
    due: Due


def time_of_day(text: str) -> time:
    """Return the time that ``HH:MM`` names; raise ValueError for another text."""
    hours, minutes = text.split(":")
    if not (len(hours) == len(minutes) == 2 and (hours + minutes).isdecimal()):  # noqa: PLR2004 - HH and MM
        raise ValueError(text)
    return time(int(hours), int(minutes), tzinfo=UTC)


def latest_due(now_s: float, at: time) -> Due:
    """Return the latest due moment at or before now."""
    now = datetime.fromtimestamp(now_s, tz=UTC)
    due_at = _latest(now, at)
    return Due(
        at=due_at,
        day=due_at.date().isoformat(),
        newest_day=_latest(now + timedelta(seconds=CLOCK_SKEW_S), at).date().isoformat(),
        next_in_s=(due_at + _DAY - now).total_seconds(),
    )


def next_step(state: LeaseState, at: time, *, lease_s: int) -> Begin | Claim | Wait:
    """Return what a worker has to do now; the store decides among those that want the same."""
    due = latest_due(state.now_s, at)
    if not state.is_same_consent:
        return Begin(due=due)
    if not _is_owed(state.done_day, due):
        return Wait(seconds=due.next_in_s, is_done=True, due=due)
    claimed_for_s = _claimed_for_s(state, lease_s)
    if claimed_for_s > 0:
        return Wait(seconds=claimed_for_s, is_done=False, due=due)
    return Claim(due=due)


def stale_after_s(lease_s: int) -> int:
    """Return how far ahead a claim may end; one that ends later comes from a clock that was wrong."""
    return lease_s + CLOCK_SKEW_S


def _latest(now: datetime, at: time) -> datetime:
    today = datetime.combine(now.date(), at)
    return today if today <= now else today - _DAY


def _is_owed(done_day: object, due: Due) -> bool:
    return not isinstance(done_day, str) or done_day < due.day or done_day > due.newest_day


def _claimed_for_s(state: LeaseState, lease_s: int) -> int:
    if not isinstance(state.claimed_until, int):
        return 0
    left_s = state.claimed_until - state.now_s
    return 0 if left_s > stale_after_s(lease_s) else left_s
