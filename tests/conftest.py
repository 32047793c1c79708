"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["browsers", "postgres", "pytester", "redis_server", "shuffling"]

MAX_ABANDONED = 8  # each holds a port and an event loop
PATIENT_S = 30
API_KEY = "phc_test_key_of_no_project"

# A machine that tests several Pythons at once is slow at any point. CI repeats the same examples.
settings.register_profile(
    "project",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

# What started the tests, such as nohup, may ignore these, and each server of a test would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    """Let tests write the pages that they compare with."""
    parser.addoption("--write", action="store_true", help="write the tables of the documentation again")


def pytest_itemcollected(item):
    """Bound the tests of the Collector generously: the first one may have to build it."""
    if item.get_closest_marker("collector"):
        item.add_marker(pytest.mark.timeout(3_600))


class _Sinks:
    """One local PostHog for the tests of a process; another one after a test whose threads may still send."""

    def __init__(self):
        self._current = None
        self._abandoned = deque()

    def current(self):
        import posthog.request  # noqa: F401, PLC0415 - else the first delivery waits for it, seconds under load

        from otel_posthog.testing import PostHogSink, serve  # noqa: PLC0415 - many tests need no server

        if self._current is None:
            sink, server = PostHogSink(), ExitStack()
            self._current = sink, server.enter_context(serve(sink)), server
        return self._current[:2]

    def abandon_if_busy(self):
        if any(thread.name.startswith(("otel-posthog", "Otel")) for thread in threading.enumerate()):
            self._abandoned.append(self._current[2])
            self._current = None
        if len(self._abandoned) > MAX_ABANDONED:
            self._abandoned.popleft().close()

    def close(self):
        for server in (*self._abandoned, *([self._current[2]] if self._current else [])):
            server.close()


@pytest.fixture(scope="session")
def _sinks():
    sinks = _Sinks()
    yield sinks
    sinks.close()


@pytest.fixture
def _served_sink(_sinks):
    yield _sinks.current()
    _sinks.abandon_if_busy()


@pytest.fixture
def sink(_served_sink):
    """Return a local PostHog on a real socket, with nothing in it and no faults scripted."""
    sink, _ = _served_sink
    sink.script([])
    sink.clear()
    return sink


@pytest.fixture
def sink_url(_served_sink):
    """Return the address of the local PostHog."""
    return _served_sink[1]


@pytest.fixture
def own_sink():
    """Return a local PostHog of this test's own, and its address: nothing of another test arrives late."""
    from otel_posthog.testing import PostHogSink, serve  # noqa: PLC0415 - many tests need no server

    sink = PostHogSink()
    with serve(sink) as url:
        yield sink, url


@pytest.fixture
def database_url(tmp_path):
    """Return the URL of a SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/data/app.db"


@pytest.fixture
def make_telemetry(sink, sink_url, database_url):
    """Return a function that makes a `Telemetry` for the local PostHog; it is stopped after the test."""
    from otel_posthog import Telemetry  # noqa: PLC0415 - many tests need neither SQLAlchemy nor the SDK

    made = []

    def make(**options):
        defaults = {"api_key": API_KEY, "host": sink_url, "database": database_url, "batch_delay_s": 0.02}
        defaults |= {"environ": {}, "shutdown_timeout_s": PATIENT_S}  # on a busy machine
        telemetry = Telemetry(**{**defaults, **options})
        made.append(telemetry)
        return telemetry

    yield make
    for telemetry in made:
        telemetry.shutdown(timeout_s=1)


@pytest.fixture
def telemetry(make_telemetry):
    """Return a running `Telemetry` for which nothing has been granted yet."""
    made = make_telemetry()
    made.start()
    return made


@pytest.fixture
def granted(telemetry):
    """Return a running `Telemetry` with both kinds granted."""
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    return telemetry
