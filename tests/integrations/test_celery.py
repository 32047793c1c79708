"""Celery's pools with a real Redis: what tasks track arrives, and what fails is reported once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import environment
from trackers import PATIENT
from waiting import wait_until

FOLDER = Path(__file__).parent
WAIT_S = 120
LATE_S = 60  # nothing that waits for this leaves by itself
PRODUCT = "celery_product"


class Tasks:
    """The product's tasks, as a web process calls them."""

    def __init__(self, redis_url):
        from celery import Celery  # noqa: PLC0415 - its start is slow

        self.app = Celery(broker=redis_url, backend=redis_url)

    def begin(self, name, *arguments):
        return self.app.send_task(f"{PRODUCT}.{name}", arguments)

    def run(self, *calls):
        """Call tasks and return their results once all have ended; a failure is its exception."""
        results = [self.begin(*([call] if isinstance(call, str) else call)) for call in calls]
        return [result.get(timeout=WAIT_S, propagate=False) for result in results]


@pytest.fixture
def tasks(redis_url):
    """Return what calls tasks."""
    made = Tasks(redis_url)
    yield made
    made.app.close()


@pytest.fixture
def worker(redis_url, sink_url, database_url):
    """Return a context manager that runs a worker with these options, and ends it by SIGTERM."""

    @contextmanager
    def run(*options, batch_delay_s=0.05, **variables):
        env = {
            "REDIS_URL": redis_url,
            "POSTHOG_API_KEY": "phc_test",
            "POSTHOG_HOST": sink_url,
            "OTEL_POSTHOG_DATABASE": database_url,
            "OTEL_POSTHOG_BATCH_DELAY_S": str(batch_delay_s),
            **PATIENT,
        }
        command = [sys.executable, "-m", "celery", "-A", PRODUCT, "worker", *options]
        process = subprocess.Popen(
            command,
            env=environment(FOLDER, **env, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=WAIT_S)[0]
            assert process.returncode == 0, output
            assert "Signal handler" not in output, output
        finally:
            process.kill()
            process.communicate()

    return run


def _numbers(sink):
    return sorted(event.properties["number"] for event in sink.events if event.name == "tracked")


def _reports(sink):
    """Return type, task and retries of each report."""
    return sorted(
        (
            report.properties["$exception_list"][0]["type"],
            report.properties["task"].rpartition(".")[2],
            report.properties.get("retries"),
        )
        for report in sink.events
        if report.name == "$exception"
    )


@pytest.mark.parametrize("early", ["", "1"], ids=["started-by-the-worker", "started-at-import"])
@pytest.mark.parametrize("per_child", [1, 5])
def test_recycled_children_lose_nothing(per_child, early, granted, sink, tasks, worker):
    """A child that ends after some tasks leaves nothing behind, and nothing arrives twice."""
    with worker("-c", "2", f"--max-tasks-per-child={per_child}", batch_delay_s=LATE_S, START_EARLY=early):
        tasks.run(*(("tracks", number) for number in range(20)))
        wait_until(lambda: len(_numbers(sink)) >= 20, timeout_s=WAIT_S)

    assert _numbers(sink) == list(range(20))


def test_final_failures_are_reported_once(granted, sink, tasks, worker):
    """A failure is reported with its task, however Celery logs it; what the task expects is not."""
    calls = [("fails", "nobody's business"), "fails_again", "fails_oddly", "handles"]

    with worker("-c", "1"):
        tasks.run(*calls, "fails_as_expected", "fails_as_the_only_class")
        for name in ("ignores", "rejects"):
            tasks.begin(name)
        tasks.run(("tracks", 1))
        wait_until(lambda: len(sink.events) >= 5, timeout_s=WAIT_S)

    reports = [event.properties for event in sink.events if event.name == "$exception"]
    found = [
        (each["$exception_list"][0]["type"], each["task"], each["queue"], each["retries"]) for each in reports
    ]
    assert sorted(found) == [
        ("LookupError", "celery_product.fails", "celery", 0),
        ("OSError", "celery_product.fails_again", "celery", 2),
        # Reported by hand first; the report waits, and is completed once the exception ends the task.
        ("OSError", "celery_product.handles", "celery", 0),
        ("OddError", "celery_product.fails_oddly", "celery", 0),
    ]
    mechanisms = [properties["$exception_list"][0]["mechanism"] for properties in reports]
    assert {(each["type"], each["handled"]) for each in mechanisms} == {("celery", False)}
    assert "nobody's business" not in repr(reports)


def test_steps_are_those_of_the_task(granted, sink, tasks, worker):
    """A report holds no step of the task before."""
    with worker("-c", "1"):
        tasks.run(("tracks", 1), ("fails", ""))
        wait_until(lambda: len(sink.events) >= 2, timeout_s=WAIT_S)

    [report] = [event for event in sink.events if event.name == "$exception"]
    assert "$exception_steps" not in report.properties


def test_time_limits_lose_nothing(granted, sink, tasks, worker):
    """A task that exceeds its limit is reported once, and what it tracked before arrives."""
    with worker("-c", "2"):
        tasks.run("takes_too_long", "never_ends")
        wait_until(lambda: len(sink.events) >= 4, timeout_s=WAIT_S)

    counted = Counter(event.name for event in sink.events)
    assert counted == {"before_the_soft_limit": 1, "before_the_hard_limit": 1, "$exception": 2}
    assert _reports(sink) == [
        ("SoftTimeLimitExceeded", "takes_too_long", 0),
        ("TimeLimitExceeded", "never_ends", 0),
    ]


def test_killed_child_keeps_what_ended_tasks_tracked(granted, sink, tasks, worker):
    """After a kill what the tasks before tracked arrives, and the main process reports the loss."""
    with worker("-c", "1", batch_delay_s=LATE_S):
        tasks.run(("tracks", 1), ("tracks", 2), "dies")
        wait_until(lambda: len(_numbers(sink)) == 2, timeout_s=WAIT_S)

    assert _reports(sink) == [("WorkerLostError", "dies", 0)]


def test_warm_shutdown_ends_with_everything_sent(granted, sink, tasks, worker):
    """A SIGTERM lets a running task end; what it tracks then arrives before the worker has ended."""
    with worker("-c", "2", batch_delay_s=LATE_S):
        tasks.run(*(("tracks", number) for number in range(4)))

    assert _numbers(sink) == [0, 1, 2, 3]


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_other_pools_report_and_track(pool, granted, sink, tasks, worker):
    """Pools without children send from the worker itself."""
    with worker("-P", pool, "-c", "1"):
        tasks.run(*(("tracks", number) for number in range(5)), ("fails", ""))
        wait_until(lambda: len(sink.events) >= 6, timeout_s=WAIT_S)

    assert _numbers(sink) == [0, 1, 2, 3, 4]
    assert _reports(sink) == [("LookupError", "fails", 0)]


@pytest.mark.parametrize("per_child", [1, 3])
def test_spool_in_memory_is_sent_at_the_end_of_a_child(per_child, granted, sink, tasks, worker):
    """Without a spool on disk a child sends what waits before it ends."""
    options = ("-c", "1", f"--max-tasks-per-child={per_child}")

    with worker(*options, batch_delay_s=LATE_S, OTEL_POSTHOG_SPOOL_DIR=":memory:"):
        tasks.run(*(("tracks", number) for number in range(3)))
        wait_until(lambda: len(_numbers(sink)) >= 3, timeout_s=WAIT_S)

    assert _numbers(sink) == [0, 1, 2]


def test_grant_during_a_task_reaches_the_main_process(sink, tasks, worker, tmp_path):
    """What is tracked after a grant is sent by the main process while it runs, without another event."""
    with worker("-c", "1", batch_delay_s=LATE_S):
        tasks.run(("is_granted_and_tracks", str(tmp_path / "data" / "app.db")))
        wait_until(lambda: _numbers(sink) == [1], timeout_s=WAIT_S)


def test_grant_reaches_the_process_that_sends_without_heartbeats(sink, tasks, worker, tmp_path):
    """The main process reads consent again whether or not Celery sends heartbeats."""
    with worker("-c", "1", "--without-heartbeat", batch_delay_s=LATE_S):
        tasks.run(("is_granted_and_tracks", str(tmp_path / "data" / "app.db")))
        tasks.run(("tracks", 2))
        wait_until(lambda: _numbers(sink) == [1, 2], timeout_s=WAIT_S)


def test_end_of_a_worker_sends_what_a_grant_brought(sink, tasks, worker, tmp_path):
    """A grant that the main process does not know when it ends loses nothing, either."""
    with worker("-c", "1", "--without-heartbeat", batch_delay_s=LATE_S):
        tasks.run(("is_granted_and_tracks", str(tmp_path / "data" / "app.db")))

    assert _numbers(sink) == [1]


def test_without_consent_nothing_remains(telemetry, sink, tasks, worker, tmp_path):
    """While both switches are off, a child sends and keeps nothing, and no thread of ours stays."""
    with worker("-c", "1"):
        [names, _failed] = tasks.run("threads", ("fails", ""))

    assert names == []
    assert sink.events == []
    assert list(tmp_path.rglob("spool.db")) == []
