"""Keep the balance of an installation: what was accepted, and what became of it.

The counters are rows of the spool's file, so they change in the same transaction as the batches. Each
process adds what it has counted since it last wrote; what is still in its memory is in a row of its own.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import (
    ACCEPTED,
    HANDED_OVER,
    NOT_DROPPED,
    REPORTED,
    SENT,
    SPOOLED,
    Counts,
)
from otel_posthog.registry import Kind

from .salvage import is_emptied

SILENT_S = 120.0  # a process with events in memory that has not written for so long was killed
KILLED, UNREADABLE = "killed", "unreadable"
# Rows that are no counters: the number and beginning of a balance, and what a process has in memory.
_BEGAN, _HELD = "began", "held"
_KINDS = frozenset(kind.value for kind in Kind)
_NUMBER_BITS = 62  # below SQLite's largest integer

_SCHEMA = """
CREATE TABLE ledger (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    worker TEXT NOT NULL,
    events INTEGER NOT NULL,
    at_s REAL NOT NULL,
    PRIMARY KEY (kind, name, worker)
) WITHOUT ROWID;

INSERT INTO ledger SELECT kind, 'spooled', '', CAST(total(events) AS INTEGER), 0 FROM batches GROUP BY kind;

CREATE TRIGGER ledger_put AFTER INSERT ON batches BEGIN
    INSERT INTO ledger VALUES (new.kind, 'spooled', '', new.events, 0)
        ON CONFLICT DO UPDATE SET events = events + excluded.events; END;

CREATE TRIGGER ledger_remove AFTER DELETE ON batches BEGIN
    UPDATE ledger SET events = events - old.events WHERE kind = old.kind AND name = 'spooled'; END
"""  # triggers, so that an earlier version of this library keeps the sum too
_ROWS = "SELECT kind, name, worker, events, at_s FROM ledger"
_IN_FILE = "SELECT kind, total(events) FROM batches GROUP BY kind"
_SET = "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?)"
_ADD = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events"
_DELETE = "DELETE FROM ledger WHERE kind = ? AND name = ? AND worker = ?"
_DELETE_KIND = "DELETE FROM ledger WHERE kind = ? AND name <> 'spooled'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What became of the accepted events of one kind, in all processes of an installation."""

    accepted: int = 0
    sent: int = 0  # accepted by PostHog
    handed_over: int = 0  # accepted by a Collector
    waiting: int = 0  # on disk, or in the memory of a process
    dropped: Mapping[str, int]  # by reason
    reported: Mapping[str, int]  # by reason, what of the dropped was in a heartbeat
    since_s: float | None = None  # when counting began, in seconds since 1970; None for this process's start

    @property
    def unaccounted(self) -> int:
        """How many accepted events are nowhere; 0 unless this library has miscounted."""
        settled = self.sent + self.handed_over + self.waiting + sum(self.dropped.values())
        return self.accepted - settled

    def __str__(self) -> str:
        """Return the balance as a line of text."""
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items())
        dropped = sum(self.dropped.values())
        return (
            f"{self.accepted} accepted = {self.sent} sent + {self.handed_over} handed over + "
            f"{self.waiting} waiting + {dropped} dropped{f' ({reasons})' if reasons else ''}"
        )

    def to_json(self) -> dict[str, object]:
        """Return the balance as data."""
        return {
            "accepted": self.accepted,
            "sent": self.sent,
            "handed_over": self.handed_over,
            "waiting": self.waiting,
            "dropped": dict(self.dropped),
            "since_s": self.since_s,
        }


Drops = Mapping[str, Mapping[str, int]]  # by kind and reason


class Delivered(dict[str, int]):
    """What one process has counted since its start; the balance of the installation on request."""

    def __init__(self, counted: Mapping[str, int], balances: Callable[[], dict[Kind, Balance]]) -> None:
        super().__init__(counted)
        self._balances = balances

    def by_kind(self) -> dict[Kind, Balance]:
        """Return the balance of each kind in all processes; reads the spool's file and changes nothing."""
        return self._balances()


class _Row(NamedTuple):
    kind: str
    name: str
    worker: str
    events: int
    at_s: float


