"""Decide when the daily heartbeat is due and which worker sends it.

All days and times are UTC, so daylight saving changes nothing. A day begins at the heartbeat's time of
day. Only the latest day counts: after a week of downtime one heartbeat is sent.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Literal, TypeAlias
from uuid import UUID, uuid5

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import DROPS, Counts, LogLimiter
from otel_posthog.config.settings import Config, time_of_day
from otel_posthog.consent.state import Answer
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.delivery.balance import Drops
from otel_posthog.delivery.gate import Outcome
from otel_posthog.delivery.spool import Spool
from otel_posthog.errors import StoreError
from otel_posthog.events import Event, with_base
from otel_posthog.mapping import BaseProperties
from otel_posthog.otel import records
from otel_posthog.registry import DROPPED_PREFIX, FAILED_GAUGES, HEARTBEAT, Kind
from otel_posthog.store import HeartbeatLease
from otel_posthog.store.heartbeat_lease import Due, LeaseState

from .gauges import Collected

_log = logging.getLogger(__name__)

# Clocks of a well-kept cluster differ by less; a stamp further ahead is from a clock that was wrong.
CLOCK_SKEW_S = 3600
LOST_RACE_PAUSE_S = 1.0
STORE_RETRY_S = 60.0  # doubled with each further failure
_MAX_DOUBLINGS = 10  # 17 hours; the thread checks once per heartbeat_check_s anyway
_DAY = timedelta(days=1)

# Reads the gauges; asks its argument before each whether that is still wanted.
Collect: TypeAlias = Callable[[Callable[[], bool]], Collected]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a worker does now; there are `pause_s` seconds until its next step can be another one."""

    # Begin under a new consent (the day on which it was given has no heartbeat), try to claim the day, or
    # wait: the day is done, or taken by another worker.
    action: Literal["begin", "claim", "done", "taken"]
    due: Due
    pause_s: float


def latest_due(now_s: float, at: time) -> Due:
    """Return the latest due time at or before now."""
    now = datetime.fromtimestamp(now_s, tz=UTC)
    due_at = _latest(now, at)
    return Due(
        at=due_at,
        day=due_at.date().isoformat(),
        newest_day=_latest(now + timedelta(seconds=CLOCK_SKEW_S), at).date().isoformat(),
        next_in_s=(due_at + _DAY - now).total_seconds(),
    )


def next_step(state: LeaseState, at: time, *, lease_s: int) -> Step:
    """Return what this worker does now; if several claim the day, the store decides."""
    due = latest_due(state.now_s, at)
    if not state.is_same_consent:
        return Step(action="begin", due=due, pause_s=due.next_in_s)
    if not _is_due(state.done_day, due):
        return Step(action="done", due=due, pause_s=due.next_in_s)
    claimed_for_s = _claimed_for_s(state, lease_s)
    action: Literal["taken", "claim"] = "taken" if claimed_for_s > 0 else "claim"
    return Step(action=action, due=due, pause_s=claimed_for_s)


def stale_after_s(lease_s: int) -> int:
    """Return the longest time that a claim may have left; a longer one is from a clock that was wrong."""
    return lease_s + CLOCK_SKEW_S


def heartbeat_event(
    properties: Mapping[str, object], *, instance_id: str, due_at: datetime, accepted_ns: int
) -> Event:
    """Return the heartbeat of that installation and day."""
    return Event(
        name=HEARTBEAT,
        properties=properties,
        timestamp=due_at,
        # It follows from installation and day alone, so a heartbeat that is sent twice is one event.
        uuid=uuid5(UUID(instance_id), f"{HEARTBEAT}:{due_at.date().isoformat()}"),
        accepted_ns=accepted_ns,
        distinct_id=instance_id,
    )


def _latest(now: datetime, at: time) -> datetime:
    today = datetime.combine(now.date(), at)
    return today if today <= now else today - _DAY


def _is_due(done_day: object, due: Due) -> bool:
    # A day that no clock within an hour can have reached is stale: it holds no heartbeat back.
    return not isinstance(done_day, str) or done_day < due.day or done_day > due.newest_day


def _claimed_for_s(state: LeaseState, lease_s: int) -> int:
    if not isinstance(state.claimed_until, int):
        return 0
    left_s = state.claimed_until - state.now_s
    return 0 if left_s > stale_after_s(lease_s) else left_s


class Result(Enum):
    """Outcome of a round."""

    SENT = "sent"
    HELD = "held"  # it waits in the spool
    NOT_DUE = "not due"  # done for this day, or the first day of a consent
    TAKEN = "taken"  # another worker holds the lease
    OFF = "off"  # telemetry is not granted, or no gauge is registered
    FAILED = "failed"  # the store did not answer, or PostHog rejected it for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The result, and the seconds until the next round can have another one."""

    result: Result
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundParts:
    """The collaborators of the rounds."""

    config: Config
    watch: ConsentWatch
    lease: HeartbeatLease
    # Sends to the gate, or to a Collector.
    send: Callable[[Sequence[Event]], Outcome]
    base: BaseProperties
    counts: Counts
    spool: Spool
    log_limiter: LogLimiter
    # Seconds since 1970; None for the database's clock.
    clock: Callable[[], float] | None


