"""The thread that sends again what waits."""

from __future__ import annotations

import threading

import pytest
from logs import warnings
from spools import Disk, some_batch

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.delivery.spool import Drainer, Spool

WAIT_S = 5


class World:
    """What a drainer meets, scripted by hand."""

    def __init__(self, spool=None, *, interval_s=0.01):
        self.spool = spool or Spool(None, memory_max_bytes=10_000, counts=Counts(), log_limiter=LogLimiter())
        self.attempts = []
        self.on_attempt = lambda: None
        self.answers = []
        self.pause_s = 0.0
        self.may_send = False
        self.changed = threading.Condition()
        self.drainer = Drainer(
            self.spool,
            attempt=self.attempt,
            pause=lambda: self.pause_s,
            watch=self.watch,
            interval_s=interval_s,
            log_limiter=LogLimiter(),
        )
        self.looks = 0
        self.fault_at = None

    def attempt(self, batch):
        with self.changed:
            self.attempts.append(batch)
            self.changed.notify_all()
        self.on_attempt()
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self):
        with self.changed:
            self.looks += 1
            self.changed.notify_all()
        if self.looks == self.fault_at:
            raise RuntimeError("planted")
        return self.may_send

    def until(self, claim):
        with self.changed:
            assert self.changed.wait_for(claim, WAIT_S)


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == "otel-posthog-drainer"]


def _ended(threads):
    for thread in threads:
        thread.join(WAIT_S)
    return not any(thread.is_alive() for thread in threads)


@pytest.fixture
def world():
    made = World()
    yield made
    made.drainer.stop(WAIT_S)


@pytest.fixture
def patient():
    """Return a world whose drainer would wait longer than any test before its second round."""
    made = World(interval_s=60)
    yield made
    made.drainer.stop(WAIT_S)


@pytest.fixture
def on_disk(tmp_path):
    disk = Disk(tmp_path / "spool")
    yield World(disk.durable()), disk
    for file in disk.made:
        file.close()


def test_drain_deals_with_all(world):
    """What is done with leaves the spool, oldest first."""
    batches = [some_batch() for _ in range(3)]
    for batch in batches:
        world.spool.put(batch)

    world.drainer.drain()

    assert (world.attempts, world.spool.first()) == (batches, None)


def test_drain_stops_at_what_has_to_wait(world):
    """Where one batch has to wait, it stays first and the ones behind it wait too."""
    batches = [some_batch() for _ in range(3)]
    for batch in batches:
        world.spool.put(batch)
    world.answers = [True, False]

    world.drainer.drain()

    assert (world.attempts, world.spool.first()) == (batches[:2], batches[1])


def test_drain_keeps_a_pause(world):
    """While deliveries are parked none is tried."""
    world.spool.put(some_batch())
    world.pause_s = 0.5

    world.drainer.drain()

    assert world.attempts == []


def test_drain_stops_at_a_pause_that_begins_meanwhile(world):
    """What is behind a batch after which deliveries are parked waits, however short the pause is."""
    batches = [some_batch() for _ in range(2)]
    for batch in batches:
        world.spool.put(batch)
    world.on_attempt = lambda: setattr(world, "pause_s", 0.5)

    world.drainer.drain()

    assert (world.attempts, world.spool.first()) == (batches[:1], batches[1])


@pytest.mark.parametrize("pause_s", [0.0, 0.5], ids=["nothing waits", "parked"])
def test_drain_claims_the_file_only_to_send(on_disk, pause_s):
    """While nothing can be sent no other process is kept from the file."""
    world, disk = on_disk
    world.spool.put(some_batch())
    if not pause_s:
        world.spool.remove(world.spool.first())
    world.pause_s = pause_s

    world.drainer.drain()

    assert (world.attempts, "drain.lock" in disk.files()) == ([], False)


