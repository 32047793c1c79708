"""Share the spool's SQLite file between processes: open, create, check, repair and delete it.

SQLite guards what is in the file, this module the file itself. Whatever another process does to it, an
operation finds the file that is at the path, or fails with `sqlite3.Error` or `OSError`. What can be read of
a file that is damaged, or was deleted while it was open, is moved to a new one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from otel_posthog._runtime.reporting import Counts, LogLimiter

from .database_files import (
    COMPANIONS,
    PAGE_BYTES,
    QUARANTINE_SUFFIX,
    ForeignFileError,
    begin_unless_damaged,
    clear_folder,
    connected,
    delete,
    deleted,
    identity_of,
    is_damage,
    locked,
    pragma,
    transaction,
)
from .salvage import MARK_EMPTIED, Moved, is_emptied, move
from .stored_batch import COLUMNS, REQUIRED, Reading, read_clocks

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE_NAME = "spool.db"
LOCK_NAME = "file.lock"
_OPENING_TIMEOUT_S = 2.0  # all workers may start at once, and checking a large file takes its time
_MAX_REPLACED = 3  # times that other processes may replace the file during one operation
_APPLICATION_ID = 0x6F706873  # "ophs", in the file's header: a file without it is not ours
_VERSION = 1
_LOCK_TIMEOUT_S = 1.0
_MAX_REMOVED = 1_000
_FORK_TIMEOUT_S = 1.0
_WAL_MAX_BYTES = 1_000_000

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    generation INTEGER,
    instance_id TEXT,
    accepted_ns INTEGER NOT NULL,
    put_at_s REAL NOT NULL,
    events INTEGER NOT NULL,
    body BLOB NOT NULL,
    boot_id TEXT,
    boot_s REAL
);
CREATE INDEX IF NOT EXISTS batches_by_consent ON batches (kind, generation, accepted_ns, events);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
COMMIT
"""


_COUNT = "SELECT CAST(total(events) AS INTEGER) FROM batches"
_LATER_COLUMNS = """
BEGIN IMMEDIATE;
ALTER TABLE batches ADD COLUMN boot_id TEXT;
ALTER TABLE batches ADD COLUMN boot_s REAL;
COMMIT
"""


class _ReplacedError(sqlite3.OperationalError):
    """Another process has renamed or deleted the file since it was opened."""


