"""A lock between processes that ends with its holder, whichever way that one ends.

It is SQLite's exclusive lock on an empty file: the operating system takes it back from a process that
was killed, at once, and there is no clock in it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .spool_schema import connected


def locked(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Return the lock, which is given back by closing it; raise `sqlite3.OperationalError` without it."""
    path.touch(mode=0o600)
    lock = connected(path, timeout_s=timeout_s)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")  # nothing is written, so no file beside it
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        lock.close()
        raise
    return lock
