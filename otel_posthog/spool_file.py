"""Batches in one SQLite file that the processes of an installation share, oldest first.

Only what could not be sent comes here, scrubbed. The file outlives its processes and any moment at
which one of them is killed. Everything here may block and may raise `sqlite3.Error` or `OSError`;
`durable_spool.py` decides what becomes of that.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .counts import Counts
from .events import Stamp
from .notices import Notices
from .spool import Batch, Withdrawal
from .spool_codec import packed, unpacked
from .spool_lock import locked
from .spool_schema import PAGE_BYTES, used_bytes
from .spool_shared import SharedFile

CLAIM_NAME = "drain.lock"
MAX_SHOWN_BATCHES = 1_000
"""For somebody who looks at what waits."""
_FORK_TIMEOUT_S = 1.0
_OVERHEAD_BYTES = 10 * PAGE_BYTES  # header, tables, index, and the pages on which a row begins and ends
_OVERHEAD_RATIO = 1.01  # of the pages that a long row goes on

_PUT = (
    "INSERT INTO batches (kind, generation, instance_id, accepted_ns, put_at_s, events, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "id, kind, generation, instance_id, put_at_s, events, body"
_NAMES = "SELECT id, accepted_ns FROM batches ORDER BY id LIMIT ?"
_ONE = f"SELECT {_COLUMNS} FROM batches WHERE id = ?"  # noqa: S608 - constants
_ALL = f"SELECT {_COLUMNS} FROM batches ORDER BY id LIMIT ?"  # noqa: S608 - constants
_OLDEST = "SELECT id, events FROM batches ORDER BY id LIMIT 1"
_DELETE = "DELETE FROM batches WHERE id = ?"
_DELETE_SAME = "DELETE FROM batches WHERE id = ? AND accepted_ns = ?"  # a new file begins with 1 again
_WITHDRAWN = (
    "kind = :kind AND (generation < :generation OR (generation IS NULL AND accepted_ns < :before_ns))"
)
_COUNT_WITHDRAWN = f"SELECT coalesce(sum(events), 0) FROM batches WHERE {_WITHDRAWN}"  # noqa: S608 - constants
_DELETE_WITHDRAWN = f"DELETE FROM batches WHERE {_WITHDRAWN}"  # noqa: S608 - constants
_COUNT_EXPIRED = "SELECT coalesce(sum(events), 0) FROM batches WHERE put_at_s < ?"


class _FullError(Exception):
    """There is no room, and what is there was promised to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredBatch(Batch):
    """A batch that lies in the file."""

    row_id: int

    @property
    def name(self) -> tuple[int, int]:
        """What no other batch has, not even one of another file, which counts from one again."""
        return self.row_id, self.oldest_ns


