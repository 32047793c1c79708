"""Share the spool's SQLite file between processes: open, create, check, repair and delete it.

SQLite guards what is in the file, this module the file itself. Whatever another process does to it, an
operation finds the file that is at the path, or fails with `sqlite3.Error` or `OSError`.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from otel_posthog._runtime.reporting import LogLimiter

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE_NAME = "spool.db"
LOCK_NAME = "file.lock"
QUARANTINE_SUFFIX = ".set-aside"
PAGE_BYTES = 4096
_COMPANIONS = ("", "-wal", "-shm")  # the files of a SQLite database in WAL mode
_OPENING_TIMEOUT_S = 2.0  # all workers may start at once, and checking a large file takes its time
_MAX_REPLACED = 3  # times that other processes may replace the file during one operation
_APPLICATION_ID = 0x6F706873  # "ophs", in the file's header: a file without it is not ours
_VERSION = 1
_LOCK_TIMEOUT_S = 1.0
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
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_by_consent ON batches (kind, generation, accepted_ns, events);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
COMMIT
"""


class ForeignFileError(sqlite3.DatabaseError):
    """Raised for a file that is damaged, or not a spool of this version."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


class _ReplacedError(sqlite3.OperationalError):
    """Another process has renamed or deleted the file since it was opened."""


class SharedFile:
    """One connection to the file in `folder`, used under one lock and closed while the process forks."""

    def __init__(self, folder: Path, log_limiter: LogLimiter) -> None:
        self.path = folder / FILE_NAME
        self._folder = folder
        self._quarantined = folder / (FILE_NAME + QUARANTINE_SUFFIX)
        self._log_limiter = log_limiter
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = threading.RLock()

    def __del__(self) -> None:
        """Close what an exporter's thread that outlived `close` has opened again."""
        with suppress(Exception):
            self.disconnect()

    def open(self) -> sqlite3.Connection:
        """Return a connection to the file at the path; create the file if there is none."""
        if self._connection is not None and _identity_of(self.path) == self._identity:
            return self._connection
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self.disconnect()
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._identity = _identity_of(self.path)
            self._connection = _connected(self.path, _prepare, timeout_s=_LOCK_TIMEOUT_S)
            return self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection within one transaction on the file that is at the path by then."""
        connection = self.open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _identity_of(self.path) != self._identity:
                raise _ReplacedError("another process has replaced the spool")  # noqa: TRY301 - roll back
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def repaired(self, act: Callable[[], _T]) -> _T:
        """Return what `act` returns; if the file is damaged or foreign, quarantine it and start a new one."""
        for _ in range(_MAX_REPLACED):
            try:
                return act()
            except _ReplacedError:
                continue
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._quarantine()
        return act()

    def delete(self) -> None:
        """Delete the file and a quarantined one: once everything is withdrawn nothing may stay."""
        with self._lock:
            if not (self.path.exists() or self._quarantined.exists()):
                return
            with self._alone():
                self.disconnect()
                if self.path.exists():
                    self._delete_unwritten()
                _delete(self._quarantined)

    def disconnect(self) -> None:
        """Close the connection; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """Close the file: a connection must not be copied into a child."""
        if self._lock.acquire(timeout=_FORK_TIMEOUT_S):
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

    def _delete_unwritten(self) -> None:
        # Within a transaction, so that a waiting writer finds the file replaced.
        with closing(_connected(self.path, _begin_unless_damaged, timeout_s=_LOCK_TIMEOUT_S)):
            _delete(self.path)

    def _quarantine(self) -> None:
        """Rename the file unless another process has done so; only the last one is kept."""
        broken = self._identity
        self.disconnect()
        with self._alone():
            if _identity_of(self.path) != broken:
                return
            for companion in _COMPANIONS:
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{companion}", f"{self._quarantined}{companion}")  # noqa: PTH105 - suffixes
        self._log_limiter.warning(
            _log, "The spool %s is damaged or foreign; it was set aside and a new one started", self.path
        )


def _identity_of(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _delete(path: Path) -> None:
    for companion in _COMPANIONS:
        Path(f"{path}{companion}").unlink(missing_ok=True)


def _connected(
    path: Path, prepare: Callable[[sqlite3.Connection], object], *, timeout_s: float
) -> sqlite3.Connection:
    # It never creates the file: that takes the right mode.
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        address, timeout=timeout_s, isolation_level=None, check_same_thread=False, uri=True
    )
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def locked(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Return a lock between processes, released by closing it; raise `sqlite3.OperationalError`.

    It is SQLite's exclusive lock on an empty file: the operating system releases it with the process, and
    unlike a POSIX lock it tells two objects of one process apart.
    """
    path.touch(mode=0o600)
    # In memory: nothing is written, so there is no journal beside the file.
    return _connected(
        path,
        lambda lock: lock.executescript("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE"),
        timeout_s=timeout_s,
    )


def _begin_unless_damaged(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file are in use, as the transaction sees it."""
    pages, free = (_pragma(connection, name) for name in ("page_count", "freelist_count"))
    return (int(str(pages)) - int(str(free))) * PAGE_BYTES


def deleted(
    connection: sqlite3.Connection, condition: str, values: tuple[object, ...] | dict[str, object] = ()
) -> int:
    """Delete the batches that the condition selects and return how many events these were."""
    selected = f"FROM batches WHERE {condition}"
    (events,) = connection.execute(f"SELECT coalesce(sum(events), 0) {selected}", values).fetchone()
    connection.execute(f"DELETE {selected}", values)
    return int(events)


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
    found = [_pragma(connection, name) for name in ("application_id", "user_version", "quick_check(1)")]
    if found != [_APPLICATION_ID, _VERSION, "ok"]:
        raise ForeignFileError


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the low byte of an extended code
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
