"""One round: is a heartbeat owed, does this worker get it, and what became of it.

The lease is taken before the first gauge is read, and the day is done only once the event has been
delivered or spooled: a worker that dies in between leaves the day to another one. Without an answer of
the store nothing is sent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from otel_posthog import acceptance
from otel_posthog.config import Config
from otel_posthog.consent import Answer, Consent, ConsentWatch
from otel_posthog.counts import Counts
from otel_posthog.errors import StoreError
from otel_posthog.events import Event
from otel_posthog.gate import Outcome
from otel_posthog.mapping import BaseProperties, Beat, heartbeat_event
from otel_posthog.notices import Notices
from otel_posthog.registry import DROPPED_PREFIX, FAILED_GAUGES
from otel_posthog.schedule import Begin, Due, Wait, next_step, stale_after_s, time_of_day
from otel_posthog.store import HeartbeatLease

from .collecting import Collected

Read: TypeAlias = Callable[[Callable[[], bool]], Collected]
"""Collects the gauges, asking before each whether that is still wanted."""

_log = logging.getLogger(__name__)

LOST_RACE_PAUSE_S = 1.0
STORE_RETRY_S = 60.0


class Result(Enum):
    """What a round came to."""

    SENT = "sent"
    HELD = "held"
    """It waits in the spool."""
    NOT_DUE = "not due"
    """Done for this day, or the first day of a consent."""
    TAKEN = "taken"
    """Another worker is at it."""
    OFF = "off"
    """Telemetry is not granted, or that is not known."""
    FAILED = "failed"
    """The store did not answer, or PostHog refused it for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The result, and in how many seconds the next round makes sense."""

    result: Result
    pause_s: float


class Sender(Protocol):
    """Where the heartbeat goes: the gate, or whatever stands in for it."""

    def send(self, events: Sequence[Event]) -> Outcome:
        """Send the events once, now; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundParts:
    """The collaborators of the rounds."""

    config: Config
    watch: ConsentWatch
    lease: HeartbeatLease
    gate: Sender
    base: BaseProperties
    counts: Counts
    notices: Notices
    clock: Callable[[], float] | None
    """Seconds since 1970; None for the database's clock."""


class Rounds:
    """Run rounds, one at a time in this process."""

    def __init__(self, parts: RoundParts) -> None:
        self._parts = parts
        self._at = time_of_day(parts.config.heartbeat_time)
        self._lock = threading.Lock()
        self._delivered_day = ""
        self._refused_day = ""
        self._reported: Mapping[str, int] = {}
        self._failures = 0
        self._is_open = True

    def open(self) -> None:
        """Allow heartbeats, as at first."""
        self._is_open = True

    def close(self) -> None:
        """Send nothing any more; a round under way is given up before it sends."""
        self._is_open = False

    def run(self, read: Read) -> Round:
        """Run one round, with `read` for the gauges once the day is ours. Never raises."""
        with self._lock:
            try:
                done = self._round(read)
            except StoreError as error:
                self._parts.notices.warn(_log, "The heartbeat is not sent now: %s", error)
            except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                self._parts.notices.warn(_log, "The heartbeat is not sent now (%s)", type(error).__name__)
            else:
                self._failures = 0
                return done
            self._failures += 1
            return Round(result=Result.FAILED, pause_s=STORE_RETRY_S * 2 ** min(self._failures - 1, 10))

    def is_wanted(self) -> bool:
        """Tell whether telemetry may still be sent, as far as this process knows."""
        return self._is_open and self._parts.watch.current.telemetry is not Answer.DENIED

    def after_fork(self) -> None:
        """Start afresh in a child: the lock is the parent's, and so is what it counts."""
        self._lock = threading.Lock()
        self._reported = {}

    def _round(self, read: Read) -> Round:
        consent = self._parts.watch.look()
        if consent.telemetry is Answer.UNKNOWN:
            raise StoreError("consent is unknown")
        now_s = int(self._parts.clock()) if self._parts.clock is not None else None
        state = self._parts.lease.read(now_s=now_s) if self._is_open and _is_granted(consent) else None
        if state is None:
            return Round(result=Result.OFF, pause_s=self._parts.config.heartbeat_check_s)
        lease_s = self._parts.config.heartbeat_lease_s
        step = next_step(state, self._at, lease_s=lease_s)
        if isinstance(step, Begin):
            self._parts.lease.begin(step.due)
            return Round(result=Result.NOT_DUE, pause_s=step.due.next_in_s)
        if isinstance(step, Wait):
            result = Result.NOT_DUE if step.is_done else Result.TAKEN
            return Round(result=result, pause_s=step.seconds)
        due = step.due
        if due.day == self._refused_day:
            return Round(result=Result.FAILED, pause_s=due.next_in_s)
        stale_s = stale_after_s(lease_s)
        if not self._parts.lease.claim(due, lease_s=lease_s, stale_after_s=stale_s, now_s=now_s):
            return Round(result=Result.TAKEN, pause_s=LOST_RACE_PAUSE_S)
        return self._beat(due, consent.instance_id or "", read)

    def _beat(self, due: Due, instance_id: str, read: Read) -> Round:
        """Send the day's heartbeat, unless this process has done so and could not note it."""
        result = Result.SENT
        if due.day != self._delivered_day:
            result = self._send(due, instance_id, read)
        if result is Result.FAILED:
            self._refused_day = due.day
        elif result is not Result.OFF:
            self._delivered_day = due.day
            self._parts.lease.finish(due)
        return Round(result=result, pause_s=due.next_in_s)

    def _send(self, due: Due, instance_id: str, read: Read) -> Result:
        beat = Beat(instance_id=instance_id, due_at=due.at, accepted_ns=acceptance.now_ns())
        collected = read(self.is_wanted)
        if not self.is_wanted():
            return Result.OFF
        self._report(collected.failures)
        counted = self._parts.counts.dropped()
        event = heartbeat_event(collected.metrics, beat, self._parts.base, self.news(counted, collected))
        match self._parts.gate.send([event]):
            case Outcome.SENT:
                self._reported = counted
                return Result.SENT
            case Outcome.HELD:
                self._reported = counted
                return Result.HELD
            case _:
                return Result.FAILED

    def forget_drops(self) -> None:
        """Tell no later heartbeat of what was dropped until now: that is data from before a withdrawal."""
        self._reported = self._parts.counts.dropped()

    def news(self, dropped: Mapping[str, int], collected: Collected) -> dict[str, int]:
        """Return how many gauges failed, and what this process dropped since its last heartbeat."""
        since = {reason: number - self._reported.get(reason, 0) for reason, number in dropped.items()}
        news = {f"{DROPPED_PREFIX}{reason}": number for reason, number in since.items() if number > 0}
        return {**news, FAILED_GAUGES: len(collected.failures)}

    def _report(self, failures: Mapping[str, str]) -> None:
        if failures:
            told = ", ".join(f"{name} {reason}" for name, reason in failures.items())
            self._parts.notices.warn(_log, "The heartbeat leaves out %d gauges: %s", len(failures), told)


def _is_granted(consent: Consent) -> bool:
    return consent.telemetry is Answer.GRANTED and consent.instance_id is not None
