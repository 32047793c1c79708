"""What the admin has allowed, as this process knows it.

Three answers: granted, denied, unknown. Denied discards, unknown holds. A withdrawal that happened
between two looks is seen by the generation in the row, so that off and on again leaks nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from . import acceptance
from .errors import OtelPosthogError
from .events import UNSTAMPED, Stamp
from .notices import Notices
from .registry import Kind
from .settings import Settings

_log = logging.getLogger(__name__)
_FORK_TIMEOUT_S = 1.0


class Answer(Enum):
    """Whether events of one kind may leave."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """To which manifest a kind's consent was given; None stands for the present one."""

    manifest: str | None = None
    since_ns: int = 0
    before: str | None = None
    """The manifest that counts for what was accepted before somebody agreed to a wider one."""

    def manifest_at(self, accepted_ns: int) -> str | None:
        """Return the hash of the manifest for something accepted at that moment."""
        return self.manifest if accepted_ns >= self.since_ns else self.before

    def followed_by(self, row: Settings, kind: Kind, *, was_on: bool, now_ns: int) -> Grant:
        """Return the grant that the row tells of now."""
        name = row.manifest(kind)
        if name == self.manifest:
            return self
        return Grant(manifest=name, since_ns=now_ns, before=self.manifest) if was_on else Grant(manifest=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One look at the settings row."""

    errors: Answer
    telemetry: Answer
    instance_id: str | None = None
    errors_since_ns: int = 0
    telemetry_since_ns: int = 0
    """What was accepted earlier than this moment was accepted before a withdrawal and never leaves."""
    errors_grant: Grant = Grant()
    telemetry_grant: Grant = Grant()
    errors_generation: int | None = None
    telemetry_generation: int | None = None
    """The row's; None before any look has succeeded."""
    undated_before_ns: int = 0
    """Where there ever was a withdrawal, what carries no generation and was accepted earlier than this
    moment may have been accepted before it, and never leaves."""
    looked_at_s: float = float("-inf")
    """Monotonic time at which the look began."""

    def grant(self, kind: Kind) -> Grant:
        """Return to what consent was given, for one kind."""
        return self.errors_grant if kind is Kind.ERRORS else self.telemetry_grant

    def answer(self, kind: Kind) -> Answer:
        """Return the answer for one kind."""
        return self.errors if kind is Kind.ERRORS else self.telemetry

    def since_ns(self, kind: Kind) -> int:
        """Return the moment of the kind's last withdrawal that this process has noticed."""
        return self.errors_since_ns if kind is Kind.ERRORS else self.telemetry_since_ns

    def stamp(self, kind: Kind) -> Stamp:
        """Return what has to stand on something of that kind, so that a later process can judge it."""
        generation = self.errors_generation if kind is Kind.ERRORS else self.telemetry_generation
        return Stamp(generation=generation, instance_id=self.instance_id)

    def allows(self, kind: Kind, accepted_ns: int, stamp: Stamp = UNSTAMPED) -> bool:
        """Tell whether something accepted at that moment, or under that consent, may leave now."""
        return self.answer(kind) is Answer.GRANTED and not self.is_withdrawn(kind, accepted_ns, stamp)

    def is_withdrawn(self, kind: Kind, accepted_ns: int, stamp: Stamp = UNSTAMPED) -> bool:
        """Tell whether something accepted at that moment, or under that consent, has to be discarded."""
        return accepted_ns < self.withdrawn_before_ns(kind, stamp)

    def withdrawn_before_ns(self, kind: Kind, stamp: Stamp = UNSTAMPED) -> float:
        """Return the moment before which what was accepted has to be discarded.

        What carries a generation is judged by it alone, so the moment is never or always: it may come
        from a worker that knew of a grant long before this one did.
        """
        if self.answer(kind) is Answer.DENIED:
            return math.inf
        now = self.stamp(kind)
        if stamp.generation is None:
            return max(self.since_ns(kind), self.undated_before_ns if now.generation else 0)
        if None not in (stamp.instance_id, now.instance_id) and stamp.instance_id != now.instance_id:
            return math.inf
        is_earlier = now.generation is not None and stamp.generation < now.generation
        return math.inf if is_earlier else -math.inf

    @property
    def age_s(self) -> float:
        """Seconds since the look began."""
        return time.monotonic() - self.looked_at_s

    @property
    def was_looked_at(self) -> bool:
        """Whether anybody has looked at the row, or tried to."""
        return self.looked_at_s > float("-inf")

    @property
    def is_off(self) -> bool:
        """Whether both kinds are known to be denied."""
        return self.errors is Answer.DENIED and self.telemetry is Answer.DENIED

    @property
    def is_on(self) -> bool:
        """Whether any kind is granted."""
        return Answer.GRANTED in (self.errors, self.telemetry)


UNKNOWN = Consent(errors=Answer.UNKNOWN, telemetry=Answer.UNKNOWN)
DENIED = Consent(errors=Answer.DENIED, telemetry=Answer.DENIED)


class ConsentWatch:
    """Look at the row, remember the answer, and tell what has to stop.

    `read` returns the row, None for a missing one, or raises `OtelPosthogError`; it may block. It is
    only called under one lock together with applying what it returned, so that an older answer never
    replaces a newer one.
    """

    def __init__(
        self,
        read: Callable[[], Settings | None],
        *,
        max_age_s: float,
        is_disabled: bool,
        notices: Notices,
        on_change: Callable[[Consent], None],
    ) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._is_disabled = is_disabled
        self._notices = notices
        self._on_change = on_change
        self._row: Settings | None = None
        self._refresh: threading.Thread | None = None
        self._is_closed = False
        self._is_held_for_fork = False
        self._lock = threading.Lock()
        self.current = DENIED if is_disabled else UNKNOWN

    def peek(self) -> Consent:
        """Return the last answer without waiting; one older than allowed is renewed in the background."""
        consent = self.current
        if time.monotonic() - consent.looked_at_s > self._max_age_s and not (
            self._is_disabled or self._is_closed
        ):
            self._renew()
        return consent

    def look(self) -> Consent:
        """Read the row now and return the answer; may wait for the database, never raises."""
        if self._is_disabled:
            return self.current
        asked_at_s = time.monotonic()
        with self._lock:
            if self.current.looked_at_s >= asked_at_s or self._has_just_failed():
                return self.current  # another thread looked while this one waited, or waited in vain
            return self._look()

    def recent(self) -> Consent | None:
        """Return the last answer if it is not older than allowed."""
        is_recent = self._is_disabled or self.current.age_s <= self._max_age_s
        return self.current if is_recent else None

    @property
    def last_row(self) -> Settings | None:
        """The row as it was read last; what it grants may be unknown by now."""
        return self._row

    def open(self) -> None:
        """Let `peek` renew answers."""
        self._is_closed = False

    def close(self, timeout_s: float) -> None:
        """Let `peek` renew nothing any more, and wait so long for a renewal under way."""
        self._is_closed = True
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Wait until a renewal that `peek` began has ended."""
        refresh = self._refresh
        if refresh is not None:
            refresh.join(timeout_s)

    def change(self, write: Callable[[], Settings]) -> Settings:
        """Write the row and apply it at once; no look can slip in between and undo it."""
        with self._lock:
            began_s = time.monotonic()
            row = write()
            if not self._is_disabled:
                self._apply(row, began_s)
            return row

    def before_fork(self) -> None:
        """Wait for a look under way, but not for long: its database's locks would be copied locked."""
        self._is_held_for_fork = self._lock.acquire(timeout=_FORK_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_for_fork:
            self._lock.release()

    def after_fork(self) -> None:
        """Start afresh in a child: locks and threads are the parent's."""
        self._lock = threading.Lock()
        self._refresh = None

    def _has_just_failed(self) -> bool:
        """Whether the database has just kept a look waiting; then the next one would wait as long."""
        is_unknown = self.current.errors is Answer.UNKNOWN
        return is_unknown and self.current.age_s < self._max_age_s / 2

    def _renew(self) -> None:
        refresh = self._refresh
        if refresh is None or not refresh.is_alive():
            # A short thread a second, only where requests come in, rather than one that stays
            # or a place in the host's executor.
            refresh = threading.Thread(target=self.look, name="otel-posthog-consent", daemon=True)
            with suppress(RuntimeError):  # no new threads while the interpreter shuts down
                refresh.start()
                self._refresh = refresh

    def _look(self) -> Consent:
        began_s = time.monotonic()
        try:
            row = self._read()
        except OtelPosthogError as error:
            self._notices.warn(_log, "Consent is unknown, so nothing is sent: %s", error)
            return self._unknown()
        except Exception as error:  # noqa: BLE001 - drivers raise what they like; unknown is safe
            self._notices.warn(_log, "Consent is unknown, so nothing is sent (%s)", type(error).__name__)
            return self._unknown()
        if row is None:
            self._notices.warn(
                _log,
                "Consent is unknown, so nothing is sent: system_settings has no row with id 1. "
                "Save the telemetry settings once, or restart, to create it.",
            )
            return self._unknown()
        return self._apply(row, began_s)

    def _unknown(self) -> Consent:
        last = self.current
        return self._publish(
            Consent(
                errors=Answer.UNKNOWN,
                telemetry=Answer.UNKNOWN,
                instance_id=last.instance_id,
                errors_since_ns=last.errors_since_ns,
                telemetry_since_ns=last.telemetry_since_ns,
                errors_grant=last.errors_grant,
                telemetry_grant=last.telemetry_grant,
                errors_generation=last.errors_generation,
                telemetry_generation=last.telemetry_generation,
                undated_before_ns=last.undated_before_ns,
                looked_at_s=time.monotonic(),
            )
        )

    def _apply(self, row: Settings, began_s: float) -> Consent:
        before, last = self._row, self.current
        now_ns = acceptance.now_ns()
        boundary = _Boundary(
            now_ns=now_ns,
            is_other_instance=before is not None and before.instance_id != row.instance_id,
        )
        grace_ns = int(self._max_age_s * 1e9)
        self._row = row
        grants = {
            kind: last.grant(kind).followed_by(
                row, kind, was_on=before is not None and before.is_granted(kind), now_ns=boundary.now_ns
            )
            for kind in Kind
        }
        return self._publish(
            Consent(
                errors=_answer(row.enable_error_reporting),
                telemetry=_answer(row.enable_telemetry),
                instance_id=str(row.instance_id) if row.instance_id else None,
                errors_since_ns=boundary.since_ns(before or row, row, Kind.ERRORS, last),
                telemetry_since_ns=boundary.since_ns(before or row, row, Kind.TELEMETRY, last),
                errors_grant=grants[Kind.ERRORS],
                telemetry_grant=grants[Kind.TELEMETRY],
                errors_generation=row.errors_generation,
                telemetry_generation=row.telemetry_generation,
                undated_before_ns=now_ns - grace_ns if before is None else last.undated_before_ns,
                looked_at_s=began_s,
            )
        )

    def _publish(self, consent: Consent) -> Consent:
        self.current = consent
        self._on_change(consent)
        return consent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boundary:
    """What one look says of the moment before which nothing accepted may leave."""

    now_ns: int
    is_other_instance: bool

    def since_ns(self, before: Settings, row: Settings, kind: Kind, last: Consent) -> int:
        """Return that moment for one kind, given the row at the look before and at this one.

        A grant does not reach back either: nobody can tell which side of it lies what was accepted
        between the two looks, and behind a stock processor it waits unjudged.
        """
        was_granted = before.is_granted(kind)
        is_same = before.generation(kind) == row.generation(kind) and not self.is_other_instance
        if was_granted and row.is_granted(kind) and is_same:
            return last.since_ns(kind)
        return self.now_ns


def _answer(flag: bool) -> Answer:  # noqa: FBT001 - a flag of the row
    return Answer.GRANTED if flag else Answer.DENIED
