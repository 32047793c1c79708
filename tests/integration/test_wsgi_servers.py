"""Flask and Django under gunicorn: each failure is reported, and nothing is lost however workers end."""

from __future__ import annotations

import signal

import pytest
from servers import WAIT_S, Load, serving
from trackers import PATIENT
from waiting import wait_until

from otel_posthog import Telemetry

PER_S = 40
ANSWERED = 60
GUNICORN = "gunicorn --no-control-socket --bind 127.0.0.1:{port} --workers 2 wsgi_products:"
# Each worker ends after so many requests, and another one begins.
RECYCLED = "--max-requests 25"
CELLS = {
    "sync": ("flask_app", "", signal.SIGTERM),
    "sync recycled": ("django_app", RECYCLED, signal.SIGTERM),
    "sync preload": ("django_app", "--preload", signal.SIGTERM),
    "threads": ("django_app", "-k gthread --threads 4", signal.SIGHUP),
    "threads recycled": ("flask_app", f"-k gthread --threads 4 {RECYCLED}", signal.SIGTERM),
    "threads preload": ("flask_app", "-k gthread --threads 4 --preload", signal.SIGTERM),
}


@pytest.fixture
def variables(own_sink, database_url, tmp_path):
    """Return the variables of a product in which both kinds have been granted."""
    telemetry = Telemetry(database=database_url, environ={}, spool_dir=":memory:")
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()
    places = {"SINK_URL": own_sink[1], "DATABASE_URL": database_url, "SPOOL_DIR": str(tmp_path / "spool")}
    # One worker may meet hundreds of the same failure before the other one meets any.
    return {**PATIENT, **places, "OTEL_POSTHOG_ERROR_BURST": "1000000"}


def _stop(process, load, number):
    """Stop the server by SIGTERM, after a SIGHUP with which it exchanges its workers."""
    if number == signal.SIGHUP:
        process.send_signal(number)
        before = len(load.answered)
        wait_until(lambda: len(load.answered) >= before + ANSWERED, timeout_s=WAIT_S)
    process.terminate()
    process.wait(WAIT_S)


def _numbers(sink):
    """Return the numbers of the failures that arrived, and of the events, each in order."""
    failures = [event.properties for event in sink.events if event.name == "$exception"]
    values = [properties["$exception_list"][0]["value"] for properties in failures]
    events = [event.properties["number"] for event in sink.events if event.name == "numbered"]
    assert {properties["$request_route"] for properties in failures} == {"/boom/{number}"}
    return sorted(int(value.rpartition(" ")[2]) for value in values), sorted(events)


@pytest.mark.timeout(6 * WAIT_S)
@pytest.mark.parametrize("cell", CELLS)
def test_gunicorn_loses_nothing(cell, own_sink, variables, tmp_path):
    """Each request that failed is one report and one event, at once or from the spool."""
    (app, options, number), (sink, sink_url), log = CELLS[cell], own_sink, tmp_path / "log"
    early = {"STARTED_EARLY": "1"} if "preload" in cell else {}
    command = [*f"{GUNICORN}{app}".split(), *options.split()]
    with serving(command, log, **variables, **early) as (url, process):
        with Load(url, per_s=PER_S, path="/boom/{}", status=500) as load:
            wait_until(lambda: len(load.answered) >= ANSWERED, timeout_s=2 * WAIT_S)
            _stop(process, load, number)
        answered = set(load.answered)

    with Telemetry(
        api_key="phc_test",
        host=sink_url,
        database=variables["DATABASE_URL"],
        spool_dir=variables["SPOOL_DIR"],
        environ={},
    ) as successor:
        assert successor.flush(WAIT_S)

    failures, events = _numbers(sink)
    assert sorted(answered - set(failures)) == sorted(answered - set(events)) == [], log.read_text()
    assert (len(failures), len(events)) == (len(set(failures)), len(set(events)))
