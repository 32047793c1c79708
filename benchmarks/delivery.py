"""What gets lost: otel_posthog beside posthog's client and OpenTelemetry's OTLP/HTTP exporter.

Each with its defaults, against one local server that answers alike to all. Four scenes: 30 s of 503
at 100 events/s; a burst of 20,000; an exit while each POST takes 40 ms; an hour's outage at 100
events/s, compressed, for memory and disk. `--quick` takes a tenth of each.

`--spool-first` runs two other scenes, of otel_posthog alone, without and with the setting of that name: a
steady load that is killed, in good weather, with a silent host and in an outage; and what a burst costs.

«lost» is what had not arrived when the process had ended; «after restart» is what is still missing
once a second process of the same product has run for a while. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENDERS = ("otel_posthog", "posthog", "otlp/http")
SETTINGS = {"otel_posthog": {}, "spool_first": {"spool_first": True}}
KILLS = 5
LIFE_S = 8.0  # of a process that is killed; its first batch waits for imports
UNTIL_KILLED = 10**9
RATE_PER_S = 100
AFTER_S = 20.0  # that a process lives on after its last event
LONG_SETTLED_S = 30.0  # a spool may be locked or in a pause, and imports are slow
SETTLED_S = 6.0  # without an arrival, after which a second process has nothing more to send
FOR_EVER_S = 3600.0
COMPRESSED_PER_S = 4_000


class Server(ThreadingHTTPServer):
    """Count the numbers that arrive; misbehave as told."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.numbers: set[int] = set()
        self.twice = 0
        self.delay_s = 0.0
        self.is_down = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that ended."""


class Handler(BaseHTTPRequestHandler):
    """Take PostHog's batches and OTLP's logs."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(self.server.delay_s)
        if not self.server.is_down:
            numbers = _numbers(self.path, body, self.headers.get("content-encoding"))
            self.server.twice += len(numbers & self.server.numbers)
            self.server.numbers |= numbers
        self.send_response(503 if self.server.is_down else 200)
        answer = b"" if "logs" in self.path else b'{"status": "Ok"}'
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _numbers(path: str, body: bytes, encoding: str | None) -> set[int]:
    content = gzip.decompress(body) if encoding == "gzip" else body
    if "logs" not in path:
        return {event["properties"]["number"] for event in json.loads(content)["batch"]}
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest.FromString(content)
    return {
        attribute.value.int_value
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
        for record in scope_logs.log_records
        for attribute in record.attributes
        if attribute.key == "number"
    }


# The contender's process.


def _tracker(contender: str, url: str, folder: Path):
    if contender in SETTINGS:
        from otel_posthog import Telemetry, track

        database = f"sqlite:///{folder}/app.db"
        telemetry = Telemetry(
            api_key="phc_test", host=url, database=database, environ={}, **SETTINGS[contender]
        )
        telemetry.start()
        return lambda number: track("numbered", {"number": number, "provider": "github", "ok": True})
    if contender == "posthog":
        from posthog import Posthog

        client = Posthog("phc_test", host=url)
        return lambda number: client.capture(
            "numbered", distinct_id="some", properties={"number": number, "provider": "github", "ok": True}
        )
    return _otlp_tracker(url)


def _otlp_tracker(url: str):
    from opentelemetry._logs import LogRecord
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{url}/v1/logs")))
    logger = provider.get_logger("benchmark")
    return lambda number: logger.emit(
        LogRecord(event_name="numbered", attributes={"number": number, "provider": "github", "ok": True})
    )


def _work(contender: str, url: str, folder: Path, *, numbers: range, per_s: float, after_s: float) -> None:
    track = _tracker(contender, url, folder)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin_s = time.monotonic()
    for number in numbers:
        if per_s:
            time.sleep(max(0.0, begin_s + (number - numbers.start) / per_s - time.monotonic()))
        track(number)
        if numbers.stop == UNTIL_KILLED:
            print(number, flush=True)
    time.sleep(after_s)
    used = resource.getrusage(resource.RUSAGE_SELF)
    said = {"grown_mb": (used.ru_maxrss - before_kb) / 1024, "cpu_s": used.ru_utime + used.ru_stime}
    print(json.dumps({**said, "ended_at_s": time.monotonic()}), flush=True)


# The parent's part.


