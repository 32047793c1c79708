"""Decide whether an event may leave the process.

Every path out of otel_posthog ends here; nothing else may call a transport. The order is fixed:
consent, registry, scrubbing, limits, then one POST of one kind. It fails closed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from uuid import UUID

from .config import Config
from .consent import Answer, Consent, ConsentWatch
from .counts import Counts
from .events import Event
from .notices import Notices
from .registry import EVENT_NAME_MAX_BYTES, Kind, Registry
from .scrubbing import Scrubber
from .spool import Batch, Spool
from .transport import Delivery, Result, Transport

_log = logging.getLogger(__name__)

DEVELOPMENT = "development"
JITTER = 0.2  # of the pause, so that many installations do not come back in step


class Outcome(IntEnum):
    """What became of the events, worst last."""

    NOTHING = 0
    """Nothing was left to send: denied, withdrawn, told before, or not registered."""
    SENT = 1
    HELD = 2
    """Kept in the spool: consent is unknown, or PostHog out of reach."""
    LOST = 3
    """Refused for good, or dropped for want of room; counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The collaborators of a gate."""

    watch: ConsentWatch
    registry: Registry
    scrubber: Scrubber
    transport: Transport | None
    """None where no API key is set."""
    spool: Spool
    counts: Counts
    notices: Notices


class Gate:
    """Pass on the events that consent allows, scrubbed."""

    def __init__(self, parts: Parts, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._config = config
        self._clock = clock
        self._told: OrderedDict[UUID, None] = OrderedDict()
        self._lock = threading.Lock()
        self._door = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)
        self._not_before = 0.0
        self._failures = 0

    def send(self, events: Sequence[Event]) -> Outcome:
        """Send the events once, now; what cannot be sent yet is spooled. Never raises."""
        consent = self._parts.watch.look()
        outcome = Outcome.NOTHING
        for kind in Kind:
            batches = self._batches(kind, [event for event in events if event.kind is kind], consent)
            outcome = max([outcome, *(self._first_attempt(batch) for batch in batches)])
        return outcome

    def resend(self, batch: Batch) -> bool:
        """Try a spooled batch again; tell whether it is done with. Consent and registry count anew."""
        admitted = [self._admitted(event) for event in batch.events]
        events = tuple(event for event in admitted if event is not None)
        if not events:
            return True
        outcome, left = self._attempt(replace(batch, events=events))
        if outcome is Outcome.HELD and sum(len(piece.events) for piece in left) == len(batch.events):
            return False
        for piece in left:
            self._spool(piece)
        return True

    def send_startup_test(self, event: Event) -> Outcome:
        """Send one test event in development whatever the flags say (requirement R19)."""
        if self._config.environment != DEVELOPMENT or self._config.disabled or self._parts.transport is None:
            return Outcome.NOTHING
        prepared = self._prepared(event)
        if prepared is None:
            return Outcome.NOTHING
        delivery = self._parts.transport.send([prepared.to_wire()], lambda: True)
        if not self._parts.watch.current.is_on:
            self._parts.transport.close()
        return Outcome.SENT if delivery.result is Result.ACCEPTED else Outcome.LOST

    def pause_s(self) -> float:
        """Return how long deliveries are parked from now on; 0 or less when they are not."""
        return self._not_before - self._clock()

    def discard(self, consent: Consent) -> None:
        """Delete from the spool what that look at consent has withdrawn."""
        for kind, since_ns in (
            (Kind.ERRORS, consent.errors_since_ns),
            (Kind.TELEMETRY, consent.telemetry_since_ns),
        ):
            self._parts.counts.add("withdrawn", self._parts.spool.purge(kind, since_ns))

    def wait_until_idle(self, kind: Kind, timeout_s: float) -> bool:
        """Wait until no POST of the kind is under way, so long at most; tell whether that is so."""
        with self._door:
            return self._door.wait_for(lambda: self._in_flight[kind] == 0, timeout_s)

    def after_fork(self) -> None:
        """Start afresh in a child: locks and POSTs under way are the parent's."""
        self._lock = threading.Lock()
        self._door = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)

    def _batches(self, kind: Kind, events: Sequence[Event], consent: Consent) -> Iterator[Batch]:
        chosen: list[Event] = []
        size_bytes = 0
        for event in events:
            if consent.is_withdrawn(kind, event.accepted_ns):
                self._parts.counts.add("withdrawn")
                continue
            prepared = self._prepared(event)
            if prepared is None or not self._is_news(prepared):
                continue
            event_bytes = prepared.size_bytes()
            is_full = len(chosen) >= self._config.batch_max_events
            if chosen and (is_full or size_bytes + event_bytes > self._config.batch_max_bytes):
                yield Batch(kind=kind, events=tuple(chosen), size_bytes=size_bytes)
                chosen, size_bytes = [], 0
            chosen.append(prepared)
            size_bytes += event_bytes
        if chosen:
            yield Batch(kind=kind, events=tuple(chosen), size_bytes=size_bytes)

    def _prepared(self, event: Event) -> Event | None:
        """Apply registry, scrubbing and limits; None for what may not leave, which is counted."""
        try:
            admitted = self._admitted(event)
            if admitted is None:
                return None
            scrubbed = self._parts.scrubber.scrub(admitted)
            size_bytes = scrubbed.size_bytes()
        except Exception as error:  # noqa: BLE001 - what cannot be scrubbed never leaves raw
            self._parts.counts.add("unscrubbable")
            self._parts.notices.warn(
                _log, "An event could not be scrubbed and is dropped (%s)", type(error).__name__
            )
            return None
        if size_bytes > self._config.event_max_bytes or len(scrubbed.name.encode()) > EVENT_NAME_MAX_BYTES:
            self._parts.counts.add("too_large")
            self._parts.notices.warn(
                _log, "An event of more than %d bytes is dropped", self._config.event_max_bytes
            )
            return None
        return scrubbed

    def _admitted(self, event: Event) -> Event | None:
        properties = self._parts.registry.admit(event.name, event.properties)
        if properties is None:
            self._parts.counts.add("unregistered")
            return None
        return event if len(properties) == len(event.properties) else replace(event, properties=properties)

    def _is_news(self, event: Event) -> bool:
        with self._lock:
            if event.uuid in self._told:
                self._told.move_to_end(event.uuid)
                self._parts.counts.add("told_before")
                return False
            self._told[event.uuid] = None
            if len(self._told) > self._config.uuid_memory:
                self._told.popitem(last=False)
            return True

    def _first_attempt(self, batch: Batch) -> Outcome:
        """Deliver the batch, or spool it at once while an outage is known."""
        if self.pause_s() > 0:
            return self._spool(batch)
        outcome, left = self._attempt(batch)
        return max([outcome, *(self._spool(piece) for piece in left)])

    def _attempt(self, batch: Batch) -> tuple[Outcome, list[Batch]]:
        """Deliver what consent allows at this moment; return also what has to be tried later."""
        self._parts.watch.look()
        opened, outcome = self._pass_door(batch)
        if opened is None:
            return outcome, [batch] if outcome is Outcome.HELD else []
        try:
            delivery = self._post(opened)
        finally:
            with self._door:
                self._in_flight[batch.kind] -= 1
                self._door.notify_all()
            if self._parts.watch.current.is_off and self._parts.transport is not None:
                self._parts.transport.close()  # it may have been opened after the withdrawal closed it
        return self._settle(opened, delivery)

    def _pass_door(self, batch: Batch) -> tuple[Batch | None, Outcome]:
        """Count a POST as under way, unless consent says no at this very moment.

        A withdrawal publishes its answer first and then waits at this door, so that no POST starts
        after the call that withdrew has returned.
        """
        with self._door:
            consent = self._parts.watch.current
            if consent.answer(batch.kind) is Answer.UNKNOWN or (
                consent.is_on and consent.instance_id is None
            ):
                return None, Outcome.HELD
            events = tuple(
                replace(event, distinct_id=event.distinct_id or consent.instance_id)
                for event in batch.events
                if consent.allows(batch.kind, event.accepted_ns)
            )
            self._parts.counts.add("withdrawn", len(batch.events) - len(events))
            if not events:
                return None, Outcome.NOTHING
            self._in_flight[batch.kind] += 1
        return replace(batch, events=events), Outcome.SENT

    def _post(self, batch: Batch) -> Delivery:
        if self._parts.transport is None:
            return Delivery(result=Result.REFUSED, reason="no project API key is set (POSTHOG_API_KEY)")
        oldest_ns = min(event.accepted_ns for event in batch.events)
        return self._parts.transport.send(
            [event.to_wire() for event in batch.events],
            lambda: self._parts.watch.current.allows(batch.kind, oldest_ns),
        )

    def _settle(self, batch: Batch, delivery: Delivery) -> tuple[Outcome, list[Batch]]:
        match delivery.result:
            case Result.ACCEPTED:
                self._failures, self._not_before = 0, 0.0
                self._parts.counts.add("sent", len(batch.events))
                return Outcome.SENT, []
            case Result.WITHDRAWN:  # denied or unknown by now: the next attempt finds out which
                return Outcome.HELD, [batch]
            case Result.RETRY:
                self._park(delivery)
                return Outcome.HELD, [batch]
            case Result.SPLIT if len(batch.events) > 1:
                return self._bisect(batch)
            case _:
                self._parts.counts.add("refused", len(batch.events))
                self._parts.notices.warn(
                    _log, "PostHog refused events for good, they are dropped: %s", delivery.reason
                )
                return Outcome.LOST, []

    def _bisect(self, batch: Batch) -> tuple[Outcome, list[Batch]]:
        """Send both halves: one bad event makes PostHog refuse the whole batch."""
        worst, left = Outcome.NOTHING, list[Batch]()
        middle = len(batch.events) // 2
        for events in (batch.events[:middle], batch.events[middle:]):
            half = replace(batch, events=events, size_bytes=sum(event.size_bytes() for event in events))
            outcome, rest = (Outcome.HELD, [half]) if self.pause_s() > 0 else self._attempt(half)
            worst = max(worst, outcome)
            left += rest
        return worst, left

    def _park(self, delivery: Delivery) -> None:
        """Let no delivery start before a pause that doubles with each failure."""
        backoff_s = min(self._config.retry_max_s, self._config.retry_initial_s * 2 ** min(self._failures, 30))
        spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - spreads load, guards nothing
        self._failures += 1
        self._not_before = self._clock() + max(delivery.retry_after_s, backoff_s * spread)
        self._parts.notices.warn(
            _log,
            "PostHog is out of reach, events wait and are sent later: %s. "
            "Check the host setting and the network.",
            delivery.reason,
        )

    def _spool(self, batch: Batch) -> Outcome:
        lost = self._parts.spool.put(batch)
        if lost:
            self._parts.counts.add("spool_full", lost)
            self._parts.notices.warn(
                _log, "The spool is full, the oldest events are dropped (spool_max_bytes)"
            )
        return Outcome.LOST if lost else Outcome.HELD
