"""A spool on disk that falls back on memory."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from logs import warnings
from programs import run_python
from spools import Disk, accepted, drained, some_batch, withdrawn

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.delivery.spool import RETRY_DISK_S, Spool
from otel_posthog.errors import StoreError


@pytest.fixture
def disk(tmp_path):
    with Disk(tmp_path / "spool") as made:
        yield made


def test_disk_that_fails_is_reported_once_and_memory_is_used(disk, caplog):
    """Where nothing can be written, events wait in memory, with one line of warning."""
    disk.block()
    spool = disk.durable()

    are_kept = []
    for number in range(1, 5):
        are_kept.append(spool.put(some_batch(number)))
        disk.now_s += RETRY_DISK_S

    assert are_kept == [True] * 4
    assert accepted(spool) == [1, 2, 3, 4]
    [message] = warnings(caplog)
    assert re.fullmatch(
        r"The spool cannot be used \(FileExistsError: .*spool.*\), so waiting events are kept in memory "
        r"only\. Check the setting spool_dir, and the disk's space and permissions\.",
        message,
    )
    assert disk.put_to == ["memory"] * 4


def test_disk_that_works_again_is_used_again(disk):
    """After a while the disk is tried again; what is older leaves first, wherever it waits."""
    disk.block()
    spool = disk.durable()
    spool.put(some_batch(1))
    disk.unblock()

    spool.put(some_batch(2))

    assert disk.put_to == ["memory", "disk"]
    assert [batch.oldest_ns for batch in spool.waiting()] == [1, 2]
    assert accepted(spool) == [1, 2]


def test_what_was_put_back_waits_for_the_others(disk):
    """A batch with old events that was put back into memory is tried after what waits on disk."""
    spool = disk.durable()
    spool.put(some_batch(9))
    with closing(sqlite3.connect(disk.path)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        disk.now_s += 1
        spool.put(some_batch(1))
    disk.wait()

    assert disk.put_to == ["disk", "memory"]
    assert accepted(spool) == [9, 1]


def test_disk_that_cannot_be_read_is_not_empty(disk):
    """Nothing is said to be sent while the file cannot be asked."""
    spool = disk.durable()
    assert spool.is_empty()
    spool.put(some_batch(1))
    assert not spool.is_empty()
    spool.close()
    with closing(sqlite3.connect(disk.folder / "file.lock")) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")

        assert spool.first() is None
        assert not spool.is_empty()

    disk.wait()
    assert accepted(spool) == [1]
    assert spool.is_empty()


def test_disk_that_has_just_failed_is_spared(disk):
    """No batch waits for a disk that has failed a moment ago, though it may work by now."""
    disk.block()
    spool = disk.durable()
    spool.put(some_batch(1))
    disk.folder.unlink()

    spool.put(some_batch(2))

    assert disk.put_to == ["memory", "memory"]


def test_file_that_is_busy_for_a_reader_is_written_to(disk, caplog):
    """A balance that cannot be read sends no batch to memory, and is no line in the log."""
    spool = disk.durable()
    spool.put(some_batch(1))
    spool.close()
    with closing(sqlite3.connect(disk.path, isolation_level=None)) as somebody:
        somebody.execute("PRAGMA locking_mode = EXCLUSIVE")
        somebody.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="spool_dir"):
            spool.balances()
        assert (spool.unreported(), spool.waiting()) == ({}, [])

    spool.put(some_batch(2))

    assert disk.put_to == ["disk", "disk"]
    assert warnings(caplog) == []


def test_batch_without_room_wakes_nobody(disk):
    """A batch that the file has no room for is not kept, so there is nothing to send."""
    spool = disk.durable(max_bytes=100_000)

    is_kept = spool.put(some_batch(text=os.urandom(100_000).hex()))

    assert (is_kept, disk.put_to) == (False, [])


def test_each_failure_is_reported_once_however_long_it_lasts(disk, caplog):
    """A disk that fails for hours costs one line, and one more when it fails after it has worked."""
    spool = disk.durable()
    reported = []
    for change in (disk.block, disk.wait, disk.unblock, disk.wait, disk.replace):
        change()
        disk.now_s += 3_600
        spool.put(some_batch())
        reported.append(len(warnings(caplog)))

    assert disk.put_to == ["memory", "memory", "disk", "disk", "memory"]
    assert reported == [1, 1, 1, 1, 2]


def test_what_was_sent_is_forgotten_though_the_disk_fails_meanwhile(disk):
    """A batch that was sent while the disk failed for another one does not come a second time."""
    spool = disk.durable()
    spool.put(some_batch(1))
    under_way = spool.first()
    with closing(sqlite3.connect(disk.path)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        spool.put(some_batch(2))

    spool.remove(under_way)

    disk.now_s += RETRY_DISK_S
    assert disk.put_to == ["disk", "memory"]
    assert accepted(spool) == [2]
    assert accepted(disk.spool()) == []


def test_end_brings_memory_to_disk(disk):
    """What had to wait in memory lies on disk after the end, if the disk takes it by then."""
    disk.block()
    spool = disk.durable()
    for number in range(1, 4):
        spool.put(some_batch(number))
    disk.folder.unlink()

    spool.close()

    assert "spool.db-wal" not in disk.files()
    assert accepted(disk.spool()) == [1, 2, 3]
    assert disk.counts.as_dict() == {}
    assert disk.durable().first() is None


def test_end_counts_what_does_not_fit_on_disk(disk):
    """What has room in memory but none on disk makes room at the end, and is counted."""
    disk.block()
    spool = disk.durable(max_bytes=100_000)
    spool.put(some_batch(1, 2, text=os.urandom(20_000).hex()))
    spool.put(some_batch(3, text=os.urandom(40_000).hex()))
    disk.folder.unlink()

    spool.close()

    assert disk.put_to == ["memory", "memory"]
    assert disk.counts.as_dict() == {"spool_full": 2}
    assert accepted(disk.spool()) == [3]


def test_end_without_a_disk_keeps_memory(disk):
    """Where the disk still fails at the end, a later start in the same process finds what waits."""
    disk.block()
    spool = disk.durable()
    spool.put(some_batch(1))

    spool.close()

    assert accepted(spool) == [1]
    assert disk.counts.as_dict() == {}


def test_deletion_does_not_spare_a_disk_that_has_just_failed(disk):
    """Once all is withdrawn the file goes, though the disk has failed a moment ago."""
    spool = disk.durable()
    spool.put(some_batch(1))
    with closing(sqlite3.connect(disk.path)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        spool.put(some_batch(2))

    spool.delete()

    assert not disk.path.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of files are another matter on Windows")
@pytest.mark.parametrize("state", ["with a spool", "empty"])
def test_read_only_folder_means_memory(state):
    """Where nothing may be written, neither a new file nor one that is there, memory has to do."""
    program = """
        import os, sys
        from pathlib import Path
        from spools import Disk, some_batch

        folder = Path(sys.argv[1])
        if sys.argv[2] == "with a spool":
            before = Disk(folder).spool()
            before.put(some_batch(1))
            before.close()
        folder.mkdir(exist_ok=True)
        for path in [folder, *folder.iterdir()]:
            path.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        disk = Disk(folder)
        spool = disk.durable()
        print(spool.put(some_batch(2)), disk.put_to)
        with spool.claim() as first:
            print([event.accepted_ns for event in first().events])
        spool.delete()
        spool.close()
    """
    with TemporaryDirectory() as place:  # pytest's own are open to their owner alone, who may be root
        Path(place).chmod(0o755)

        run = run_python(program, f"{place}/spool", state, check=False)

    assert run.stdout == "True ['memory']\n[2]\n", run.stderr
    assert run.stderr.count("spool_dir") == 1


def test_withdrawal_reaches_the_disk_alone(disk):
    """A withdrawal deletes on disk while nothing waits in memory."""
    spool = disk.durable()
    spool.put(some_batch(1))

    spool.purge(withdrawn(generation=4))

    assert spool.first() is None
    assert disk.counts.as_dict() == {"withdrawn": 1}


def test_withdrawal_reaches_both(disk):
    """A withdrawal deletes on disk and in memory."""
    spool = disk.durable()
    disk.block()
    spool.put(some_batch(1))
    disk.unblock()
    spool.put(some_batch(2))

    spool.purge(withdrawn(generation=4))

    assert spool.first() is None
    assert disk.counts.as_dict() == {"withdrawn": 2}


def test_memory_is_drained_while_another_process_drains_the_file(disk):
    """Who has no claim on the file still sends what only this process knows."""
    spool, other = disk.durable(), disk.durable()
    disk.block()
    spool.put(some_batch(1))
    disk.unblock()
    spool.put(some_batch(2))

    with other.claim() as theirs, spool.claim() as ours:
        assert drained(ours, spool) == [1]
        assert drained(theirs, other) == [2]


def test_spool_without_a_folder_is_memory(disk):
    """Without a file all waits in memory, and nothing is said."""
    spool = Spool(None, memory_max_bytes=10_000, counts=Counts(), log_limiter=LogLimiter())

    spool.put(some_batch(1))

    with spool.claim() as first:
        assert drained(first, spool) == [1]


def test_full_disk_means_memory(tmp_path):
    """Where the disk has no room for a batch, memory has; once there is room again all goes to disk."""
    program = """
        import os, resource, signal, sys
        from pathlib import Path
        from spools import Disk, accepted, drained, some_batch, withdrawn

        disk = Disk(Path(sys.argv[1]))
        spool = disk.durable()
        spool.put(some_batch(1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most))
        for number in range(2, 9):
            spool.put(some_batch(number, text=os.urandom(4_000).hex()))
        print(sorted(set(disk.put_to)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        disk.wait()
        spool.put(some_batch(9))
        spool.close()
        print(disk.put_to[-1], disk.counts.as_dict(), sorted(accepted(disk.spool())))
    """

    run = run_python(program, tmp_path / "spool", check=False)

    assert run.stdout == "['disk', 'memory']\ndisk {} [1, 2, 3, 4, 5, 6, 7, 8, 9]\n", run.stderr
    assert run.stderr.count("spool_dir") == 1
