"""Modules entered and moves between modules on the path of one warm event.

A module is entered when one of its functions runs. A move is a call of a function in one module of
`otel_posthog` while the nearest `otel_posthog` frame below it, on the same thread's stack, is in another;
frames of other packages in between are skipped. A resumed generator or coroutine is a call, as for the
profiler. A call without such a frame below (from the application, or first on a thread) enters its module
without a move. `otel_posthog.testing` and what it calls are never counted.

Each flow has a SQLite database in a temporary folder and a transport in memory. It begins at the
application's call and ends when all threads have finished what the call started. Two events fill imports
and caches. Five more are measured and the one with the fewest moves is reported, because a background
refresh of consent falls into some of them. The values change from event to event, so that the cache of
clean texts does not hide the scrubbing; a token in the exception's message takes it through the secret
patterns.

Prints a table in Markdown; `--trace FLOW` prints the moves, one a line. Count what repeats with
`python benchmarks/walks.py --trace track | sort | uniq -c | sort -rn`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from otel_posthog import Telemetry, settings_api, track
from otel_posthog.config import Config
from otel_posthog.delivery.transport import RecordingTransport, Result
from otel_posthog.gateway import Gateway, make_app

PACKAGE = "otel_posthog"
APPARATUS = f"{PACKAGE}.testing"
WARM_UPS = 2
RUNS = 5
SETTLE_S = 0.15  # counters and metrics follow the delivery
BOUND_S = 20.0
START_S = 1_800_000_000
DAY_S = 86_400
MANIFEST = Path(__file__).parent.parent / "examples/fastflow/telemetry-manifest.json"


class Call(NamedTuple):
    """A call into a module of the package; `caller` is empty without a frame of the package below."""

    caller: str
    callee: str
    text: str

    @property
    def is_move(self):
        """Whether it leads from one module to another."""
        return self.caller not in ("", self.callee)


class Recorder:
    """Record the calls into the package on this thread and on those that start later."""

    def __init__(self):
        self._calls = []
        self._is_on = False
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def calls_of(self, act, number):
        """Return the calls that one event causes."""
        self._calls, self._is_on = [], True
        try:
            act(number)
            time.sleep(SETTLE_S)
        finally:
            self._is_on = False
        return self._calls

    def _profile(self, frame, event, _argument):
        if not self._is_on or event != "call" or not _is_in(_module(frame), PACKAGE):
            return
        below = frame.f_back
        while below is not None and not _is_in(_module(below), PACKAGE):
            below = below.f_back
        caller, callee = _module(below), _module(frame)
        if not _is_in(caller, APPARATUS) and not _is_in(callee, APPARATUS):
            self._calls.append(Call(caller, callee, f"{_name(below)} → {_name(frame)}"))


def _module(frame):
    return "" if frame is None else frame.f_globals.get("__name__", "")


def _name(frame):
    return "" if frame is None else f"{_module(frame)}:{frame.f_code.co_qualname}"


def _is_in(module, package):
    return module == package or module.startswith(f"{package}.")


class AwaitedTransport(RecordingTransport):
    """Announce each batch that is accepted."""

    def __init__(self):
        super().__init__()
        self._arrived = threading.Semaphore(0)

    def send(self, batch, may_leave):
        """Accept the batch, which holds the one event of a flow."""
        delivery = super().send(batch, may_leave)
        if delivery.result is Result.ACCEPTED:
            self._arrived.release()
        return delivery

    def awaiting(self, act):
        """Return a function that does the same and waits until one event has arrived."""

        def act_and_wait(number):
            act(number)
            if not self._arrived.acquire(timeout=BOUND_S):
                raise TimeoutError("no event arrived")

        return act_and_wait


@contextmanager
def _product(folder, **options):
    """Yield a running Telemetry with consent to both kinds, and its transport."""
    transport = AwaitedTransport()
    options |= {"batch_delay_s": 0.05, "consent_max_age_s": 1.0, "transport": transport, "environ": {}}
    with Telemetry(database=f"sqlite:///{folder}/app.db", **options) as telemetry:
        telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
        yield telemetry, transport


def _nothing():
    """Prepare nothing."""


# Each flow yields a function that prepares the next event, unmeasured, and one that causes it.


@contextmanager
def _exception(folder):
    def find(number):
        raise LookupError(f"token=ghp_a8Kd93jdK3kdkJd93kdj3KDJ3kdj{number}a")

    async def fail(request):
        try:
            find(request.query_params["number"])
        except LookupError as error:
            raise RuntimeError("the order failed") from error

    with _product(folder) as (telemetry, transport):
        app = telemetry.wrap(Starlette(routes=[Route("/", fail)]))
        client = TestClient(app, raise_server_exceptions=False)
        yield _nothing, transport.awaiting(lambda number: client.get("/", params={"number": number}))


@contextmanager
def _track(folder):
    def act(number):
        properties = {"number": number, "provider": f"provider{number}", "is_paid": True}
        track(f"order_{'abcdefg'[number]}", properties)

    with _product(folder) as (_, transport):
        yield _nothing, transport.awaiting(act)


@contextmanager
def _settings(folder):
    def put(*, is_on):
        client.put("/system", json={"enable_telemetry": is_on}).raise_for_status()

    with _product(folder) as (telemetry, _):
        client = TestClient(settings_api.app(telemetry, authorize=lambda _connection: True))
        yield lambda: put(is_on=True), lambda _number: put(is_on=False)


@contextmanager
def _heartbeat(folder):
    today = 0

    def clock():
        return START_S + today * DAY_S

    def next_day():
        nonlocal today
        today += 1

    with _product(folder, clock=clock, heartbeat_check_s=3600.0) as (telemetry, transport):
        telemetry.heartbeat.gauge("pipelines")(lambda: today * 7)
        telemetry.heartbeat.use("database_size_mb")
        telemetry.heartbeat.send_if_due()  # the first day is not due
        yield next_day, transport.awaiting(lambda _number: telemetry.heartbeat.send_if_due())


@contextmanager
def _gateway(_folder):
    instance_id = str(uuid4())
    config = Config.resolve({"api_key": "phc_walks", "gateway_manifests": str(MANIFEST)}, {})
    transport = AwaitedTransport()

    def post(_number):
        request = ExportLogsServiceRequest()
        scope_logs = request.resource_logs.add().scope_logs.add()
        scope_logs.scope.name = PACKAGE
        record = scope_logs.log_records.add(event_name="user_logged_in", time_unix_nano=time.time_ns())
        for key, text in (("event_uuid", str(uuid4())), ("instance_id", instance_id)):
            record.attributes.add(key=f"posthog.{key}").value.string_value = text
        for key in ("posthog.consent.telemetry", "is_new_user"):
            record.attributes.add(key=key).value.bool_value = True
        headers = {"content-type": "application/x-protobuf"}
        client.post("/v1/logs", content=request.SerializeToString(), headers=headers).raise_for_status()

    with TestClient(make_app(Gateway(config, transport))) as client:
        yield _nothing, transport.awaiting(post)


@contextmanager
def _quiet(folder):
    with _product(folder) as (telemetry, _):
        client = TestClient(telemetry.wrap(Response()))
        yield _nothing, lambda _number: client.get("/")


FLOWS = {  # title, run, and how many modules and moves are wanted at most
    "exception": ("exception, middleware to transport", _exception, 35, 130),
    "track": ("`track()` to transport", _track, 25, 80),
    "settings": ("PUT settings to purge", _settings, 18, 50),
    "heartbeat": ("heartbeat", _heartbeat, 28, 110),
    "gateway": ("OTLP log through the gateway", _gateway, 16, 60),
    "quiet": ("quiet request", _quiet, 1, 0),
}


def measure(recorder, flow):
    """Return the calls of the event with the fewest moves."""
    runs = []
    with tempfile.TemporaryDirectory() as folder, flow(Path(folder)) as (prepare, act):
        for number in range(WARM_UPS + RUNS):
            prepare()
            time.sleep(SETTLE_S)
            runs.append(recorder.calls_of(act, number))
    return min(runs[WARM_UPS:], key=lambda calls: sum(call.is_move for call in calls))


def main():
    """Print the table, the same as JSON, or the moves of one flow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trace", choices=FLOWS)
    options = parser.parse_args()
    recorder = Recorder()
    if options.trace:
        calls = measure(recorder, FLOWS[options.trace][1])
        print(*(call.text for call in calls if call.is_move), sep="\n")
        return
    found = {}
    for name, (_, run, *wanted) in FLOWS.items():
        calls = measure(recorder, run)
        modules, moves = {call.callee for call in calls}, [call for call in calls if call.is_move]
        found[name] = {"modules": len(modules), "moves": len(moves), "wanted": wanted}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("| flow | modules entered | moves | wanted |\n|---|---:|---:|---|")
    for name, row in found.items():
        wanted = ", ".join(f"≤ {most}" for most in row["wanted"])
        print(f"| {FLOWS[name][0]} | {row['modules']} | {row['moves']} | {wanted} |")


if __name__ == "__main__":
    main()
