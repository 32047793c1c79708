"""A product with Celery tasks, for the tests of the integration."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

from celery import Celery
from celery.exceptions import Ignore, Reject

from otel_posthog import Telemetry, capture_exception, track
from otel_posthog.integrations.celery import instrument_celery

FOR_EVER_S = 600

app = Celery("celery_product", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_hijack_root_logger = False
telemetry = Telemetry(capture_logged=True, error_steps=5)
instrument_celery(telemetry)
if os.environ.get("START_EARLY"):
    telemetry.start()


class OddError(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


@app.task
def tracks(number):
    """Track one event."""
    track("tracked", {"number": number})
    return number


@app.task
def fails(_secret):
    """Fail."""
    raise LookupError("it failed")


@app.task
def fails_oddly():
    """Fail with what Celery has to replace."""
    raise OddError("it cannot be pickled")


@app.task(bind=True, max_retries=2)
def fails_again(self):
    """Fail at each of three attempts."""
    try:
        _fail()
    except OSError as error:
        raise self.retry(exc=error, countdown=0) from error


@app.task(throws=(KeyError,))
def fails_as_expected():
    """Raise what the task declares."""
    raise KeyError("known")


@app.task(throws=KeyError)
def fails_as_the_only_class():
    """Raise what the task declares without a tuple."""
    raise KeyError("known")


@app.task
def ignores():
    """Raise what is no failure."""
    raise Ignore


@app.task
def rejects():
    """Raise what is no failure, either."""
    raise Reject("not this one", requeue=False)


@app.task
def handles():
    """Report an exception by hand, and fail with it."""
    try:
        _fail()
    except OSError as error:
        capture_exception(error)
        raise


@app.task
def is_granted_and_tracks(path):
    """Track right after a grant by SQL."""
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        database.execute("UPDATE system_settings SET enable_telemetry = TRUE")
    track("tracked", {"number": 1})


@app.task(soft_time_limit=1)
def takes_too_long():
    """Track, and exceed a soft limit."""
    track("before_the_soft_limit")
    time.sleep(FOR_EVER_S)


@app.task(time_limit=2)
def never_ends():
    """Track, and exceed a hard limit."""
    track("before_the_hard_limit")
    time.sleep(FOR_EVER_S)


@app.task
def dies():
    """Kill the process of the pool."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def threads():
    """Track, and return the names of the threads that this left."""
    track("not_wanted")
    deadline_s = time.monotonic() + 20
    while (names := _ours()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return names


def _fail():
    raise OSError("not yet")


def _ours():
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("otel-posthog", "OtelBatch"))]
