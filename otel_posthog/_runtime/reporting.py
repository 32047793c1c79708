"""Count events by what became of them, and log each problem once a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from .process import follow_forks

# Reasons for losing an event that consent allowed; docs/delivery.md explains each. The list is closed, since
# each reason is a declared property of the heartbeat. Not even the number of withdrawn events is sent
# (docs/adr/0021).
DROPS = frozenset(
    {
        "before_send_failed",
        "expired",
        "queue_full",
        "refused",
        "shutdown",
        "spool_full",
        "too_large",
        "unmappable",
        "unreadable",
        "unregistered",
        "unscrubbable",
    }
)


class Counts:
    """Counters, safe in threads and signal handlers, with the names that `Telemetry.delivery()` shows."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()
        self._lock = threading.RLock()
        follow_forks(self)

    def add(self, reason: str, number: int = 1) -> None:
        """Count so many events under the reason."""
        if number:
            with self._lock:
                self._counter[reason] += number

    def as_dict(self) -> dict[str, int]:
        """Return a copy."""
        with self._lock:
            return dict(self._counter)

    def dropped(self) -> dict[str, int]:
        """Return how many events were lost, by reason; only reasons that occurred."""
        with self._lock:
            return {reason: number for reason, number in self._counter.items() if reason in DROPS}

    def after_fork(self) -> None:
        """Start at zero in a child: the parent reports its own counts."""
        self._lock = threading.RLock()
        self._counter = Counter()


NOTICE_INTERVAL_S = 60.0


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
            logger.warning(template, *arguments)

    def after_fork(self) -> None:
        """Replace the lock in a child: a thread of the parent may hold it."""
        self._lock = threading.RLock()
