"""The spool's SQLite file as processes share it: opened, made, mended, deleted.

SQLite keeps what is in the file; this keeps the file. Whatever another process does to it, an operation
finds the file that stands at the path, or fails with `sqlite3.Error` or `OSError`.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .notices import Notices
from .spool_lock import locked
from .spool_schema import connected, is_damage, prepare

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE_NAME = "spool.db"
LOCK_NAME = "file.lock"
ASIDE_SUFFIX = ".set-aside"
_COMPANIONS = ("", "-wal", "-shm")  # what SQLite keeps beside a file in WAL mode
_LOCK_TIMEOUT_S = 2.0  # all workers may start at once, and checking a large file takes its time
_REPLACED_TIMES = 3  # that a file may be replaced under an operation before that gives up


class _ReplacedError(sqlite3.OperationalError):
    """Another process has renamed or deleted the file since it was opened."""


class SharedFile:
    """One connection to the file in `folder`; its user keeps threads apart."""

    def __init__(self, folder: Path, notices: Notices) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._aside = folder / (FILE_NAME + ASIDE_SUFFIX)
        self._notices = notices
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def open(self) -> sqlite3.Connection:
        """Return the connection, on a file made anew where there is none, and opened anew on another one."""
        if self._connection is not None and _identity_of(self._path) == self._identity:
            return self._connection
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self.close()
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._identity = _identity_of(self._path)
            connection = connected(self._path)
            try:
                prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            return connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection within one transaction, on the file that stands at the path at that moment."""
        connection = self.open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._refuse_replaced_file()
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def mended(self, act: Callable[[], _T]) -> _T:
        """Return what the act returns, on a new file where the old one turns out to be none of ours."""
        for _ in range(_REPLACED_TIMES):
            try:
                return act()
            except _ReplacedError:
                continue
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._set_aside()
        return act()

    def delete(self) -> None:
        """Delete the file, while nobody writes to it, and what was set aside."""
        if not (self._path.exists() or self._aside.exists()):
            return
        with self._alone():
            self.close()
            if self._path.exists():
                self._delete_unwritten()
            _delete(self._aside)

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connection."""
        self._connection = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening, making, deleting or renaming the file.

        A file of SQLite is three files. Who opened a new one between the deletion of the old one's first
        and last would lose what it writes.
        """
        with closing(locked(self._folder / LOCK_NAME, timeout_s=_LOCK_TIMEOUT_S)):
            yield

    def _refuse_replaced_file(self) -> None:
        if _identity_of(self._path) != self._identity:
            raise _ReplacedError("another process has replaced the spool")

    def _delete_unwritten(self) -> None:
        """Delete the file within a transaction: who waits to write then finds it replaced."""
        with closing(connected(self._path)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            _delete(self._path)

    def _set_aside(self) -> None:
        """Rename the file, unless another process has done so; one is kept, the last."""
        broken = self._identity
        self.close()
        with self._alone():
            if _identity_of(self._path) != broken:
                return
            for companion in _COMPANIONS:
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}{companion}", f"{self._aside}{companion}")  # noqa: PTH105 - suffixes
        self._notices.warn(
            _log, "The spool %s is damaged or foreign; it was set aside and a new one begun", self._path
        )


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _delete(path: Path) -> None:
    for companion in _COMPANIONS:
        Path(f"{path}{companion}").unlink(missing_ok=True)
