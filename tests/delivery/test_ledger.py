"""The balance of an installation, over its processes and their ends."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from spools import World, accepted, drained, some_batch, telemetry_consent

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.consent.state import Answer
from otel_posthog.delivery.ledger import SILENT_S
from otel_posthog.delivery.spool_file import SpoolFile
from otel_posthog.delivery.stored_batch import Reading
from otel_posthog.registry import Kind

KIND = Kind.TELEMETRY.value


class Process:
    """The counts and the spool file of one process."""

    def __init__(self, world, **bounds):
        self.counts = Counts()
        limits = {"max_bytes": 10_000_000, "max_age_s": 100_000.0, **bounds}
        self.file = SpoolFile(
            world.folder,
            **limits,
            counts=self.counts,
            log_limiter=LogLimiter(),
            clocks=lambda: Reading(world.wall_s, world.now_s, world.boot_id),
        )
        world.made.append(self.file)

    def accept(self, number):
        self.counts.accept(KIND, number)

    def settle(self, reason, number):
        self.counts.add(reason, number, kind=KIND)

    def follow(self, answer, generation):
        self.file.follow({Kind.TELEMETRY: telemetry_consent(answer=answer, generation=generation)})

    def balance(self):
        return self.file.balances()[Kind.TELEMETRY]


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "state" / "spool") as made:
        yield made


def _pass_time(world, seconds):
    world.now_s += seconds
    world.wall_s += seconds


def _shown(balance):
    shown = balance.sent, balance.waiting, dict(balance.dropped)
    assert balance.unaccounted == 0
    return balance.accepted, *shown


def test_processes_share_one_balance(world):
    """Each process adds what it has counted, and sees what the others have written."""
    one, other = Process(world), Process(world)
    one.accept(5)
    one.settle("sent", 3)
    one.settle("too_large", 1)
    one.file.write_ledger()
    other.accept(2)
    other.settle("sent", 2)

    assert _shown(other.balance()) == (7, 5, 1, {"too_large": 1})


def test_balance_outlives_its_processes(world):
    """A later process continues where earlier ones ended."""
    for _ in range(3):
        process = Process(world)
        process.accept(2)
        process.settle("refused", 2)
        process.file.write_ledger()
        process.file.close()

    assert _shown(Process(world).balance()) == (6, 0, 0, {"refused": 6})


def test_writing_twice_adds_nothing(world):
    """What was written once is not written again."""
    process = Process(world)
    process.accept(1)
    process.settle("sent", 1)
    process.file.write_ledger()
    process.file.write_ledger()

    assert not process.file.ledger.is_behind()
    assert _shown(Process(world).balance()) == (1, 1, 0, {})


def test_batches_and_counters_change_in_one_transaction(world):
    """Whenever a process is killed, the file holds a balance in which each event has one place."""
    one, other = Process(world), Process(world)
    one.accept(5)
    one.file.put(some_batch(1, 2))
    assert _shown(other.balance()) == (5, 0, 5, {})

    batch = other.file.first()
    other.settle("sent", 2)
    other.file.remove(batch)

    assert _shown(Process(world).balance()) == (5, 2, 3, {})


def test_events_in_memory_of_a_killed_process_are_dropped(world):
    """A process that has events in memory and no longer writes counts as killed, by what it last wrote."""
    process = Process(world)
    process.accept(7)
    process.settle("sent", 3)
    process.file.write_ledger()
    assert _shown(Process(world).balance()) == (7, 3, 4, {})

    _pass_time(world, SILENT_S + 1)

    assert _shown(Process(world).balance()) == (7, 3, 0, {"killed": 4})
    other = Process(world)
    other.accept(1)
    other.file.write_ledger()
    assert _shown(Process(world).balance()) == (8, 3, 1, {"killed": 4})


def test_process_taken_for_killed_takes_its_events_back(world):
    """A process that was suspended for long goes on, and its events are dropped no more."""
    suspended, other = Process(world), Process(world)
    suspended.accept(4)
    suspended.file.write_ledger()
    _pass_time(world, SILENT_S + 1)
    other.accept(1)
    other.file.write_ledger()
    assert other.balance().dropped == {"killed": 4}

    suspended.settle("sent", 3)
    assert _shown(suspended.balance()) == (5, 3, 2, {})
    suspended.file.write_ledger()

    assert _shown(Process(world).balance()) == (5, 3, 2, {})


def test_events_sent_again_after_a_kill_count_once(world):
    """A process killed between PostHog's response and the deletion on disk leaves them to be sent again."""
    process = Process(world)
    process.accept(2)
    process.file.put(some_batch(1, 2))
    process.settle("sent", 2)
    process.file.write_ledger()
    _pass_time(world, SILENT_S + 1)
    other = Process(world)
    batch = other.file.first()
    other.settle("sent", 2)
    other.file.remove(batch)

    assert _shown(Process(world).balance()) == (2, 2, 0, {})


