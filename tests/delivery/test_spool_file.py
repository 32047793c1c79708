"""Batches in a file that processes share."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import zlib
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from logs import warnings
from programs import environment, python, run_python
from samples import MOMENT, some_event
from spools import STAMP, World, some_batch, telemetry_consent

from otel_posthog.consent.state import Answer
from otel_posthog.delivery.prepare import Batch
from otel_posthog.events import Event, Stamp
from otel_posthog.registry import Kind


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "state" / "spool") as made:
        yield made


def _accepted(spool):
    found = []
    while (batch := spool.first()) is not None:
        found.append([event.accepted_ns for event in batch.events])
        spool.remove(batch)
    return found


@pytest.mark.parametrize("distinct_id", ["somebody", None])
def test_batch_comes_back_as_it_was(world, distinct_id):
    """Another process reads the batch with its events, their frozen fields, and its stamp."""
    event = Event(
        name="$exception",
        properties={"text": "ä\ud800"[:1], "list": [1, {"deep": None}]},
        timestamp=MOMENT,
        uuid=UUID(int=7),
        accepted_ns=5,
        distinct_id=distinct_id,
    )
    world.spool().put(Batch(kind=Kind.ERRORS, events=(event,), size_bytes=123, stamp=STAMP))

    found = world.spool().first()

    assert (found.kind, found.events, found.size_bytes, found.stamp) == (Kind.ERRORS, (event,), 123, STAMP)


def test_nothing_is_made_before_something_waits(world):
    """Looking, purging, claiming and closing leave no trace on disk."""
    spool = world.spool()

    assert spool.first() is None
    assert spool.waiting() == []
    assert spool.purge(Kind.TELEMETRY, telemetry_consent(before_ns=9)) == 0
    with spool.claim() as is_ours:
        assert is_ours is False
    spool.close()
    assert world.files() == []


def test_nobody_else_may_read_it(world):
    """Files are for their owner alone, and so is the folder, whatever the umask."""
    before = os.umask(0)
    try:
        spool = world.spool()
        spool.put(some_batch())
        with spool.claim():
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in world.folder.iterdir()}
    finally:
        os.umask(before)

    assert stat.S_IMODE(world.folder.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(
        ["drain.lock", "file.lock", "spool.db", "spool.db-shm", "spool.db-wal"], 0o600
    )


def test_oldest_comes_first_whoever_put_it(world):
    """Batches of several processes leave in the order in which they came."""
    for number, spool in enumerate([world.spool(), world.spool(), world.spool()]):
        spool.put(some_batch(number + 1))

    assert _accepted(world.spool()) == [[1], [2], [3]]


def test_oldest_make_room(world):
    """The file never holds more than its bound; the oldest go, and their events are counted."""
    spool = world.spool(max_bytes=200_000)
    incompressible = os.urandom(20_000).hex()

    lost = sum(spool.put(some_batch(number, number, text=incompressible))[0] for number in range(1, 40))

    left = _accepted(world.spool())
    assert lost == 2 * (39 - len(left))
    assert left == [[number, number] for number in range(40 - len(left), 40)]
    assert 0 < len(left) < 20
    assert world.path.stat().st_size <= 200_000


def test_batch_larger_than_the_spool_is_lost_alone(world):
    """A batch that can never fit drives nothing else out."""
    spool = world.spool(max_bytes=100_000)
    spool.put(some_batch(1))

    lost, is_kept = spool.put(some_batch(2, 3, text=os.urandom(100_000).hex()))

    assert (lost, is_kept) == (2, False)
    assert _accepted(spool) == [[1]]


def test_old_batches_expire(world):
    """What waited longer than allowed is dropped and counted."""
    spool = world.spool(max_age_s=100)
    spool.put(some_batch(1, 2))
    world.now_s += 60
    spool.put(some_batch(3))
    world.now_s += 40
    assert [batch.oldest_ns for batch in (spool.first(), *spool.waiting())] == [1, 1, 3]
    world.now_s += 60

    assert _accepted(spool) == [[3]]
    assert world.counts.as_dict() == {"expired": 2}


@pytest.mark.parametrize("set_by_s", [-10_000_000_000, 10_000_000_000])
def test_setting_the_clock_ages_nothing(world, set_by_s):
    """Since the machine was started a clock counts that nobody sets, also in another process."""
    world.spool(max_age_s=100).put(some_batch(1))
    world.wall_s += set_by_s
    world.now_s += 99
    assert world.spool(max_age_s=100).first().oldest_ns == 1

    world.now_s += 2

    assert world.spool(max_age_s=100).first() is None
    assert world.counts.as_dict() == {"expired": 1}


@pytest.mark.parametrize(
    ("put_at_s", "read_at_s", "up_s", "is_expired"),
    [
        (1_800_000_000, 1_800_000_099, 5, False),
        (1_800_000_000, 1_800_000_101, 5, True),
        (1_800_000_000, 1_700_000_000, 5_000, False),
        (1_000, 1_800_000_000, 99, False),
        (1_000, 1_800_000_000, 101, True),
    ],
    ids=["young", "old", "set back", "never set", "never set, and longer ago"],
)
def test_age_after_a_restart_of_the_machine(world, put_at_s, read_at_s, up_s, is_expired):
    """After a restart the time of day counts, and the machine's uptime if the time had not been set."""
    world.wall_s = put_at_s
    world.spool(max_age_s=100).put(some_batch(1))
    world.wall_s, world.boot_id, world.now_s = read_at_s, "second", up_s

    found = world.spool(max_age_s=100).first()

    assert (found is None) is is_expired
    assert world.counts.as_dict() == ({"expired": 1} if is_expired else {})