class SpoolFile:
    """A queue of batches in `folder`; nothing is created there before the first `put`.

    The file is used under one lock, and is closed while the process forks. Where there is no room the
    oldest batches go.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        counts: Counts,
        notices: Notices,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._file = SharedFile(folder, notices)
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._counts = counts
        self._clock = clock
        self._claimed: sqlite3.Connection | None = None
        self._is_claim_kept = False
        self._owed: set[tuple[int, int]] = set()
        self._lock = threading.RLock()

    def put(self, batch: Batch) -> int:
        """Keep the batch and return how many events had to go to make room, its own included."""
        body = packed(batch)
        if len(body) * _OVERHEAD_RATIO + _OVERHEAD_BYTES > self._max_bytes:
            return len(batch.events)
        row = (
            batch.kind.value,
            batch.stamp.generation,
            batch.stamp.instance_id,
            batch.oldest_ns,
            self._clock(),
            len(batch.events),
            body,
        )
        with self._lock:
            try:
                return self._file.mended(lambda: self._put(row))
            except _FullError:
                return len(batch.events)

    def first(self) -> StoredBatch | None:
        """Return the oldest batch, or None; what has passed its age or cannot be read goes first."""
        with self._lock:
            if not self._file.exists:
                return None
            with suppress(sqlite3.Error):
                self._file.mended(self._pay)
            return self._file.mended(self._first)

    def waiting(self) -> list[StoredBatch]:
        """Return what waits, oldest first, at most `MAX_SHOWN_BATCHES`; nothing changes."""
        with self._lock:
            return self._file.mended(self._waiting) if self._file.exists else []

    def remove(self, batch: Batch) -> None:
        """Forget the batch; it is not returned again in this process even where that fails."""
        if not isinstance(batch, StoredBatch):
            return
        with self._lock:
            self._owed.add(batch.name)
            self._file.mended(self._pay)

    def purge(self, withdrawal: Withdrawal) -> int:
        """Delete what was withdrawn, so that its bytes are gone from the file, too."""
        limits: dict[str, object] = {
            "kind": withdrawal.kind.value,
            "before_ns": withdrawal.before_ns,
            "generation": withdrawal.generation,
        }
        with self._lock:
            if not self._file.exists:
                return 0
            return self._file.mended(lambda: self._purge(limits))

    def delete(self) -> None:
        """Delete the file, and what was set aside: once everything is withdrawn nothing may stay."""
        with self._lock:
            self._file.delete()

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Hold the right to drain; tell whether this process has it.

        The right is a lock on an empty file, so that it ends with a process that is killed. Who could not
        delete what was sent keeps it until that is done: nobody else knows.
        """
        claimed = self._take_claim()
        try:
            yield claimed is not None
        finally:
            with self._lock:
                if claimed is not None and self._claimed is claimed:
                    self._is_claim_kept = True
                    self._release_kept_claim()

    def close(self) -> None:
        """Close the file and give the claim back; the next use opens it again."""
        with self._lock:
            self._file.close()
            self._owed.clear()
            self._release_kept_claim()

    def before_fork(self) -> None:
        """Close the file: a connection must not be carried into a child."""
        if self._lock.acquire(timeout=_FORK_TIMEOUT_S):
            with suppress(sqlite3.Error):
                self._file.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with suppress(RuntimeError):  # not acquired in time
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start afresh; closing the parent's claim here only forgets it, the lock stays the parent's."""
        self._lock = threading.RLock()
        self._file.after_fork_in_child()
        claimed, self._claimed, self._is_claim_kept = self._claimed, None, False
        if claimed is not None:
            claimed.close()

    def _put(self, row: tuple[object, ...]) -> int:
        with self._file.writing() as connection:
            connection.execute(_PUT, row)
            return self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> int:
        """Delete the oldest batches as far as needed and return how many events that were."""
        lost = 0
        while used_bytes(connection) > self._max_bytes:
            oldest = connection.execute(_OLDEST).fetchone()
            if oldest is None:
                break
            connection.execute(_DELETE, (oldest[0],))
            lost += oldest[1]
        return lost

    def _first(self) -> StoredBatch | None:
        while (row := self._first_row()) is not None:
            row_id, _, _, _, put_at_s, events, _ = row
            if put_at_s < self._clock() - self._max_age_s:
                self._expire()
                continue
            try:
                return _stored(row)
            except ValueError:
                self._drop_unreadable(row_id, events)
        return None

    def _first_row(self) -> tuple[Any, ...] | None:
        connection = self._file.open()
        names = connection.execute(_NAMES, (len(self._owed) + 1,)).fetchall()
        first = next((row_id for row_id, at in names if (row_id, at) not in self._owed), None)
        row: tuple[Any, ...] | None = connection.execute(_ONE, (first,)).fetchone()
        return row

    def _waiting(self) -> list[StoredBatch]:
        found = []
        for row in self._file.open().execute(_ALL, (MAX_SHOWN_BATCHES,)):
            with suppress(ValueError):
                found.append(_stored(row))
        return [batch for batch in found if batch.name not in self._owed]

    def _pay(self) -> None:
        """Delete what has been dealt with, also what could not be deleted earlier."""
        if self._owed and self._file.exists:
            with self._file.writing() as connection:
                connection.executemany(_DELETE_SAME, list(self._owed))
        self._owed.clear()
        self._release_kept_claim()

    def _release_kept_claim(self) -> None:
        if self._is_claim_kept and not self._owed and self._claimed is not None:
            self._claimed.close()
            self._claimed, self._is_claim_kept = None, False

    def _expire(self) -> None:
        limit_s = self._clock() - self._max_age_s
        with self._file.writing() as connection:
            (events,) = connection.execute(_COUNT_EXPIRED, (limit_s,)).fetchone()
            connection.execute("DELETE FROM batches WHERE put_at_s < ?", (limit_s,))
        self._counts.add("expired", events)

    def _drop_unreadable(self, row_id: int, events: int) -> None:
        with self._file.writing() as connection:
            connection.execute(_DELETE, (row_id,))
        self._counts.add("unreadable", events)

    def _purge(self, limits: dict[str, object]) -> int:
        connection = self._file.open()
        if not connection.execute(_COUNT_WITHDRAWN, limits).fetchone()[0]:
            return 0  # without a write: this is asked at each look
        with self._file.writing() as connection:
            (events,) = connection.execute(_COUNT_WITHDRAWN, limits).fetchone()
            connection.execute(_DELETE_WITHDRAWN, limits)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(events)

    def _take_claim(self) -> sqlite3.Connection | None:
        with self._lock:
            if self._is_claim_kept:
                self._is_claim_kept = False
                return self._claimed
            if self._claimed is not None or not self._file.exists:
                return None
            try:
                self._claimed = locked(self._folder / CLAIM_NAME, timeout_s=0)
            except (OSError, sqlite3.Error):  # another one's, or a place where nothing could be removed
                return None
            return self._claimed


class PromisedSpoolFile(SpoolFile):
    """One whose content somebody relies on: where there is no room, the new batch is not taken."""

    def _make_room(self, connection: sqlite3.Connection) -> int:
        if used_bytes(connection) > self._max_bytes:
            raise _FullError
        return 0


def _stored(row: tuple[Any, ...]) -> StoredBatch:
    row_id, kind, generation, instance_id, _, _, body = row
    batch = unpacked(body, kind=kind, stamp=Stamp(generation=generation, instance_id=instance_id))
    return StoredBatch(
        kind=batch.kind, events=batch.events, size_bytes=batch.size_bytes, stamp=batch.stamp, row_id=row_id
    )
