"""Bytes on the wire and CPU per event: straight to PostHog, and to a Collector.

    python benchmarks/exits.py

Each exit is a server in a process of its own, so its CPU is not counted.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from answering import answering

from otel_posthog import Telemetry, capture_exception, track

EVENTS = 2_000
WAIT_S = 60
ANSWERS = {
    "posthog": ({}, b'{"status": 1}'),
    "collector": ({"Content-Type": "application/x-protobuf"}, b""),
}


def _serve(exit_, channel):
    with answering() as server:
        server.headers, server.body = ANSWERS[exit_]
        channel.send(server.url)
        channel.recv()
        channel.send(sum(len(body) for *_, body in server.requests))


def _fail(number):
    def inner():
        raise ValueError(f"no such run: {number % 7}")

    try:
        inner()
    except ValueError as error:
        capture_exception(error)


def _count(number):
    track("run_started", {"number": number, "triggered_by": "manual", "has_requirements": True})


def _measured(exit_, make):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(exit_, theirs))
    process.start()
    url = ours.recv()
    ways = {
        "posthog": {"api_key": "phc_test", "host": url},
        "collector": {"send_to": "collector", "collector_endpoint": f"{url}/v1/logs"},
    }
    with tempfile.TemporaryDirectory() as folder:
        given = {"error_burst": 1_000_000, "environ": {}, "spool_dir": ":memory:"}
        with Telemetry(database=f"sqlite:///{folder}/app.db", **given, **ways[exit_]) as telemetry:
            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            make(0)
            telemetry.flush(WAIT_S)  # what is loaded with the first event
            before_s = time.process_time()
            for number in range(EVENTS):
                make(number)
            assert telemetry.flush(WAIT_S)
            took_s = time.process_time() - before_s
    ours.send("done")
    sent_bytes = ours.recv()
    process.join()
    return took_s / EVENTS * 1e6, sent_bytes / EVENTS


def main() -> None:
    """Print one line for each exit and kind of event."""
    print(f"| {EVENTS:,} events | CPU per event | bytes on the wire per event |\n|---|---|---|")
    for name, make in (("product event", _count), ("exception", _fail)):
        for exit_ in ANSWERS:
            cpu_us, sent_bytes = _measured(exit_, make)
            print(f"| {name} to {exit_} | {cpu_us:.0f} µs | {sent_bytes:.0f} |")


if __name__ == "__main__":
    main()
