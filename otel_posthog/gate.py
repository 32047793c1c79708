"""Decide whether an event may leave the process.

Every path out of otel_posthog ends here; nothing else may call a transport. The order is fixed:
consent, registry, scrubbing, limits, then one POST of one kind. It fails closed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import islice

from .config import Config
from .consent import Answer, Consent, ConsentWatch
from .counts import Counts
from .events import UNSTAMPED, Event
from .inspection import Inspection
from .mapping import without_events
from .notices import Notices
from .outgoing import Outgoing
from .registry import Kind, Registry, kind_of
from .scrubbing import BeforeSend, Scrubber
from .spool import Batch, Spool, Withdrawal
from .transport import Delivery, Result, Transport

_log = logging.getLogger(__name__)

DEVELOPMENT = "development"
JITTER = 0.2  # of the pause, so that many installations do not come back in step
_ALL = 2**63 - 1  # later than any time, and any generation


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
    before_send: BeforeSend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of events that somebody else answers for until they are in safety."""

    outcome: Outcome
    refused: int = 0
    """How many PostHog refused for good."""
    unkept: int = 0
    """How many found no room: neither sent nor kept."""


@dataclass(slots=True, eq=False)
class _Work:
    """A batch under way: the pieces still to be tried, and those that have to wait."""

    todo: deque[Batch]
    left: list[Batch] = field(default_factory=list)
    refused: int = 0
    is_spooled: bool = False
    """Still in the spool: what was withdrawn of it is counted where it is deleted."""
    is_given_up: bool = False
    """Spooled by a process that ends: a request that has not begun to send it must not do so any more."""


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """Events that are being made ready: looked up, scrubbed, put into batches."""

    events: Sequence[Event]