@pytest.mark.parametrize("renew", [lambda d: d.after_fork(), lambda d: d.open()], ids=["fork", "opening"])
def test_new_life_drains_while_an_old_one_is_busy(world, renew):
    """Neither a child nor a drainer that was opened again waits for a drain that does not end."""
    batches = [some_batch() for _ in range(2)]
    for batch in batches:
        world.spool.put(batch)

    def drain_within():
        world.on_attempt = lambda: None
        renew(world.drainer)
        world.drainer.drain()

    world.on_attempt = drain_within

    world.drainer.drain()

    assert world.attempts == [batches[0], *batches]


def test_there_is_no_thread_before_opening(world):
    """Nothing starts a thread before it is allowed."""
    world.drainer.wake()

    assert _threads() == []


def test_thread_ends_when_nothing_is_to_do(world):
    """With an empty spool and no consent the thread goes by itself."""
    world.drainer.open()
    world.drainer.ensure_running()

    world.until(lambda: world.looks)

    assert _ended(_threads())


def test_thread_stays_while_something_may_be_sent(world):
    """While consent is given the thread keeps looking, and goes once it is withdrawn."""
    world.may_send = True
    world.drainer.open()
    world.drainer.ensure_running()
    world.until(lambda: world.looks >= 3)
    [thread] = _threads()

    world.may_send = False

    assert _ended([thread])


def test_thread_tries_again_until_done(world):
    """A batch that had to wait is tried again."""
    world.answers = [False, False, True]
    world.spool.put(some_batch())
    world.drainer.open()

    world.drainer.wake()

    world.until(lambda: len(world.attempts) == 3)


def test_thread_comes_back(world):
    """After the thread has gone the next batch starts another one."""
    world.drainer.open()
    world.drainer.wake()
    assert _ended(_threads())

    world.spool.put(some_batch())
    world.drainer.wake()

    world.until(lambda: world.attempts)


def test_there_is_one_thread_at_most(world):
    """However often it is woken, one thread is enough."""
    world.may_send = True
    world.drainer.open()

    for _ in range(20):
        world.drainer.wake()

    assert len(_threads()) == 1


def test_stopping_ends_the_thread(world):
    """After `stop` there is no thread, and none starts again."""
    world.may_send = True
    world.drainer.open()
    world.drainer.wake()

    world.drainer.stop(WAIT_S)
    world.drainer.wake()

    assert _threads() == []


def test_thread_outlives_a_fault(world, caplog):
    """A round that fails costs that round and one line, and what waits is tried in the next one."""
    world.answers = [RuntimeError("planted"), True]
    world.spool.put(some_batch())
    world.drainer.open()

    world.drainer.wake()

    world.until(lambda: len(world.attempts) == 2)
    assert warnings(caplog) == ["Waiting events could not be sent again (RuntimeError)"]


def test_thread_outlives_a_fault_while_nothing_waits(world):
    """Where it failed to learn whether anything may be sent, the thread looks again."""
    world.fault_at = 1
    world.drainer.open()

    world.drainer.ensure_running()

    world.until(lambda: world.looks >= 2)


def test_thread_comes_back_after_a_short_pause(patient):
    """A pause that ends before the next interval is not exceeded."""
    patient.may_send, patient.pause_s = True, 0.01
    patient.drainer.open()

    patient.drainer.ensure_running()

    patient.until(lambda: patient.looks >= 3)


def test_thread_looks_during_a_long_pause(world):
    """A pause that is longer than the interval delays the batches, not the look at consent."""
    world.may_send, world.pause_s = True, 60
    world.drainer.open()

    world.drainer.ensure_running()

    world.until(lambda: world.looks >= 3)


def test_thread_rests_between_rounds(patient):
    """Without a pause the next round is an interval away."""
    patient.may_send = True
    patient.drainer.open()

    patient.drainer.ensure_running()

    patient.until(lambda: patient.looks)
    with patient.changed:
        assert not patient.changed.wait_for(lambda: patient.looks > 1, 0.1)


def test_old_thread_ends_where_a_new_life_began(world):
    """A thread that was busy when the drainer stopped ends, though the drainer runs again by then."""
    world.may_send = True
    world.drainer.open()
    world.drainer.ensure_running()
    world.until(lambda: world.looks > 0)
    before = _threads()
    world.drainer.open()

    world.drainer.ensure_running()

    assert _ended(before)
    assert len(_threads()) == 1