@pytest.mark.parametrize(
    ("withdrawal", "left"),
    [
        ({"before_ns": 0, "generation": 3}, [[1, 9], [7]]),
        ({"before_ns": 0, "generation": 4}, [[7]]),
        ({"before_ns": 8, "generation": 3}, [[1, 9]]),
        ({"before_ns": 8, "generation": 4}, []),
        ({"generation": 3, "instance_id": STAMP.instance_id}, [[1, 9], [7]]),
        ({"generation": 3, "instance_id": str(UUID(int=9))}, [[7]]),
        ({"generation": 3, "answer": Answer.DENIED}, []),
    ],
    ids=["nothing", "later generation", "undated", "both", "same instance", "another instance", "denied"],
)
def test_purge_takes_what_was_withdrawn(world, withdrawal, left):
    """A withdrawal deletes its kind by generation, and by time what has none, whoever put it there."""
    world.spool().put(some_batch(1, 9))
    world.spool().put(some_batch(7, stamp=Stamp()))
    world.spool().put(some_batch(2, kind=Kind.ERRORS, stamp=Stamp(generation=0)))
    spool = world.spool()

    purged = spool.purge(Kind.TELEMETRY, telemetry_consent(**withdrawal))

    assert purged == 3 - sum(len(batch) for batch in left)
    assert _accepted(spool) == [*left, [2]]


def test_purged_bytes_are_gone(world):
    """After a purge neither file nor journal holds what was withdrawn."""
    spool = world.spool()
    spool.put(some_batch(1))
    with closing(sqlite3.connect(world.path)) as connection:
        (body,) = connection.execute("SELECT body FROM batches").fetchone()
    assert any(body in path.read_bytes() for path in world.folder.iterdir())

    spool.purge(Kind.TELEMETRY, telemetry_consent(generation=4))

    assert [path.name for path in world.folder.iterdir() if body in path.read_bytes()] == []