@dataclass
class Run:
    """One contender in one scene."""

    contender: str
    server: Server = field(default_factory=Server)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="delivery-")))
    exit_s: float = 0.0
    grown_mb: float = 0.0
    cpu_s: float = 0.0
    most_disk_mb: float = 0.0

    def prepare(self) -> None:
        """Grant consent, where the contender asks for it."""
        if self.contender in SETTINGS:
            from otel_posthog import Telemetry

            telemetry = Telemetry(database=f"sqlite:///{self.folder}/app.db", environ={})
            telemetry.update_settings(enable_telemetry=True)
            telemetry.shutdown()

    def process(self, *, count: int, per_s: float = 0.0, after_s: float = 0.0) -> None:
        """Run the contender's process to its end."""
        options = ["--work", self.contender, self.server.url, str(self.folder), "0"]
        command = [sys.executable, "-W", "ignore", __file__, *options, str(count), str(per_s), str(after_s)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended_s = time.monotonic()
        said = re.findall(r"^\{.*\}$", done.stdout, re.MULTILINE)
        if not said:
            raise RuntimeError(done.stderr)
        answer = json.loads(said[-1])
        self.grown_mb, self.exit_s = answer["grown_mb"], ended_s - answer["ended_at_s"]
        self.cpu_s = answer["cpu_s"]
        self.most_disk_mb = self.disk_mb()

    def disk_mb(self) -> float:
        """Return how much lies in the contender's folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6


def _row(scene: str, run: Run, count: int, lost: int, finally_lost: int) -> None:
    cells = (
        scene,
        run.contender,
        f"{lost} ({lost / count:.0%})",
        f"{finally_lost} ({finally_lost / count:.0%})",
        run.server.twice,
        f"{run.exit_s:.1f}",
        f"{run.grown_mb:.0f}",
        f"{run.most_disk_mb:.1f}",
    )
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def _restart(run: Run, settled_s: float = SETTLED_S) -> None:
    """Let a second process of the product send what the first one left, if it left anything."""
    run.server.is_down, run.server.delay_s = False, 0.0
    options = ["--work", run.contender, run.server.url, str(run.folder), "0", "0", "0", str(FOR_EVER_S)]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, *options], stdout=subprocess.DEVNULL
    )
    arrived, since_s = len(run.server.numbers), time.monotonic()
    while time.monotonic() - since_s < settled_s:
        time.sleep(0.1)
        if len(run.server.numbers) != arrived:
            arrived, since_s = len(run.server.numbers), time.monotonic()
    process.kill()
    process.wait()


def outage(seconds: float) -> None:
    """Meet 30 s of 503 at 100 events/s, with 5 s of good weather on either side; all at once."""

    def play(contender: str) -> tuple[Run, int, int, int]:
        run = Run(contender)
        run.prepare()
        threading.Timer(seconds / 6, setattr, (run.server, "is_down", True)).start()
        threading.Timer(seconds * 7 / 6, setattr, (run.server, "is_down", False)).start()
        count = int(RATE_PER_S * seconds * 8 / 6)
        run.process(count=count, per_s=RATE_PER_S, after_s=AFTER_S)
        lost = count - len(run.server.numbers)
        _restart(run)
        return run, count, lost, count - len(run.server.numbers)

    with ThreadPoolExecutor(len(CONTENDERS)) as pool:
        for result in pool.map(play, CONTENDERS):
            _row(f"{seconds:g} s of 503 at {RATE_PER_S}/s", *result)


def burst(count: int) -> None:
    """Track as fast as a loop can."""
    for contender in CONTENDERS:
        run = Run(contender)
        run.prepare()
        run.process(count=count, after_s=AFTER_S / 2)
        lost = count - len(run.server.numbers)
        _restart(run)
        _row(f"burst of {count}", run, count, lost, count - len(run.server.numbers))


def leave(count: int) -> None:
    """End right after the last event, each POST taking 40 ms."""
    for contender in CONTENDERS:
        run = Run(contender)
        run.prepare()
        run.server.delay_s = 0.04
        run.process(count=count)
        lost = count - len(run.server.numbers)
        _restart(run)
        _row(f"exit with {count} pending", run, count, lost, count - len(run.server.numbers))


def hour(count: int) -> None:
    """Sit through an hour's outage at 100 events/s, compressed."""
    for contender in CONTENDERS:
        run = Run(contender)
        run.prepare()
        run.server.is_down = True
        run.process(count=count, per_s=COMPRESSED_PER_S)
        _row(f"outage of {count} events", run, count, count, _kept(run, count))


def _kept(run: Run, count: int) -> int:
    _restart(run)
    return count - len(run.server.numbers)


def _killed(contender: str, run: Run, first: int) -> int:
    """Let a process track from this number on, kill it after a while; return the next number."""
    options = ["--work", contender, run.server.url, str(run.folder)]
    options += map(str, (first, UNTIL_KILLED, RATE_PER_S, 0))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    until_s = None
    for line in process.stdout:
        number, until_s = int(line), until_s or time.monotonic() + LIFE_S + random.random()
        if time.monotonic() > until_s:
            process.kill()
    process.wait()
    return number + 1


def kills(weather: str, contender: str, times: int) -> None:
    """Kill a process that tracks 100 events a second, again and again; the last one sends what is left."""
    run = Run(contender)
    run.prepare()
    run.server.is_down, run.server.delay_s = weather == "503", 3600.0 if weather == "silent" else 0.0
    count = 0
    for _ in range(times):
        count = _killed(contender, run, count)
    _restart(run, LONG_SETTLED_S)
    lost = count - len(run.server.numbers)
    print(
        f"| {times} kills, {weather} | {contender} | {lost} of {count} | {lost / times:.0f} | |", flush=True
    )


def cost(contender: str, count: int) -> None:
    """Measure the processor time of a burst, from the start of the process to its end."""
    run = Run(contender)
    run.prepare()
    run.process(count=count, after_s=AFTER_S / 2)
    cpu_us = 1e6 * run.cpu_s / count
    print(
        f"| burst of {count} | {contender} | {count - len(run.server.numbers)} | | {cpu_us:.0f} |", flush=True
    )


def spool_first(share: float) -> None:
    """Print what the setting saves, and what it costs."""
    print(
        "| scene | contender | lost | a kill | processor time an event, µs |\n|---|---|---|---|---|",
        flush=True,
    )
    for weather in ("good weather", "silent", "503"):
        for contender in SETTINGS:
            kills(weather, contender, max(2, int(KILLS * share)))
    for contender in SETTINGS:
        cost(contender, int(20_000 * share))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--spool-first", action="store_true")
    parser.add_argument("--work", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        contender, url, folder, first, end, per_s, after_s = options.work
        numbers = range(int(first), int(end))
        _work(contender, url, Path(folder), numbers=numbers, per_s=float(per_s), after_s=float(after_s))
        return
    share = 0.1 if options.quick else 1
    if options.spool_first:
        spool_first(share)
        return
    print("| scene | contender | lost | after restart | twice | exit, s | memory grown, MB | disk, MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    outage(30 * share)
    burst(int(20_000 * share))
    leave(int(5_000 * share))
    hour(int(360_000 * share))


if __name__ == "__main__":
    main()