class Rounds:
    """Run rounds, one at a time in this process."""

    def __init__(self, parts: RoundParts) -> None:
        self._parts = parts
        self._at = time_of_day(parts.config.heartbeat_time)
        self._lock = threading.Lock()
        self._delivered_day = ""
        self._refused_day = ""
        self._failures = 0
        # False sends no further heartbeat; a round in progress ends before it sends.
        self.is_open = True
        follow_forks(self)

    def run(self, collect: Collect) -> Round:
        """Run one round; gauges are read only if this worker gets the day. Never raises."""
        with self._lock:
            try:
                done = self._round(collect)
            # Nothing is sent while the store does not answer: another worker may have the day.
            except StoreError as error:
                self._parts.log_limiter.warning(_log, "The heartbeat is not sent now: %s", error)
            except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                self._parts.log_limiter.warning(
                    _log, "The heartbeat is not sent now (%s)", type(error).__name__
                )
            else:
                self._failures = 0
                return done
            doublings = min(self._failures, _MAX_DOUBLINGS)
            self._failures += 1
            return Round(result=Result.FAILED, pause_s=STORE_RETRY_S * 2**doublings)

    def is_wanted(self) -> bool:
        """Return whether telemetry may still be sent, as far as this process knows."""
        return self.is_open and self._parts.watch.current.kinds[Kind.TELEMETRY].answer is not Answer.DENIED

    def event(
        self, due: Due, instance_id: str, accepted_ns: int, collected: Collected, dropped: Drops
    ) -> Event:
        """Return the heartbeat with these gauges, and with what was dropped since the last one."""
        since = Counter[str]()
        for reasons in dropped.values():
            since.update({reason: number for reason, number in reasons.items() if reason in DROPS})
        properties = {
            **collected.values,
            **{f"{DROPPED_PREFIX}{reason}": number for reason, number in since.items() if number > 0},
            FAILED_GAUGES: len(collected.failures),
        }
        return heartbeat_event(
            with_base(self._parts.base.properties, properties),
            instance_id=instance_id,
            due_at=due.at,
            accepted_ns=accepted_ns,
        )

    def after_fork(self) -> None:
        """Start afresh in a child: the lock is the parent's."""
        self._lock = threading.Lock()

    def _round(self, collect: Collect) -> Round:
        parts = self._parts
        # A grant that was just read will do: the lease repeats the question in its own statements, and
        # the gate before it sends.
        consent = parts.watch.fresh()
        if consent is None or consent.kinds[Kind.TELEMETRY].answer is not Answer.GRANTED:
            consent = parts.watch.refresh()
        if consent.kinds[Kind.TELEMETRY].answer is Answer.UNKNOWN:
            raise StoreError("consent is unknown")
        now_s = None if parts.clock is None else int(parts.clock())
        is_allowed = (
            self.is_open
            and consent.kinds[Kind.TELEMETRY].answer is Answer.GRANTED
            and consent.instance_id is not None
        )
        state = parts.lease.read(now_s=now_s) if is_allowed else None
        if state is None:
            return Round(result=Result.OFF, pause_s=parts.config.heartbeat_check_s)
        lease_s = parts.config.heartbeat_lease_s
        step = next_step(state, self._at, lease_s=lease_s)
        due = step.due
        if step.action == "begin":
            parts.lease.begin(due)
        if step.action != "claim":
            result = Result.TAKEN if step.action == "taken" else Result.NOT_DUE
            return Round(result=result, pause_s=step.pause_s)
        if due.day == self._refused_day:  # repeated all day, a wrong key would be a request a lease
            return Round(result=Result.FAILED, pause_s=due.next_in_s)
        # Claimed before the first gauge is read, and done only once the event has been delivered or spooled:
        # if this worker dies in between, another one takes the day.
        if not parts.lease.claim(due, lease_s=lease_s, stale_after_s=stale_after_s(lease_s), now_s=now_s):
            return Round(result=Result.TAKEN, pause_s=LOST_RACE_PAUSE_S)
        return self._beat(due, consent.instance_id or "", collect)

    def _beat(self, due: Due, instance_id: str, collect: Collect) -> Round:
        # This process may have sent the heartbeat before, and failed to mark the day as done.
        result = Result.SENT
        if due.day != self._delivered_day:
            result = self._send(due, instance_id, collect)
        if result is Result.FAILED:
            self._refused_day = due.day
        elif result is not Result.OFF:
            self._delivered_day = due.day
            self._parts.lease.finish(due)
        return Round(result=result, pause_s=due.next_in_s)

    def _send(self, due: Due, instance_id: str, collect: Collect) -> Result:
        accepted_ns = records.now_ns()  # before the gauges: a withdrawal while they are read counts
        collected = collect(self.is_wanted)
        if not self.is_wanted():
            return Result.OFF
        if collected.failures:
            reasons = ", ".join(f"{name} {reason}" for name, reason in collected.failures.items())
            self._parts.log_limiter.warning(
                _log, "The heartbeat leaves out %d gauges: %s", len(collected.failures), reasons
            )
        dropped = self._parts.spool.unreported()
        self._parts.counts.accept(Kind.TELEMETRY.value)
        outcome = self._parts.send([self.event(due, instance_id, accepted_ns, collected, dropped)])
        if outcome not in (Outcome.SENT, Outcome.HELD):
            return Result.FAILED
        self._parts.spool.report(dropped)
        return Result.SENT if outcome is Outcome.SENT else Result.HELD
