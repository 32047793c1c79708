"""A spool on disk that falls back on memory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest
from logs import warnings
from test_spool_file import World, some_batch

from otel_posthog.durable_spool import RETRY_DISK_S, DurableSpool
from otel_posthog.notices import Notices
from otel_posthog.registry import Kind
from otel_posthog.spool import MemorySpool, Withdrawal


class Disk(World):
    """A folder that can be made unusable: a file stands where it should be."""

    def __init__(self, folder):
        super().__init__(folder)
        self.told = []

    def durable(self):
        return DurableSpool(
            self.spool(),
            memory=MemorySpool(max_bytes=10_000, on_put=lambda: self.told.append("memory")),
            on_put=lambda: self.told.append("disk"),
            notices=Notices(),
            clock=lambda: self.now_s,
        )

    def block(self):
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.write_text("in the way")

    def unblock(self):
        self.folder.unlink()
        self.wait()

    def wait(self):
        self.now_s += RETRY_DISK_S


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "spool")
    yield made
    for spool in made.made:
        spool.close()


def _accepted(spool):
    found = []
    while (batch := spool.first()) is not None:
        found += [event.accepted_ns for event in batch.events]
        spool.remove(batch)
    return found


def test_disk_that_fails_is_told_once_and_memory_takes_over(disk, caplog):
    """Where nothing can be written, events wait in memory, with one line of warning."""
    disk.block()
    spool = disk.durable()

    lost = []
    for number in range(1, 5):
        lost.append(spool.put(some_batch(number)))
        disk.now_s += RETRY_DISK_S

    assert lost == [0] * 4
    assert _accepted(spool) == [1, 2, 3, 4]
    assert ["spool_dir" in message for message in warnings(caplog)] == [True]
    assert disk.told == ["memory"] * 4


def test_disk_that_works_again_is_used_again(disk):
    """After a while the disk is tried again; what is older leaves first, wherever it waits."""
    disk.block()
    spool = disk.durable()
    spool.put(some_batch(1))
    disk.unblock()

    spool.put(some_batch(2))

    assert disk.told == ["memory", "disk"]
    assert _accepted(spool) == [1, 2]


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
    assert disk.told == ["disk", "memory"]
    assert _accepted(spool) == [2]
    assert _accepted(disk.spool()) == []


def test_end_brings_memory_to_disk(disk):
    """What had to wait in memory lies on disk after the end, if the disk takes it by then."""
    disk.block()
    spool = disk.durable()
    for number in range(1, 4):
        spool.put(some_batch(number))
    disk.folder.unlink()

    assert spool.close() == 0

    assert _accepted(disk.spool()) == [1, 2, 3]
    assert disk.durable().first() is None


def test_end_without_a_disk_keeps_memory(disk):
    """Where the disk still fails at the end, a later start in the same process finds what waits."""
    disk.block()
    spool = disk.durable()
    spool.put(some_batch(1))

    assert spool.close() == 0

    assert _accepted(spool) == [1]


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
        sys.path.insert(0, "tests")
        from test_durable_spool import Disk
        from test_spool_file import some_batch

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
        print(spool.put(some_batch(2)), disk.told)
        with spool.claim() as ours:
            print([event.accepted_ns for event in ours.first().events])
        spool.delete()
        spool.close()
    """
    with TemporaryDirectory() as place:  # pytest's own are open to their owner alone, who may be root
        Path(place).chmod(0o755)
        command = [sys.executable, "-c", dedent(program), f"{place}/spool", state]

        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.stdout == "0 ['memory']\n[2]\n", run.stderr
    assert run.stderr.count("spool_dir") == 1


def test_withdrawal_reaches_both(disk):
    """A withdrawal deletes on disk and in memory."""
    spool = disk.durable()
    disk.block()
    spool.put(some_batch(1))
    disk.unblock()
    spool.put(some_batch(2))

    purged = spool.purge(Withdrawal(kind=Kind.TELEMETRY, before_ns=0, generation=4))

    assert (purged, spool.first()) == (2, None)


def test_memory_is_drained_while_another_process_drains_the_file(disk):
    """Who has no claim on the file still sends what only this process knows."""
    spool, other = disk.durable(), disk.durable()
    disk.block()
    spool.put(some_batch(1))
    disk.unblock()
    spool.put(some_batch(2))

    with other.claim() as theirs, spool.claim() as ours:
        assert _accepted(ours) == [1]
        assert _accepted(theirs) == [2]


def test_spool_without_a_folder_is_memory(disk):
    """Without a file all waits in memory, and nothing is said."""
    memory = MemorySpool(max_bytes=10_000, on_put=lambda: None)
    spool = DurableSpool(None, memory=memory, on_put=lambda: None, notices=Notices())

    spool.put(some_batch(1))

    with spool.claim() as ours:
        assert _accepted(ours) == [1]


def test_full_disk_means_memory(tmp_path):
    """Where the disk has no room for a batch, memory has; once there is room again all goes to disk."""
    program = """
        import os, resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, "tests")
        from test_durable_spool import Disk, _accepted
        from test_spool_file import some_batch

        disk = Disk(Path(sys.argv[1]))
        spool = disk.durable()
        spool.put(some_batch(1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most))
        for number in range(2, 9):
            spool.put(some_batch(number, text=os.urandom(4_000).hex()))
        print(sorted(set(disk.told)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        disk.wait()
        spool.put(some_batch(9))
        print(disk.told[-1], spool.close(), sorted(_accepted(disk.spool())))
    """
    command = [sys.executable, "-c", dedent(program), str(tmp_path / "spool")]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.stdout == "['disk', 'memory']\ndisk 0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n", run.stderr
    assert run.stderr.count("spool_dir") == 1
