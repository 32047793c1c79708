"""Note on a record when this process took it over.

A record's own times are its maker's: a host may set them to anything, and a time in the future
would outlive a withdrawal. The note is a plain attribute of the object, invisible to exporters.
"""

from __future__ import annotations

import time
from contextlib import suppress

_NOTE = "_otel_posthog_accepted_ns"


def accept(record: object) -> None:
    """Note that the record is taken over now."""
    with suppress(AttributeError, TypeError):  # one that takes no attribute keeps its own time
        setattr(record, _NOTE, time.time_ns())


def accepted_ns(record: object, own_ns: int) -> int:
    """Return when the record was taken over; without a note its own time, but none in the future."""
    noted = getattr(record, _NOTE, None)
    return noted if isinstance(noted, int) else min(own_ns, time.time_ns())
