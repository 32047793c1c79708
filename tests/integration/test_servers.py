"""The servers that products run under: each works, nothing is doubled, and each ends."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from servers import call, serving, stop
from trackers import PATIENT, spooled_numbers

from otel_posthog import Telemetry

REQUESTS = 40
FAR_TOO_MANY = 5_000
GUNICORN = "gunicorn --no-control-socket --workers 4 --bind 127.0.0.1:{port}"
SERVERS = {
    "uvicorn": "uvicorn loaded_product:app --workers 4 --port {port}",
    "gunicorn preload": f"{GUNICORN} -k asgi --preload loaded_product:app",
    "granian": "granian loaded_product:app --interface asgi --workers 4 --port {port}",
}
WSGI_SERVERS = {
    "gunicorn preload": f"{GUNICORN} --preload wsgi_product:app",
    "gunicorn gevent": f"{GUNICORN} -k gevent wsgi_product:app",
}


@pytest.fixture
def environment(sink_url, database_url, tmp_path):
    """Return the variables of a product in which both kinds have been granted."""
    telemetry = Telemetry(database=database_url, environ={}, spool_dir=":memory:")
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()
    places = {"SINK_URL": sink_url, "DATABASE_URL": database_url, "SPOOL_DIR": str(tmp_path / "spool")}
    return {**PATIENT, **places}


def _serve_requests(command, log, environment):
    """Run the server, track things until two workers have answered, end it with SIGTERM; return how many."""
    workers, number = set(), 0
    with serving(command.split(), log, **environment) as (url, process):
        while number < REQUESTS or len(workers) < 2:  # the others may still be starting
            answer = call("GET", f"{url}/track/{number}")
            assert answer.status_code == 200, log.read_text()
            workers.add(answer.headers["x-pid"])
            number += 1
            assert number < FAR_TOO_MANY, "one worker answers all"
        stop(process)
    return number


@pytest.mark.parametrize("server", SERVERS)
def test_asgi_server(server, environment, sink, tmp_path):
    """Each tracked event arrives once from several workers, the last ones at SIGTERM."""
    tracked = _serve_requests(SERVERS[server], tmp_path / "log", environment)

    numbers = [event.properties["number"] for event in sink.events if event.name == "numbered"]
    assert sorted(numbers) == list(range(tracked)), (tmp_path / "log").read_text()
    assert len({event.distinct_id for event in sink.events}) == 1


@pytest.mark.parametrize("server", WSGI_SERVERS)
def test_wsgi_server(server, environment, sink, tmp_path):
    """Without ASGI, and started before the workers are forked, it works in each, and tells nothing twice."""
    tracked = _serve_requests(WSGI_SERVERS[server], tmp_path / "log", environment)

    numbers = [event.properties["number"] for event in sink.events if event.name == "numbered"]
    assert sorted(numbers) == list(range(tracked)), (tmp_path / "log").read_text()
    imported_by = [event.properties["pid"] for event in sink.events if event.name == "imported"]
    assert len(imported_by) == len(set(imported_by))
    assert len(imported_by) == 1 or "preload" not in server


def test_sigterm_while_posthog_is_silent(environment, tmp_path):
    """Ended while PostHog takes connections and says nothing, four workers end in time and spool all."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as silent:
        variables = {
            **environment,
            "SINK_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_POSTHOG_SHUTDOWN_TIMEOUT_S": "2",
        }

        tracked = _serve_requests(SERVERS["uvicorn"], tmp_path / "log", variables)

    assert sorted(spooled_numbers(tmp_path / "spool")) == list(range(tracked)), (tmp_path / "log").read_text()
