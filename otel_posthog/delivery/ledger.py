"""Keep the balance of an installation: what was accepted, and what became of it.

The counters are rows of the spool's file. The number of spooled events changes in the same transaction as
the batches, which also adds what the process has counted since it last wrote. What it counts afterwards, such
as the events that it has just deleted as expired, is in its memory until it writes again; a row of its own
says how much that is.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
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
from otel_posthog.consent.state import Answer, KindConsent
from otel_posthog.registry import Kind

from .balance import Balance, Drops
from .salvage import Moved

SILENT_S = 120.0  # a process with events in memory that has not written for so long was killed
KILLED, UNREADABLE = "killed", "unreadable"
# Rows that are no counters: the number and beginning of a balance, and what a process has in memory.
_BEGAN, _HELD = "began", "held"
_KINDS = frozenset(kind.value for kind in Kind)
# The number of a balance has the generation of its consent above random bits, below SQLite's largest integer.
_RANDOM_BITS = 31
_MAX_GENERATION = 2**31

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    worker TEXT NOT NULL,
    events INTEGER NOT NULL,
    at_s REAL NOT NULL,
    PRIMARY KEY (kind, name, worker)
) WITHOUT ROWID;

DELETE FROM ledger WHERE name = 'spooled';

INSERT INTO ledger SELECT kind, 'spooled', '', CAST(total(events) AS INTEGER), 0 FROM batches GROUP BY kind;

CREATE TRIGGER IF NOT EXISTS ledger_put AFTER INSERT ON batches BEGIN
    INSERT INTO ledger VALUES (new.kind, 'spooled', '', new.events, 0)
        ON CONFLICT (kind, name, worker) DO UPDATE SET events = events + excluded.events; END;

CREATE TRIGGER IF NOT EXISTS ledger_remove AFTER DELETE ON batches BEGIN
    UPDATE ledger SET events = events - old.events WHERE kind = old.kind AND name = 'spooled'; END
"""  # triggers, so that an earlier version of this library keeps the sum too
_PARTS = "SELECT count(*) FROM sqlite_master WHERE name IN ('ledger', 'ledger_put', 'ledger_remove')"
_ROWS = "SELECT kind, name, worker, events, at_s FROM ledger"
_IN_FILE = "SELECT kind, total(events) FROM batches GROUP BY kind"
_SET = "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?)"
_ADD = (
    "INSERT INTO ledger VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, name, worker) DO UPDATE SET events = events + excluded.events"
)
_DELETE = "DELETE FROM ledger WHERE kind = ? AND name = ? AND worker = ?"
_DELETE_KIND = "DELETE FROM ledger WHERE kind = ? AND name <> 'spooled'"


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
        # By kind: the generation of the consent, and whether it is denied.
        self._consents: dict[str, tuple[int, bool]] = {}
        # What was dropped before telemetry was withdrawn is in no heartbeat (docs/adr/0021).
        self._is_to_end_reports = False
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

    def follow(self, kinds: Mapping[Kind, KindConsent]) -> None:
        """Begin again for each kind that was withdrawn, also if it was granted again meanwhile.

        The next `write` deletes its counters; until then none of them is returned.
        """
        totals = self.counts.totals()
        for kind, known in kinds.items():
            if known.answer is Answer.UNKNOWN:
                continue
            generation = min(known.stamp.generation or 0, _MAX_GENERATION)
            is_denied = known.answer is Answer.DENIED
            before = self._consents.get(kind.value, (generation, False))
            self._consents[kind.value] = generation, is_denied
            if before == (generation, is_denied):
                continue
            if kind is Kind.TELEMETRY:
                self._is_to_end_reports = True
            if is_denied or _generation_of(self._began.get(kind.value, -1)) < generation:
                self._written[kind.value] = _in_memory_alone(totals.get(kind.value, {}))
                self._began.pop(kind.value, None)
                self._held.pop(kind.value, None)

    def is_outdated(self, connection: sqlite3.Connection) -> bool:
        """Return whether the file has counters from before a withdrawal."""
        rows = _rows(connection) if _has_table(connection) else []
        return bool(self._withdrawn(rows)) or self._is_to_end_reports

    def end_reports(self, connection: sqlite3.Connection | None) -> None:
        """Let no heartbeat report what was dropped before telemetry was withdrawn."""
        if self._is_to_end_reports:
            self.counts.report(self._unreported(connection))
            self._is_to_end_reports = connection is not None  # until it is committed

    def prepare(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Create the table if there is none; return how many events of each kind are in the file."""
        if connection.execute(_PARTS).fetchone() != (_SCHEMA.count("CREATE"),):
            for statement in _SCHEMA.split("\n\n"):  # not as one script, which would commit
                connection.execute(statement)
        return _spooled(_rows(connection))

    def write(self, connection: sqlite3.Connection, before: Mapping[str, int]) -> Callable[[], None]:
        """Write what has changed, given what was in the file at the beginning of the transaction.

        Call the returned function once the transaction is committed.
        """
        rows = _rows(connection)
        now, withdrawn = _spooled(rows), self._withdrawn(rows)
        self.end_reports(connection)
        connection.executemany(_DELETE_KIND, {(row.kind,) for row in withdrawn})
        rows = [row for row in rows if row not in withdrawn]
        moved = {kind: now.get(kind, 0) - before.get(kind, 0) for kind in now.keys() | before.keys()}
        totals = self._open_totals(moved)
        began = {
            kind: self._write_kind(connection, kind, totals=total, rows=rows, before=before.get(kind, 0))
            for kind, total in totals.items()
        }

        def committed() -> None:
            self._is_to_end_reports = False
            for kind, number in moved.items():
                if number:
                    self.counts.spool(kind, number)
            self._began.update(began)
            self._written.update(totals)
            self._held.update({kind: held_of(total) for kind, total in totals.items()})

        return committed

    def carry(self, source: sqlite3.Connection, target: sqlite3.Connection, moved: Moved) -> None:
        """Continue the source's balance in the file to which its batches were moved, in one transaction.

        What could not be moved is dropped as unreadable. In a file that has a balance of its own the batches
        count as accepted.
        """
        is_new, rows = not _has_table(target), list[_Row]()
        now, now_s = self.prepare(target), self._clock()
        if is_new:
            with suppress(sqlite3.Error):
                rows = _rows(source) if _has_table(source) else []
            target.executemany(_SET, [row for row in rows if row.name != SPOOLED])
        spooled, changes = _spooled(rows), list[_Row]()
        for kind in {row.kind for row in _rows(target) if row.name == _BEGAN}:
            added = moved.added.get(kind, 0)
            accepted = now.get(kind, 0) - added if is_new else added
            lost = spooled.get(kind, 0) - added - moved.undeleted.get(kind, 0) if is_new else 0
            changes += [_Row(kind, ACCEPTED, "", accepted, now_s), _Row(kind, UNREADABLE, "", lost, now_s)]
        target.executemany(_ADD, [row for row in changes if row.events])

    def recounted(self, connection: sqlite3.Connection, deleted: Mapping[str, int]) -> dict[str, int]:
        """Correct what is in the file, and return how many events of each kind have gone from it.

        `deleted` is what the transaction has deleted of each kind, as the rows said it.
        """
        found = {str(kind): int(number) for kind, number in connection.execute(_IN_FILE)}
        gone = {kind: number - found.get(kind, 0) for kind, number in _spooled(_rows(connection)).items()}
        rows = [_Row(kind, SPOOLED, "", -number, 0.0) for kind, number in gone.items() if number]
        connection.executemany(_ADD, rows)
        lost = {kind: number + deleted.get(kind, 0) for kind, number in gone.items()}
        return {kind: number for kind, number in lost.items() if number}

    def balances(self, connection: sqlite3.Connection | None) -> dict[Kind, Balance]:
        """Return the balance of each kind as of now; without a file that of this process."""
        rows = [] if connection is None or not _has_table(connection) else _rows(connection)
        withdrawn, totals = self._withdrawn(rows), self.counts.totals()
        rows = [row for row in rows if row not in withdrawn]
        return {kind: self._balance(kind.value, totals.get(kind.value, {}), rows) for kind in Kind}

    def unreported(self, connection: sqlite3.Connection | None) -> Drops:
        """Return for each kind and reason how many drops no heartbeat has reported."""
        found = self._unreported(connection)
        return {} if self._is_to_end_reports else found

    def _unreported(self, connection: sqlite3.Connection | None) -> Drops:
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
            generation, _ = self._consents.get(kind, (0, False))
            began = (generation << _RANDOM_BITS) + secrets.randbits(_RANDOM_BITS)
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

    def _withdrawn(self, rows: Sequence[_Row]) -> list[_Row]:
        """Return the counters of an earlier consent than the one that is known here.

        If those of telemetry are among them, the drops so far are in no heartbeat.
        """
        began = {row.kind: row.events for row in rows if row.name == _BEGAN}
        kinds = [
            kind
            for kind, (generation, is_denied) in self._consents.items()
            if is_denied or (kind in began and _generation_of(began[kind]) < generation)
        ]
        if Kind.TELEMETRY in kinds and Kind.TELEMETRY in began:
            self._is_to_end_reports = True
        return [row for row in rows if row.kind in kinds and row.name != SPOOLED]

    def _own(self, rows: Sequence[_Row]) -> list[_Row]:
        return [row for row in rows if row.name == _HELD and row.worker == self._worker]

    def _open_totals(self, moved: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Return the totals of the kinds that are not denied, with what this transaction moves."""
        totals = self.counts.totals()
        for kind, number in moved.items():
            if number:
                total = totals.setdefault(kind, {})
                total[SPOOLED] = total.get(SPOOLED, 0) + number
        denied = {kind for kind, (_, is_denied) in self._consents.items() if is_denied}
        return {kind: total for kind, total in totals.items() if kind not in denied}


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
    """Return the counter to which what a killed process had in memory is added.

    Below zero its events were dealt with and are still on disk, so that they will be dealt with, and counted,
    once more. Most often they were sent; the few that were dropped count as sent one time less, too.
    """
    return KILLED if held > 0 else SENT


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone() is not None


def _generation_of(number: int) -> int:
    """Return the generation of the consent under which the balance of this number began."""
    return number >> _RANDOM_BITS


def _rows(connection: sqlite3.Connection) -> list[_Row]:
    rows = map(_Row._make, connection.execute(_ROWS))
    return [row for row in rows if row.kind in _KINDS]  # a damaged batch may have any


def _spooled(rows: Iterable[_Row]) -> dict[str, int]:
    return {row.kind: row.events for row in rows if row.name == SPOOLED}