def test_withdrawal_deletes_the_counters_of_the_kind(world):
    """After a withdrawal nothing is left of the kind, and every process begins again."""
    one, other = Process(world), Process(world)
    for process in (one, other):
        process.accept(5)
        process.settle("sent", 5)
        process.counts.accept(Kind.ERRORS.value)
        process.counts.add("sent", kind=Kind.ERRORS.value)
        process.file.write_ledger()
    other.accept(2)

    one.follow(Answer.DENIED, 1)
    one.accept(1)
    one.settle("withdrawn", 1)
    one.file.write_ledger()
    assert _kinds_in(world.path) == {"errors"}
    one.follow(Answer.GRANTED, 1)
    one.accept(1)
    one.file.write_ledger()
    other.settle("withdrawn", 2)
    other.accept(1)
    other.file.write_ledger()

    assert _shown(Process(world).balance()) == (2, 0, 2, {})
    assert Process(world).file.balances()[Kind.ERRORS].sent == 2


def _kinds_in(path):
    with closing(sqlite3.connect(path)) as connection:
        return {kind for (kind,) in connection.execute("SELECT kind FROM ledger WHERE name <> 'spooled'")}


def test_denied_kind_is_never_written(world):
    """While consent is denied no file is made for the counters."""
    process = Process(world)
    process.follow(Answer.DENIED, 0)
    process.accept(1)
    process.settle("withdrawn", 1)

    process.file.write_ledger()

    assert world.files() == []


def test_file_deleted_between_processes_begins_a_new_balance(world):
    """With the file its counters are gone; what is in memory and what comes later is counted."""
    process = Process(world)
    process.accept(5)
    process.settle("sent", 3)
    process.file.write_ledger()
    process.file.close()
    for path in world.folder.iterdir():
        path.unlink()
    process.settle("sent", 1)
    process.accept(1)

    process.file.write_ledger()

    assert _shown(Process(world).balance()) == (2, 0, 2, {})


def test_deleted_file_that_is_open_keeps_its_balance(world):
    """A process that has the file open moves the counters with the batches."""
    process, other = Process(world), Process(world)
    process.accept(5)
    process.file.put(some_batch(1, 2))
    process.settle("sent", 1)
    process.file.write_ledger()
    other.accept(1)
    other.file.write_ledger()
    for path in world.folder.iterdir():
        path.unlink()

    process.settle("sent", 1)
    process.file.write_ledger()
    other.settle("refused", 1)
    other.file.write_ledger()

    assert _shown(Process(world).balance()) == (6, 2, 3, {"refused": 1})


def test_damaged_batch_is_dropped_as_unreadable(world):
    """What cannot be moved from a damaged file has its place in the balance."""
    process = Process(world)
    process.accept(3)
    process.file.put(some_batch(1, 2))
    process.file.put(some_batch(3))
    process.file.close()
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        connection.execute("UPDATE batches SET body = x'00' WHERE events = 2")

    assert [event.accepted_ns for event in process.file.first().events] == [3]

    assert _shown(process.balance()) == (3, 0, 1, {"unreadable": 2})


def test_file_of_another_version_keeps_its_balance(world):
    """The balance continues in the new file, with what could be moved."""
    process = Process(world)
    process.accept(3)
    process.file.put(some_batch(1, 2))
    process.file.put(some_batch(3))
    process.file.close()
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        connection.execute("UPDATE batches SET body = x'00' WHERE events = 2")
        connection.execute("PRAGMA user_version = 0")
    later = Process(world)
    later.accept(1)
    later.file.write_ledger()

    assert _shown(later.balance()) == (4, 0, 2, {"unreadable": 2})


def test_batches_of_an_earlier_version_count_as_accepted(world):
    """A file without counters has batches that were accepted."""
    Process(world).file.put(some_batch(1, 2))
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        for statement in ("DROP TRIGGER ledger_put", "DROP TRIGGER ledger_remove", "DROP TABLE ledger"):
            connection.execute(statement)
    process = Process(world)
    process.accept(1)
    process.settle("sent", 1)
    process.file.write_ledger()

    assert _shown(Process(world).balance()) == (3, 1, 2, {})


