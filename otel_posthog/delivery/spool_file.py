"""Keep batches in one SQLite file that the processes of an installation share, oldest first.

It holds only scrubbed events that could not be sent. The file outlives its processes, whenever one of
them is killed. Everything here may block and may raise `sqlite3.Error` or `OSError`; `spool.Spool`
decides what happens then.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.consent.state import Answer, KindConsent
from otel_posthog.events import Event, Stamp
from otel_posthog.registry import Kind

from .prepare import Batch
from .sqlite_file import PAGE_BYTES, SharedFile, deleted, locked, used_bytes

_T = TypeVar("_T")

CLAIM_NAME = "drain.lock"
MAX_SHOWN_BATCHES = 1_000  # in a preview
_FOREVER = 2**63 - 1  # later than any time, and above any generation; SQLite's largest integer
_COMPRESSION = 1  # of zlib: a tenth of the bytes, for half a millisecond per 100 events
_OVERHEAD_BYTES = 10 * PAGE_BYTES  # header, tables, index, and the pages on which a row begins and ends
_OVERHEAD_RATIO = 1.01  # of the pages on which a long row continues

_PUT = (
    "INSERT INTO batches (kind, generation, instance_id, accepted_ns, put_at_s, events, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "id, accepted_ns, kind, generation, instance_id, put_at_s, body"
_ALL = f"SELECT {_COLUMNS} FROM batches ORDER BY id"  # noqa: S608 - constants
_SHOWN = f"{_ALL} LIMIT {MAX_SHOWN_BATCHES}"
_OLDEST = "id = (SELECT min(id) FROM batches)"
_EXPIRED = "put_at_s < ?"
_WITH_ID = "id = ?"
# By number and time: a new file counts from 1 again, and a batch of the old one may be in progress.
_DELETE_SAME = "DELETE FROM batches WHERE id = ? AND accepted_ns = ?"
_WITHDRAWN = (
    "kind = :kind AND (generation < :generation OR (generation IS NULL AND accepted_ns < :before_ns) "
    "OR (generation IS NOT NULL AND instance_id <> :instance_id))"
)
_ANY_WITHDRAWN = f"SELECT 1 FROM batches WHERE {_WITHDRAWN} LIMIT 1"  # noqa: S608 - constants
_EMPTY_JOURNAL = "PRAGMA wal_checkpoint(TRUNCATE)"


class _FullError(Exception):
    """There is no room, and what is stored was promised to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredBatch(Batch):
    """A batch in the file."""

    row_id: int

    @property
    def name(self) -> tuple[int, int]:
        """Return what no other batch has, not even one of another file."""
        return self.row_id, self.oldest_ns


