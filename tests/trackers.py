"""Start a `tracker.py` and talk to it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from otel_posthog.delivery.stored_batch import decoded

WAIT_S = 60
QUICK = {
    "batch_delay_s": 0.05,
    "retry_initial_s": 0.02,
    "retry_max_s": 0.1,
    "probe_interval_s": 0.1,
    "consent_max_age_s": 0.2,
    "http_timeout_s": 30.0,
}
PATIENT = {"OTEL_POSTHOG_SHUTDOWN_TIMEOUT_S": "60", "OTEL_POSTHOG_HTTP_TIMEOUT_S": "60"}
"""For a process of which all has to arrive: what is late on a busy machine would be spooled."""


class Tracker:
    """A process that tracks what it is told."""

    def __init__(self, sink_url, database_url, **settings):
        arguments = [sink_url, database_url, json.dumps(settings)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", Path(__file__).with_name("tracker.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "started"

    def tell(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def ask(self, command):
        self.tell(command)
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate(timeout=WAIT_S)[1])
        return json.loads(line)

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)

    def exit(self):
        """End it as a program ends; return its complaints."""
        _, errors = self.process.communicate("exit\n", timeout=WAIT_S)
        return errors


@contextmanager
def tracking(sink_url, database_url, **settings):
    """Yield a tracker with short pauses, and end it whatever happens."""
    tracker = Tracker(sink_url, database_url, **{**QUICK, **settings})
    try:
        yield tracker
    finally:
        if tracker.process.poll() is None:
            tracker.kill()


def spooled_numbers(folder):
    """Return the numbers of the events that lie in the spool, of which the file must be sound."""
    path = folder / "spool.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        is_made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone()
        rows = connection.execute("SELECT body FROM batches").fetchall() if is_made else []
    return [event.properties["number"] for (body,) in rows for event in decoded(body)[1]]