class SharedFile:
    """One connection to the file in `folder`, used under one lock and closed while the process forks."""

    def __init__(
        self,
        folder: Path,
        *,
        counts: Counts,
        log_limiter: LogLimiter,
        clocks: Callable[[], Reading] = read_clocks,
    ) -> None:
        self.path = folder / FILE_NAME
        self._folder = folder
        self._quarantined = folder / (FILE_NAME + QUARANTINE_SUFFIX)
        self._counts = counts
        self._log_limiter = log_limiter
        self._clocks = clocks
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._journal_identity: tuple[int, int] | None = None
        self._seen_version: object = None
        self._known_events = 0  # in the file, as far as this process knows
        # What was removed, with its number of events: not deleted yet, and lately. A journal that is damaged
        # may bring a row back.
        self._undeleted: dict[tuple[int, int], int] = {}
        self._removed: deque[tuple[int, int]] = deque(maxlen=_MAX_REMOVED)
        self._lock = threading.RLock()

    def __del__(self) -> None:
        """Close what an exporter's thread that outlived `close` has opened again."""
        with suppress(Exception):
            self.disconnect()

    def may_hold_events(self) -> bool:
        """Return whether there is a file, also one that was set aside."""
        return self.is_present() or self._quarantined.exists()

    def is_present(self) -> bool:
        """Return whether there is a file, or one that was deleted while this process had it open."""
        with self._lock:
            return self.path.exists() or self._is_orphan()

    def open(self) -> sqlite3.Connection:
        """Return a connection to the file at the path; create the file if there is none."""
        if self._connection is not None and identity_of(self.path) == self._identity:
            return self._connection
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            return self._opened()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection within one transaction on the file that is at the path by then."""
        connection = self.open()
        with transaction(connection):
            if identity_of(self.path) != self._identity:
                raise _ReplacedError("another process has replaced the spool")
            yield connection

    def repaired(self, act: Callable[[], _T]) -> _T:
        """Return what `act` returns; if the file is damaged or foreign, quarantine it and start a new one."""
        for _ in range(_MAX_REPLACED):
            try:
                return act()
            except _ReplacedError:
                continue
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._repair()
        return act()

    def delete(self) -> None:
        """Delete the file and a quarantined one: once everything is withdrawn nothing may stay."""
        with self._lock:
            if not (self.path.exists() or self._quarantined.exists()):
                self.disconnect()
                return
            with self._alone():
                self.disconnect()
                if self.path.is_file():
                    self._delete_unwritten()
                delete(self._quarantined)

    def purge_quarantined(self, condition: str, values: dict[str, object], *, is_denied: bool) -> None:
        """Delete batches from a file that was set aside; if it has none and they are denied, all of it."""
        with self._lock:
            if not self._quarantined.is_file():
                return
            with self._alone():
                try:
                    with closing(
                        connected(self._quarantined, _erase, timeout_s=_LOCK_TIMEOUT_S)
                    ) as connection:
                        deleted(connection, condition, values)
                        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    if is_denied:
                        delete(self._quarantined)

    def recount(self) -> bool:
        """Count the events again if another process has written to the file; return whether it has."""
        return self._is_recounted(self.open())

    def rescue(self) -> None:
        """Move what is in a deleted file to a new one, or count it: it ends with its connection."""
        if self._connection is None or identity_of(self.path) == self._identity or not self._is_orphan():
            return
        try:
            self.open()
        except (OSError, sqlite3.Error):
            self.count_lost({"": self._known_events})
            self._known_events = 0

    def count_lost(self, lost: Mapping[str, int]) -> None:
        """Count events, by kind, that cannot be read any more, and log them."""
        self._counts.add_each("unreadable", lost)
        self._log_limiter.warning(
            _log,
            "%d events in the spool %s cannot be read, so they are dropped",
            sum(lost.values()),
            self.path,
        )

    def disconnect(self) -> None:
        """Close the connection; the next use opens another one."""
        connection, self._connection, self._identity = self._connection, None, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """Close the file: a connection must not be copied into a child."""
        if self._lock.acquire(timeout=_FORK_TIMEOUT_S):
            self.rescue()
            self.disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with suppress(RuntimeError):  # not acquired in time
            self._lock.release()

    def after_fork(self) -> None:
        """Start again in a child: lock and connection are the parent's."""
        self._lock = threading.RLock()
        self._connection = None

    # Keep other processes from opening, creating, deleting or renaming the file. A SQLite database is three
    # files: a process that opened a new one while the old one's are being deleted would lose what it writes.
    def _alone(self) -> closing[sqlite3.Connection]:
        return closing(locked(self._folder / LOCK_NAME, timeout_s=_OPENING_TIMEOUT_S))

    # Of a file that is deleted while it is open SQLite's connection is all that is left. It stays until the
    # batches are moved.
    def _opened(self, *, is_damaged: bool = False) -> sqlite3.Connection:
        # We leave no empty file.
        is_damaged = is_damaged or (self.path.is_file() and self.path.stat().st_size == 0)
        self._clear_path()
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._set_aside()
            connection, is_damaged = self._connect(), True
        try:
            self._move_to(connection, is_damaged=is_damaged)
            self.disconnect()
            self._count(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity_of(self.path)
        self._journal_identity = identity_of(Path(f"{self.path}-wal"))
        return connection

    def _clear_path(self) -> None:
        for companion in COMPANIONS:
            clear_folder(Path(f"{self.path}{companion}"))
        journal = Path(f"{self.path}-wal")
        is_of_orphan = self._connection is not None and identity_of(journal) == self._journal_identity
        if is_of_orphan or not self.path.exists():
            for companion in COMPANIONS[1:]:  # SQLite would take the journal for this file's
                Path(f"{self.path}{companion}").unlink(missing_ok=True)
        elif self.path.stat().st_size == 0 and identity_of(journal) and journal.stat().st_size:
            # SQLite deletes the journal of an empty file, but restores a longer one from it.
            os.truncate(self.path, PAGE_BYTES)

    def _connect(self) -> sqlite3.Connection:
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return connected(self.path, _prepare, timeout_s=_LOCK_TIMEOUT_S)

    def _move_to(self, target: sqlite3.Connection, *, is_damaged: bool) -> None:
        """Move what can be read of a deleted file and of one that was set aside; count what cannot."""
        found = []
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._is_recounted(self._connection)
            found.append(self._moved(self._connection, target))
        if self._quarantined.is_file():
            with closing(connected(self._quarantined, _erase, timeout_s=_LOCK_TIMEOUT_S)) as source:
                found.append(self._moved(source, target))
            if found[-1] is not None and found[-1].is_all:
                delete(self._quarantined)
        read = [each for each in found if each is not None]
        moved = sum(each.events for each in read)
        lost = sum(each.unreadable for each in read if each.is_all)
        is_expected = is_damaged or self._connection is not None
        if is_expected and all(each.is_all and not each.is_emptied for each in read):
            lost = max(lost, self._known_events - sum(self._undeleted.values()) - moved)
        self._counts.add("unreadable", lost)
        if is_damaged or moved or lost:
            self._log_limiter.warning(
                _log,
                "The spool %s was damaged, deleted or not ours, so a new one was started: "
                "%d events were moved to it, %d cannot be read",
                self.path,
                moved,
                lost,
            )

    def _moved(self, source: sqlite3.Connection, target: sqlite3.Connection) -> Moved | None:
        try:
            return move(
                source,
                target,
                version=_VERSION,
                now=self._clocks(),
                without={**dict.fromkeys(self._removed, 0), **self._undeleted},
                carry=lambda moved: self.carry(source, target, moved),
            )
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return None

    def carry(self, source: sqlite3.Connection, target: sqlite3.Connection, moved: Moved) -> None:
        """Copy what else is in the source, in the transaction that has moved these batches."""

    def _is_orphan(self) -> bool:
        if self._connection is None:
            return False
        try:
            return not is_emptied(self._connection) and self._count(self._connection) > 0
        except sqlite3.Error:
            return self._known_events > 0

    def _is_recounted(self, connection: sqlite3.Connection) -> bool:
        if pragma(connection, "data_version") == self._seen_version:
            return False
        self._count(connection)
        return True

    def _count(self, connection: sqlite3.Connection) -> int:
        self._seen_version = pragma(connection, "data_version")  # another one if other processes write
        found = connection.execute(_COUNT).fetchone()
        self._known_events = int(found[0])
        return self._known_events

    def _delete_unwritten(self) -> None:
        # Within a transaction, so that a waiting writer finds the file replaced.
        with closing(connected(self.path, begin_unless_damaged, timeout_s=_LOCK_TIMEOUT_S)) as connection:
            with suppress(sqlite3.Error):
                connection.execute(MARK_EMPTIED)
            delete(self.path)
            with suppress(sqlite3.Error):
                connection.execute("COMMIT")

    def _repair(self) -> None:
        """Put the file aside, unless another process has, and start a new one with what can be read."""
        broken = self._identity
        with self._alone():
            if self._connection is not None and identity_of(self.path) == broken:
                # Renamed first: a connection that closes writes the journal, damaged too, to a file in place.
                self._set_aside()
                self.disconnect()
                self._opened(is_damaged=True)

    def _set_aside(self) -> None:
        delete(self._quarantined)  # only the last one is kept, without the journal of another
        for companion in COMPANIONS:
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{companion}", f"{self._quarantined}{companion}")  # noqa: PTH105 - suffixes


def _erase(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA secure_delete = ON")


def _prepare(connection: sqlite3.Connection) -> None:
    """Set up a new file, while no other process opens it; raise `ForeignFileError` for another one's."""
    # WAL with synchronous=NORMAL survives a kill without an fsync per commit; secure_delete and
    # auto_vacuum leave no withdrawn bytes in the file and return the space.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_MAX_BYTES}")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("PRAGMA journal_mode = WAL")
        # One transaction: a process killed in between leaves an empty file, which the next one sets up.
        connection.executescript(_SCHEMA)
    found = [pragma(connection, name) for name in ("application_id", "user_version", "quick_check(1)")]
    names = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('batches')")}
    if found != [_APPLICATION_ID, _VERSION, "ok"] or not names.issuperset(REQUIRED):
        raise ForeignFileError
    if not names.issuperset(COLUMNS):  # of a release that ignores further columns
        connection.executescript(_LATER_COLUMNS)
    connection.execute(_COUNT)  # the check reads no index
