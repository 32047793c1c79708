"""Bring the work on a database to a standstill while the process forks.

A thread inside SQLite at that moment would leave its locks to the child, where nobody can end them:
each write there would find the database locked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_S = 1.0


class Standstill:
    """Let operations run side by side, and none while the process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_forking = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the block as an operation; it begins once no fork is under way, or after `TIMEOUT_S`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking, TIMEOUT_S)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def begin(self) -> bool:
        """Keep operations out, and wait for those under way so long; tell whether none is left."""
        with self._changed:
            self._is_forking = True
            return self._changed.wait_for(lambda: not self._under_way, TIMEOUT_S)

    def end(self) -> None:
        """Go on."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Start afresh in a child: operations and lock are the parent's."""
        self._changed = threading.Condition()
        self._under_way, self._is_forking = 0, False
