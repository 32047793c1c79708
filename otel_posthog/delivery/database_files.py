"""Connect to the files of SQLite databases, lock them and delete them, whatever state they are in."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE_BYTES = 4096
QUARANTINE_SUFFIX = ".set-aside"
COMPANIONS = ("", "-wal", "-shm")  # the files of a SQLite database in WAL mode


class ForeignFileError(sqlite3.DatabaseError):
    """Raised for a file that is damaged, or not a spool of this version."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


# Our statements are valid, so an error of one says that the file has other tables than ours.
_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_TOOBIG,
    }
)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether the error says that the file is damaged, or not a spool."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # of an extended code
    # Another SQLite than ours may not know a statement, which says nothing about the file.
    is_unknown_statement = code == sqlite3.SQLITE_ERROR and str(error).endswith("syntax error")
    return code in _DAMAGE and not is_unknown_statement


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def begin_unless_damaged(connection: sqlite3.Connection) -> None:
    """Begin to write; do nothing if the file is damaged or read-only."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        if not is_damage(error) and error.sqlite_errorcode != sqlite3.SQLITE_READONLY:
            raise


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells the file from any other that has had this path, or None if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def delete(path: Path) -> None:
    """Delete the database's files; a folder in the place of one stays."""
    for companion in COMPANIONS:
        file = Path(f"{path}{companion}")
        if not file.is_dir():
            file.unlink(missing_ok=True)


def clear_folder(path: Path) -> None:
    """Delete a folder where a file has to be, or rename it if anything is in it."""
    if path.is_dir():
        try:
            path.rmdir()
        except OSError:
            path.rename(f"{path}{QUARANTINE_SUFFIX}-folder")


def connected(
    path: Path, prepare: Callable[[sqlite3.Connection], object], *, timeout_s: float
) -> sqlite3.Connection:
    """Return a prepared connection to an existing file; creating one takes the right mode."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        address, timeout=timeout_s, isolation_level=None, check_same_thread=False, uri=True
    )
    # Damaged text must not make a row unreadable to Python: then it could not even be skipped.
    connection.text_factory = _text
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
    clear_folder(path)
    path.touch(mode=0o600)
    try:
        return connected(path, _begin_exclusive, timeout_s=timeout_s)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        os.truncate(path, 0)  # not replaced: what another process holds by then stays its own
        return connected(path, _begin_exclusive, timeout_s=timeout_s)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file are in use, as the transaction sees it."""
    pages, free = (pragma(connection, name) for name in ("page_count", "freelist_count"))
    return (int(str(pages)) - int(str(free))) * PAGE_BYTES


def deleted(
    connection: sqlite3.Connection, condition: str, values: tuple[object, ...] | dict[str, object] = ()
) -> int:
    """Delete the batches that the condition selects and return how many events these were."""
    return sum(deleted_by_kind(connection, condition, values).values())


def deleted_by_kind(
    connection: sqlite3.Connection, condition: str, values: tuple[object, ...] | dict[str, object] = ()
) -> dict[str, int]:
    """Delete the batches that the condition selects and return how many events of each kind these were."""
    selected = f"FROM batches WHERE {condition}"
    # `total`, unlike `sum`, never overflows: the numbers may be damaged.
    found = connection.execute(f"SELECT kind, total(events) {selected} GROUP BY kind", values).fetchall()
    connection.execute(f"DELETE {selected}", values)
    return {str(kind): int(events) for kind, events in found}


def pragma(connection: sqlite3.Connection, name: str) -> object:
    """Return the pragma's value."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _begin_exclusive(connection: sqlite3.Connection) -> None:
    # In memory: nothing is written, so there is no journal beside the file.
    connection.executescript("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")


def _text(encoded: bytes) -> str:
    return encoded.decode(errors="replace")
