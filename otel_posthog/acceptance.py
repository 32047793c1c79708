"""Note on a record when this process took it over.

A record's own times are its maker's: a host may set them to anything, and a time in the future
would outlive a withdrawal. The note is a plain attribute of the object, invisible to exporters.
Notes and withdrawals are told by one clock that nobody sets while the process lives: one set back
by an hour would put what was accepted before a withdrawal after it.
"""

from __future__ import annotations

import time
from contextlib import suppress

_NOTE = "_otel_posthog_accepted_ns"
_BEGAN_NS = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Return the time since 1970 by the clock of this module."""
    return _BEGAN_NS + time.monotonic_ns()


def accept(record: object) -> None:
    """Note that the record is taken over now."""
    with suppress(AttributeError, TypeError):  # one that takes no attribute keeps its own time
        setattr(record, _NOTE, now_ns())


def accepted_ns(record: object, own_ns: int) -> int:
    """Return when the record was taken over; without a note by its own time, but none in the future.

    Its own time is the machine's, which may have been set before or since: the earlier reading counts.
    """
    noted = getattr(record, _NOTE, None)
    if isinstance(noted, int):
        return noted
    ours_ns = _BEGAN_NS + time.monotonic_ns()
    set_forward_ns = time.time_ns() - ours_ns
    return min(own_ns, own_ns - set_forward_ns, ours_ns)
