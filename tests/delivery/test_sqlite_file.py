"""The file that processes share: what they do to it at the same time, and what is in it."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from logs import warnings
from spools import World, accepted, some_batch

from otel_posthog.delivery.database_files import deleted, used_bytes

FOREIGN = b"not a database at all, but long enough to look at" * 50


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "spool") as made:
        yield made


def test_foreign_file_is_logged(world, caplog):
    """The log names the file that was renamed."""
    world.folder.mkdir()
    world.path.write_bytes(FOREIGN)

    world.spool().put(some_batch(1))

    expected = (
        f"The spool {world.path} was damaged, deleted or not ours, so a new one was started: "
        "0 events were moved to it, 0 cannot be read"
    )
    assert warnings(caplog, "otel_posthog.delivery.sqlite_file") == [expected]


def test_deletion_takes_a_quarantined_file_along(world):
    """Once all is withdrawn nothing stays, in whichever file it is."""
    world.folder.mkdir()
    world.path.write_bytes(FOREIGN)
    spool = world.spool()
    spool.put(some_batch(1))

    spool.delete()

    assert world.files() == ["file.lock"]


def test_deletion_of_a_quarantined_file_alone(world):
    """A quarantined file is deleted even if there is no new one."""
    world.folder.mkdir()
    (world.folder / "spool.db.set-aside").write_bytes(FOREIGN)

    world.spool().delete()

    assert world.files() == ["file.lock"]


def test_deletion_of_a_foreign_file(world):
    """A file that cannot be read is deleted as well: it may be a damaged spool."""
    world.folder.mkdir()
    world.path.write_bytes(FOREIGN)

    world.spool().delete()

    assert world.files() == ["file.lock"]


def test_deletion_waits_for_a_writer(world):
    """A file that another process is writing to is not deleted under its hands."""
    spool = world.spool()
    spool.put(some_batch(1))
    with closing(sqlite3.connect(world.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            spool.delete()

    assert accepted(spool) == [1]


def test_opening_keeps_the_locks_of_the_process(world):
    """A second spool of the process opens the file; a process that ends still finds it in use.

    Closing any descriptor of the file would release the locks of the first connection, and the other
    process would delete the journal that it still writes to.
    """
    spool, second = world.spool(), world.spool()
    spool.put(some_batch(1))
    second.first()
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM batches'); c.close()"
    )

    subprocess.run([sys.executable, "-c", program, world.path], check=True)

    assert "spool.db-wal" in world.files()


def _replaced_while_opening(spool, other, times):
    """Return a function that writes a batch, but finds the file deleted in so many first attempts."""
    left = iter(range(times))

    def act():
        connection = spool.open()
        if next(left, None) is not None:
            connection.set_trace_callback(lambda _statement: other.delete())
        with spool.writing() as writing:
            writing.execute(
                "INSERT INTO batches (kind, accepted_ns, put_at_s, events, body) VALUES ('', 1, 1, 5, '')"
            )

    return act


def test_file_that_is_replaced_again_and_again(world):
    """An operation begins again if the file is replaced before it, three times at most."""
    spool, other = world.spool(), world.spool()

    spool.repaired(_replaced_while_opening(spool, other, 3))

    assert deleted(spool.open(), "TRUE") == 5
    with pytest.raises(sqlite3.OperationalError, match="replaced"):
        spool.repaired(_replaced_while_opening(spool, other, 4))


def test_error_that_is_no_damage_is_raised(world):
    """An error without SQLite's code comes from Python and says nothing about the file."""
    spool = world.spool()
    spool.put(some_batch(1))

    def misused():
        raise sqlite3.ProgrammingError("planted")

    with pytest.raises(sqlite3.ProgrammingError, match="planted"):
        spool.repaired(misused)
    assert accepted(spool) == [1]


def test_statement_that_sqlite_does_not_know_is_no_damage(world, caplog):
    """An older SQLite may reject a statement, which is no reason to replace the file."""
    spool = world.spool()
    spool.put(some_batch(1))

    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        spool.repaired(lambda: spool.open().execute("DELETE FROM batches UNLESS TRUE"))

    assert warnings(caplog) == []
    assert accepted(spool) == [1]


def test_statement_outside_of_a_transaction_is_committed(world):
    """What is deleted without a transaction is gone for other processes at once."""
    spool = world.spool()
    spool.put(some_batch(1, 2))

    assert deleted(spool.open(), "id = ?", (1,)) == 2

    with closing(sqlite3.connect(world.path)) as other:
        assert other.execute("SELECT count(*) FROM batches").fetchone() == (0,)


def test_deleted_batches_make_room_at_once(world):
    """Within the transaction that deletes batches their pages count as free."""
    spool = world.spool()
    spool.put(some_batch(1, text=os.urandom(40_000).hex()))

    with spool.writing() as connection:
        before_bytes = used_bytes(connection)
        deleted(connection, "TRUE")
        assert used_bytes(connection) < before_bytes - 40_000


def test_threads_share_one_connection(world):
    """What one thread has opened another one uses."""
    spool = world.spool()
    spool.put(some_batch(1))
    found = []
    thread = threading.Thread(target=lambda: found.append(spool.put(some_batch(2))))

    thread.start()
    thread.join()

    assert found == [(0, True)]
    assert accepted(spool) == [1, 2]


def test_claim_is_not_waited_for(world):
    """A process that drains keeps the others waiting for nothing, not even for SQLite's own five seconds."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))

    with spool.claim():
        began_s = time.monotonic()
        with other.claim() as theirs:
            waited_s = time.monotonic() - began_s

    assert theirs is False
    assert waited_s < 3


def test_fork_that_did_not_get_the_lock_releases_none(world):
    """A parent whose lock was busy for too long goes on after the fork."""
    spool = world.spool()

    spool.after_fork_in_parent()

    assert spool.put(some_batch(1)) == (0, True)


def test_child_opens_the_file_again(world):
    """After a fork the child has a connection and a lock of its own."""
    spool = world.spool()
    spool.put(some_batch(1))
    of_the_parent = spool.open()

    spool.after_fork()
    spool.put(some_batch(2))

    assert spool.open() is not of_the_parent
    assert accepted(spool) == [1, 2]
    of_the_parent.close()


def test_file_that_is_open_at_the_end_is_closed_with_its_owner(world):
    """A thread that outlives `close` opens the file again, and nobody would close it."""
    spool = world.spool()
    spool.close()
    spool.put(some_batch(1))
    connection = spool.open()

    world.made.remove(spool)
    del spool
    gc.collect()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