class Ledger:
    """What this process has written of its counts, and what it has yet to write.

    Not safe in threads: the spool's file calls it under its lock.
    """

    def __init__(self, counts: Counts, *, clock: Callable[[], float] = time.time) -> None:
        self.counts = counts
        self._clock = clock
        self._denied: frozenset[str] = frozenset()
        self.after_fork()
        follow_forks(self)

    def after_fork(self) -> None:
        """Begin as another process in a child, whose counts begin at zero."""
        self._worker = secrets.token_hex(8)
        # By kind: the balance to which was written, what of the totals, and what was in memory then.
        self._began: dict[str, int] = {}
        self._written: dict[str, Mapping[str, int]] = {}
        self._held: dict[str, int] = {}

    def is_behind(self) -> bool:
        """Return whether this process has counts to write, or events in memory to report."""
        open_totals = self._open_totals({})
        return any(
            total != self._written.get(kind, {}) or held_of(total) for kind, total in open_totals.items()
        )

    def follow(self, denied: frozenset[str]) -> frozenset[str]:
        """Begin again for each kind whose consent has changed; return those that were withdrawn."""
        changed, self._denied = self._denied ^ denied, denied
        totals = self.counts.totals()
        for kind in changed:
            self._written[kind] = _in_memory_alone(totals.get(kind, {}))
            self._began.pop(kind, None)
            self._held.pop(kind, None)
        return changed & denied

    def prepare(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Create the table if there is none; return how many events of each kind are in the file."""
        if not _has_table(connection):
            for statement in _SCHEMA.split("\n\n"):  # not as one script, which would commit
                connection.execute(statement)
        return _spooled(_rows(connection))

    def write(self, connection: sqlite3.Connection, before: Mapping[str, int]) -> Callable[[], None]:
        """Write what has changed, given what was in the file at the beginning of the transaction.

        Call the returned function once the transaction is committed.
        """
        rows = _rows(connection)
        now = _spooled(rows)
        moved = {kind: now.get(kind, 0) - before.get(kind, 0) for kind in now.keys() | before.keys()}
        totals = self._open_totals(moved)
        began = {
            kind: self._write_kind(connection, kind, totals=total, rows=rows, before=before.get(kind, 0))
            for kind, total in totals.items()
        }

        def committed() -> None:
            for kind, number in moved.items():
                if number:
                    self.counts.spool(kind, number)
            self._began.update(began)
            self._written.update(totals)
            self._held.update({kind: held_of(total) for kind, total in totals.items()})

        return committed

    @contextmanager
    def moving(self, source: sqlite3.Connection, target: sqlite3.Connection) -> Iterator[None]:
        """Continue the source's balance in a new file, while its batches are moved there.

        What could not be moved is dropped as unreadable. In a file that has a balance of its own the batches
        count as accepted.
        """
        if is_emptied(source):
            yield
            return
        before = _spooled(_rows(target)) if _has_table(target) else None
        rows: list[_Row] = []
        with suppress(sqlite3.Error):
            rows = _rows(source) if _has_table(source) else []
        yield
        after = self.prepare(target)
        now_s = self._clock()
        if before is not None:
            changes = {kind: number - before.get(kind, 0) for kind, number in after.items()}
            target.executemany(_ADD, [_Row(kind, ACCEPTED, "", n, now_s) for kind, n in changes.items() if n])
            return
        target.executemany(_SET, [row for row in rows if row.name != SPOOLED])
        lost = {kind: number - after.get(kind, 0) for kind, number in _spooled(rows).items()}
        target.executemany(_ADD, [_Row(kind, UNREADABLE, "", n, now_s) for kind, n in lost.items() if n])

    def recounted(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Correct what is in the file, and return how many events of each kind have gone from it."""
        found = {str(kind): int(number) for kind, number in connection.execute(_IN_FILE)}
        gone = {kind: number - found.get(kind, 0) for kind, number in _spooled(_rows(connection)).items()}
        rows = [_Row(kind, SPOOLED, "", -number, 0.0) for kind, number in gone.items() if number]
        connection.executemany(_ADD, rows)
        return {row.kind: -row.events for row in rows}

    def balances(self, connection: sqlite3.Connection | None) -> dict[Kind, Balance]:
        """Return the balance of each kind as of now; without a file that of this process."""
        rows = [] if connection is None or not _has_table(connection) else _rows(connection)
        totals = self.counts.totals()
        return {kind: self._balance(kind.value, totals.get(kind.value, {}), rows) for kind in Kind}

    def unreported(self, connection: sqlite3.Connection | None) -> Drops:
        """Return for each kind and reason how many drops no heartbeat has reported."""
        return {
            kind.value: {
                reason: number - balance.reported.get(reason, 0) for reason, number in balance.dropped.items()
            }
            for kind, balance in self.balances(connection).items()
        }

    def _balance(self, kind: str, totals: Mapping[str, int], rows: Sequence[_Row]) -> Balance:
        rows = [row for row in rows if row.kind == kind]
        began = next((row for row in rows if row.name == _BEGAN), None)
        number = None if began is None else began.events
        counters = Counter({row.name: row.events for row in rows if row.name not in (_BEGAN, _HELD)})
        counters.update(self._unwritten(kind, totals, number))
        counters.update(self._corrections(kind, rows, number))
        silent = self._silent(rows)
        held = sum(row.events for row in rows if row.name == _HELD and row.worker != self._worker)
        waiting = counters[SPOOLED] + held - sum(row.events for row in silent) + held_of(totals)
        return Balance(
            accepted=counters[ACCEPTED] + (counters[SPOOLED] if began is None else 0),
            sent=counters[SENT],
            handed_over=counters[HANDED_OVER],
            waiting=waiting,
            dropped={name: counters[name] for name in sorted(counters) if _is_drop(name) and counters[name]},
            reported={
                name.removeprefix(REPORTED): number
                for name, number in counters.items()
                if name.startswith(REPORTED)
            },
            since_s=None if began is None else began.at_s,
        )

    def _write_kind(
        self,
        connection: sqlite3.Connection,
        kind: str,
        *,
        totals: Mapping[str, int],
        rows: Sequence[_Row],
        before: int,
    ) -> int:
        """Write one kind and return the number of its balance."""
        now_s = self._clock()
        rows = [row for row in rows if row.kind == kind]
        began = next((row.events for row in rows if row.name == _BEGAN), None)
        changes = Counter(self._unwritten(kind, totals, began))
        changes.update(self._corrections(kind, rows, began))
        if began is None:  # no balance yet, or none since a withdrawal: what is in the file was accepted
            began = secrets.randbits(_NUMBER_BITS)
            connection.execute(_SET, _Row(kind, _BEGAN, "", began, now_s))
            changes[ACCEPTED] += before
        changed = [_Row(kind, name, "", number, now_s) for name, number in changes.items() if number]
        connection.executemany(_ADD, changed)
        gone = [(kind, _HELD, row.worker) for row in (*self._silent(rows), *self._own(rows))]
        connection.executemany(_DELETE, gone)
        if held := held_of(totals):
            connection.execute(_SET, _Row(kind, _HELD, self._worker, held, now_s))
        return began

    def _unwritten(self, kind: str, totals: Mapping[str, int], began: int | None) -> dict[str, int]:
        """Return what this process has counted and not yet written to this balance."""
        written = self._written.get(kind, {})
        if self._began.get(kind, began) != began:  # withdrawn by another process, or another file
            written = _in_memory_alone(totals)
        return {name: totals[name] - written.get(name, 0) for name in totals if name != SPOOLED}

    def _corrections(self, kind: str, rows: Sequence[_Row], began: int | None) -> Counter[str]:
        """Return what changes because a process was killed, or was taken for one that was."""
        corrections = Counter[str]()
        for row in self._silent(rows):
            corrections[_fate(row.events)] += row.events
        held = self._held.get(kind, 0)
        if held and self._began.get(kind) == began and not self._own(rows):
            corrections[_fate(held)] -= held
        return corrections

    def _silent(self, rows: Sequence[_Row]) -> list[_Row]:
        now_s = self._clock()
        others = (row for row in rows if row.name == _HELD and row.worker != self._worker)
        return [row for row in others if abs(now_s - row.at_s) > SILENT_S]

    def _own(self, rows: Sequence[_Row]) -> list[_Row]:
        return [row for row in rows if row.name == _HELD and row.worker == self._worker]

    def _open_totals(self, moved: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Return the totals of the kinds that are not denied, with what this transaction moves."""
        totals = self.counts.totals()
        for kind, number in moved.items():
            if number:
                total = totals.setdefault(kind, {})
                total[SPOOLED] = total.get(SPOOLED, 0) + number
        return {kind: total for kind, total in totals.items() if kind not in self._denied}


def forget(connection: sqlite3.Connection, kinds: Iterable[str]) -> None:
    """Delete the counters of kinds that were withdrawn."""
    if _has_table(connection):
        connection.executemany(_DELETE_KIND, [(kind,) for kind in kinds])


def held_of(totals: Mapping[str, int]) -> int:
    """Return how many accepted events are in the memory of the process that counted these totals.

    Below zero for a moment, between PostHog's response and the deletion of what was on disk.
    """
    settled = (number for name, number in totals.items() if not name.startswith(REPORTED))
    return 2 * totals.get(ACCEPTED, 0) - sum(settled)


def _in_memory_alone(totals: Mapping[str, int]) -> dict[str, int]:
    """Return as written all but what is in memory, which a new balance begins with."""
    return {**totals, ACCEPTED: totals.get(ACCEPTED, 0) - held_of(totals)}


def _is_drop(name: str) -> bool:
    return name not in NOT_DROPPED and not name.startswith(REPORTED)


def _fate(held: int) -> str:
    """Return what became of events in the memory of a killed process.

    Below zero they were sent and are still on disk, so that they will be sent, and counted, once more.
    """
    return KILLED if held > 0 else SENT


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone() is not None


def _rows(connection: sqlite3.Connection) -> list[_Row]:
    rows = map(_Row._make, connection.execute(_ROWS))
    return [row for row in rows if row.kind in _KINDS]  # a damaged batch may have any


def _spooled(rows: Iterable[_Row]) -> dict[str, int]:
    return {row.kind: row.events for row in rows if row.name == SPOOLED}
