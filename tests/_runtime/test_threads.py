"""One short call off the event loop, and one worker at intervals."""

from __future__ import annotations

import asyncio
import threading

import pytest
from waiting import wait_until

from otel_posthog._runtime.threads import Worker, in_thread, off_loop

WAIT_S = 30.0
NAME = "worker-of-the-test"


class Rounds:
    """What a worker does, scripted by hand."""

    def __init__(self):
        self.number = 0
        self.pause_s = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.worker = Worker(self.act, NAME)

    def act(self):
        self.number += 1
        self.may_go_on.wait(WAIT_S)
        return self.pause_s


@pytest.fixture
def rounds():
    made = Rounds()
    made.worker.open()
    yield made
    made.may_go_on.set()
    made.worker.stop(WAIT_S)


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_call_has_a_thread_of_its_own():
    """The result comes from another thread."""
    assert in_thread(threading.get_ident, NAME).result(WAIT_S) != threading.get_ident()


def test_error_of_a_call_is_raised_where_it_is_awaited():
    """Whoever asks for the result gets the error."""
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0, NAME).result(WAIT_S)


def test_loop_goes_on_during_a_call():
    """What runs off the loop does not block it, and its error is raised in the loop."""
    is_free = threading.Event()

    async def main():
        asyncio.get_running_loop().call_later(0.01, is_free.set)
        assert await off_loop(lambda: is_free.wait(WAIT_S))
        with pytest.raises(ZeroDivisionError):
            await off_loop(lambda: 1 / 0)

    asyncio.run(main())


def test_loop_may_be_gone_when_a_call_ends(caplog):
    """A call that outlives its loop ends silently."""
    may_end = threading.Event()

    async def main():
        asyncio.create_task(off_loop(lambda: may_end.wait(WAIT_S)))  # noqa: RUF006 - cancelled with the loop
        await asyncio.sleep(0.01)

    asyncio.run(main())
    may_end.set()
    wait_until(lambda: "otel-posthog-call" not in {thread.name for thread in threading.enumerate()})

    assert caplog.records == []


def test_worker_runs_until_it_needs_no_more_rounds(rounds):
    """Without another round to come the thread ends, and the next wake starts another one."""
    rounds.worker.wake()
    wait_until(lambda: rounds.number >= 1 and not _threads())

    before = rounds.number
    rounds.worker.wake()

    wait_until(lambda: rounds.number > before)


def test_worker_runs_at_intervals(rounds):
    """The pause that a round returns is kept, on one thread."""
    rounds.pause_s = 0.001
    rounds.worker.ensure_running()
    rounds.worker.ensure_running()

    wait_until(lambda: rounds.number >= 3)

    assert len(_threads()) == 1


def test_wake_during_a_last_round_is_not_lost(rounds):
    """A wake that comes while the thread is about to end leads to another round."""
    rounds.may_go_on.clear()
    rounds.worker.wake()
    wait_until(lambda: rounds.number == 1)
    rounds.worker.wake()

    rounds.may_go_on.set()

    wait_until(lambda: rounds.number == 2 and not _threads())


def test_stop_runs_one_last_round(rounds):
    """A thread that waits runs once more, ends, and does not start again before `open`."""
    rounds.pause_s = rounds.worker.delay_s = WAIT_S
    rounds.worker.ensure_running()
    assert rounds.number == 0

    rounds.worker.stop(WAIT_S)
    rounds.worker.wake()

    assert (rounds.number, _threads()) == (1, [])


def test_end_runs_no_round(rounds):
    """A thread that waits ends at once, and may start again."""
    rounds.pause_s = WAIT_S
    rounds.worker.ensure_running()
    wait_until(lambda: rounds.number == 1)

    rounds.worker.end()
    wait_until(lambda: not _threads())
    assert rounds.number == 1

    rounds.worker.ensure_running()
    wait_until(lambda: rounds.number == 2)


def test_first_round_can_be_delayed(rounds):
    """The delay is for the first round of a thread, and a wake ends it."""
    rounds.worker.delay_s = WAIT_S
    rounds.worker.ensure_running()
    assert rounds.number == 0

    rounds.worker.wake()

    wait_until(lambda: rounds.number == 1)


def test_busy_thread_of_an_earlier_life_ends(rounds):
    """A round that outlasts `stop` is the last one of its thread, though the worker is open again."""
    rounds.pause_s = 0.001
    rounds.may_go_on.clear()
    rounds.worker.ensure_running()
    [earlier] = _threads()
    rounds.worker.stop(0)
    rounds.worker.open()
    rounds.worker.ensure_running()

    rounds.may_go_on.set()
    earlier.join(WAIT_S)

    assert [thread is not earlier for thread in _threads()] == [True]
