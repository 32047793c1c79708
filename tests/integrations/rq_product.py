"""A product with RQ jobs, for the tests of the integration."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

from rq import Retry, SimpleWorker, SpawnWorker, Worker

from otel_posthog import Telemetry, track
from otel_posthog.integrations.rq import TelemetryMixin

FOR_EVER_S = 600

telemetry = Telemetry(capture_logged=True)
if os.environ.get("START_EARLY"):
    telemetry.start()


class ForkingWorker(TelemetryMixin, Worker):
    """It forks a process for each job."""

    telemetry = telemetry


class InPlaceWorker(TelemetryMixin, SimpleWorker):
    """It runs jobs itself."""

    telemetry = telemetry


class SpawningWorker(TelemetryMixin, SpawnWorker):
    """It starts a new interpreter for each job."""

    telemetry = telemetry


def tracks(number):
    """Track one event."""
    track("tracked", {"number": number})


def fails(_secret):
    """Track, and fail."""
    track("before_the_failure")
    raise LookupError("it failed")


def asks_for_a_retry():
    """Fail in the way that RQ calls a retry, without an exception."""
    return Retry(max=1)


def is_granted_and_tracks(path):
    """Track right after a grant by SQL."""
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        database.execute("UPDATE system_settings SET enable_telemetry = TRUE")
    track("tracked", {"number": 1})


def takes_too_long():
    """Track, and exceed the job's time limit."""
    track("before_the_limit")
    time.sleep(FOR_EVER_S)


def dies():
    """Kill the process of the job once what it tracked is on disk."""
    os.kill(os.getpid(), signal.SIGKILL)


def tracks_and_lists(path):
    """Track, and write the names of the threads that this left to a file."""
    track("not_wanted")
    deadline_s = time.monotonic() + 20
    while (names := _ours()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    with open(path, "w") as file:  # noqa: PTH123 - a job gets plain texts
        file.write(repr(names))


def _ours():
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("otel-posthog", "OtelBatch"))]