class Gate:
    """Pass on the events that consent allows, scrubbed."""

    def __init__(self, parts: Parts, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._config = config
        self._clock = clock
        self._inspection = Inspection(
            registry=parts.registry,
            scrubber=parts.scrubber,
            before_send=parts.before_send,
            counts=parts.counts,
            notices=parts.notices,
            max_bytes=config.event_max_bytes,
        )
        self._told: dict[int, None] = {}  # longest not told first
        self._lock = threading.Lock()
        self._door = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)
        self._not_before = 0.0
        self._failures = 0
        self._under_way: set[_Work] = set()
        self._in_hand: set[_Given] = set()

    def send(self, events: Sequence[Event]) -> Outcome:
        """Send the events once, now; what cannot be sent yet is spooled. Never raises."""
        return self.submit(events).outcome

    def submit(self, events: Sequence[Event]) -> Report:
        """Like `send`, and tell how many are not in safety afterwards."""
        given = _Given(self._news(events))
        with self._lock:
            self._in_hand.add(given)
        sorted_events = _by_kind(given.events)
        batches = self._batches(sorted_events, self._consent_for(sorted_events.keys()))
        works = [_Work(deque([batch])) for batch in batches]
        with self._lock:
            if given not in self._in_hand:
                return Report(outcome=Outcome.HELD)  # spooled meanwhile, by a process that ends
            self._in_hand.discard(given)
            self._under_way.update(works)
        reports = [self._first_attempt(work) for work in works]
        return Report(
            outcome=max((report.outcome for report in reports), default=Outcome.NOTHING),
            refused=sum(report.refused for report in reports),
            unkept=sum(report.unkept for report in reports),
        )

    def _consent_for(self, kinds: Iterable[Kind]) -> Consent:
        """Return the last answer where it is recent and grants all of them: each attempt looks afresh."""
        consent = self._parts.watch.recent()
        if consent is not None and all(consent.answer(kind) is Answer.GRANTED for kind in kinds):
            return consent
        return self._parts.watch.look()

    def forget(self, events: Sequence[Event]) -> None:
        """Let events that could not be kept be told again."""
        with self._lock:
            for event in events:
                self._told.pop(event.uuid.int, None)

    def hold(self, events: Sequence[Event]) -> Outcome:
        """Spool the events without an attempt, and without asking the database. Never raises."""
        return self._hold(self._news(events))

    def hold_what_is_under_way(self) -> None:
        """Spool what is being made ready or sent for the first time: the process ends and does not wait.

        What PostHog has before it at that moment may come a second time, with the same uuid and time.
        """
        with self._lock:
            in_hand, self._in_hand = self._in_hand, set()
            given_up, self._under_way = self._under_way, set()
            for work in given_up:
                work.is_given_up = True
            batches = [batch for work in given_up for batch in (*work.todo, *work.left)]
        for batch in batches:
            self._keep(batch)
        for given in in_hand:
            self._hold(given.events)

    def resend(self, batch: Batch) -> bool:
        """Try a spooled batch again; tell whether it is done with. Consent and registry count anew."""
        grant = self._parts.watch.current.grant(batch.kind)
        admit = self._inspection.admitted
        admitted = [admit(event, grant.manifest_at(event.accepted_ns)) for event in batch.events]
        events = tuple(event for event in admitted if event is not None)
        if not events:
            return True
        work = _Work(deque([replace(batch, events=events)]), is_spooled=True)
        outcome = self._deliver(work)
        if outcome is Outcome.HELD and sum(len(piece.events) for piece in work.left) == len(batch.events):
            return False
        for piece in work.left:
            self._spool(piece)
        return True

    def send_startup_test(self, event: Event) -> Outcome:
        """Send one test event in development whatever the flags say (requirement R19)."""
        if self._config.environment != DEVELOPMENT or self._config.disabled or self._parts.transport is None:
            return Outcome.NOTHING
        ready = self._inspection.ready(event, None, None)
        if ready is None:
            return Outcome.NOTHING
        delivery = self._parts.transport.send(Outgoing([ready.written()]), lambda: True)
        if not self._parts.watch.current.is_on:
            self._parts.transport.close()
        return Outcome.SENT if delivery.result is Result.ACCEPTED else Outcome.LOST

    def pause_s(self) -> float:
        """Return how long deliveries are parked from now on; 0 or less when they are not."""
        return self._not_before - self._clock()

    def note_unmappable(self) -> None:
        """Count a record that could not become an event, and so does not leave."""
        self._parts.counts.add("unmappable")

    def discard(self, consent: Consent) -> None:
        """Delete from the spool what that look at consent has withdrawn."""
        for kind in Kind:
            if consent.answer(kind) is not Answer.UNKNOWN:
                self._parts.counts.add("withdrawn", self._parts.spool.purge(_withdrawal(kind, consent)))

    def wait_until_idle(self, kind: Kind, timeout_s: float) -> bool:
        """Wait until no POST of the kind is under way, so long at most; tell whether that is so."""
        with self._door:
            return self._door.wait_for(lambda: self._in_flight[kind] == 0, timeout_s)

    def after_fork(self) -> None:
        """Start afresh in a child: locks and POSTs under way are the parent's."""
        self._lock = threading.Lock()
        self._door = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)
        self._under_way, self._in_hand = set(), set()

    def _hold(self, events: Sequence[Event]) -> Outcome:
        batches = self._batches(_by_kind(events), self._parts.watch.current)
        return max(map(self._spool, batches), default=Outcome.NOTHING)

    def _batches(self, events: Mapping[Kind, Sequence[Event]], consent: Consent) -> Iterator[Batch]:
        for kind, same in events.items():
            yield from self._batches_of(kind, same, consent)

    def _batches_of(self, kind: Kind, events: Sequence[Event], consent: Consent) -> Iterator[Batch]:
        stamp = consent.stamp(kind)
        chosen: list[Event] = []
        size_bytes = 0
        for event in self._ready(kind, events, consent):
            event_bytes = event.size_bytes()
            is_full = len(chosen) >= self._config.batch_max_events
            if chosen and (is_full or size_bytes + event_bytes > self._config.batch_max_bytes):
                yield Batch(kind=kind, events=tuple(chosen), size_bytes=size_bytes, stamp=stamp)
                chosen, size_bytes = [], 0
            chosen.append(event)
            size_bytes += event_bytes
        if chosen:
            yield Batch(kind=kind, events=tuple(chosen), size_bytes=size_bytes, stamp=stamp)

    def _ready(self, kind: Kind, events: Sequence[Event], consent: Consent) -> Iterator[Event]:
        """Make what was not withdrawn ready to leave, one after the other."""
        unstamped_ns, grant = consent.withdrawn_before_ns(kind), consent.grant(kind)
        for event in events:
            is_here = event.stamp is UNSTAMPED
            before_ns = unstamped_ns if is_here else consent.withdrawn_before_ns(kind, event.stamp)
            if event.accepted_ns < before_ns:
                self._parts.counts.add("withdrawn")
                continue
            granted = grant.manifest_at(event.accepted_ns)
            ready = self._inspection.ready(event, granted, consent.instance_id)
            if ready is not None:
                yield ready

    def _news(self, events: Sequence[Event]) -> list[Event]:
        """Return the events that were not told before, and remember them."""
        told, news = self._told, []
        with self._lock:
            for event in events:
                number = event.uuid.int
                if number in told:
                    del told[number]  # so that it is the youngest again
                else:
                    news.append(event)
                told[number] = None
            for number in [*islice(told, max(0, len(told) - self._config.uuid_memory))]:
                del told[number]
        self._parts.counts.add("told_before", len(events) - len(news))
        return news

    def _first_attempt(self, work: _Work) -> Report:
        """Deliver the batch, or spool it at once while an outage is known."""
        outcome = self._deliver(work)
        with self._lock:
            if work not in self._under_way:
                return _report(outcome, work.refused, [])  # spooled meanwhile, by a process that ends
            self._under_way.discard(work)
        kept = [(piece, self._keep(piece)) for piece in work.left]
        unkept = [piece for piece, done in kept if done is Outcome.LOST]
        return _report(max([outcome, *(done for _, done in kept)]), work.refused, unkept)

    def _deliver(self, work: _Work) -> Outcome:
        """Try each piece, until one parks deliveries; what has to be tried later is left over."""
        worst, is_parked = Outcome.NOTHING, work.is_given_up or self.pause_s() > 0
        while work.todo:
            batch = work.todo[0]
            outcome, pieces = (Outcome.HELD, [batch]) if is_parked else self._attempt(work, batch)
            with self._lock:
                work.todo.popleft()
                if outcome is Outcome.LOST:
                    work.refused += len(batch.events)
                if outcome is Outcome.HELD:
                    work.left.extend(pieces)
                else:
                    work.todo.extendleft(reversed(pieces))
            is_parked = work.is_given_up or self.pause_s() > 0
            worst = max(worst, outcome)
        return worst

    def _attempt(self, work: _Work, batch: Batch) -> tuple[Outcome, list[Batch]]:
        """Deliver what consent allows at this moment.

        Returned with it: where the outcome is HELD what has to wait, else smaller pieces to try now.
        """
        self._parts.watch.look()
        opened, outcome = self._pass_door(work, batch)
        if opened is None:
            if work.is_spooled:
                self.discard(self._parts.watch.current)
            return outcome, [batch] if outcome is Outcome.HELD else []
        try:
            delivery = self._post(opened, lambda: not work.is_given_up and self._may_leave(opened))
        finally:
            with self._door:
                self._in_flight[batch.kind] -= 1
                self._door.notify_all()
            if self._parts.watch.current.is_off and self._parts.transport is not None:
                self._parts.transport.close()  # it may have been opened after the withdrawal closed it
        return self._settle(opened, delivery)

    def _pass_door(self, work: _Work, batch: Batch) -> tuple[Batch | None, Outcome]:
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
            before_ns = consent.withdrawn_before_ns(batch.kind, batch.stamp)
            allowed = [event for event in batch.events if event.accepted_ns >= before_ns]
            is_for_purging = work.is_spooled and _withdrawal(batch.kind, consent).covers(batch)
            if not is_for_purging:
                self._parts.counts.add("withdrawn", len(batch.events) - len(allowed))
            events = tuple(self._agreed(batch.kind, allowed, consent))
            if not events:
                return None, Outcome.NOTHING
            self._in_flight[batch.kind] += 1
        return replace(batch, events=events), Outcome.SENT

    def _agreed(self, kind: Kind, events: Sequence[Event], consent: Consent) -> Iterator[Event]:
        """Keep what the grant of this very moment allows; consent may not have been known before."""
        is_tracking = consent.answer(Kind.TELEMETRY) is Answer.GRANTED
        tracked_ns = consent.withdrawn_before_ns(Kind.TELEMETRY)
        grant, present = consent.grant(kind), self._parts.registry.manifest(kind).hash
        for event in events:
            is_tracked = is_tracking and event.accepted_ns >= tracked_ns
            agreed: Event | None = event if is_tracked else _without_tracked(event)
            granted = grant.manifest_at(event.accepted_ns)
            if agreed is not None and granted is not None and granted != present:
                agreed = self._inspection.admitted(agreed, granted)
            if agreed is not None:
                agreed.address(consent.instance_id)
                yield agreed

    def _post(self, batch: Batch, may_leave: Callable[[], bool]) -> Delivery:
        if self._parts.transport is None:
            return Delivery(result=Result.REFUSED, reason="no project API key is set (POSTHOG_API_KEY)")
        return self._parts.transport.send(Outgoing([event.written() for event in batch.events]), may_leave)

    def _may_leave(self, batch: Batch) -> bool:
        """Look again where connecting took long, and another worker may have withdrawn meanwhile."""
        consent = self._parts.watch.recent() or self._parts.watch.look()
        return consent.allows(batch.kind, batch.oldest_ns, batch.stamp)

    def _settle(self, batch: Batch, delivery: Delivery) -> tuple[Outcome, list[Batch]]:
        match delivery.result:
            case Result.ACCEPTED:
                if self.pause_s() <= 0:  # else a request of before the pause, and PostHog asked for it since
                    self._failures = 0
                self._parts.counts.add("sent", len(batch.events))
                return Outcome.SENT, []
            case Result.WITHDRAWN:  # denied or unknown by now: the next attempt finds out which
                return Outcome.HELD, [batch]
            case Result.RETRY:
                self._park(delivery)
                return Outcome.HELD, [batch]
            case Result.SPLIT if len(batch.events) > 1:
                return Outcome.NOTHING, _halves(batch)
            case _:
                self._parts.counts.add("refused", len(batch.events))
                self._parts.notices.warn(
                    _log,
                    "PostHog refused events for good, they are dropped: %s (%d of them, first %s, uuid %s)",
                    delivery.reason,
                    len(batch.events),
                    batch.events[0].name,
                    batch.events[0].uuid,
                )
                return Outcome.LOST, []

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

    def _keep(self, batch: Batch) -> Outcome:
        """Spool what this process has accepted, unless it was withdrawn while it was under way."""
        is_withdrawn, kind = self._parts.watch.current.is_withdrawn, batch.kind
        if any(is_withdrawn(kind, event.accepted_ns, event.stamp) for event in batch.events):
            self._parts.counts.add("withdrawn", len(batch.events))
            return Outcome.NOTHING
        return self._spool(batch)

    def _spool(self, batch: Batch) -> Outcome:
        # What was tracked needs a consent of its own, which nobody can judge once this process has ended.
        lost = self._parts.spool.put(replace(batch, events=tuple(map(_without_tracked, batch.events))))
        if lost:
            self._parts.counts.add("spool_full", lost)
            self._parts.notices.warn(
                _log, "There is no room in the spool (spool_max_bytes), events are dropped or turned back"
            )
        return Outcome.LOST if lost else Outcome.HELD


