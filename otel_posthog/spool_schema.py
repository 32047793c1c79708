"""The spool's SQLite file: how it is opened, made and checked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

PAGE_BYTES = 4096
_APPLICATION_ID = 0x6F706873  # "ophs", in the file's header: a file without it is not ours
_VERSION = 1
_LOCK_TIMEOUT_S = 1.0
_WAL_MAX_BYTES = 1_000_000

_TABLE = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    generation INTEGER,
    instance_id TEXT,
    accepted_ns INTEGER NOT NULL,
    put_at_s REAL NOT NULL,
    events INTEGER NOT NULL,
    body BLOB NOT NULL
)"""
_INDEX = "CREATE INDEX IF NOT EXISTS batches_by_consent ON batches (kind, generation, accepted_ns, events)"


class ForeignFileError(sqlite3.DatabaseError):
    """Raised for a file that is damaged, or not one of ours."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


def connected(path: Path, *, timeout_s: float = _LOCK_TIMEOUT_S) -> sqlite3.Connection:
    """Return a connection to a file that is there."""
    address = f"{path.absolute().as_uri()}?mode=rw"  # never creates: that is done with the right mode
    return sqlite3.connect(
        address, timeout=timeout_s, isolation_level=None, check_same_thread=False, uri=True
    )


def prepare(connection: sqlite3.Connection) -> None:
    """Make a new file ours, while nobody else opens it; raise `ForeignFileError` for one that is not."""
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(
        "PRAGMA synchronous = NORMAL"
    )  # in WAL mode: outlives a kill, without fsync per commit
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_MAX_BYTES}")
    if _is_new(connection):
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("PRAGMA journal_mode = WAL")
        _make_tables(connection)
    found = [_pragma(connection, name) for name in ("application_id", "user_version", "quick_check(1)")]
    if found != [_APPLICATION_ID, _VERSION, "ok"]:
        raise ForeignFileError


def _is_new(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_TABLE)
        connection.execute(_INDEX)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file are in use, as the transaction sees it."""
    pages, free = (_pragma(connection, name) for name in ("page_count", "freelist_count"))
    return (int(str(pages)) - int(str(free))) * PAGE_BYTES


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell whether the error says that the file is no sound database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte of an extended code
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
