"""Scripts, and the children they start: what leaves a block is reported, and nothing tracked is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from textwrap import dedent

import pytest
from programs import ROOT, environment
from trackers import PATIENT

WAIT_S = 120
LATE_S = 60  # nothing that waits for this leaves by itself
HEAD = """
    import asyncio, concurrent.futures, multiprocessing, os, sys
    from otel_posthog import Telemetry, capture_exception, track

    telemetry = Telemetry()
"""


@pytest.fixture
def run(tmp_path, granted, sink_url, database_url):
    """Return a function that runs a program with these settings to its end, both kinds granted."""

    def call(program, *arguments, **variables):
        path = tmp_path / "program.py"
        path.write_text(program)
        env = {
            "POSTHOG_API_KEY": "phc_test",
            "POSTHOG_HOST": sink_url,
            "OTEL_POSTHOG_DATABASE": database_url,
            "OTEL_POSTHOG_BATCH_DELAY_S": str(LATE_S),
            **PATIENT,
        }
        return subprocess.run(
            [sys.executable, "-W", "error", path, *arguments],
            env=environment(**env, **variables),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    return call


def _script(body):
    return dedent(HEAD) + dedent(body)


def _counted(sink):
    return Counter(event.name for event in sink.events)


FAILING = """
    with telemetry:
        track("begun")
        {ending}
"""
ASYNC = """
    async def main():
        async with telemetry:
            track("begun")
            1 / 0

    asyncio.run(main())
"""
CAUGHT = """
    try:
        with telemetry:
            track("begun")
            try:
                1 / 0
            except ZeroDivisionError as error:
                {handling}
                raise
    except ZeroDivisionError:
        sys.exit(1)
"""


@pytest.mark.parametrize("script", [FAILING.format(ending="1 / 0"), ASYNC, CAUGHT.format(handling="pass")])
def test_error_that_leaves_the_block_is_reported_once(script, run, sink):
    """An error that passes `with telemetry:` is reported before telemetry stops."""
    ended = run(_script(script))

    assert ended.returncode == 1, ended.stderr
    assert _counted(sink) == {"begun": 1, "$exception": 1}
    [report] = [event.properties for event in sink.events if event.name == "$exception"]
    mechanism = report["$exception_list"][0]["mechanism"]
    assert (report["$exception_level"], mechanism["handled"]) == ("fatal", False)


def test_error_that_was_reported_by_hand_is_reported_once(run, sink):
    """What `capture_exception` has reported is not reported again when it leaves the block."""
    ended = run(_script(CAUGHT.format(handling="capture_exception(error)")))

    assert ended.returncode == 1, ended.stderr
    assert _counted(sink) == {"begun": 1, "$exception": 1}


def test_no_report_of_the_block_without_capture_unhandled(run, sink):
    """The setting that switches Python's hooks off holds for the block, too."""
    run(_script(FAILING.format(ending="1 / 0")), OTEL_POSTHOG_CAPTURE_UNHANDLED="0")

    assert _counted(sink) == {"begun": 1}


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit('no such pipeline')", 1),
        ("raise KeyboardInterrupt", -2),
        ("telemetry.flush(60); os._exit(4)", 4),
        ("assert telemetry.spool(); os._exit(5)", 5),
    ],
)
def test_exit_is_no_error(ending, code, run, sink):
    """A script keeps its exit code, and what it tracked leaves it; an exit is not reported."""
    ended = run(_script(FAILING.format(ending=ending)))
    run(_script("with telemetry: telemetry.flush(60)"))  # sends what is on disk

    assert ended.returncode == code, ended.stderr
    assert _counted(sink) == {"begun": 1}


CHILDREN = """
    def begin():
        telemetry.start()

    def count(number):
        track("counted", {"number": number})
        return number

    def in_pool(context):
        pool = context.Pool(2, initializer=begin)
        pool.map(count, range(6), chunksize=1)
        pool.close()
        pool.join()

    def in_terminated_pool(context):
        with context.Pool(2, initializer=begin) as pool:
            pool.map(count, range(6), chunksize=1)

    def in_executor(context):
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context, initializer=begin) as executor:
            list(executor.map(count, range(6)))

    if __name__ == "__main__":
        with telemetry:
            globals()[sys.argv[1]](multiprocessing.get_context(sys.argv[2]))
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize("way", ["in_pool", "in_executor", "in_terminated_pool"])
def test_children_lose_nothing(way, how, run, sink):
    """What the processes of a pool track arrives, however they were started."""
    ended = run(_script(CHILDREN), way, how)

    assert ended.returncode == 0, ended.stderr
    assert sorted(event.properties["number"] for event in sink.events) == [0, 1, 2, 3, 4, 5]


def test_documented_worker_loses_nothing(run, sink):
    """The worker of docs/workers.md delivers what its jobs track, and reports the one that fails."""
    page = (ROOT / "docs" / "workers.md").read_text()
    [block] = re.findall(r"^```python\n(.*?os\._exit.*?)^```", page, re.MULTILINE | re.DOTALL)

    ended = run(block)

    assert ended.returncode == 0, ended.stderr
    assert _counted(sink) == {"job_done": 5, "$exception": 1}
    [report] = [event.properties for event in sink.events if event.name == "$exception"]
    assert report["task"] == "halve"