def test_deleted_spool_leaves_no_file(world):
    """Once all is withdrawn only the empty locks remain; other processes go on with a new file."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    other.put(some_batch(2))
    with spool.claim():
        spool.delete()
        left = world.files()

    assert left == ["drain.lock", "file.lock"]
    assert other.first() is None
    assert other.put(some_batch(3)) == (0, True)
    assert _accepted(spool) == [[3]]


@pytest.mark.parametrize(
    "content",
    [b"not a database at all, but long enough to look at" * 50, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["foreign", "torn"],
)
def test_foreign_file_is_set_aside(world, caplog, content):
    """A file that is none of ours is renamed, told once, and a new one begun."""
    world.folder.mkdir(parents=True)
    world.path.write_bytes(content)
    spool = world.spool()

    lost, is_kept = spool.put(some_batch(1))

    assert (lost, is_kept) == (0, True)
    assert _accepted(spool) == [[1]]
    assert (world.folder / "spool.db.set-aside").read_bytes() == content
    assert ["was damaged" in message for message in warnings(caplog)] == [True]


def test_database_of_somebody_else_is_set_aside(world):
    """A sound database with other tables is not written to."""
    world.folder.mkdir(parents=True)
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("CREATE TABLE theirs (value)")
    spool = world.spool()

    assert spool.first() is None

    with closing(sqlite3.connect(world.folder / "spool.db.set-aside")) as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (0,)


def _overwrite(path, first_page, pages):
    with path.open("r+b") as file:
        file.seek(first_page * 4096)
        file.write(b"\xa5" * 4096 * pages)


def test_torn_pages_cost_what_was_in_them(world, caplog):
    """Damage in the middle of a spool costs the rows that it hits; all others are sent."""
    spool = world.spool()
    for number in range(1, 101):
        spool.put(some_batch(number, text=os.urandom(1_000).hex()))
    spool.disconnect()
    _overwrite(world.path, 12, 4)

    left = [number for [number] in _accepted(spool)]

    assert 80 < len(left) < 100
    assert left == sorted(set(left))
    assert world.counts.as_dict() == {"unreadable": 100 - len(left)}
    assert [
        f"{len(left)} events were moved to it, {100 - len(left)} cannot" in m for m in warnings(caplog)
    ] == [True]
    assert "spool.db.set-aside" not in world.files()


@pytest.mark.parametrize(
    "body",
    [
        b"\0",
        zlib.compress(b"[1, []]"),
        zlib.compress(b"[1, [[4, {}]]]"),
        zlib.compress(some_event({}).written().replace("{}", "[]").join(["[1, [[4, ", "]]]"]).encode()),
    ],
    ids=["no bytes of ours", "no events", "no event", "no properties"],
)
def test_unreadable_batch_costs_only_itself(world, body):
    """A row whose bytes are no batch is not shown, and is dropped and counted."""
    spool = world.spool()
    spool.put(some_batch(4, 5))
    spool.put(some_batch(3))
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("UPDATE batches SET body = ? WHERE id = 1", (body,))
        connection.commit()

    assert [batch.oldest_ns for batch in spool.waiting()] == [3]
    assert _accepted(spool) == [[3]]
    assert world.counts.as_dict() == {"unreadable": 2}


def test_one_drains_at_a_time(world):
    """While one has the claim another one of the same or another process has not."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch())

    with spool.claim() as first:
        spool.remove(spool.first())
        with other.claim() as second:
            assert (first, second) == (True, False)
    for drainer in (other, other, spool):
        with drainer.claim() as third:
            assert third is True


def test_killed_process_gives_the_claim_back(world):
    """A process that was killed while it drained keeps nobody out."""
    spool = world.spool()
    spool.put(some_batch())
    program = """
        import os, signal, sys
        from pathlib import Path
        from otel_posthog._runtime.reporting import Counts
        from otel_posthog._runtime.reporting import LogLimiter
        from otel_posthog.delivery.spool_file import SpoolFile

        folder = Path(sys.argv[1])
        spool = SpoolFile(folder, max_bytes=10**6, max_age_s=9, counts=Counts(), log_limiter=LogLimiter())
        with spool.claim() as is_ours:
            print(is_ours, flush=True)
            sys.stdin.read(1)
    """
    command = python(program, world.folder)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with spool.claim() as while_it_lives:
            assert while_it_lives is False

        process.kill()
        process.wait()

        with spool.claim() as afterwards:
            assert afterwards is True


