"""Count events by what became of them, and log each problem once a minute."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum

from .process import follow_forks

# Reasons for losing an event that consent allowed; docs/delivery.md explains each. The list is closed, since
# each reason is a declared property of the heartbeat. Not even the number of withdrawn events is sent
# (docs/adr/0021).
DROPS = frozenset(
    {
        "before_send_failed",
        "expired",
        "killed",
        "queue_full",
        "quota",
        "refused",
        "shutdown",
        "spool_full",
        "too_large",
        "unmappable",
        "unqueued",
        "unreadable",
        "unregistered",
        "unscrubbable",
    }
)


ACCEPTED = "accepted"
SPOOLED = "spooled"  # on disk, less what was taken from there again
SENT = "sent"
HANDED_OVER = "handed_over"
NOT_DROPPED = frozenset({ACCEPTED, SPOOLED, SENT, HANDED_OVER})
REPORTED = "reported:"  # before a reason: what a heartbeat has reported of it, which is no event


class Counts:
    """Counters, safe in threads and signal handlers, with the names that `Telemetry.delivery()` shows.

    What is counted with a kind is an event that was accepted, and is counted once more when it is settled.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Counted without a call, where the limit of recursion leaves no room for one.
        self.unqueued = [0]
        self.after_fork()
        follow_forks(self)

    def add(self, reason: str, number: int = 1, *, kind: str | None = None) -> None:
        """Count so many events under the reason."""
        if number:
            with self._lock:
                self._counter[reason] += number
                if kind is not None:
                    self._balances[kind][reason] += number

    def add_each(self, reason: str, numbers: Mapping[str, int]) -> None:
        """Count so many events of each kind under the reason; an empty kind is one that is not known."""
        for kind, number in numbers.items():
            self.add(reason, number, kind=kind or None)

    def accept(self, kind: str, number: int = 1) -> None:
        """Count events that from now on have to be sent, handed over or dropped."""
        with self._lock:
            self._balances[kind][ACCEPTED] += number

    def accept_each(self, kinds: Iterable[StrEnum], number: int = 1) -> None:
        """Count events of each kind as accepted."""
        with self._lock:
            for kind in kinds:
                self._balances[kind.value][ACCEPTED] += number

    def spool(self, kind: str, number: int) -> None:
        """Count events that were written to disk; below zero, that were taken from there."""
        with self._lock:
            self._balances[kind][SPOOLED] += number

    def report(self, drops: Mapping[str, Mapping[str, int]]) -> None:
        """Count these drops, by kind and reason, as ones that no later heartbeat reports."""
        with self._lock:
            for kind, reasons in drops.items():
                for reason, number in reasons.items():
                    self._balances[kind][REPORTED + reason] += number

    def note(self, what: str, kind: str) -> None:
        """Note that this happens now to an event of the kind."""
        self.last_s[what, kind] = time.time()

    def as_dict(self) -> dict[str, int]:
        """Return a copy."""
        with self._lock:
            counted = dict(self._counter)
        if self.unqueued[0]:
            counted["unqueued"] = counted.get("unqueued", 0) + self.unqueued[0]
        return counted

    def totals(self) -> dict[str, dict[str, int]]:
        """Return for each kind what was accepted and what became of it."""
        with self._lock:
            return {kind: dict(balance) for kind, balance in self._balances.items()}

    def dropped(self) -> dict[str, int]:
        """Return how many events were lost, by reason; only reasons that occurred."""
        return {reason: number for reason, number in self.as_dict().items() if reason in DROPS}

    def after_fork(self) -> None:
        """Start at zero in a child: the parent reports its own counts."""
        self._lock = threading.RLock()
        self._counter: Counter[str] = Counter()
        self._balances: defaultdict[str, Counter[str]] = defaultdict(Counter)
        # When something last happened to an event of a kind, in seconds since 1970.
        self.last_s: dict[tuple[str, str], float] = {}
        self.unqueued[0] = 0


NOTICE_INTERVAL_S = 60.0
MAX_ARGUMENT_CHARS = 1_000  # of what a log line quotes, such as the name of an event


class DropLog:
    """Log at most one line a minute with the events that were dropped since the last line."""

    def __init__(self, counts: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._clock = clock
        self.after_fork()
        follow_forks(self)

    def after_fork(self) -> None:
        """Start at zero in a child, as its counts do."""
        self._logged: Mapping[str, int] = {}
        self._not_before_s = -math.inf

    def write(self, logger: logging.Logger) -> None:
        """Log the line if there is anything to say and the last one is a minute old."""
        if self._clock() >= self._not_before_s:
            self.write_now(logger)

    def write_now(self, logger: logging.Logger) -> None:
        """Log the line if there is anything to say."""
        dropped = self._counts.dropped()
        new = {reason: number - self._logged.get(reason, 0) for reason, number in dropped.items()}
        shown = ", ".join(f"{number} {reason}" for reason, number in sorted(new.items()) if number)
        if shown:
            self._logged, self._not_before_s = dropped, self._clock() + NOTICE_INTERVAL_S
            with suppress(Exception):  # as below
                logger.warning("Events were dropped: %s. The reasons are in docs/delivery.md.", shown)


class LogLimiter:
    """Log at most one line a minute for each message template, never with a property's value."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_s: dict[str, float] = {}
        self._lock = threading.RLock()  # reentrant: a signal handler may call track() inside of it
        follow_forks(self)

    def warning(self, logger: logging.Logger, template: str, *arguments: object) -> None:
        """Log at warning level, unless the template was logged less than a minute ago."""
        now = self._clock()
        with self._lock:
            last = self._logged_s.get(template)
            if last is not None and now - last < NOTICE_INTERVAL_S:
                return
            self._logged_s[template] = now
        with suppress(Exception):  # a failing handler is the host's problem, and must cost no event
            # Without a traceback: a logging bridge would turn it into an error report of our own.
            logger.warning(template, *map(_in_one_line, arguments))

    def after_fork(self) -> None:
        """Replace the lock in a child: a thread of the parent may hold it."""
        self._lock = threading.RLock()


def _in_one_line(argument: object) -> object:
    """Return a number as it is, and anything else as text that can neither begin a line nor color one."""
    if isinstance(argument, (int, float)):
        return argument
    text = str(argument)[:MAX_ARGUMENT_CHARS]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
