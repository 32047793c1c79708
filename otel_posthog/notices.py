"""Say what is wrong once a minute, without ever saying a property's value."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

NOTICE_INTERVAL_S = 60.0


class Notices:
    """Pass on at most one log line a minute for each problem.

    A problem is a message template, so the same fault with other arguments counts as the same.
    Lines carry no traceback: a logging bridge would turn it into an error report of our own. The lock
    is reentrant, since a signal handler may track while this thread is here.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._lock = threading.RLock()

    def warn(self, logger: logging.Logger, template: str, *arguments: object) -> None:
        """Log the line at warning level, unless the same template was logged less than a minute ago."""
        now = self._clock()
        with self._lock:
            last = self._said.get(template)
            if last is not None and now - last < NOTICE_INTERVAL_S:
                return
            self._said[template] = now
        with suppress(Exception):  # a handler that fails is not ours to report, and costs no event
            logger.warning(template, *arguments)

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.RLock()
