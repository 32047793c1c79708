"""What waits to be sent, and the thread that tries it again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest

from otel_posthog.events import Event
from otel_posthog.notices import Notices
from otel_posthog.registry import Kind
from otel_posthog.spool import Batch, Drainer, MemorySpool, Withdrawal

WAIT_S = 5


def some_batch(size_bytes=10, kind=Kind.TELEMETRY, accepted_ns=(1,)):
    name = "$exception" if kind is Kind.ERRORS else "something"
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    events = tuple(
        Event(name=name, properties={}, timestamp=moment, uuid=UUID(int=at), accepted_ns=at)
        for at in accepted_ns
    )
    return Batch(kind=kind, events=events, size_bytes=size_bytes)


def _withdrawn(before_ns):
    return Withdrawal(kind=Kind.TELEMETRY, before_ns=before_ns)


@pytest.fixture
def spool():
    return MemorySpool(max_bytes=100, on_put=lambda: None)


def _emptied(spool):
    batches = []
    while (batch := spool.first()) is not None:
        batches.append(batch)
        spool.remove(batch)
    return batches


def test_oldest_comes_first(spool):
    """Batches leave in the order in which they came."""
    batches = [some_batch() for _ in range(3)]
    for batch in batches:
        spool.put(batch)

    assert _emptied(spool) == batches


def test_oldest_make_room(spool):
    """Where the bound would be passed the oldest go, and their events are counted."""
    oldest, middle, newest = some_batch(50, accepted_ns=(1, 2)), some_batch(50), some_batch(60)
    spool.put(oldest)
    spool.put(middle)

    lost = spool.put(newest)

    assert lost == 3
    assert _emptied(spool) == [newest]


def test_bound_is_included(spool):
    """Exactly as many bytes as allowed fit."""
    batches = [some_batch(50), some_batch(50)]

    lost = [spool.put(batch) for batch in batches]

    assert lost == [0, 0]
    assert _emptied(spool) == batches


def test_batch_larger_than_the_spool_is_lost_alone(spool):
    """A batch that can never fit drives nothing else out."""
    kept = some_batch()
    spool.put(kept)

    lost = spool.put(some_batch(101, accepted_ns=(1, 2)))

    assert lost == 2
    assert _emptied(spool) == [kept]


@pytest.mark.parametrize(
    "leave", [lambda s, b: s.remove(b), lambda s, b: s.purge(_withdrawn(2))], ids=["removed", "purged"]
)
def test_room_is_given_back(spool, leave):
    """What has left takes no room any more."""
    gone = some_batch(100)
    spool.put(gone)
    leave(spool, gone)

    assert spool.put(some_batch(100)) == 0


def test_removing_twice_is_no_error(spool):
    """A batch that is gone already stays gone, and its room is given back once."""
    gone, kept = some_batch(10), some_batch(90)
    spool.put(gone)
    spool.put(kept)

    spool.remove(gone)
    spool.remove(gone)

    assert spool.put(some_batch(11)) == 1


def test_purge_takes_the_kind_accepted_before_the_moment(spool):
    """A withdrawal deletes what was accepted before it, of its kind alone."""
    old, new = some_batch(accepted_ns=(4, 3)), some_batch(accepted_ns=(5,))
    other = some_batch(kind=Kind.ERRORS, accepted_ns=(1,))
    for batch in (old, other, new):
        spool.put(batch)

    assert spool.purge(_withdrawn(5)) == 2
    assert _emptied(spool) == [other, new]


def test_each_kept_batch_is_announced():
    """Whoever drains is told of each batch that was kept, and of no other."""
    told = []
    spool = MemorySpool(max_bytes=100, on_put=lambda: told.append(1))

    spool.put(some_batch())
    spool.put(some_batch(101))

    assert len(told) == 1


def test_child_process_starts_empty(spool):
    """What waits is the parent's to send, and the whole room is free."""
    spool.put(some_batch(100))

    spool.after_fork()

    assert spool.first() is None
    assert spool.put(some_batch(100)) == 0


class World:
    """What a drainer meets, scripted by hand."""

    def __init__(self):
        self.spool = MemorySpool(max_bytes=10_000, on_put=lambda: None)
        self.attempts = []
        self.answers = []
        self.pause_s = 0.0
        self.may_send = False
        self.changed = threading.Condition()
        self.drainer = Drainer(
            self.spool,
            attempt=self.attempt,
            pause=lambda: self.pause_s,
            watch=self.watch,
            interval_s=0.01,
            notices=Notices(),
        )
        self.looks = 0

    def attempt(self, batch):
        with self.changed:
            self.attempts.append(batch)
            self.changed.notify_all()
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self):
        with self.changed:
            self.looks += 1
            self.changed.notify_all()
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
    world.pause_s = 1.0

    world.drainer.drain()

    assert world.attempts == []


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


def test_thread_outlives_a_fault(world):
    """A round that fails costs that round, and what waits is tried in the next one."""
    world.answers = [RuntimeError("planted"), True]
    world.spool.put(some_batch())
    world.drainer.open()

    world.drainer.wake()

    world.until(lambda: len(world.attempts) == 2)


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
