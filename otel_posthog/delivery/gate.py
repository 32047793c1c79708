"""Decide whether an event may leave the process.

Every path out of otel_posthog ends here; nothing else may call a transport. The order is fixed:
consent, registry, scrubbing, limits, then one POST of one kind. It fails closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import inf

from otel_posthog._runtime.process import follow_forks
from otel_posthog.consent.state import Answer, Consent
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.events import Event
from otel_posthog.mapping import with_steps_since
from otel_posthog.registry import Kind

from .answers import Delivery, Result
from .prepare import Batch, Preparation
from .settling import Outcome as Outcome  # noqa: PLC0414 - for those who ask the gate
from .settling import Pauses, Settlement, Step
from .spool import Spool
from .transport import Transport, WireBatch

_log = logging.getLogger(__name__)

DEVELOPMENT = "development"
_PREPARING_S = 0.5  # a batch takes a tenth of that, unless the product's hook hangs
_NO_KEY = Delivery(result=Result.REFUSED, reason="no project API key is set (POSTHOG_API_KEY)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of events for which the sender waits."""

    outcome: Outcome
    refused: int = 0  # by PostHog
    unkept: int = 0  # neither sent nor kept, for want of room


@dataclass(slots=True, eq=False)
class _Submission:
    """Events on their way: not prepared yet, to be tried now, or waiting for a later attempt."""

    events: Sequence[Event] = ()
    todo: deque[Batch] = field(default_factory=deque)
    held: list[Batch] = field(default_factory=list)
    refused: int = 0
    is_preparing: bool = False  # on the thread that submitted it
    # Still in the spool: a batch of which everything was withdrawn is counted when it is purged.
    is_spooled: bool = False
    # Spooled by a process that ends: a request that has not begun its body must not send it.
    is_given_up: bool = False
    is_in_doubt: bool = False  # the last answer was not PostHog's word


