"""A real uvicorn with several workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import httpx2
import pytest
from ports import free_port
from programs import TESTS, environment
from trackers import PATIENT

TIMEOUT_S = 120  # longer than a patient product takes to end


@pytest.fixture
def server(sink_url, database_url, make_telemetry, tmp_path):
    """Return a client of two uvicorn workers, with error reporting granted, and their process."""
    make_telemetry().update_settings(enable_error_reporting=True)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "product:app", "--workers", "2", "--port", str(port)]
    product = {"SINK_URL": sink_url, "DATABASE_URL": database_url, **PATIENT}
    variables = environment(TESTS / "integration", **product)
    log = tmp_path / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
        _wait_for(client, process, log)
        yield client, process
    if process.poll() is None:
        process.kill()
    process.wait(TIMEOUT_S)


def _wait_for(client, process, log):
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            client.get("/fine")
        except httpx2.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)  # between two attempts, bounded by the deadline
        else:
            return


def test_each_failing_request_is_reported_once_by_several_workers(server, sink):
    """Under two workers each exception is exactly one event, all with one identity."""
    client, process = server

    answers = [client.get(f"/fail/{number}", headers={"connection": "close"}) for number in range(30)]

    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) is not None
    values = sorted(event.properties["$exception_list"][0]["value"] for event in sink.events)
    assert {answer.status_code for answer in answers} == {500}
    assert values == sorted(f"failure number {number}" for number in range(30))
    assert len({event.distinct_id for event in sink.events}) == 1
