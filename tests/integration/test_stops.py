"""How servers stop: whatever the server, its workers and the signal, nothing that was accepted is lost."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import httpx2
import pytest
from servers import WAIT_S, Load, call, serving
from thoroughness import IS_FULL
from trackers import PATIENT
from waiting import wait_until

from otel_posthog import Telemetry

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
PER_S = 40
ANSWERED = 40
LAST_WORD = re.compile(r"boom (\d+) of ")
SERVERS = {
    "uvicorn": "uvicorn {app} --port {port} --workers {workers} --timeout-worker-healthcheck 60",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port} --workers {workers}",
    "granian": "granian {app} --interface asgi --port {port} --workers {workers}",
    "gunicorn": "gunicorn {app} --no-control-socket --bind 127.0.0.1:{port} --workers {workers} "
    "-k uvicorn.workers.UvicornWorker",
}
STOPS = [
    pytest.param(
        (server, workers, stop, mode),
        id=f"{server}-{workers}-{stop}-{mode}",
        marks=pytest.mark.xfail(
            server == "gunicorn" and stop == "SIGINT",
            reason="uvicorn's worker ignores SIGINT once it has set the default action",
            strict=False,
        ),
    )
    for server in SERVERS
    for workers in ("1", "2")
    for stop in ("SIGTERM", "SIGINT", "SIGHUP")
    for mode in ("code", "file")
]
FEW = [
    ("uvicorn", "1", "SIGHUP", "code"),
    ("uvicorn", "2", "SIGTERM", "file"),
    ("granian", "2", "SIGTERM", "file"),
    ("gunicorn", "1", "SIGTERM", "file"),
]


@pytest.fixture
def database(tmp_path):
    """Return the URL of a database in which both kinds have been granted."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    telemetry = Telemetry(database=url, environ={}, spool_dir=":memory:")
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()
    return url


@pytest.fixture
def environment(own_sink, database, tmp_path):
    """Return the variables of both products."""
    return {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "OTEL_CONFIG_FILE": str(ROOT / "otel-config.yaml"),
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": own_sink[1],
        "SINK_URL": own_sink[1],
        "OTEL_POSTHOG_DATABASE": database,
        "DATABASE_URL": database,
        "SPOOL_DIR": str(tmp_path / "app.db-spool"),
        "BATCH_DELAY_S": "1",
        # One worker may meet hundreds of the same failure before the other one meets any.
        "OTEL_POSTHOG_ERROR_BURST": "1000000",
        "PYTHONWARNINGS": "ignore",
        **PATIENT,
    }


class _Product:
    """One of the two products under a server: who answers, what was accepted, and what arrived."""

    def __init__(self, mode):
        self.is_code = mode == "code"
        self.app = "loaded_product:app" if self.is_code else "zero_code_product:app"
        self.runner = (
            (sys.executable, "-m") if self.is_code else (str(PROGRAMS / "opentelemetry-instrument"),)
        )
        self.load = (
            {"path": "/track/{}", "status": 200} if self.is_code else {"path": "/boom/{}", "status": 500}
        )

    def pid(self, url):
        """Return which process answers, None if there is none at the moment."""
        try:
            answer = call("GET", f"{url}/")
        except httpx2.TransportError:
            return None
        return int(answer.headers["x-pid"] if self.is_code else answer.json()["pid"])

    def arrived(self, sink):
        """Return the numbers of the requests of which an event has arrived."""
        if self.is_code:
            return {event.properties["number"] for event in sink.events if event.name == "numbered"}
        errors = [event.properties for event in sink.events if event.name == "$exception"]
        return {int(LAST_WORD.match(own["$exception_list"][0]["value"]).group(1)) for own in errors}


def _stop(product, url, process, number):
    """Stop the server; one that begins new workers at this signal is stopped by SIGTERM after that."""
    before = {*(path.name for path in Path("/proc").iterdir()), "None"}
    process.send_signal(number)
    if number == signal.SIGHUP:
        wait_until(
            lambda: process.poll() is not None or str(product.pid(url)) not in before, timeout_s=WAIT_S
        )
        process.send_signal(signal.SIGTERM)
    process.wait(WAIT_S)


@pytest.mark.timeout(4 * WAIT_S)
@pytest.mark.parametrize("cell", STOPS if IS_FULL else [pytest.param(few, id="-".join(few)) for few in FEW])
def test_stop_loses_nothing(cell, own_sink, environment, tmp_path, record_property):
    """Each request that was answered has its event, at once or when the next process sends the spool."""
    (server, workers, stop, mode), (sink, sink_url) = cell, own_sink
    product, log = _Product(mode), tmp_path / "log"
    command = SERVERS[server].replace("{app}", product.app).replace("{workers}", workers).split()
    with serving(command, log, runner=product.runner, **environment) as (url, process):
        with Load(url, per_s=PER_S, **product.load) as load:
            wait_until(lambda: len(load.answered) >= ANSWERED, timeout_s=WAIT_S)
            _stop(product, url, process, signal.Signals[stop])
        accepted = set(load.answered)

    with Telemetry(
        api_key="phc_test", host=sink_url, database=environment["DATABASE_URL"], environ={}
    ) as successor:
        assert successor.flush(WAIT_S)

    missing = sorted(accepted - product.arrived(sink))
    record_property("accepted", len(accepted))
    record_property("lost", len(missing))
    assert missing == []
