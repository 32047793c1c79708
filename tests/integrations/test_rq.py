"""RQ's workers with a real Redis: what jobs track arrives, and what fails is reported once."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import environment
from trackers import PATIENT
from waiting import wait_until

FOLDER = Path(__file__).parent
WAIT_S = 120
LATE_S = 60  # nothing that waits for this leaves by itself
PRODUCT = "rq_product"
WORKERS = ["ForkingWorker", "InPlaceWorker", "SpawningWorker"]


@pytest.fixture
def queue(redis_url):
    """Return RQ's default queue."""
    import redis  # noqa: PLC0415 - its start is slow
    import rq  # noqa: PLC0415

    with redis.Redis.from_url(redis_url) as connection:
        yield rq.Queue(connection=connection)


@pytest.fixture
def working(redis_url, sink_url, database_url):
    """Return a context manager that runs a worker of this class, and ends it by SIGTERM."""

    @contextmanager
    def run(worker="ForkingWorker", *options, **variables):
        env = {
            "POSTHOG_API_KEY": "phc_test",
            "POSTHOG_HOST": sink_url,
            "OTEL_POSTHOG_DATABASE": database_url,
            "OTEL_POSTHOG_BATCH_DELAY_S": str(LATE_S),
            **PATIENT,
        }
        command = [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url, *options]
        process = subprocess.Popen(
            [*command, "--worker-class", f"{PRODUCT}.{worker}"],
            env=environment(FOLDER, **env, **variables),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
            process.terminate()
            errors = process.communicate(timeout=WAIT_S)[1]
            assert process.returncode == 0, errors
        finally:
            process.kill()
            process.communicate()

    return run


@pytest.fixture
def work(working):
    """Return a function that lets a worker of this class do all waiting jobs, and end."""

    def run(worker="ForkingWorker", **variables):
        with working(worker, "--burst", **variables) as process:
            process.wait(WAIT_S)

    return run


def _done(job):
    wait_until(lambda: job.get_status(refresh=True).value == "finished", timeout_s=WAIT_S)


def _numbers(sink):
    return sorted(event.properties["number"] for event in sink.events if event.name == "tracked")


def _reports(sink):
    """Return the type of each report, with what names its job."""
    return [
        (
            report.properties["$exception_list"][0]["type"],
            report.properties["task"].rpartition(".")[2],
            report.properties["queue"],
            report.properties["retries"],
        )
        for report in sink.events
        if report.name == "$exception"
    ]


@pytest.mark.parametrize("early", ["", "1"], ids=["started-by-the-worker", "started-at-import"])
@pytest.mark.parametrize("worker", WORKERS)
def test_jobs_lose_nothing(worker, early, granted, sink, queue, work):
    """Whatever the process of a job is, what five jobs track arrives once."""
    for number in range(5):
        queue.enqueue(f"{PRODUCT}.tracks", number)

    work(worker, START_EARLY=early)

    assert _numbers(sink) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("worker", WORKERS)
def test_failure_is_reported_once(worker, granted, sink, queue, work):
    """A failing job is one report that names the job and its queue, and not its arguments."""
    queue.enqueue(f"{PRODUCT}.fails", "nobody's business")

    work(worker)

    assert sorted(event.name for event in sink.events) == ["$exception", "before_the_failure"]
    assert _reports(sink) == [("LookupError", "fails", "default", 0)]
    [report] = [event for event in sink.events if event.name == "$exception"]
    mechanism = report.properties["$exception_list"][0]["mechanism"]
    assert (mechanism["type"], mechanism["handled"]) == ("rq", False)
    assert "nobody's business" not in repr(report.properties)


def test_retries_are_no_failures(granted, sink, queue, work):
    """A job that RQ tries again is reported when it has failed for good, with the number of retries."""
    from rq import Retry  # noqa: PLC0415 - its start is slow

    queue.enqueue(f"{PRODUCT}.fails", "", retry=Retry(max=2))
    queue.enqueue(f"{PRODUCT}.asks_for_a_retry")

    work()

    assert _reports(sink) == [("LookupError", "fails", "default", 2)]


def test_time_limit_loses_nothing(granted, sink, queue, work):
    """A job that exceeds its limit is reported, and what it tracked before arrives."""
    queue.enqueue(f"{PRODUCT}.takes_too_long", job_timeout=1)

    work()

    assert sorted(event.name for event in sink.events) == ["$exception", "before_the_limit"]
    assert _reports(sink) == [("JobTimeoutException", "takes_too_long", "default", 0)]


def test_killed_job_is_reported(granted, sink, queue, work):
    """The main process reports a job whose process was killed, and what earlier jobs tracked arrives."""
    queue.enqueue(f"{PRODUCT}.tracks", 1)
    queue.enqueue(f"{PRODUCT}.dies")

    work()

    assert _numbers(sink) == [1]
    assert _reports(sink) == [("WorkHorseError", "dies", "default", 0)]


def test_spool_in_memory_is_sent_at_the_end_of_a_job(granted, sink, queue, work):
    """Without a spool on disk the process of a job sends what waits before it ends."""
    queue.enqueue(f"{PRODUCT}.tracks", 1)

    work(OTEL_POSTHOG_SPOOL_DIR=":memory:")

    assert _numbers(sink) == [1]


def test_grant_reaches_the_next_job(telemetry, sink, queue, working):
    """A job that begins after a grant is tracked, however old its worker's own answer is."""
    with working():
        _done(queue.enqueue(f"{PRODUCT}.tracks", 1))
        telemetry.update_settings(enable_telemetry=True)
        old_s = time.monotonic() + telemetry.config.consent_max_age_s
        wait_until(lambda: time.monotonic() > old_s)  # each process may answer from memory until then
        _done(queue.enqueue(f"{PRODUCT}.tracks", 2))

    assert _numbers(sink) == [2]


@pytest.mark.parametrize("worker", ["ForkingWorker", "SpawningWorker"])
def test_grant_during_a_job_reaches_the_main_process(worker, sink, queue, working, tmp_path):
    """What is tracked after a grant is sent by the main process while it waits for the next job."""
    with working(worker):
        _done(queue.enqueue(f"{PRODUCT}.is_granted_and_tracks", str(tmp_path / "data" / "app.db")))
        wait_until(lambda: _numbers(sink) == [1], timeout_s=WAIT_S)


def test_end_of_a_worker_sends_what_a_grant_brought(sink, queue, work, tmp_path):
    """A worker that ends right after the job has sent what it tracked."""
    queue.enqueue(f"{PRODUCT}.is_granted_and_tracks", str(tmp_path / "data" / "app.db"))

    work()

    assert _numbers(sink) == [1]


def test_job_that_cannot_be_read_is_reported(granted, sink, queue, work):
    """A job of which the data is damaged is reported without its name."""
    job = queue.enqueue(f"{PRODUCT}.tracks", 1)
    queue.connection.hset(job.key, "data", b"no pickle")

    work()

    [report] = sink.events
    assert report.properties["$exception_list"][0]["type"] == "DeserializationError"
    assert report.properties["queue"] == "default"
    assert "task" not in report.properties


def test_without_consent_nothing_remains(telemetry, sink, queue, work, tmp_path):
    """While both switches are off, a job sends and keeps nothing, and no thread of ours stays."""
    listed = tmp_path / "threads"
    queue.enqueue(f"{PRODUCT}.tracks_and_lists", str(listed))
    queue.enqueue(f"{PRODUCT}.fails", "")

    work()

    assert listed.read_text() == "[]"
    assert sink.events == []
    assert list(tmp_path.rglob("spool.db")) == []
