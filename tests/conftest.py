"""Fixtures that every test may ask for."""

from __future__ import annotations

import pytest

from otel_posthog import Telemetry
from otel_posthog.testing import PostHogSink, serve

pytest_plugins = ["browsers", "postgres", "pytester"]

API_KEY = "phc_test_key_of_no_project"


@pytest.fixture(scope="session")
def _served_sink():
    sink = PostHogSink()
    with serve(sink) as url:
        yield sink, url


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
def database_url(tmp_path):
    """Return the URL of a SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/data/app.db"


@pytest.fixture
def make_telemetry(sink, sink_url, database_url):
    """Return a function that makes a `Telemetry` for the local PostHog; it is stopped after the test."""
    made = []

    def make(**options):
        defaults = {"api_key": API_KEY, "host": sink_url, "database": database_url, "batch_delay_s": 0.02}
        telemetry = Telemetry(**{**defaults, "environ": {}, **options})
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
