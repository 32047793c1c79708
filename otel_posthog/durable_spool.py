"""A spool that outlives its process, and never stops one: where the disk fails, memory has to do."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .notices import Notices
from .spool import Batch, MemorySpool, Spool, Withdrawal
from .spool_file import SpoolFile, StoredBatch

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

RETRY_DISK_S = 5.0  # after a failure; a full disk is not asked for each batch


class DurableSpool:
    """Keep batches in a file, and in memory while that fails or where there is none. Never raises."""

    def __init__(
        self,
        file: SpoolFile | None,
        *,
        memory: MemorySpool,
        on_put: Callable[[], None],
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._memory = memory
        self._on_put = on_put
        self._notices = notices
        self._clock = clock
        self._is_failing = False
        self._failed_at_s = float("-inf")

    def put(self, batch: Batch) -> int:
        """Keep the batch and return how many events had to go to make room."""
        lost = self._on_good_disk(lambda file: file.put(batch), None)
        if lost is None:
            return self._memory.put(batch)
        self._on_put()
        return lost

    def first(self) -> Batch | None:
        """Return the older one of the first batch on disk and the first in memory."""
        waiting = [self._on_good_disk(lambda file: file.first(), None), self._memory.first()]
        found = [batch for batch in waiting if batch is not None]
        return min(found, key=lambda batch: batch.oldest_ns) if found else None

    def waiting(self) -> list[Batch]:
        """Return what waits on disk and in memory, oldest first."""
        on_disk: list[Batch] = self._on_good_disk(lambda file: list[Batch](file.waiting()), [])
        return sorted([*on_disk, *self._memory.waiting()], key=lambda batch: batch.oldest_ns)

    def remove(self, batch: Batch) -> None:
        """Forget the batch."""
        if isinstance(batch, StoredBatch):
            self._on_disk(lambda file: file.remove(batch), None)
        else:
            self._memory.remove(batch)

    def purge(self, withdrawal: Withdrawal) -> int:
        """Delete what was withdrawn."""
        return self._on_disk(lambda file: file.purge(withdrawal), 0) + self._memory.purge(withdrawal)

    @contextmanager
    def claim(self) -> Iterator[Spool]:
        """Give all of it, or only what waits in memory while another process drains the file."""
        if self._file is None:
            yield self._memory
            return
        with self._file.claim() as is_ours:
            yield self if is_ours else self._memory

    def delete(self) -> None:
        """Leave nothing on disk: for when everything is withdrawn."""
        self._on_disk(lambda file: file.delete(), None)

    def close(self) -> int:
        """Bring to disk what waits in memory, close the file, and return how many events had to make room.

        The next use opens it again. What the disk does not take stays in memory.
        """
        lost = 0
        for batch in self._memory.waiting():
            made_room = self._moved_to_disk(batch)
            if made_room is None:
                break
            lost += made_room
        self._on_disk(lambda file: file.close(), None)
        return lost

    def before_fork(self) -> None:
        """Bring the file into a state in which the process can be copied."""
        if self._file is not None:
            self._file.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._file is not None:
            self._file.after_fork_in_parent()

    def after_fork(self) -> None:
        """Start afresh in a child: what waits in memory is the parent's to send."""
        if self._file is not None:
            self._file.after_fork_in_child()
        self._memory.after_fork()

    def _moved_to_disk(self, batch: Batch) -> int | None:
        lost = self._on_disk(lambda file: file.put(batch), None)
        if lost is not None:
            self._memory.remove(batch)
        return lost

    def _on_good_disk(self, act: Callable[[SpoolFile], _T], otherwise: _T) -> _T:
        """Leave a disk alone that has just failed: what is asked often would wait for it each time."""
        if self._clock() < self._failed_at_s + RETRY_DISK_S:
            return otherwise
        return self._on_disk(act, otherwise)

    def _on_disk(self, act: Callable[[SpoolFile], _T], otherwise: _T) -> _T:
        if self._file is None:
            return otherwise
        try:
            result = act(self._file)
        except (OSError, sqlite3.Error) as error:
            self._failed_at_s = self._clock()
            self._tell(error)
            return otherwise
        self._is_failing = False
        return result

    def _tell(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._notices.warn(
                _log,
                "The spool cannot be used (%s: %s), so waiting events are kept in memory only. "
                "Check the setting spool_dir, and the disk's space and permissions.",
                type(error).__name__,
                error,
            )
