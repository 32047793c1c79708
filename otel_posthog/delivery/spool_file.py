"""Keep batches in one SQLite file that the processes of an installation share, oldest first.

It holds only scrubbed events that could not be sent. The file outlives its processes, whenever one of
them is killed. Everything here may block and may raise `sqlite3.Error` or `OSError`; `spool.Spool`
decides what happens then. Reading too may quarantine a damaged file, or move the batches of a deleted one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.consent.state import Answer, KindConsent
from otel_posthog.registry import Kind

from .balance import Balance, Drops
from .database_files import PAGE_BYTES, deleted_by_kind, identity_of, locked, used_bytes
from .ledger import Ledger
from .prepare import Batch
from .salvage import Moved
from .sqlite_file import SharedFile
from .stored_batch import COLUMNS, EXPIRED, PUT, Reading, StoredBatch, encoded, read_clocks, row_of, stored

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

CLAIM_NAME = "drain.lock"
MAX_SHOWN_BATCHES = 1_000  # in a preview
_FOREVER = 2**63 - 1  # later than any time, and above any generation; SQLite's largest integer
_OVERHEAD_BYTES = 10 * PAGE_BYTES  # header, tables, index, and the pages on which a row begins and ends
_OVERHEAD_RATIO = 1.01  # of the pages on which a long row continues

_PUT_LIKE = (
    "INSERT INTO batches "
    "(kind, generation, instance_id, accepted_ns, put_at_s, events, body, boot_id, boot_s) "
    "SELECT kind, generation, instance_id, ?, put_at_s, ?, ?, boot_id, boot_s FROM batches "
    "WHERE id = ? AND accepted_ns = ?"
)
_ALL = f"SELECT {', '.join(COLUMNS)}, {EXPIRED} FROM batches ORDER BY id"  # noqa: S608 - constants
_SHOWN = f"{_ALL} LIMIT {MAX_SHOWN_BATCHES}"
_OLDEST = "id = (SELECT min(id) FROM batches)"
_WITH_ID = "id = ?"
# By number and time: a new file counts from 1 again, and a batch of the old one may be in progress.
_DELETE_SAME = "DELETE FROM batches WHERE id = ? AND accepted_ns = ?"
_WITHDRAWN = (
    "kind = :kind AND (generation < :generation OR (generation IS NULL AND accepted_ns < :before_ns) "
    "OR (generation IS NOT NULL AND instance_id <> :instance_id))"
)
_ANY_WITHDRAWN = f"SELECT 1 FROM batches WHERE {_WITHDRAWN} LIMIT 1"  # noqa: S608 - constants
_OF_ANOTHER = (
    "SELECT 1 FROM batches "
    "WHERE kind = :kind AND generation >= :generation AND instance_id <> :instance_id LIMIT 1"
)
_EMPTY_JOURNAL = "PRAGMA wal_checkpoint(TRUNCATE)"


class _FullError(Exception):
    """There is no room, and what is stored was promised to be kept."""


class SpoolFile(SharedFile):
    """A queue of batches in `folder`, of which nothing is created before the first `put`.

    If there is no room the oldest batches are dropped.
    """

    has_ledger = True

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        counts: Counts,
        log_limiter: LogLimiter,
        clocks: Callable[[], Reading] = read_clocks,
    ) -> None:
        super().__init__(folder, counts=counts, log_limiter=log_limiter, clocks=clocks)
        self.ledger = Ledger(counts, clock=lambda: clocks().wall_s) if self.has_ledger else None
        self._claim_path = folder / CLAIM_NAME
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._claimed: sqlite3.Connection | None = None
        self._claim_identity: tuple[int, int] | None = None
        self._is_claim_kept = False
        follow_forks(self)

    def put(self, batch: Batch) -> tuple[int, bool]:
        """Return how many events were dropped and counted, and whether the batch was kept."""
        lost, is_kept = self._put(batch)
        self._counts.add_each("spool_full", lost)
        return sum(lost.values()), is_kept

    def _put(self, batch: Batch) -> tuple[dict[str, int], bool]:
        body, own = encoded(batch), {batch.kind.value: len(batch.events)}
        if len(body) * _OVERHEAD_RATIO + _OVERHEAD_BYTES > self._max_bytes:
            return own, False
        row = row_of(batch, body, self._clocks())

        def insert() -> dict[str, int]:
            with self.writing() as connection:
                connection.execute(PUT, row)
                return self._make_room(connection)

        with self._lock:
            try:
                lost = self.repaired(insert)
            except _FullError:
                return own, False
            self._known_events += len(batch.events) - sum(lost.values())
            return lost, True

    def first(self) -> StoredBatch | None:
        """Return the oldest batch, or None; drop those that are too old or cannot be read."""
        with self._lock:
            with suppress(sqlite3.Error):
                self._if_present(self._delete_removed, None)
            return self._if_present(self._first, None)

    def waiting(self) -> list[StoredBatch]:
        """Return the batches, oldest first, at most `MAX_SHOWN_BATCHES`; they stay."""
        return self._if_present(self._waiting, [])

    def remove(self, batch: Batch) -> None:
        """Delete the batch; even if that fails this process does not return it again."""
        if not isinstance(batch, StoredBatch):
            return
        with self._lock:
            self._undeleted[batch.name] = len(batch.events)
            self._removed.append(batch.name)
            self.repaired(self._delete_removed)

    def replace(self, batch: Batch, pieces: Sequence[Batch]) -> bool:
        """Put the pieces behind the others in place of their batch, at once; they keep its age.

        A batch that has been purged meanwhile is not replaced.
        """
        if not isinstance(batch, StoredBatch):
            return False

        def swap() -> bool:
            rows = [(each.oldest_ns, len(each.events), encoded(each), *batch.name) for each in pieces]
            with self.writing() as connection:
                connection.executemany(_PUT_LIKE, rows)
                is_replaced = connection.execute(_DELETE_SAME, batch.name).rowcount > 0
            if is_replaced:
                self._known_events += sum(len(each.events) for each in pieces) - len(batch.events)
            self._removed.append(batch.name)
            return True

        with self._lock:
            return self._if_present(swap, True)

    def purge(self, kind: Kind, known: KindConsent) -> int:
        """Delete what this consent has withdrawn, also its bytes; return how many events that were."""
        generation = _FOREVER if known.answer is Answer.DENIED else known.stamp.generation
        limits: dict[str, object] = {
            "kind": kind.value,
            "before_ns": int(min(known.discard_before_ns, _FOREVER)),
            "generation": generation,
            "instance_id": known.stamp.instance_id,
        }
        self.purge_quarantined(_WITHDRAWN, limits, is_denied=known.answer is Answer.DENIED)
        return self._if_present(lambda: self._purge(limits), 0)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection within one transaction, which also writes the ledger."""
        with super().writing() as connection:
            if self.ledger is None:
                yield connection
                return
            before = self.ledger.prepare(connection)
            yield connection
            committed = self.ledger.write(connection, before)
        committed()

    def carry(self, source: sqlite3.Connection, target: sqlite3.Connection, moved: Moved) -> None:
        """Move the ledger with the batches."""
        if self.ledger is not None:
            self.ledger.carry(source, target, moved)

    def write_ledger(self) -> None:
        """Write what this process has counted, and create the file if there is none."""
        with self._lock:
            if self.ledger is not None and self.ledger.is_behind():
                self.repaired(self._write_nothing_else)

    def follow(self, kinds: Mapping[Kind, KindConsent]) -> None:
        """Delete the counters of the kinds that were withdrawn; if that fails, the next write does it."""
        with self._lock:
            if self.ledger is not None:
                self.ledger.follow(kinds)
                connection = self._if_present(self.open, None)
                if connection is None:
                    self.ledger.end_reports(None)
                elif self.ledger.is_outdated(connection):
                    self.repaired(self._write_nothing_else)

    def balances(self) -> dict[Kind, Balance]:
        """Return what was accepted and what became of it, by kind."""
        with self._lock:
            return {} if self.ledger is None else self.ledger.balances(self._if_present(self.open, None))

    def unreported(self) -> Drops:
        """Return which drops no heartbeat has reported."""
        with self._lock:
            return {} if self.ledger is None else self.ledger.unreported(self._if_present(self.open, None))

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

    def is_claimed(self) -> bool:
        """Return whether this process still has the right: a lock on a deleted file excludes nobody."""
        with self._lock:
            return self._claimed is not None and identity_of(self._claim_path) == self._claim_identity

    def close(self) -> None:
        """Close the file and release the claim; the next use opens it again."""
        with self._lock:
            self.rescue()
            self.disconnect()
            self._undeleted.clear()
            self._release_kept_claim()

    def after_fork(self) -> None:
        """Start again; closing the parent's claim here only forgets it, the lock stays the parent's."""
        super().after_fork()
        claimed, self._claimed, self._is_claim_kept = self._claimed, None, False
        if claimed is not None:
            claimed.close()

    def _make_room(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Delete the oldest batches as far as needed and return how many events of each kind these were."""
        lost = Counter[str]()
        while used_bytes(connection) > self._max_bytes and (events := deleted_by_kind(connection, _OLDEST)):
            lost.update(events)
        return lost

    def _write_nothing_else(self) -> None:
        with self.writing():
            pass

    def _moved(self, source: sqlite3.Connection, target: sqlite3.Connection) -> Moved | None:
        moved = super()._moved(source, target)
        if moved is not None and self.ledger is not None:
            for kind, number in moved.undeleted.items():
                self._counts.spool(kind, -number)
        return moved

    # Without the file nothing is opened: that would create it.
    def _if_present(self, act: Callable[[], _T], otherwise: _T) -> _T:
        with self._lock:
            return self.repaired(act) if self.is_present() else otherwise

    def _first(self) -> StoredBatch | None:
        self.recount()
        while True:
            now = self._clocks()
            limits = now.limits(self._max_age_s)
            row = self._first_row(limits)
            if row is None:
                self._count_missing()
                return None
            *values, is_expired = row
            if is_expired:
                self._counts.add_each("expired", self._deleted(EXPIRED, limits))
                continue
            try:
                return stored(tuple(values), now)
            except ValueError:
                self._delete_unreadable(row[0])

    def _first_row(self, limits: dict[str, object]) -> tuple[Any, ...] | None:
        rows = self.open().execute(_ALL, limits)
        with closing(rows):  # an open cursor would keep the file locked
            return next((row for row in rows if row[:2] not in self._undeleted), None)

    def _count_missing(self) -> None:
        """Count events of which the rows have gone, though nothing here has deleted them."""
        missing = self._known_events - sum(self._undeleted.values())
        if missing > 0 and not self.recount():
            self.count_lost(self._gone() or {"": missing})
            self._known_events -= missing

    def _gone(self) -> dict[str, int]:
        if self.ledger is None:
            return {}
        with self.writing() as connection:
            return self.ledger.recounted(connection, {})

    def _delete_unreadable(self, row_id: int) -> None:
        with self.writing() as connection:
            lost = deleted_by_kind(connection, _WITH_ID, (row_id,))
            if self.ledger is not None:  # kind and number may be damaged, and were the triggers' too
                lost = self.ledger.recounted(connection, lost) or {"": sum(lost.values())}
        self._count(self.open())
        self.count_lost(lost)

    def _deleted(self, condition: str, values: tuple[object, ...] | dict[str, object]) -> dict[str, int]:
        with self.writing() as connection:
            events = deleted_by_kind(connection, condition, values)
        self._known_events -= sum(events.values())
        return events

    def _waiting(self) -> list[StoredBatch]:
        now, found = self._clocks(), []
        for *values, _ in self.open().execute(_SHOWN, now.limits(self._max_age_s)):
            with suppress(ValueError):
                found.append(stored(tuple(values), now))
        return [batch for batch in found if batch.name not in self._undeleted]

    def _delete_removed(self) -> None:
        """Delete what was removed, also what could not be deleted earlier."""
        if self._undeleted and self.is_present():
            with self.writing() as connection:
                found = {name: connection.execute(_DELETE_SAME, name).rowcount for name in self._undeleted}
            self._known_events -= sum(self._undeleted[name] * rows for name, rows in found.items())
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
        if connection.execute(_OF_ANOTHER, limits).fetchone() is not None:
            self._log_limiter.warning(
                _log,
                "Waiting events of another installation are dropped as withdrawn: instance_id in the table "
                "system_settings has changed. Change it through the settings API only.",
            )
        events = self._deleted(_WITHDRAWN, limits)
        connection.execute(_EMPTY_JOURNAL)  # the journal still holds the bytes
        return sum(events.values())

    def _take_claim(self) -> sqlite3.Connection | None:
        with self._lock:
            if self._is_claim_kept and self.is_claimed():
                self._is_claim_kept = False
                return self._claimed
            if (self._claimed is not None and not self._is_claim_kept) or not self.is_present():
                return None
            try:
                self.repaired(self.open)
                self._claimed = locked(self._claim_path, timeout_s=0)
            except (OSError, sqlite3.Error) as error:  # another process has it, or the folder is read-only
                self._log_unless_busy(error)
                return None
            self._claim_identity, self._is_claim_kept = identity_of(self._claim_path), False
            return self._claimed

    def _log_unless_busy(self, error: Exception) -> None:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            self._log_limiter.warning(
                _log,
                "What waits in the spool cannot be sent (%s): check the permissions of %s",
                type(error).__name__,
                self._claim_path,
            )


class PromisedSpoolFile(SpoolFile):
    """A file whose batches were acknowledged: if there is no room, new ones are rejected.

    Senders keep their own ledgers, and one set of counters serves the files of all installations.
    """

    has_ledger = False

    def _make_room(self, connection: sqlite3.Connection) -> dict[str, int]:
        if used_bytes(connection) > self._max_bytes:
            raise _FullError
        return {}
