"""Reading one gauge: loops that end, and readings that hang."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from otel_posthog.heartbeat.gauges import GaugeError, GaugeReader, make_gauge

TIMEOUT_S = 0.05
BOUND_S = 30


def gauge(callback):
    return make_gauge(callback, name="some_number", unit="1", description="", one_of=None)


@pytest.fixture
def running_loop():
    """Return an event loop that runs on a thread of its own, and what ends it."""
    loop = asyncio.new_event_loop()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()

    def end():
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
            runner.join(BOUND_S)
            loop.close()

    yield loop, end
    end()


def test_gauge_recovers_from_the_end_of_its_loop(running_loop):
    """A reading that ended with the application's loop does not keep the gauge from being read again."""
    loop, end = running_loop
    readings = []

    async def stubborn():
        readings.append(1)
        while len(readings) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if loop.is_closed():
                    raise
        return 7

    reader = GaugeReader()
    reader.loop = loop
    with pytest.raises(GaugeError, match="took longer"):
        reader.read(gauge(stubborn), TIMEOUT_S)
    with pytest.raises(GaugeError, match="still hangs"):
        reader.read(gauge(stubborn), TIMEOUT_S)
    tasks = asyncio.all_tasks(loop)
    end()

    assert reader.read(gauge(stubborn), BOUND_S) == 7
    for task in tasks:
        task._log_destroy_pending = False  # the loop is gone, and asyncio would complain


def test_reading_that_was_given_up_before_it_began_never_begins(running_loop):
    """A loop that was blocked for longer than the timeout does not run the callback afterwards."""
    loop, _ = running_loop
    begun, blocked, released = [], threading.Event(), threading.Event()

    async def number():
        begun.append(1)

    def block():
        blocked.set()
        released.wait(BOUND_S)

    loop.call_soon_threadsafe(block)
    assert blocked.wait(BOUND_S)
    reader = GaugeReader()
    reader.loop = loop

    with pytest.raises(GaugeError, match="took longer"):
        reader.read(gauge(number), TIMEOUT_S)

    released.set()
    passed = threading.Event()
    loop.call_soon_threadsafe(lambda: loop.call_soon(passed.set))
    assert passed.wait(BOUND_S)
    assert begun == []


def test_loop_that_does_not_run_is_not_waited_for():
    """With a loop that was closed already the callback runs on a private one."""
    loop = asyncio.new_event_loop()
    loop.close()
    reader = GaugeReader()
    reader.loop = loop

    async def seven():
        return 7

    assert reader.read(gauge(seven), BOUND_S) == 7


def test_partial_of_an_async_function_is_async():
    """What wraps an async function is awaited too."""

    async def number(value):
        return value

    assert GaugeReader().read(gauge(partial(number, 7)), BOUND_S) == 7