def _report(outcome: Outcome, refused: int, unkept: Sequence[Batch]) -> Report:
    is_lost = outcome is Outcome.LOST
    return Report(
        outcome=outcome, refused=refused, unkept=sum(len(b.events) for b in unkept) if is_lost else 0
    )


def _by_kind(events: Sequence[Event]) -> dict[Kind, list[Event]]:
    """Return the events of each kind that occurs; mostly all are of one."""
    kinds = [kind_of(event.name) for event in events]
    return {
        kind: [event for event, own in zip(events, kinds, strict=True) if own is kind]
        for kind in Kind
        if kind in kinds
    }


def _withdrawal(kind: Kind, consent: Consent) -> Withdrawal:
    if consent.answer(kind) is Answer.DENIED:
        return Withdrawal(kind=kind, before_ns=_ALL, generation=_ALL)
    generation = consent.stamp(kind).generation or 0
    undated_ns = consent.undated_before_ns if generation else 0
    return Withdrawal(kind=kind, before_ns=max(consent.since_ns(kind), undated_ns), generation=generation)


def _without_tracked(event: Event) -> Event:
    """Return an exception without the names of product events that came before it."""
    properties = without_events(event.properties)
    return event if properties is event.properties else replace(event, properties=properties)


def _halves(batch: Batch) -> list[Batch]:
    """Return both halves: one bad event makes PostHog refuse the whole batch."""
    middle = len(batch.events) // 2
    return [
        replace(batch, events=events, size_bytes=sum(event.size_bytes() for event in events))
        for events in (batch.events[:middle], batch.events[middle:])
    ]
