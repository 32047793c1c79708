"""Keep this process's view of consent fresh, and announce each change.

Three answers: granted, denied, unknown. Denied discards, unknown holds. A withdrawal between two reads
shows in the generation of the row, so that switching off and on again sends nothing from before.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog._runtime.threads import in_thread
from otel_posthog.errors import OtelPosthogError
from otel_posthog.otel import records
from otel_posthog.registry import Kind

from .state import DENIED, UNKNOWN, Answer, Consent, KindConsent, ReadTimes, Settings

_log = logging.getLogger(__name__)
_FORK_TIMEOUT_S = 1.0
_NS_PER_S = 1_000_000_000


class ConsentWatch:
    """Read the settings row, remember the answer, and pass a new one to `on_change`.

    While nothing is granted, every answer counts as new: another worker may have spooled events since.
    `read` returns the row, None for a missing one, or raises `OtelPosthogError`; it may block. One lock
    covers reading and applying, so that an older answer never replaces a newer one.
    """

    def __init__(
        self,
        read: Callable[[], Settings | None],
        *,
        max_age_s: float,
        is_disabled: bool,
        log_limiter: LogLimiter,
        on_change: Callable[[Consent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._is_disabled = is_disabled
        self._log_limiter = log_limiter
        self._on_change = on_change
        self._clock = clock
        self._is_closed = False
        self._is_held_for_fork = False
        self._ask_at_s = -math.inf  # no read for what is held before
        self._read_ns = 0  # when the last row was read
        self.max_held = 0
        """How many reports may be held while consent is denied."""
        self.on_read: Callable[[Consent], None] | None = None
        """Called with each answer, also one that changes nothing."""
        self.current = DENIED if is_disabled else UNKNOWN
        self.last_row: Settings | None = None
        """The row as it was read last; what it grants may be unknown by now."""
        self.after_fork()
        follow_forks(self)

    def after_fork(self) -> None:
        """Replace, in a child, the locks and threads of the parent, which decides about what it holds."""
        self._lock, self._is_urgent = threading.Lock(), threading.Event()
        self._holding = threading.RLock()  # reentrant: a signal handler may report something
        self._held: list[Callable[[Consent], object]] = []
        self._asked_ns: int | None = None  # when the report that causes the next read was accepted
        self._asking: Future[None] | None = None
        self._refreshing: Future[Consent] | None = None
        self.announce_again()  # the threads that the last answer called for are the parent's

    def cached(self) -> Consent:
        """Return the last answer without waiting; refresh one that is too old in the background."""
        consent = self.current
        if self._clock() - consent.read_at_s <= self._max_age_s or self._is_disabled or self._is_closed:
            return consent
        if self._is_idle:
            self._note_cause()
            self.refresh_soon()
        return consent

    @property
    def _is_idle(self) -> bool:
        return self._refreshing is None or self._refreshing.done()

    def refresh_soon(self) -> None:
        """Refresh in the background, whatever the age of the last answer."""
        if self._is_idle and not (self._is_disabled or self._is_closed):
            # A short thread a second, only where requests come in: a permanent one would stay in an
            # idle process, and the host's executor may be full.
            self._refreshing = in_thread(self.refresh, "otel-posthog-consent")

    @property
    def may_hold(self) -> bool:
        """Whether a report that the last answer denies can wait for the next one."""
        return len(self._held) < self.max_held and not (self._is_disabled or self._is_closed)

    def hold(self, note: Callable[[], object], decide: Callable[[Consent], object]) -> bool:
        """Call `note`, and `decide` with an answer that is read afterwards on another thread.

        Returns False, and calls neither, without `may_hold`. There is one such read in the age of an answer.
        """
        with self._holding:
            self._ensure_asking()
            if not self.may_hold:
                return False
            # One that waits for its turn may be much older than its read, and so than a grant by SQL.
            if self._clock() >= self._ask_at_s:
                self._note_cause()
            note()
            self._held.append(decide)
            self._ensure_asking()
        return True

    def _note_cause(self) -> None:
        """Remember when the record was accepted that causes the next read: a grant by SQL counts from it."""
        if self._asked_ns is None:
            self._asked_ns = records.now_ns()

    def settle(self, timeout_s: float) -> None:
        """Decide now about what is held, and wait for that."""
        if self._holding.acquire(timeout=timeout_s):  # at a signal the main thread may be in `hold`
            self._ensure_asking()
            self._holding.release()
        if (asking := self._asking) is not None:
            self._is_urgent.set()
            wait([asking], timeout_s)
            self._is_urgent.clear()

    def refresh(self) -> Consent:
        """Read the row now and return the answer; may wait for the database, never raises."""
        if self._is_disabled:
            return self.current
        asked_at_s = self._clock()
        with self._lock:
            if self._has_just_failed():
                self._asked_ns = None  # what caused this read may be much older than the next one
                return self.current
            if self.current.read_at_s >= asked_at_s:  # another thread has read it while this one waited
                return self.current
            return self._read_row()

    def fresh(self) -> Consent | None:
        """Return the last answer, or None if it is too old."""
        consent = self.current
        is_fresh = self._is_disabled or self._clock() - consent.read_at_s <= self._max_age_s
        return consent if is_fresh else None

    def open(self) -> None:
        """Let `cached` refresh answers, and announce the next one whatever it is."""
        self._is_closed = False
        self.announce_again()

    def announce_again(self) -> None:
        """Pass the next answer to `on_change` even if it is the same."""
        self._announced: Mapping[Kind, KindConsent] = {}

    def close(self, timeout_s: float) -> None:
        """Let `cached` start no more refreshes, and wait for one in progress."""
        self._is_closed = True
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Wait until a refresh that `cached` started has ended."""
        if self._refreshing is not None:
            wait([self._refreshing], timeout_s)

    def change(self, write: Callable[[], Settings]) -> Settings:
        """Write the row and apply it at once; no refresh can come between and undo it."""
        with self._lock:
            began_s = self._clock()
            row = write()
            if not self._is_disabled:
                self._apply(row, began_s)
            return row

    def before_fork(self) -> None:
        """Wait a second at most for a read in progress: the child would inherit its locks locked."""
        self._is_held_for_fork = self._lock.acquire(timeout=_FORK_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Release what `before_fork` locked."""
        if self._is_held_for_fork:
            self._lock.release()

    def _ensure_asking(self) -> None:
        has_ended = self._asking is None or self._asking.done()  # done: it could not start, or failed
        if self._held and has_ended:
            self._asking = in_thread(self._ask, "otel-posthog-consent")

    def _ask(self) -> None:
        while True:
            is_last = self._is_urgent.wait(max(0.0, self._ask_at_s - self._clock()))
            number = len(self._held)  # later ones may be accepted after the read
            consent = self.refresh()
            is_last = is_last or self._is_closed
            if consent.kinds[Kind.ERRORS].answer is Answer.UNKNOWN and not is_last:
                self._ask_at_s = self._clock() + self._max_age_s
                continue
            with self._holding:  # one thread decides about each
                decided, self._held = self._held[:number], self._held[number:]
            for decide in decided:
                try:
                    decide(consent)
                except Exception as error:  # noqa: BLE001 - as when no thread can be started at the end
                    self._log_limiter.warning(_log, "A held report is lost (%s)", type(error).__name__)
            with self._holding:
                self._ask_at_s = self._clock() + self._max_age_s
                if not self._held:
                    self._asking = None
                    return

    def _has_just_failed(self) -> bool:
        # Half of the age: each attempt waits for the database's timeout, and meanwhile the queue would
        # overflow while the spool has room.
        is_unknown = self.current.kinds[Kind.ERRORS].answer is Answer.UNKNOWN
        return is_unknown and self._clock() - self.current.read_at_s < self._max_age_s / 2

    def _read_row(self) -> Consent:
        began_s = self._clock()
        asked_ns, self._asked_ns = self._asked_ns, None  # a later cause has a read of its own
        try:
            row = self._read()
        except OtelPosthogError as error:
            self._log_limiter.warning(_log, "Consent is unknown, so nothing is sent: %s", error)
            row = None
        except Exception as error:  # noqa: BLE001 - drivers raise what they like; unknown is safe
            self._log_limiter.warning(
                _log, "Consent is unknown, so nothing is sent (%s)", type(error).__name__
            )
            row = None
        else:
            if row is None:
                self._log_limiter.warning(
                    _log,
                    "Consent is unknown, so nothing is sent: system_settings has no row with id 1. "
                    "Save the telemetry settings once, or restart, to create it.",
                )
        if row is None:
            return self._publish(self.current.unknown(self._clock()))
        return self._apply(row, began_s, asked_ns)

    def _apply(self, row: Settings, began_s: float, asked_ns: int | None = None) -> Consent:
        before, self.last_row = self.last_row, row
        ended_ns = records.now_ns()
        began_ns = ended_ns - int((self._clock() - began_s) * _NS_PER_S)
        oldest_ns = ended_ns - int(self._max_age_s * _NS_PER_S)
        times, self._read_ns = ReadTimes(asked_ns or began_ns, ended_ns, self._read_ns, oldest_ns), began_ns
        return self._publish(self.current.followed_by(row, before, times=times, read_at_s=began_s))

    def _publish(self, consent: Consent) -> Consent:
        self.current = consent
        if consent.kinds != self._announced:
            self._announced = consent.kinds if consent.is_on else {}
            self._on_change(consent)
        if self.on_read is not None:
            self.on_read(consent)
        return consent