def test_processes_that_start_at_once_share_one_file(world):
    """Many processes that make the file at the same moment lose nothing."""
    program = """
        import sys
        from pathlib import Path
        from spools import World, some_batch

        world = World(Path(sys.argv[1]))
        sys.stdin.read(1)
        for number in range(10):
            spool = world.spool()
            assert spool.put(some_batch(int(sys.argv[2]) * 10 + number + 1)) == (0, True)
            spool.close()
    """
    command = python(program, world.folder)
    processes = [
        subprocess.Popen(
            [*command, str(number)],
            env=environment(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    ends = [process.communicate("go", timeout=60) for process in processes]

    assert [errors for _, errors in ends] == [""] * 6
    assert sorted(_accepted(world.spool())) == [[number] for number in range(1, 61)]
    assert "spool.db.set-aside" not in world.files()


def test_removed_batch_stays_away_even_where_it_cannot_be_deleted(world):
    """What was sent is not sent again, by nobody, though the disk refuses to forget it for a while."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    spool.put(some_batch(2))
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with spool.claim() as while_it_fails:
            with pytest.raises(sqlite3.OperationalError):
                spool.remove(spool.first())
            assert while_it_fails is True
        with other.claim() as meanwhile:
            assert meanwhile is False
        assert [event.accepted_ns for event in spool.first().events] == [2]
        assert [[event.accepted_ns for event in batch.events] for batch in spool.waiting()] == [[2]]

    with spool.claim() as again:
        assert again is True
        assert [event.accepted_ns for event in spool.first().events] == [2]
        with other.claim() as meanwhile:
            assert meanwhile is False

    with other.claim() as afterwards:
        assert afterwards is True
        assert _accepted(other) == [[2]]


def test_close_releases_the_claim_though_a_batch_could_not_be_deleted(world):
    """A process that ends cannot delete any more, so another one drains what is left."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with spool.claim(), pytest.raises(sqlite3.OperationalError):
            spool.remove(spool.first())
        with other.claim() as meanwhile:
            assert meanwhile is False

    spool.close()

    with other.claim() as afterwards:
        assert afterwards is True
    assert [event.accepted_ns for event in spool.first().events] == [1]


def _open_files(folder):
    files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    return {file.name for file in files if file.is_relative_to(folder)}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_file_is_closed_while_the_process_forks(world):
    """No connection to the file is copied into a child, whose SQLite would take its locks for its own."""
    spool = world.spool()
    spool.put(some_batch(1))
    assert "spool.db" in _open_files(world.folder)

    spool.before_fork()

    assert _open_files(world.folder) == set()
    spool.after_fork_in_parent()
    spool.put(some_batch(2))
    assert _accepted(spool) == [[1], [2]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_parent_and_child_use_the_file_after_a_fork(world):
    """Both go on with connections and locks of their own, though a thread used the file at the fork."""
    program = """
        import os, sys, threading
        from pathlib import Path
        from spools import World, some_batch

        spool = World(Path(sys.argv[1])).spool()
        spool.put(some_batch(1))
        is_inside, may_end = threading.Event(), threading.Event()

        def use_it_for_longer_than_a_fork_waits():
            with spool._lock:
                is_inside.set()
                may_end.wait(30)

        thread = threading.Thread(target=use_it_for_longer_than_a_fork_waits)
        thread.start()
        is_inside.wait(30)
        child = os.fork()
        if child == 0:
            assert spool._connection is None
            spool.put(some_batch(2))
            spool.close()
            os._exit(0)
        may_end.set()
        thread.join()
        assert os.waitpid(child, 0)[1] == 0
        spool.put(some_batch(3))
        spool.close()
    """

    run = run_python(program, world.folder, check=False)

    assert run.returncode == 0, run.stderr
    assert _accepted(world.spool()) == [[1], [2], [3]]
    with closing(sqlite3.connect(world.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_batch_of_an_earlier_file_takes_no_other_along(world):
    """A batch that is dealt with after the file was deleted removes nothing from the new file."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    under_way = spool.first()
    other.delete()
    other.put(some_batch(2))
    spool.put(some_batch(3))

    spool.remove(under_way)

    assert _accepted(spool) == [[2], [3]]


def test_processes_that_delete_and_write_at_once_lose_nothing(world):
    """Whenever one process deletes the file, the others go on with a new one, without a fault."""
    program = """
        import random, sys, time
        from pathlib import Path
        from spools import World, some_batch

        number, chance = int(sys.argv[2]), random.Random(int(sys.argv[2]))
        spool = World(Path(sys.argv[1])).spool()
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(100):
            time.sleep(chance.uniform(0, 0.02))
            chance.choice([lambda: spool.put(some_batch()), spool.first, spool.first, spool.delete])()
        print("over", flush=True)
        sys.stdin.readline()
        for last in range(10):
            spool.put(some_batch(100 * number + last))
        spool.close()
    """
    command = python(program, world.folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([*command, str(number)], env=environment(), **pipes) for number in range(1, 5)
    ]
    for _ in ("ready", "over"):
        for process in processes:
            process.stdout.readline()
        for process in processes:
            process.stdin.write("go on\n")
            process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert errors == [""] * 4
    left = {at for batch in _accepted(world.spool()) for at in batch}
    assert {100 * number + last for number in range(1, 5) for last in range(10)} <= left
    assert "spool.db.set-aside" not in world.files()


def _at_version(world, version, *statements):
    with closing(sqlite3.connect(world.path)) as connection:
        connection.executescript(";".join([*statements, f"PRAGMA user_version = {version}"]))


@pytest.mark.parametrize("version", [0, 2])
def test_spool_of_another_version_is_taken_over(world, caplog, version):
    """What another version of the product has left is sent by this one, once."""
    spool = world.spool()
    spool.put(some_batch(1))
    spool.close()
    _at_version(world, version, "ALTER TABLE batches ADD COLUMN later INTEGER NOT NULL DEFAULT 7")

    spool.put(some_batch(2))

    assert _accepted(spool) == [[1], [2]]
    assert "spool.db.set-aside" not in world.files()
    assert world.counts.as_dict() == {}
    assert len(warnings(caplog)) == 1


def test_newer_version_finds_what_the_older_one_could_not_read(world):
    """A batch that only a newer version can read stays in the file that was set aside."""
    spool = world.spool()
    spool.put(some_batch(1))
    spool.put(some_batch(2))
    spool.close()
    with closing(sqlite3.connect(world.path)) as connection:
        (body,) = connection.execute("SELECT body FROM batches WHERE id = 1").fetchone()
    _at_version(world, 2, "UPDATE batches SET body = x'00' WHERE id = 1")

    assert _accepted(spool) == [[2]]

    assert world.counts.as_dict() == {}
    spool.close()
    with closing(sqlite3.connect(world.folder / "spool.db.set-aside")) as connection:
        connection.executescript("PRAGMA user_version = 1")
        connection.execute("UPDATE batches SET body = ?", (body,))
        connection.commit()
    assert _accepted(spool) == [[1]]
    assert "spool.db.set-aside" not in world.files()


def test_spool_of_an_earlier_release_is_used_as_it_is(world):
    """A file without the columns for the machine's start keeps its batches and gets these columns."""
    spool = world.spool()
    spool.put(some_batch(1))
    spool.close()
    _at_version(world, 1, "ALTER TABLE batches DROP COLUMN boot_id", "ALTER TABLE batches DROP COLUMN boot_s")

    spool.put(some_batch(2))

    assert _accepted(spool) == [[1], [2]]
    assert "spool.db.set-aside" not in world.files()


def test_damage_that_all_find_at_once_costs_nothing_new(world):
    """Of several processes that find the same damage one sets the file aside; what follows is kept."""
    world.folder.mkdir(parents=True)
    world.path.write_bytes(b"not a database at all, but long enough to look at" * 50)
    spools = [world.spool() for _ in range(4)]
    threads = [
        threading.Thread(target=spool.put, args=(some_batch(number + 1),))
        for number, spool in enumerate(spools)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(_accepted(world.spool())) == [[1], [2], [3], [4]]