class SpoolFile(SharedFile):
    """A queue of batches in `folder`, of which nothing is created before the first `put`.

    If there is no room the oldest batches are dropped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        counts: Counts,
        log_limiter: LogLimiter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(folder, log_limiter)
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._counts = counts
        self._clock = clock
        self._claimed: sqlite3.Connection | None = None
        self._is_claim_kept = False
        self._undeleted: set[tuple[int, int]] = set()
        follow_forks(self)

    def put(self, batch: Batch) -> int:
        """Keep the batch and return how many events had to be dropped, its own included."""
        body = encoded(batch)
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

        def insert() -> int:
            with self.writing() as connection:
                connection.execute(_PUT, row)
                return self._make_room(connection)

        with self._lock:
            try:
                return self.repaired(insert)
            except _FullError:
                return len(batch.events)

    def first(self) -> StoredBatch | None:
        """Return the oldest batch, or None; drop those that are too old or cannot be read."""
        with self._lock:
            with suppress(sqlite3.Error):
                self._if_present(self._delete_removed, None)
            return self._if_present(self._first, None)

    def waiting(self) -> list[StoredBatch]:
        """Return the batches, oldest first, at most `MAX_SHOWN_BATCHES`; nothing changes."""
        return self._if_present(self._waiting, [])

    def remove(self, batch: Batch) -> None:
        """Delete the batch; even if that fails this process does not return it again."""
        if not isinstance(batch, StoredBatch):
            return
        with self._lock:
            self._undeleted.add(batch.name)
            self.repaired(self._delete_removed)

    def purge(self, kind: Kind, known: KindConsent) -> int:
        """Delete what this consent has withdrawn, also its bytes; return how many events that were."""
        generation = _FOREVER if known.answer is Answer.DENIED else known.stamp.generation
        limits: dict[str, object] = {
            "kind": kind.value,
            "before_ns": int(min(known.discard_before_ns, _FOREVER)),
            "generation": generation,
            "instance_id": known.stamp.instance_id,
        }
        return self._if_present(lambda: self._purge(limits), 0)

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Hold the right to drain, if this process gets it; give whether it does.

        The right is a lock on an empty file, so that it ends with a process that is killed. A process
        that could not delete what was sent keeps it until that is done: no other one knows of it.
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
        """Close the file and release the claim; the next use opens it again."""
        with self._lock:
            self.disconnect()
            self._undeleted.clear()
            self._release_kept_claim()

    def after_fork(self) -> None:
        """Start again; closing the parent's claim here only forgets it, the lock stays the parent's."""
        super().after_fork()
        claimed, self._claimed, self._is_claim_kept = self._claimed, None, False
        if claimed is not None:
            claimed.close()

    def _make_room(self, connection: sqlite3.Connection) -> int:
        """Delete the oldest batches as far as needed and return how many events that were."""
        lost = 0
        while used_bytes(connection) > self._max_bytes and (events := deleted(connection, _OLDEST)):
            lost += events
        return lost

    # Without the file nothing is opened: that would create it.
    def _if_present(self, act: Callable[[], _T], otherwise: _T) -> _T:
        with self._lock:
            return self.repaired(act) if self.path.exists() else otherwise

    def _first(self) -> StoredBatch | None:
        while (row := self._first_row()) is not None:
            oldest_s = self._clock() - self._max_age_s
            if row[5] < oldest_s:
                self._counts.add("expired", self._deleted(_EXPIRED, oldest_s))
                continue
            try:
                return _stored(row)
            except ValueError:
                self._counts.add("unreadable", self._deleted(_WITH_ID, row[0]))
        return None

    def _first_row(self) -> tuple[Any, ...] | None:
        rows = self.open().execute(_ALL)
        with closing(rows):  # an open cursor would keep the file locked
            return next((row for row in rows if row[:2] not in self._undeleted), None)

    def _deleted(self, condition: str, value: float) -> int:
        with self.writing() as connection:
            return deleted(connection, condition, (value,))

    def _waiting(self) -> list[StoredBatch]:
        found = []
        for row in self.open().execute(_SHOWN):
            with suppress(ValueError):
                found.append(_stored(row))
        return [batch for batch in found if batch.name not in self._undeleted]

    def _delete_removed(self) -> None:
        """Delete what was removed, also what could not be deleted earlier."""
        if self._undeleted and self.path.exists():
            with self.writing() as connection:
                connection.executemany(_DELETE_SAME, self._undeleted)
        self._undeleted.clear()
        self._release_kept_claim()

    def _release_kept_claim(self) -> None:
        if self._is_claim_kept and not self._undeleted and self._claimed is not None:
            self._claimed.close()
            self._claimed, self._is_claim_kept = None, False

    def _purge(self, limits: dict[str, object]) -> int:
        connection = self.open()
        if connection.execute(_ANY_WITHDRAWN, limits).fetchone() is None:
            return 0  # without a write: every read of consent comes here
        with self.writing() as connection:
            events = deleted(connection, _WITHDRAWN, limits)
        connection.execute(_EMPTY_JOURNAL)  # the journal still holds the bytes
        return events

    def _take_claim(self) -> sqlite3.Connection | None:
        with self._lock:
            if self._is_claim_kept:
                self._is_claim_kept = False
                return self._claimed
            if self._claimed is not None or not self.path.exists():
                return None
            try:
                self._claimed = locked(self._folder / CLAIM_NAME, timeout_s=0)
            except (OSError, sqlite3.Error):  # another process has it, or the folder is read-only
                return None
            return self._claimed


class PromisedSpoolFile(SpoolFile):
    """A file whose batches were acknowledged: if there is no room, new ones are rejected."""

    def _make_room(self, connection: sqlite3.Connection) -> int:
        if used_bytes(connection) > self._max_bytes:
            raise _FullError
        return 0


def encoded(batch: Batch) -> bytes:
    """Return the batch's events as bytes; kind and stamp have columns of their own."""
    stored = ", ".join(f"[{event.accepted_ns}, {event.written()}]" for event in batch.events)
    return zlib.compress(f"[{batch.size_bytes}, [{stored}]]".encode(), _COMPRESSION)


def decoded(body: bytes) -> tuple[int, tuple[Event, ...]]:
    """Return a batch's size and events; raise `ValueError` if the bytes are no batch."""
    try:
        size_bytes, stored = json.loads(zlib.decompress(body))
        events = tuple(_event(wire, accepted_ns) for accepted_ns, wire in stored)
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError from error
    if not events:
        raise ValueError
    return size_bytes, events


def _event(wire: Mapping[str, Any], accepted_ns: int) -> Event:
    distinct_id = wire["distinct_id"]
    return Event(
        name=str(wire["event"]),
        properties={**wire["properties"]},  # raises TypeError unless it is an object
        timestamp=datetime.fromisoformat(str(wire["timestamp"])),
        uuid=UUID(str(wire["uuid"])),
        accepted_ns=accepted_ns,
        distinct_id=None if distinct_id is None else str(distinct_id),
    )


def _stored(row: tuple[Any, ...]) -> StoredBatch:
    row_id, _, kind, generation, instance_id, _, body = row
    size_bytes, events = decoded(body)
    return StoredBatch(
        kind=Kind(kind),
        events=events,
        size_bytes=size_bytes,
        stamp=Stamp(generation=generation, instance_id=instance_id),
        row_id=row_id,
    )
