"""Move what can be read of another spool file into the one in use.

The other file is damaged, was deleted while it was open, or comes from another version.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from .database_files import ForeignFileError, begin_unless_damaged, transaction
from .stored_batch import COLUMNS, REQUIRED, Reading, stored

# "oph0" in the file's header: its batches were moved or withdrawn. A process that still has the file open
# must not move them once more.
MARK_EMPTIED = "PRAGMA application_id = 0x6F706830"
_EMPTIED_ID = 0x6F706830
_LAST_ID = 2**63 - 1
_MAX_ID = 2**53  # a damaged number above would leave none for new rows
_MAX_LOOKUPS = 10_000  # of single rows, between two places that cannot be read
_MAX_EVENTS = 1_000  # of a batch; more is a damaged number

# A row keeps its number, so that what is being sent can be removed; a second attempt adds no row twice.
_INSERT = f"""
INSERT INTO batches ({", ".join(COLUMNS)})
SELECT CASE WHEN EXISTS (SELECT 1 FROM batches WHERE id = :id) THEN NULL ELSE :id END,
    {", ".join(f":{name}" for name in COLUMNS[1:])}
WHERE NOT EXISTS (SELECT 1 FROM batches WHERE id = :id AND accepted_ns = :accepted_ns)
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of the events in the other file."""

    events: int = 0
    unreadable: int = 0  # in rows that cannot be read
    added: Mapping[str, int] = field(default_factory=dict)  # by kind, without what was there already
    undeleted: Mapping[str, int] = field(default_factory=dict)  # by kind, dealt with before
    is_all: bool = True  # nothing is left in it that a newer version could read
    is_emptied: bool = False  # its batches were moved or withdrawn before


def is_emptied(source: sqlite3.Connection) -> bool:
    """Return whether the file's batches were moved or withdrawn already."""
    return bool(source.execute("PRAGMA application_id").fetchone() == (_EMPTIED_ID,))


def move(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    *,
    version: int,
    now: Reading,
    without: Mapping[tuple[int, int], int],
    carry: Callable[[Moved], None],
) -> Moved:
    """Move the batches, without those named; raise `sqlite3.DatabaseError` if there is no table of them.

    `without` has the number of events that are still to be deleted with each. `carry` is called in the
    target's transaction. The source is marked after it, so that nothing has changed if it fails.
    """
    begin_unless_damaged(source)  # it keeps writers out
    try:
        if is_emptied(source):
            return Moved(is_emptied=True)
        names = {name for (name,) in source.execute("SELECT name FROM pragma_table_info('batches')")}
        if not names.issuperset(REQUIRED):
            raise ForeignFileError
        is_newer = source.execute("PRAGMA user_version").fetchone() > (version,)
        shown = ", ".join(name if name in names else "NULL" for name in COLUMNS)
        rows = _rows(source, f"SELECT {shown} FROM batches")  # noqa: S608 - constants
        with transaction(target):
            ids, moved = _copied(rows, target, now, without)
            carry(moved)
        is_all = not (is_newer and moved.unreadable)
        with suppress(sqlite3.DatabaseError):
            if is_all:
                source.execute(MARK_EMPTIED)
            else:
                source.executemany("DELETE FROM batches WHERE id = ?", [(row_id,) for row_id in ids])
            source.execute("COMMIT")
        return replace(moved, is_all=is_all)
    finally:
        if source.in_transaction:
            with suppress(sqlite3.DatabaseError):
                source.execute("ROLLBACK")


def _copied(
    rows: Iterator[tuple[Any, ...]],
    target: sqlite3.Connection,
    now: Reading,
    without: Mapping[tuple[int, int], int],
) -> tuple[list[int], Moved]:
    """Copy the rows; return their numbers, and what became of their events and of those of other rows."""
    ids, number, unreadable = [], 0, 0
    added, kept = Counter[str](), Counter[str]()
    for row in rows:
        values, name = dict(zip(COLUMNS, row, strict=True)), row[:2]
        if name in without:
            kept[str(values["kind"])] += without[name]
            continue
        try:
            batch = stored(row, now)
            row_id = row[0] if row[0] < _MAX_ID else None
            events = len(batch.events)
            inserted = target.execute(_INSERT, {**values, "id": row_id, "events": events}).rowcount
        except (ValueError, sqlite3.IntegrityError):
            unreadable += events_of(values["events"])
            continue
        ids.append(row[0])
        number += events
        added[batch.kind.value] += events * inserted
    return ids, Moved(events=number, unreadable=unreadable, added=added, undeleted=kept)


def events_of(recorded: object) -> int:
    """Return how many events a row says it has, at least one: the number may be damaged."""
    return recorded if type(recorded) is int and 0 < recorded <= _MAX_EVENTS else 1


def _rows(source: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows from both ends up to a damaged page, then those between, one by one."""
    low, high = 0, _LAST_ID
    for order in ("ASC", "DESC"):
        for row in _read(source, f"{select} WHERE id > ? AND id < ? ORDER BY id {order}", (low, high)):
            low, high = (row[0], high) if order == "ASC" else (low, row[0])
            yield row
    if high < _LAST_ID:
        for row_id in range(low + 1, min(high, low + _MAX_LOOKUPS)):
            yield from _read(source, f"{select} WHERE id = ?", (row_id,))


def _read(source: sqlite3.Connection, select: str, values: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    with suppress(sqlite3.Error):
        yield from source.execute(select, values)
