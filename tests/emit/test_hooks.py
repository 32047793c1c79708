"""Exceptions that nobody caught: a real process for each hook, and what the hooks leave as it was (R13)."""

from __future__ import annotations

import asyncio
import functools
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from otel_posthog import capture_exception, track
from otel_posthog.emit.hooks import Hooks
from otel_posthog.emit.request_context import Owner

PROGRAM = Path(__file__).parents[1] / "unhandled.py"
WAIT_S = 60


def _run(way, sink_url, database_url, *settings):
    return subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, way, sink_url, database_url, *settings],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


FAILURES = {
    "main": ("nobody caught it", "onuncaughtexception", "fatal", ["<module>", "main", "_in_main"]),
    "thread": ("nobody caught it", "onuncaughtexception", "error", ["_bootstrap_inner", "run", "_in_main"]),
    "del": ("failed on its way out", "unraisable", "error", ["__del__"]),
    "loop": ("nobody awaited it", "asyncio", "error", ["_task"]),
}


@pytest.mark.parametrize("way", FAILURES)
def test_unhandled_exception_is_reported(sink, sink_url, database_url, way):
    """What nobody catches is one event, and whoever had the hook before is still called."""
    message, mechanism, level, functions = FAILURES[way]

    ended = _run(way, sink_url, database_url)

    [event] = sink.events
    [entry] = event.properties["$exception_list"]
    assert (entry["type"], entry["value"]) == ("LookupError", message)
    assert entry["mechanism"] == {
        "exception_id": 0,
        "synthetic": False,
        "type": mechanism,
        "handled": False,
    }
    assert event.properties["$exception_level"] == level
    assert [frame["function"] for frame in entry["stacktrace"]["frames"]][-len(functions) :] == functions
    assert event.issues == ()
    assert ended.stdout == f"{way}: LookupError\n", ended.stderr
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("interrupt", 1, "main: KeyboardInterrupt\n"),
        ("exit", 3, ""),
        ("thread exit", 0, "thread: SystemExit\n"),
    ],
)
def test_exits_and_interrupts_are_left_alone(sink, sink_url, database_url, way, code, said):
    """Nobody's error: they end the process as they would without us."""
    ended = _run(way, sink_url, database_url)

    assert sink.requests == []
    assert ended.stdout == said, ended.stderr


def test_logged_exception_is_reported_where_that_is_wanted(sink, sink_url, database_url):
    """With `capture_logged` a `logger.exception` is an event, and Python prints it as it would without us."""
    ended = _run("log", sink_url, database_url, "capture_logged")

    [event] = sink.events
    [entry] = event.properties["$exception_list"]
    assert (entry["value"], entry["mechanism"]["handled"]) == ("nobody caught it", True)
    assert ended.stderr.startswith("it failed\nTraceback (most recent call last):\n")


def test_logged_exception_is_not_reported_otherwise(sink, sink_url, database_url):
    """A product that logs an exception has handled it, unless it says otherwise."""
    _run("log", sink_url, database_url)

    assert sink.requests == []


def test_unhandled_exceptions_are_left_alone_where_that_is_wanted(make_telemetry):
    """With `capture_unhandled` off no hook is touched."""
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    telemetry = make_telemetry(capture_unhandled=False)

    telemetry.start()

    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_hooks_are_given_back(make_telemetry):
    """After the end of the telemetry the hooks are those from before."""
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    handlers = list(logging.getLogger().handlers)
    telemetry = make_telemetry(capture_logged=True)
    telemetry.start()
    during = (sys.excepthook, threading.excepthook, sys.unraisablehook)

    telemetry.shutdown(timeout_s=1)

    assert all(ours is not theirs for ours, theirs in zip(during, before, strict=True))
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before
    assert logging.getLogger().handlers == handlers


def test_hook_that_was_put_over_ours_stays():
    """Who came after us keeps the hook, and through ours reaches who came before."""
    before, calls = threading.excepthook, []
    threading.excepthook = calls.append
    hooks = Hooks(Owner())
    try:
        hooks.install()
        ours = threading.excepthook
        threading.excepthook = functools.partial(ours)
        later = threading.excepthook
        hooks.remove()

        threading.excepthook(threading.ExceptHookArgs((ValueError, None, None, None)))

        assert threading.excepthook is later
        assert len(calls) == 1
    finally:
        threading.excepthook = before


def test_installing_twice_does_nothing_more():
    """A second start of the same telemetry does not stand in its own way."""
    hooks = Hooks(Owner())
    hooks.install()
    first = sys.excepthook
    try:
        hooks.install()

        assert sys.excepthook is first
    finally:
        hooks.remove()


def test_loop_gets_its_handler_back():
    """After the end of the telemetry an event loop has no handler of ours, and reported none twice."""

    async def run():
        loop = asyncio.get_running_loop()
        hooks = Hooks(Owner())
        hooks.watch(loop)  # before `install` it does nothing
        before = loop.get_exception_handler()
        hooks.install()
        hooks.watch(loop)
        hooks.watch(loop)
        during = loop.get_exception_handler()
        hooks.remove()
        return before, during, loop.get_exception_handler()

    before, during, after = asyncio.run(run())

    assert (before, after) == (None, None)
    assert during is not None


def test_reported_exception_is_not_reported_again_by_a_hook(make_telemetry, sink):
    """An exception that was told by hand and then ends a thread is one event (R16)."""

    def fail():
        try:
            int("told by hand")
        except ValueError as error:
            capture_exception(error)
            raise

    before, calls = threading.excepthook, []
    threading.excepthook = calls.append
    try:
        telemetry = make_telemetry()
        telemetry.start()
        telemetry.update_settings(enable_error_reporting=True)
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join(WAIT_S)
        telemetry.shutdown(timeout_s=WAIT_S)
    finally:
        threading.excepthook = before

    assert len(calls) == 1
    assert len(sink.events) == 1


def test_failure_of_a_task_carries_its_own_steps(make_telemetry, sink):
    """What led to a task's failure is told, and not what led to where it is found out."""

    async def task():
        track("step_of_the_task", {})
        raise ValueError("of the task")

    async def run():
        async with make_telemetry() as telemetry:
            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            forgotten = asyncio.ensure_future(task())
            await asyncio.wait([forgotten])
            track("step_of_somebody_else", {})
            del forgotten

    asyncio.run(run())

    [failure] = [event for event in sink.events if event.name == "$exception"]
    steps = [step["$message"] for step in failure.properties.get("$exception_steps", ())]
    assert steps == (["step_of_the_task"] if sys.version_info >= (3, 12) else [])