def test_dropped_batches_are_counted_by_kind(world):
    """Batches of one kind that make room, expire or are withdrawn are no drops of another kind."""
    process = Process(world, max_bytes=100_000, max_age_s=10.0)
    process.counts.accept(Kind.ERRORS.value, 2)
    process.file.put(some_batch(1, 2, kind=Kind.ERRORS))
    process.accept(3)
    process.file.put(some_batch(3))
    _pass_time(world, 11.0)
    assert process.file.first() is None
    process.file.put(some_batch(4, 5))
    withdrawn = process.file.purge(Kind.TELEMETRY, telemetry_consent(answer=Answer.DENIED))
    process.settle("withdrawn", withdrawn)

    found = process.file.balances()

    assert _shown(found[Kind.ERRORS]) == (2, 0, 0, {"expired": 2})
    assert _shown(found[Kind.TELEMETRY]) == (3, 0, 0, {"expired": 1, "withdrawn": 2})


def test_reading_makes_no_file(world):
    """Without a file the balance is that of this process, and none is made."""
    process = Process(world)
    process.accept(2)
    process.settle("sent", 1)

    assert _shown(process.balance()) == (2, 1, 1, {})
    assert world.files() == []


def test_drained_file_has_nothing_waiting(world):
    """What waits on disk follows each batch that is put and removed."""
    process = Process(world)
    process.accept(30)
    for number in range(1, 11):
        process.file.put(some_batch(number, number, number))
    assert process.balance().waiting == 30
    process.settle("sent", 30)
    drained(process.file.first, process.file)

    assert _shown(process.balance()) == (30, 30, 0, {})


def test_child_counts_as_a_process_of_its_own(world):
    """A forked child adds what it counts itself, and nothing that its parent has counted."""
    process = Process(world)
    process.accept(3)
    process.settle("sent", 2)
    process.file.write_ledger()
    child = os.fork()
    if child == 0:
        process.accept(1)
        process.settle("refused", 1)
        process.file.write_ledger()
        os._exit(0)
    os.waitpid(child, 0)

    process.settle("sent", 1)
    process.file.write_ledger()

    assert _shown(Process(world).balance()) == (4, 3, 0, {"refused": 1})


def test_drops_are_reported_once(world):
    """What one process has reported no other process reports."""
    one, other = Process(world), Process(world)
    for process in (one, other):
        process.accept(2)
        process.settle("expired", 2)
        process.file.write_ledger()
    assert one.file.unreported()[Kind.TELEMETRY]["expired"] == 4
    one.counts.report(one.file.unreported())
    one.file.write_ledger()
    other.accept(1)
    other.settle("expired", 1)

    assert other.file.unreported()[Kind.TELEMETRY]["expired"] == 1
    assert _shown(other.balance()) == (5, 0, 0, {"expired": 5})


def _drop(process, *kinds):
    for kind in kinds:
        process.counts.accept(kind.value)
        process.counts.add("expired", kind=kind.value)


def _unreported(process):
    return sum(number for reasons in process.file.unreported().values() for number in reasons.values())


