"""What two workers that have read a no send once consent is given."""

from __future__ import annotations

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from databases import new_database
from servers import WAIT_S, call, serving
from waiting import wait_until

from otel_posthog import Telemetry

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
# uvicorn ends a worker that does not answer for five seconds, as while a slow machine loads it.
SERVER = ["uvicorn", "--workers", "2", "--port", "{port}", "--timeout-worker-healthcheck", "60"]
AT_ONCE = 5
FAR_TOO_MANY = 2_000


@pytest.fixture(params=["sqlite-url", "psycopg-url"])
def database(request, tmp_path):
    """Return an empty database."""
    with new_database(request.param, request) as made:
        yield made


@pytest.fixture
def serve_off(own_sink, database, tmp_path):
    """Return a function that serves a product with two workers, configured by code or by a file."""

    def start(mode, **more):
        environment = {"POSTHOG_HOST": own_sink[1], "OTEL_POSTHOG_DATABASE": str(database.target), **more}
        if mode == "code":
            return serving([*SERVER, "granted_product:app"], tmp_path / "log", **environment)
        environment |= {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "OTEL_CONFIG_FILE": str(ROOT / "otel-config.yaml"),
            "POSTHOG_API_KEY": "phc_test",
        }
        runner = (str(PROGRAMS / "opentelemetry-instrument"),)
        return serving([*SERVER, "zero_code_product:app"], tmp_path / "log", runner=runner, **environment)

    return start


def _at_once(url, numbers, path="boom"):
    """Send requests that fail at the same time; each may meet either worker."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        answers = pool.map(lambda number: call("GET", f"{url}/{path}/{number}").status_code, numbers)
        assert set(answers) == {500}


def _warm_up(url, path=""):
    """Send requests until both workers have answered."""
    workers = set()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(FAR_TOO_MANY):
            workers |= set(pool.map(lambda _: call("GET", f"{url}/{path}").text, range(AT_ONCE)))
            if len(workers) == 2:
                return
    raise AssertionError("one worker answers all")


def _arrived(sink):
    """Return number and worker of each error that arrived."""
    messages = [e.properties["$exception_list"][0]["value"] for e in sink.events if e.name == "$exception"]
    return [tuple(map(int, re.match(r"boom (\d+) of (\d+)", message).groups())) for message in messages]


def _grant_by_sql(database):
    wait_until(lambda: _has_row(database), timeout_s=WAIT_S)
    database.sql("UPDATE system_settings SET enable_error_reporting = TRUE, enable_telemetry = TRUE")


def _has_row(database):
    try:
        return database.sql("SELECT id FROM system_settings")
    except Exception:  # noqa: BLE001 - each driver has its own for a table that is not there yet
        return False


@pytest.mark.parametrize("mode", ["code", "file"])
def test_three_errors_right_after_a_grant_by_sql_arrive(serve_off, own_sink, database, mode):
    """Each worker reads consent again before it drops its first error."""
    with serve_off(mode) as (url, _process):
        _warm_up(url)
        _grant_by_sql(database)

        _at_once(url, range(3))

        wait_until(lambda: len(_arrived(own_sink[0])) >= 3, timeout_s=WAIT_S)
    assert sorted(number for number, _ in _arrived(own_sink[0])) == [0, 1, 2]


@pytest.mark.parametrize("database", ["sqlite-url"], indirect=True)
def test_first_errors_that_a_handler_answers_arrive(serve_off, own_sink, database):
    """The request that finds the last answer too old is watched while the new one is read."""
    with serve_off("code", OTEL_POSTHOG_CONSENT_MAX_AGE_S="0.01") as (url, _process):
        _warm_up(url)
        _grant_by_sql(database)

        _at_once(url, range(3), "swallowed")

        wait_until(lambda: len(_arrived(own_sink[0])) >= 3, timeout_s=WAIT_S)
    assert sorted(number for number, _ in _arrived(own_sink[0])) == [0, 1, 2]


@pytest.mark.parametrize("database", ["sqlite-url"], indirect=True)
@pytest.mark.parametrize(
    ("mode", "number", "pause_s"),
    [("code", 20, 0.1), ("code", 10, 1.0), ("file", 20, 0.1), ("file", 10, 1.0)],
)
def test_errors_in_a_row_after_a_grant_by_sql_arrive(serve_off, own_sink, mode, number, pause_s, database):
    """However far apart errors are, and whichever worker they meet, all arrive from the first on."""
    with serve_off(mode) as (url, _process):
        _warm_up(url)
        _grant_by_sql(database)

        for each in range(number):
            _at_once(url, [each])
            time.sleep(pause_s)  # the pace of the errors is the point

        wait_until(lambda: len(_arrived(own_sink[0])) >= number, timeout_s=WAIT_S)
    assert sorted(each for each, _ in _arrived(own_sink[0])) == list(range(number))


@pytest.mark.parametrize(
    ("database", "mode"),
    [("sqlite-url", "code"), ("psycopg-url", "code"), ("sqlite-url", "file")],
    indirect=["database"],
)
def test_errors_right_after_a_grant_elsewhere_arrive(serve_off, own_sink, database, mode):
    """A grant by API in one process counts in the others from its time on; nothing from before arrives."""
    elsewhere = Telemetry(database=database.target, environ={}, spool_dir=":memory:")
    with serve_off(mode) as (url, _process):
        _warm_up(url)
        _at_once(url, range(1_000, 1_000 + AT_ONCE))
        elsewhere.update_settings(enable_error_reporting=True)

        sent = 0
        while len({pid for _, pid in _arrived(own_sink[0])}) < 2:
            _at_once(url, range(sent, sent + AT_ONCE))
            sent += AT_ONCE
            wait_until(lambda wanted=sent: len(_arrived(own_sink[0])) >= wanted, timeout_s=WAIT_S)
    elsewhere.shutdown()
    assert sorted(number for number, _ in _arrived(own_sink[0])) == list(range(sent))


@pytest.mark.parametrize("database", ["sqlite-url"], indirect=True)
def test_event_right_after_a_grant_by_sql_arrives(serve_off, own_sink, database):
    """What is tracked first after a grant is sent, too."""
    with serve_off("code") as (url, _process):
        _warm_up(url)
        _grant_by_sql(database)

        assert call("GET", f"{url}/track/7").status_code == 200

        wait_until(lambda: own_sink[0].events, timeout_s=WAIT_S)
    assert [event.properties["number"] for event in own_sink[0].events] == [7]
