"""Real processes: their exits, forks, and servers with several workers."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest
from databases import new_database
from thoroughness import IS_FULL
from trackers import PATIENT

FORKS = 150 if IS_FULL else 10
START = """
    import os, sys
    from otel_posthog import Telemetry, track

    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
"""


def _run(program, *arguments, timeout=120):
    return _finished("-W", "error", "-c", dedent(START) + dedent(program), *arguments, timeout=timeout)


def _finished(*arguments, timeout=120):
    """Run Python to its end, in a process with time enough to send all on a busy machine."""
    command = [sys.executable, *map(str, arguments)]
    variables = {**os.environ, **PATIENT}
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=timeout, check=False
    )


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


@pytest.fixture(params=["sqlite-url", "psycopg-url"])
def either_database(request, tmp_path, monkeypatch):
    """Return the URL of a SQLite or PostgreSQL database, with the spool in a folder of the test's own."""
    monkeypatch.setenv("OTEL_POSTHOG_SPOOL_DIR", str(tmp_path / "spool"))
    with new_database(request.param, request) as made:
        yield str(made.target)


def test_fork_sends_nothing_twice(sink, sink_url, either_database):
    """Parent and child of a fork each send their own events, and neither hangs at its exit."""
    program = """
        track("before_the_fork")
        child = os.fork()
        track("in_the_child" if child == 0 else "in_the_parent")
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """

    run = _run(program, sink_url, either_database)

    assert run.returncode == 0, run.stderr
    names = sorted(event.name for event in sink.events)
    assert names == ["before_the_fork", "in_the_child", "in_the_parent"]


CHILD = """
    import multiprocessing, sys
    from otel_posthog import Telemetry, track

    def work(number):
        track("in_a_child", {"number": number})

    def work_alone(number, *arguments):
        with Telemetry(api_key="phc_test", host=arguments[0], database=arguments[1], batch_delay_s=60):
            work(number)

    def start_alone(number, *arguments):
        telemetry = Telemetry(api_key="phc_test", host=arguments[0], database=arguments[1], batch_delay_s=60)
        telemetry.start()
        work(number)

    def run(how, target, *arguments):
        context = multiprocessing.get_context(how)
        children = [context.Process(target=target, args=(number, *arguments)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
"""


@pytest.mark.parametrize(
    ("how", "target"), [("fork", "work"), ("spawn", "start_alone"), ("forkserver", "start_alone")]
)
def test_children_of_multiprocessing_lose_nothing(tmp_path, how, target, sink, sink_url, database_url):
    """Whichever way a child is started, what it tracked leaves at its end, once, and nothing hangs."""
    program = tmp_path / "program.py"
    arguments = "*sys.argv[1:]" if target == "start_alone" else ""
    main = f"""
if __name__ == "__main__":
    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    track("in_the_parent")
    run("{how}", {target}, {arguments})
"""
    program.write_text(dedent(CHILD) + main)

    run = _finished(program, sink_url, database_url)

    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(event.name for event in sink.events) == ["in_a_child"] * 3 + ["in_the_parent"]


@pytest.mark.timeout(660)
def test_fork_while_other_threads_are_busy(sink, sink_url, either_database):
    """Children of a process in which threads deliver, spool and look at consent all work."""
    program = """
        import threading
        telemetry.shutdown()
        telemetry = Telemetry(
            api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=0.001,
            consent_max_age_s=0.01,
        )
        telemetry.start()
        is_over = threading.Event()

        def work():
            while not is_over.is_set():
                track("busy")
                telemetry.flush()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        children = []
        for number in range(int(sys.argv[3])):
            child = os.fork()
            if child == 0:
                track("in_a_child", {"number": number})
                telemetry.shutdown(timeout_s=60)
                os._exit(0)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        is_over.set()
        for thread in threads:
            thread.join()
        assert statuses == [0] * int(sys.argv[3])
    """

    run = _run(program, sink_url, either_database, FORKS, timeout=600)

    assert run.returncode == 0, run.stderr
    _run("assert telemetry.flush(60)", sink_url, either_database)  # what a busy machine left for later
    numbers = sorted(e.properties["number"] for e in sink.events if e.name == "in_a_child")
    assert numbers == list(range(FORKS)), run.stderr
    assert len({event.uuid for event in sink.events}) == len(sink.events)


def test_gevent(sink, sink_url, database_url):
    """With gevent's patches events of many greenlets leave, and the process ends."""
    program = """
        from gevent import monkey
        monkey.patch_all()
        import gevent, sys
        from otel_posthog import Telemetry, track

        telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], batch_delay_s=0.05)
        telemetry.start()
        telemetry.update_settings(enable_telemetry=True)
        gevent.joinall([gevent.spawn(track, "in_a_greenlet", {"number": n}) for n in range(50)])
        assert telemetry.flush()
        track("last_words")
    """
    run = _finished("-c", dedent(program), sink_url, database_url)

    assert (run.returncode, run.stderr) == (0, "")
    names = [event.name for event in sink.events]
    assert sorted(names) == ["in_a_greenlet"] * 50 + ["last_words"]


def test_spawned_process_has_its_own_telemetry(sink, sink_url, database_url):
    """A child of multiprocessing's spawn gets consent from the same row."""
    granted = _run("", sink_url, database_url)

    second = _run("track('in_the_second_process')\n", sink_url, database_url)

    assert (granted.returncode, second.returncode) == (0, 0)
    assert [event.name for event in sink.events] == ["in_the_second_process"]
