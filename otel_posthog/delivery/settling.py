"""Settle what became of a batch: counts, log lines, pauses, and what of it is left.

Failures make pauses that grow. After a doubtful answer one batch goes first, alone, after a longer pause.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.events import Event

from .answers import Delivery, Result
from .prepare import Batch

_log = logging.getLogger(__name__)

JITTER = 0.2  # of the pause, so that installations do not all return at once after an outage
MAX_PROBE_INTERVALS = 15  # so that an hour's wrong setting costs a quarter of an hour more


class Outcome(IntEnum):
    """What became of the events, worst last."""

    NOTHING = 0  # denied, withdrawn, sent before, or not registered
    SENT = 1
    HELD = 2  # in the spool: consent is unknown, or PostHog out of reach
    LOST = 3  # rejected by PostHog, or dropped for want of room; counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one attempt has led to: what has to wait, and smaller pieces to try now."""

    outcome: Outcome = Outcome.NOTHING
    held: Sequence[Batch] = ()
    todo: Sequence[Batch] = ()
    refused: int = 0


class Pauses:
    """Pauses that grow with each failure; after a doubtful answer one batch goes first, alone."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._not_before = 0.0
        self._backoff_s = config.retry_initial_s
        self._probe_s = config.probe_interval_s
        self._is_in_doubt = False
        self._prober: int | None = None
        self._lock = threading.Lock()
        follow_forks(self)

    def left_s(self) -> float:
        """Return for how many seconds deliveries pause; 0 or less if they do not."""
        return self._not_before - self._clock()

    def begin(self) -> bool:
        """Return whether an attempt may begin on this thread now; `end` has to follow."""
        with self._lock:
            if self.left_s() > 0 or self._prober is not None:
                return False
            if self._is_in_doubt:
                self._prober = threading.get_ident()
            return True

    def end(self) -> None:
        """End an attempt, also one that raised."""
        with self._lock:
            if self._prober == threading.get_ident():
                self._prober = None

    def note(self, delivery: Delivery) -> None:
        """Begin a pause if the answer asks for one, or end the series of failures."""
        with self._lock:
            is_over = self.left_s() <= 0
            if delivery.result is Result.RETRY:
                backoff_s = min(self._config.retry_max_s, self._backoff_s)
                self._backoff_s = 2 * backoff_s
                self._pause(max(delivery.retry_after_s, backoff_s * _spread(1 - JITTER)))
            elif delivery.result is Result.DOUBTFUL:
                self._is_in_doubt = True
                self._pause(self._probe_s * _spread(1))
                if is_over:  # several requests in progress are one failure
                    longest_s = MAX_PROBE_INTERVALS * self._config.probe_interval_s
                    self._probe_s = min(longest_s, 2 * self._probe_s)
            elif is_over:  # a pause that began meanwhile is newer than this request
                self._backoff_s, self._probe_s = self._config.retry_initial_s, self._config.probe_interval_s
                self._is_in_doubt = False

    def after_fork(self) -> None:
        """Start again in a child: a probe in progress is the parent's."""
        self._lock = threading.Lock()
        self._prober = None

    def _pause(self, pause_s: float) -> None:
        self._not_before = max(self._not_before, self._clock() + pause_s)


class Settlement:
    """What is done with an answer."""

    def __init__(self, pauses: Pauses, counts: Counts, log_limiter: LogLimiter) -> None:
        self.pauses = pauses
        self._counts = counts
        self._log_limiter = log_limiter

    def settle(self, batch: Batch, delivery: Delivery) -> Step:
        """Count and log what became of the batch, and return what of it is left."""
        match delivery.result:
            case Result.WITHDRAWN:  # denied or unknown by now: the next attempt finds out which
                return Step(outcome=Outcome.HELD, held=[batch])
            case Result.RETRY | Result.DOUBTFUL:
                return self._postponed(batch, delivery)
            case Result.SPLIT if len(batch.events) > 1:
                return Step(todo=_halves(batch))
            case Result.SORTED:
                return self._sorted(batch, delivery)
        self.pauses.note(delivery)
        if delivery.result in (Result.ACCEPTED, Result.HANDED_OVER):
            return self._accepted(batch, delivery)
        return self._dropped(batch, delivery)

    def _accepted(self, batch: Batch, delivery: Delivery) -> Step:
        refused = min(delivery.refused, len(batch.events))
        accepted = len(batch.events) - refused
        if delivery.result is Result.ACCEPTED:
            self._counts.add("sent", accepted, kind=batch.kind.value)
        else:
            self._counts.add("handed_over", accepted, kind=batch.kind.value)
        if accepted:
            self._counts.note("sent", batch.kind)
        if not refused:
            return Step(outcome=Outcome.SENT)
        self._counts.add("refused", refused, kind=batch.kind.value)
        template = "%s rejected %d of %d events, so these are dropped; its log names them"
        self._log_limiter.warning(_log, template, delivery.receiver, refused, len(batch.events))
        return Step(outcome=Outcome.LOST, refused=refused)

    def _sorted(self, batch: Batch, delivery: Delivery) -> Step:
        """Settle each part of the batch by its verdict; an event without one is tried again."""
        parts: dict[Result, list[Event]] = {}
        for event in batch.events:
            verdict = delivery.verdicts.get(str(event.uuid), Result.RETRY)
            parts.setdefault(verdict, []).append(event)
        steps = [
            self.settle(_part(batch, events), replace(delivery, result=verdict))
            for verdict, events in parts.items()
        ]
        return Step(
            outcome=max(step.outcome for step in steps),
            held=[piece for step in steps for piece in step.held],
            refused=sum(step.refused for step in steps),
        )

    def _dropped(self, batch: Batch, delivery: Delivery) -> Step:
        number, first = len(batch.events), batch.events[0]
        if delivery.result is Result.QUOTA:
            self._counts.add("quota", number, kind=batch.kind.value)
            self._log_limiter.warning(
                _log,
                "PostHog takes no more events of this project for now, so %d are dropped: its quota is used "
                "up. Raise the billing limit in PostHog, or send fewer events.",
                number,
            )
        else:
            self._counts.add("refused", number, kind=batch.kind.value)
            self._log_limiter.warning(
                _log,
                "%s rejected events, so they are dropped: %s (%d of them, first %s, uuid %s)",
                delivery.receiver,
                delivery.reason,
                number,
                first.name,
                first.uuid,
            )
        return Step(outcome=Outcome.LOST, refused=number)

    def _postponed(self, batch: Batch, delivery: Delivery) -> Step:
        self.pauses.note(delivery)
        template = "%s is out of reach, so events are kept and sent later: %s. %s"
        if delivery.result is Result.DOUBTFUL:
            template = "%s has not confirmed events, so they are kept and sent later: %s. %s"
        self._log_limiter.warning(_log, template, delivery.receiver, delivery.reason, delivery.advice)
        return Step(outcome=Outcome.HELD, held=[batch])


def _halves(batch: Batch) -> list[Batch]:
    """Return both halves: one bad event makes PostHog reject the whole batch."""
    middle = len(batch.events) // 2
    return [_part(batch, events) for events in (batch.events[:middle], batch.events[middle:])]


def _part(batch: Batch, events: Sequence[Event]) -> Batch:
    size_bytes = sum(event.size_bytes() for event in events)
    return replace(batch, events=tuple(events), size_bytes=size_bytes)


def _spread(least: float) -> float:
    return random.uniform(least, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
