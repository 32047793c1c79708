"""Real processes: their exits, forks, and servers with several workers."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

START = """
    import os, sys
    from otel_posthog import Telemetry, track

    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
"""


def _run(program, *arguments, timeout=60):
    command = [sys.executable, "-W", "error", "-c", dedent(START) + dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("ending", ["pass", "sys.exit(3)", "raise SystemExit", "1 / 0"])
def test_pending_events_leave_at_exit(ending, sink, sink_url, database_url):
    """What waits when a process ends by itself is flushed (R4)."""
    run = _run(f"track('last_words')\n{ending}\n", sink_url, database_url)

    assert [event.name for event in sink.events] == ["last_words"], run.stderr
    assert "Exception ignored" not in run.stderr


def test_exit_is_bounded_when_posthog_cannot_be_reached(database_url):
    """A process ends without complaint, even if nobody listens at the host's address."""
    run = _run("track('never_heard')\n", "http://127.0.0.1:9", database_url)

    assert run.returncode == 0
    assert "Traceback" not in run.stderr


def test_fork_sends_nothing_twice(sink, sink_url, database_url):
    """Parent and child of a fork each send their own events, and neither hangs at its exit."""
    program = """
        track("before_the_fork")
        child = os.fork()
        track("in_the_child" if child == 0 else "in_the_parent")
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """

    run = _run(program, sink_url, database_url)

    assert run.returncode == 0, run.stderr
    names = sorted(event.name for event in sink.events)
    assert names == ["before_the_fork", "in_the_child", "in_the_parent"]


def test_spawned_process_has_its_own_telemetry(sink, sink_url, database_url):
    """A child of multiprocessing's spawn gets consent from the same row."""
    granted = _run("", sink_url, database_url)

    second = _run("track('in_the_second_process')\n", sink_url, database_url)

    assert (granted.returncode, second.returncode) == (0, 0)
    assert [event.name for event in sink.events] == ["in_the_second_process"]