class Gate:
    """Pass on the events that consent allows, scrubbed."""

    def __init__(
        self,
        preparation: Preparation,
        *,
        watch: ConsentWatch,
        transport: Transport | None,
        spool: Spool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a project API key there is no transport, and events are rejected."""
        self.counts = preparation.counts
        # Whether what exporters bring is spooled without an attempt, as in a process that may be killed.
        self.spools_first = preparation.config.spool_first
        self._preparation = preparation
        self._config = preparation.config
        self._watch = watch
        self._transport = transport
        self._spool = spool
        self._seen: dict[int, None] = {}  # uuids, the one that was not repeated for longest first
        self._lock = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)
        self._pauses = Pauses(self._config, clock)
        self._log_limiter = preparation.log_limiter
        self._settlement = Settlement(self._pauses, self.counts, self._log_limiter)
        self._rest: list[Batch] = []  # of a spooled batch that the disk did not replace by it
        self._in_progress: set[_Submission] = set()
        self._keeping = 0  # how many threads are writing what they did not send
        follow_forks(self)

    def send(self, events: Sequence[Event]) -> Outcome:
        """Send the events once, now; spool what cannot be sent yet. Never raises."""
        return self.submit(events).outcome

    def submit(self, events: Sequence[Event]) -> Report:
        """Send like `send`, and return how many events are neither sent nor kept."""
        submission = _Submission(self._unseen(events))
        with self._lock:
            self._in_progress.add(submission)
        outcome = Outcome.NOTHING
        try:
            self._prepare(submission)
            outcome = self._deliver(submission)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost no event
            self._log_fault("Events could not be sent, so they are kept and sent later (%s)", error)
        with self._lock:
            if submission not in self._in_progress:  # spooled by a process that ends
                return Report(outcome=max(outcome, Outcome.HELD), refused=submission.refused)
            self._in_progress.discard(submission)
            self._keeping += 1
        try:
            unprepared = self._batches(submission.events, self._watch.current)
            rest = (*submission.held, *submission.todo, *unprepared)  # the last two only after a fault
            kept = [(piece, self._keep(piece)) for piece in rest]
        finally:
            with self._lock:
                self._keeping -= 1
                self._lock.notify_all()
        return Report(
            outcome=max([outcome, *(done for _, done in kept)]),
            refused=submission.refused,
            unkept=sum(len(piece.events) for piece, done in kept if done is Outcome.LOST),
        )

    def forget(self, events: Sequence[Event]) -> None:
        """Accept these events again: they could not be kept."""
        with self._lock:
            for event in events:
                self._seen.pop(event.uuid.int, None)

    def hold(self, events: Sequence[Event]) -> Outcome:
        """Spool the events without an attempt, and without a read of the database. Never raises."""
        return self._hold(self._unseen(events))

    def hold_unfinished(self) -> None:
        """Spool what is prepared or sent for the first time: the process ends and does not wait.

        PostHog may receive such an event twice, with the same uuid and time.
        """
        with self._lock:
            given_up, self._in_progress = self._in_progress, set()
            for submission in given_up:
                submission.is_given_up = True
            self._lock.wait_for(lambda: not any(each.is_preparing for each in given_up), _PREPARING_S)
            late = {each for each in given_up if each.is_preparing}
            self._in_progress |= late  # their own threads spool them
            batches = [batch for each in given_up - late for batch in (*each.todo, *each.held)]
            events = [event for each in given_up for event in each.events]
        for batch in batches:
            self._keep(batch)
        self._hold(events)
        with self._lock:
            self._lock.wait_for(lambda: not self._keeping, _PREPARING_S)

    def resend(self, batch: Batch) -> bool:
        """Send a spooled batch under today's consent and registry; return whether it is dealt with."""
        # Without its grant, since what it covered may have expired while the batch waited.
        pieces = self._rest_of(batch) or [replace(batch, grant=None)]
        submission = _Submission(todo=deque(pieces), is_spooled=True)
        self._deliver(submission)
        held = submission.held
        if not held:
            return True
        is_whole = sum(len(piece.events) for piece in held) == len(batch.events)
        if is_whole and not submission.is_in_doubt:
            return False
        # Behind the others: nobody can tell whether it is the reason for a doubtful answer.
        if self._spool.replace(batch, held):
            return True
        self._rest = held
        return False

    def send_startup_test(self, event: Event) -> Outcome:
        """Send one test event in development, whatever consent says (requirement R19)."""
        if self._config.environment != DEVELOPMENT or self._config.disabled or self._transport is None:
            return Outcome.NOTHING
        prepared = self._preparation.prepared(event, None, None)
        if prepared is None:
            return Outcome.NOTHING
        delivery = self._transport.send(WireBatch([prepared.written()]), lambda: True)
        if not self._watch.current.is_on:
            self._transport.close()
        return Outcome.SENT if delivery.result is Result.ACCEPTED else Outcome.LOST

    def pause_s(self) -> float:
        """Return for how many seconds deliveries pause; 0 or less if they do not."""
        return self._pauses.left_s()

    def wait_until_idle(self, kind: Kind, timeout_s: float) -> bool:
        """Wait until no POST of the kind is in progress; return False if the time did not suffice."""
        with self._lock:
            return self._lock.wait_for(lambda: self._in_flight[kind] == 0, timeout_s)

    def after_fork(self) -> None:
        """Start again in a child: locks and POSTs in progress are the parent's."""
        self._lock = threading.Condition()
        self._in_flight = dict.fromkeys(Kind, 0)
        self._in_progress, self._keeping = set(), 0

    def _unseen(self, events: Sequence[Event]) -> list[Event]:
        """Return the events whose uuids were not seen before, and remember these."""
        seen, unseen = self._seen, []
        with self._lock:
            for event in events:
                number = event.uuid.int
                if number in seen:
                    del seen[number]  # so that it is the youngest again
                    self.counts.add("told_before", kind=event.kind.value)
                else:
                    unseen.append(event)
                seen[number] = None
            for number in [*islice(seen, max(0, len(seen) - self._config.uuid_memory))]:
                del seen[number]
        return unseen

    def _consent_for(self, kinds: Collection[Kind]) -> Consent:
        """Return a recent answer only if it grants all kinds, else a new one; each attempt reads again."""
        consent = self._watch.fresh()
        if consent is not None and all(consent.kinds[kind].answer is Answer.GRANTED for kind in kinds):
            return consent
        return self._watch.refresh()

    def _prepare(self, submission: _Submission) -> None:
        """Prepare the events, unless the process ends and has them prepared elsewhere."""
        consent = self._consent_for({event.kind for event in submission.events})
        with self._lock:
            if submission.is_given_up:
                return
            events, submission.events = submission.events, ()
            submission.is_preparing = True
        batches = [*self._batches(events, consent)]
        with self._lock:
            submission.todo.extend(batches)
            submission.is_preparing = False
            self._lock.notify_all()

    def _batches(self, events: Sequence[Event], consent: Consent) -> Iterator[Batch]:
        by_kind: dict[Kind, list[Event]] = {kind: [] for kind in Kind}
        for event in events:
            by_kind[event.kind].append(event)
        for kind, same in by_kind.items():
            try:
                yield from self._preparation.batches(kind, same, consent)
            except Exception as error:  # noqa: BLE001 - what is not prepared is neither sent nor kept
                self.counts.add("unscrubbable", len(same), kind=kind.value)
                self._log_fault("Events could not be prepared and are dropped (%s)", error)

    def _hold(self, events: Sequence[Event]) -> Outcome:
        batches = self._batches(events, self._watch.current)
        return max(map(self._keep_in_spool, batches), default=Outcome.NOTHING)

    def _deliver(self, submission: _Submission) -> Outcome:
        """Try each batch until one begins a pause; the rest is left for a later attempt."""
        worst = Outcome.NOTHING
        while submission.todo:
            batch = submission.todo[0]
            step = Step(outcome=Outcome.HELD, held=[batch])
            if not submission.is_given_up and self._pauses.begin():
                try:
                    step = self._attempt(submission, batch)
                finally:
                    self._pauses.end()
            with self._lock:
                submission.todo.popleft()
                submission.refused += step.refused
                submission.held.extend(step.held)
                submission.todo.extendleft(reversed(step.todo))
            worst = max(worst, step.outcome)
        return worst

    def _attempt(self, submission: _Submission, batch: Batch) -> Step:
        """Post what consent allows at this moment; the transport may ask twice."""
        self._watch.refresh()
        # A withdrawal publishes its answer and then waits for this lock, so that no POST begins after the
        # call that withdrew has returned.
        with self._lock:
            consent = self._watch.current
            allowed = self._allowed(submission, batch, consent)
            if allowed:
                self._in_flight[batch.kind] += 1
        if not allowed:
            if submission.is_spooled:
                self._spool.purge(consent)
            return Step(outcome=Outcome.HELD, held=[batch]) if allowed is None else Step()
        opened = replace(batch, events=allowed)
        try:
            delivery = self._post(submission, opened, consent)
        except Exception as error:  # noqa: BLE001 - a product's own transport may raise anything
            reason = f"the transport raised {type(error).__name__}"
            delivery = Delivery(result=Result.RETRY, reason=reason, advice="Check the transport.")
        finally:
            with self._lock:
                self._in_flight[batch.kind] -= 1
                self._lock.notify_all()
            now = self._watch.current
            if now is not consent and now.is_off and self._transport is not None:
                self._transport.close()  # it may have been opened after the withdrawal closed it
        submission.is_in_doubt = delivery.result is Result.DOUBTFUL
        return self._settlement.settle(opened, delivery)

    def _allowed(self, submission: _Submission, batch: Batch, consent: Consent) -> tuple[Event, ...] | None:
        """Return what this consent allows to be sent now, or None if the batch has to wait for it."""
        known = consent.kinds[batch.kind]
        if known.answer is Answer.UNKNOWN:
            return None
        if known.answer is Answer.GRANTED and consent.instance_id is None:
            return None
        before_ns = known.discard_stamped_before_ns(batch.stamp)
        events = tuple(event for event in batch.events if event.accepted_ns >= before_ns)
        if events or not submission.is_spooled:
            self.counts.add("withdrawn", len(batch.events) - len(events), kind=batch.kind.value)
        if batch.kind is Kind.ERRORS:  # their breadcrumbs may be older, and name product events
            tracking = consent.kinds[Kind.TELEMETRY]
            events_ns = tracking.discard_before_ns if tracking.answer is Answer.GRANTED else inf
            steps_ns = before_ns if submission.is_spooled else known.discard_before_ns
            events = tuple(_with_steps_since(event, steps_ns, events_ns) for event in events)
        if known.grant is not batch.grant:  # consent has changed since the events were prepared
            events = tuple(self._narrowed(events, batch.kind, consent))
        return events

    def _narrowed(self, events: Sequence[Event], kind: Kind, consent: Consent) -> Iterator[Event]:
        """Yield what the grant covers of each event."""
        grant = consent.kinds[kind].grant
        for event in events:
            narrowed = self._preparation.admitted(event, grant.manifest_at(event.accepted_ns))
            if narrowed is not None:
                yield narrowed

    def _post(self, submission: _Submission, batch: Batch, consent: Consent) -> Delivery:
        def may_leave() -> bool:
            # Connecting can take seconds, and another worker may withdraw meanwhile.
            now = self._watch.fresh() or self._watch.refresh()
            is_allowed = now is consent or now.kinds[batch.kind].allows(batch.oldest_ns, batch.stamp)
            return is_allowed and not submission.is_given_up

        texts = [event.address(consent.instance_id) for event in batch.events]
        return _NO_KEY if self._transport is None else self._transport.send(WireBatch(texts), may_leave)

    def _log_fault(self, template: str, error: Exception) -> None:
        self._log_limiter.warning(_log, template, type(error).__name__)

    def _rest_of(self, batch: Batch) -> list[Batch]:
        """Return what is left of the batch, if it is the one of which the disk kept more than that."""
        rest, self._rest = self._rest, []
        known = {event.uuid for event in batch.events}
        return rest if all(event.uuid in known for piece in rest for event in piece.events) else []

    def _keep(self, batch: Batch) -> Outcome:
        """Spool what this process accepted, unless it was withdrawn during the attempt."""
        before_ns = self._watch.current.kinds[batch.kind].discard_stamped_before_ns
        if any(event.accepted_ns < before_ns(event.stamp) for event in batch.events):
            self.counts.add("withdrawn", len(batch.events), kind=batch.kind.value)
            return Outcome.NOTHING
        return self._keep_in_spool(batch)

    def _keep_in_spool(self, batch: Batch) -> Outcome:
        # The names of product events need a consent of their own, which a later process cannot judge.
        since_ns = self._watch.current.kinds[batch.kind].withdrawn_before_ns
        events = tuple(_with_steps_since(event, since_ns, inf) for event in batch.events)
        return Outcome.HELD if self._spool.put(replace(batch, events=events)) else Outcome.LOST


def _with_steps_since(event: Event, since_ns: float, events_since_ns: float) -> Event:
    return event.with_properties(with_steps_since(event.properties, since_ns, events_since_ns))