def _lock(world):
    connection = sqlite3.connect(world.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return closing(connection)


@pytest.mark.parametrize("generation", [3, 4])
def test_drops_from_before_a_withdrawal_are_in_no_heartbeat(world, generation):
    """A heartbeat is a product event, so the errors that were dropped before are not reported either."""
    one, other = Process(world), Process(world)
    for process in (one, other):
        process.follow(Answer.GRANTED, 3)
        _drop(process, *Kind)
        process.file.write_ledger()
        _drop(process, *Kind)
    assert _unreported(one) == 6

    for process in (one, other):
        if generation == 3:  # as by SQL
            process.follow(Answer.DENIED, 3)
        process.follow(Answer.GRANTED, generation)

    assert _unreported(one) == _unreported(Process(world)) == 0
    _drop(other, *Kind)
    other.file.write_ledger()
    assert _unreported(one) == 2


def test_withdrawal_between_two_reads_begins_a_new_balance(world):
    """Consent that was withdrawn and given again before a process has read it leaves no counters."""
    one, late = Process(world), Process(world)
    for process in (one, late):
        process.follow(Answer.GRANTED, 3)
        process.accept(2)
        process.settle("refused", 2)
        process.file.write_ledger()
    late.accept(1)

    one.follow(Answer.GRANTED, 4)
    assert _shown(Process(world).balance()) == (0, 0, 0, {})
    one.accept(2)
    one.settle("sent", 2)
    one.file.write_ledger()
    late.file.write_ledger()
    late.follow(Answer.GRANTED, 4)
    late.settle("sent", 1)
    late.file.write_ledger()

    assert _shown(Process(world).balance()) == (3, 3, 0, {})


def test_withdrawal_while_no_process_runs_begins_a_new_balance(world):
    """A process that starts later knows of the withdrawal by the generation of the consent."""
    before = Process(world)
    before.follow(Answer.GRANTED, 3)
    _drop(before, *Kind)
    before.file.write_ledger()
    before.file.put(some_batch(1, 2))
    before.file.close()
    later = Process(world)
    assert _unreported(later) == 2

    later.follow(Answer.GRANTED, 4)

    assert _unreported(later) == 0
    assert _shown(later.balance()) == (2, 0, 2, {})
    later.file.write_ledger()
    assert _unreported(Process(world)) == 0


def test_withdrawal_while_the_file_is_locked_is_kept(world):
    """If the counters cannot be deleted now, they are not returned, and the next write deletes them."""
    process = Process(world)
    process.follow(Answer.GRANTED, 3)
    _drop(process, *Kind)
    process.file.write_ledger()
    with _lock(world):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            process.follow(Answer.DENIED, 4)
        assert _unreported(process) == 0

    process.counts.accept(Kind.ERRORS.value)
    process.file.write_ledger()
    assert _kinds_in(world.path) == {"errors"}
    process.follow(Answer.GRANTED, 4)

    assert _unreported(process) == _unreported(Process(world)) == 0
    assert _shown(Process(world).balance()) == (0, 0, 0, {})


@pytest.mark.parametrize("is_there", [False, True])
def test_batch_that_was_sent_but_not_deleted_is_no_drop(world, is_there):
    """If the file is deleted before what was sent could be, the balance counts it as sent alone."""
    process, other = Process(world), Process(world)
    process.accept(5)
    process.file.put(some_batch(1, 2))
    process.file.put(some_batch(3, 4, 5))
    batch = process.file.first()
    process.settle("sent", 2)
    with _lock(world), pytest.raises(sqlite3.OperationalError, match="locked"):
        process.file.remove(batch)
    for path in world.folder.glob("spool.db*"):
        path.unlink()
    if is_there:
        other.accept(1)
        other.file.put(some_batch(6))

    process.file.write_ledger()

    assert _shown(process.balance()) == ((4, 0, 4, {}) if is_there else (5, 2, 3, {}))
    assert accepted(process.file) == ([6, 3, 4, 5] if is_there else [3, 4, 5])


@pytest.mark.parametrize("damage", ["kind = 'errorz'", "events = 1000", "events = 'none'"])
def test_row_with_damaged_columns_waits_no_more(world, damage):
    """What the row of an unreadable batch says of it may be wrong, so the balance is corrected."""
    process = Process(world)
    process.accept(3)
    process.file.put(some_batch(1, 2))
    process.file.put(some_batch(3))
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE batches SET body = x'00', {damage} WHERE id = 1")

    assert accepted(process.file) == [3]

    process.settle("sent", 1)
    process.file.write_ledger()
    assert _shown(Process(world).balance()) == (3, 1, 0, {"unreadable": 2})
    assert process.counts.as_dict() == {"sent": 1, "unreadable": 2}


def test_table_without_its_triggers_is_completed(world):
    """Triggers that are missing are made again, and what is in the file is counted."""
    process = Process(world)
    process.accept(5)
    process.file.put(some_batch(1, 2))
    process.file.put(some_batch(3))
    process.file.close()
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        for statement in ("DROP TRIGGER ledger_remove", "DELETE FROM batches WHERE id = 1"):
            connection.execute(statement)
    Process(world).file.put(some_batch(4))

    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("DELETE FROM batches WHERE id = 2")
        found = connection.execute("SELECT events FROM ledger WHERE name = 'spooled'").fetchall()
    assert found == [(1,)]


def test_statements_are_those_of_older_versions_of_sqlite(world):
    """SQLite below 3.35 updates a row in place of inserting it only if the conflict is named."""
    process, found = Process(world), []
    process.file.put(some_batch(1))
    connection = process.file.open()
    found += [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
    connection.set_trace_callback(found.append)
    process.accept(1)
    process.file.write_ledger()

    updates = [statement for statement in found if "DO UPDATE" in statement]
    assert len(updates) >= 2
    assert [sql for sql in updates if "ON CONFLICT (kind, name, worker) DO" not in sql] == []
