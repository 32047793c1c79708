"""Limit how often the same failure is reported, and tell once a minute what was left out (requirement R16).

A failure is an exception's type and the place where it was raised. Each has a bucket of its own that
lets a burst through and refills slowly, so that one that storms costs the others nothing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping

from . import attributes
from ._otel import Logger, SeverityNumber
from .counts import Counts
from .registry import SUPPRESSED
from .tracebacks import place_of, type_of

TELL_EVERY_S = 60.0
MAX_FAILURES = 1_000
"""Buckets that are kept; of the one that was longest not needed a new burst would pass."""
MAX_TOLD = 10
_MINUTE_S = 60.0
_PLACE = re.compile(r'  File "([^"\n]{1,500})", line (\d{1,9}), in ([^\n]{1,200})')

Failure = tuple[str, str, int, str, str]
"""Type, file name as compiled, line number, function, module."""


class Storms:
    """A token bucket for each failure; safe in threads and signal handlers."""

    def __init__(
        self,
        counts: Counts,
        *,
        burst: int,
        refill_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._burst = burst
        self._per_s = refill_per_minute / _MINUTE_S
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets: OrderedDict[Failure, tuple[float, float]] = OrderedDict()
        self._suppressed: Counter[Failure] = Counter()
        self._began_s = 0.0

    def admits(self, error: BaseException) -> bool:
        """Tell whether this exception may be reported; one that may not is counted."""
        return self._admits((type_of(error), *place_of(error)))

    def admits_record(self, recorded: Mapping[str, object]) -> bool:
        """Tell the same of a foreign record of an exception, whose stack is a text."""
        stack = str(recorded.get(attributes.EXCEPTION_STACKTRACE) or "")
        name = str(recorded.get(attributes.EXCEPTION_TYPE) or "")
        place = _PLACE.match(stack, stack.rfind('\n  File "') + 1)
        return self._admits((name, place[1], int(place[2]), place[3], "") if place else (name, "", 0, "", ""))

    def tell(self, logger: Logger, *, is_over: bool = False) -> None:
        """Emit one record for what was left out since the last one, a minute later or at the end."""
        with self._lock:
            seconds = self._clock() - self._began_s
            if not self._suppressed or (seconds < TELL_EVERY_S and not is_over):
                return
            suppressed, self._suppressed = self._suppressed, Counter()
        worst = [[*failure, number] for failure, number in suppressed.most_common(MAX_TOLD)]
        logger.emit(
            event_name=SUPPRESSED,
            severity_number=SeverityNumber.ERROR,
            attributes={
                "suppressed": suppressed.total(),
                "failures": len(suppressed),
                "seconds": round(seconds),
                "worst": json.dumps(worst),
            },
        )

    def forget(self) -> None:
        """Tell nothing of what was left out so far: consent to it was withdrawn."""
        with self._lock:
            self._suppressed = Counter()

    def after_fork(self) -> None:
        """Start at nothing in a child: what the parent left out is the parent's to tell."""
        self._lock = threading.RLock()
        self._buckets = OrderedDict()
        self._suppressed = Counter()

    def _admits(self, failure: Failure) -> bool:
        now_s = self._clock()
        with self._lock:
            left, since_s = self._buckets.pop(failure, (float(self._burst), now_s))
            left = min(float(self._burst), left + (now_s - since_s) * self._per_s)
            is_admitted = left >= 1
            self._buckets[failure] = (left - 1 if is_admitted else left, now_s)
            if len(self._buckets) > MAX_FAILURES:
                self._buckets.popitem(last=False)
            if not is_admitted:
                self._count(failure, now_s)
        return is_admitted

    def _count(self, failure: Failure, now_s: float) -> None:
        self._counts.add("suppressed")
        if not self._suppressed:
            self._began_s = now_s
        if failure in self._suppressed or len(self._suppressed) < MAX_FAILURES:
            self._suppressed[failure] += 1
        else:
            self._suppressed[_OTHERS] += 1


_OTHERS: Failure = ("others", "", 0, "", "")
