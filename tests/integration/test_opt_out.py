"""Consent across the workers of one server, under load."""

from __future__ import annotations

import json
import time

import pytest
from databases import new_database
from servers import WAIT_S, Load, call, serving
from thoroughness import IS_FULL
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.testing import Fault, PostHogSink, serve

PER_S = 200 if IS_FULL else 60
WARM_UP = 1000 if IS_FULL else 60
SPOOLED = 400 if IS_FULL else 40
WORKERS = 4
LOADED_S = 5 * WAIT_S  # a machine that is busy with other things does not keep the rate
FOLLOWED_WITHIN_S = 1
FOLLOWED_WITHIN_NS = FOLLOWED_WITHIN_S * 10**9


@pytest.fixture(params=["sqlite-url", "psycopg-url"])
def database(request, tmp_path):
    """Return a database in which both kinds have been granted, so that errors go on when events end."""
    with new_database(request.param, request) as made:
        telemetry = Telemetry(database=made.target, environ={}, spool_dir=":memory:")
        telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
        telemetry.shutdown()
        yield made


@pytest.fixture
def loaded(database, tmp_path):
    """Yield a server of four workers under load, with some events delivered and some in the spool."""
    sink = PostHogSink(max_events=100_000, max_requests=100_000)
    program = ["uvicorn", "loaded_product:app", "--workers", str(WORKERS), "--port", "{port}"]
    with serve(sink) as sink_url:
        environment = {
            "SINK_URL": sink_url,
            "DATABASE_URL": str(database.target),
            "SPOOL_DIR": str(tmp_path / "spool"),
        }
        server = serving(program, tmp_path / "server.log", **environment)
        with server as (url, _process), Load(url, per_s=PER_S) as load:
            wait_until(lambda: len(sink.events) >= WARM_UP, timeout_s=LOADED_S)
            wait_until(lambda: len(_senders(sink)) == WORKERS, timeout_s=LOADED_S)
            before = len(load.answered)
            sink.script([Fault(status=503, times=None)])
            wait_until(lambda: len(load.answered) >= before + SPOOLED, timeout_s=LOADED_S)
            yield sink, url, load


def _arrivals(sink):
    """Return number, process and time of arrival of all that reached the sink's socket."""
    return [
        (event["properties"]["number"], event["properties"]["pid"], request.arrived_at_ns)
        for request in sink.requests
        if request.decoded  # a request that meets a withdrawal ends before its body
        for event in json.loads(request.decoded)["batch"]
    ]


def _senders(sink, *, since_ns=0):
    """Return the processes from which something arrived after this moment."""
    return {pid for _, pid, at_ns in _arrivals(sink) if at_ns > since_ns}


def _put(url, **flags):
    answer = call("PUT", f"{url}/api/settings/system", json=flags)
    assert answer.status_code == 200
    return int(answer.headers["x-pid"]), time.monotonic_ns()


def _wait_for_new_ones(sink, load):
    """Wait until something arrives that was tracked from now on."""
    last = max(load.answered)
    wait_until(lambda: any(number > last for number, *_ in _arrivals(sink)), timeout_s=WAIT_S)


@pytest.mark.parametrize(
    ("database", "again_after_s"), [("sqlite-url", 0.0), ("psycopg-url", 0.2)], indirect=["database"]
)
def test_opt_out_is_followed_by_all_workers(loaded, again_after_s, record_property):
    """After a withdrawal nothing accepted before it leaves, though consent is back a moment later (R4)."""
    sink, url, load = loaded
    serving_pid, off_ns = _put(url, enable_telemetry=False)
    time.sleep(again_after_s)  # the moment of the return is the point, nothing is awaited
    _put(url, enable_telemetry=True)
    time.sleep(FOLLOWED_WITHIN_S)  # what comes out of the spool now comes too late
    sink.script([])

    _wait_for_new_ones(sink, load)

    accepted_before = load.answered_before(off_ns)
    late = [arrival for arrival in _arrivals(sink) if arrival[0] in accepted_before and arrival[2] > off_ns]
    record_property("accepted before", len(accepted_before))
    record_property("arrived within a second after", len(late))
    assert [arrival for arrival in late if arrival[2] > off_ns + FOLLOWED_WITHIN_NS] == []
    assert [arrival for arrival in late if arrival[1] == serving_pid] == []


@pytest.mark.parametrize("database", ["sqlite-url"], indirect=True)
def test_opt_in_reaches_every_worker(loaded):
    """After all was off, each worker sends again once it has been called (R4)."""
    sink, url, _load = loaded
    _put(url, enable_telemetry=False, enable_error_reporting=False)
    sink.script([])
    workers = _senders(sink)
    _, on_ns = _put(url, enable_telemetry=True)

    wait_until(lambda: _senders(sink, since_ns=on_ns) == workers, timeout_s=WAIT_S)

    assert len(workers) == WORKERS


def test_opt_out_by_sql_is_followed_by_all_workers(loaded, database):
    """A flag that is changed by SQL counts within a second, also for what waits in the spool (R4)."""
    sink, _url, load = loaded
    database.sql("UPDATE system_settings SET enable_telemetry = FALSE")
    off_ns = time.monotonic_ns()
    sink.script([])
    time.sleep(1.5)  # longer than a worker may take; afterwards nothing may come
    database.sql("UPDATE system_settings SET enable_telemetry = TRUE")

    _wait_for_new_ones(sink, load)

    accepted_before = load.answered_before(off_ns)
    limit_ns = off_ns + FOLLOWED_WITHIN_NS
    assert [a for a in _arrivals(sink) if a[0] in accepted_before and a[2] > limit_ns] == []
