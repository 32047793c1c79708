"""CPU per span: our gateway beside the real Collector, on the same load in one run.

Spans with 15 attributes come as gzipped OTLP/HTTP requests of 1,000. The Collector receives them and
forwards them over otlphttp with gzip, bare and as in our file for the gateway tier; the gateway maps 0, 10
or 100 % of them to events and sends these to a server that answers at once. CPU is that of the process
alone, system time included. Then growth: 1 to 1,000 rules, and 1 to 5,000 spans a request. Needs the
Collector of `collector/build.sh`. `--quick` takes a fifth.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import httpx2
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_posthog import Registry
from otel_posthog.registry.documents import manifest_file

ROOT = Path(__file__).parent.parent
ATTRIBUTES = 15
A_REQUEST = 1000
WARM_UP = 5  # requests
CLIENTS = 2
START_S = 60
SETTLED_S = 2.0  # without CPU, after which a process has forwarded all
PROTOBUF = "application/x-protobuf"
COLLECTOR = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  otlp_http: {{endpoint: "{sink}", compression: gzip, sending_queue: {{queue_size: 100000}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
"""


class Hole(BaseHTTPRequestHandler):
    """Take everything and say yes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        answer = b"" if "traces" in self.path else b'{"status": "Ok"}'
        self.send_header("content-type", PROTOBUF if "traces" in self.path else "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


@contextmanager
def _running(command: list[object], url: str, environ: dict[str, str] | None = None):
    """Run a program until the block ends, from the moment its port answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(part) for part in command], env=os.environ | (environ or {}), stdout=log, stderr=log
        )
        try:
            _wait_for(url, process)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(START_S)


def _wait_for(url: str, process: subprocess.Popen) -> None:
    host, port = url.removeprefix("http://").split(":")
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with closing(socket.socket()) as attempt:
            if attempt.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args[0]} did not start")


@contextmanager
def _hole():
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with _running([sys.executable, __file__, "--hole", port], url):
        yield url


@contextmanager
def _collector(sink: str, folder: Path):
    build = subprocess.run([ROOT / "collector" / "build.sh"], capture_output=True, text=True, check=True)
    port = _free_port()
    config = folder / "collector.yaml"
    config.write_text(COLLECTOR.format(port=port, sink=sink))
    url = f"http://127.0.0.1:{port}"
    with _running([build.stdout.strip(), "--config", config], url) as process:
        yield url, process


@contextmanager
def _tier(sink: str, folder: Path):
    """Run it with our own file for the gateway tier."""
    build = subprocess.run([ROOT / "collector" / "build.sh"], capture_output=True, text=True, check=True)
    ports = [_free_port() for _ in range(4)]
    environ = {
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports[0]}",
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports[1]}",
        "HEALTH_ENDPOINT": f"127.0.0.1:{ports[2]}",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(ports[3]),
        "QUEUE_FOLDER": str(folder / "queue"),
        "OTEL_POSTHOG_GATEWAY_URL": sink,
        "OTEL_POSTHOG_GATEWAY_TOKEN": "of-the-benchmark",
    }
    url = f"http://127.0.0.1:{ports[0]}"
    command = [build.stdout.strip(), "--config", ROOT / "collector" / "gateway.yaml"]
    with _running(command, url, environ) as process:
        yield url, process


@contextmanager
def _gateway(sink: str, folder: Path, rules: int = 1):
    (folder / "manifest.json").write_text(manifest_file(Registry()))
    properties = {f"attribute.{number}": f"property_{number}" for number in range(3)}
    written = [{"name": f"GET /other/{number}/{{id}}", "event": "other"} for number in range(rules - 1)]
    written.append({"name": "GET /runs/{id}", "event": "run_shown", "properties": properties})
    (folder / "rules.json").write_text(json.dumps(written))
    environ = {
        "POSTHOG_API_KEY": "phc_benchmark",
        "POSTHOG_HOST": sink,
        "OTEL_POSTHOG_GATEWAY_MANIFESTS": str(folder / "manifest.json"),
        "OTEL_POSTHOG_GATEWAY_SPAN_RULES": str(folder / "rules.json"),
        "OTEL_POSTHOG_BATCH_MAX_EVENTS": "1000",
    }
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "otel_posthog.cli", "gateway", "--port", port]
    with _running(command, url, environ) as process:
        yield url, process


def _requests(count: int, spans: int, share: float, chance: random.Random) -> list[bytes]:
    """Return so many requests, of whose spans that share matches the rule; no two spans are the same."""
    return [gzip.compress(_request(spans, share, chance), 6) for _ in range(count)]


def _request(spans: int, share: float, chance: random.Random) -> bytes:
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    instance = str(UUID(int=chance.getrandbits(128), version=4))
    now_ns = time.time_ns()
    for _ in range(spans):
        name = f"GET /runs/{chance.randrange(100)}" if chance.random() < share else "SELECT pipelines"
        span = scope_spans.spans.add(
            name=name,
            trace_id=chance.randbytes(16),
            span_id=chance.randbytes(8),
            start_time_unix_nano=now_ns,
            end_time_unix_nano=now_ns + chance.randrange(10**9),
        )
        for number in range(ATTRIBUTES - 3):
            attribute = span.attributes.add(key=f"attribute.{number}")
            if number % 2:
                attribute.value.int_value = chance.randrange(1000)
            else:
                attribute.value.string_value = f"value {chance.randrange(1000)}"
        span.attributes.add(key="posthog.instance_id").value.string_value = instance
        span.attributes.add(key="posthog.consent.errors").value.bool_value = True
        span.attributes.add(key="posthog.consent.telemetry").value.bool_value = True
    return request.SerializeToString()


def _cpu_per_span_us(url: str, process: psutil.Process, bodies: list[bytes], spans: int) -> float:
    warm, measured = bodies[:WARM_UP], bodies[WARM_UP:]
    _send(url, warm)
    before = _settled_cpu_s(process)
    _send(url, measured)
    return (_settled_cpu_s(process) - before) / (len(measured) * spans) * 1e6


def _send(url: str, bodies: list[bytes]) -> None:
    headers = {"content-type": PROTOBUF, "content-encoding": "gzip"}

    def post(share: list[bytes]) -> None:
        with httpx2.Client(timeout=START_S) as client:
            for body in share:
                answer = client.post(f"{url}/v1/traces", content=body, headers=headers)
                if answer.status_code != 200:  # noqa: PLR2004
                    raise SystemExit(f"{url} answered {answer.status_code}")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(post, [bodies[first::CLIENTS] for first in range(CLIENTS)]))


def _settled_cpu_s(process: psutil.Process) -> float:
    """Return the CPU time used, once the process is idle."""
    last, since_s = -1.0, time.monotonic()
    while time.monotonic() - since_s < SETTLED_S:
        times = process.cpu_times()
        used_s = times.user + times.system
        if used_s > last + 0.02:
            last, since_s = used_s, time.monotonic()
        time.sleep(0.1)
    return last


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--hole", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hole:
        return ThreadingHTTPServer(("127.0.0.1", options.hole), Hole).serve_forever()
    scale = 5 if options.quick else 1
    chance = random.Random(20261125)
    with tempfile.TemporaryDirectory() as place, _hole() as sink:
        folder = Path(place)
        _compare(sink, folder, chance, scale)
        _grow(sink, folder, chance, scale)
    return None


def _compare(sink: str, folder: Path, chance: random.Random, scale: int) -> None:
    print("| 1,000 spans of 15 attributes a request | CPU per span | of the Collector's |\n|---|---|---|")
    bodies = _requests(WARM_UP + 100 // scale, A_REQUEST, 0.1, chance)
    with _collector(sink, folder) as (url, process):
        yardstick = _cpu_per_span_us(url, process, bodies, A_REQUEST)
    print(f"| Collector, receiving and forwarding | {yardstick:.1f} µs | 100 % |", flush=True)
    with _tier(sink, folder) as (url, process):
        cost = _cpu_per_span_us(url, process, bodies, A_REQUEST)
    told = f"{cost:.1f} µs | {cost / yardstick:.0%}".replace("%", " %")
    print(f"| Collector, as collector/gateway.yaml | {told} |", flush=True)
    for share, count in ((0.0, 100), (0.1, 100), (1.0, 25)):
        bodies = _requests(WARM_UP + count // scale, A_REQUEST, share, chance)
        with _gateway(sink, folder) as (url, process):
            cost = _cpu_per_span_us(url, process, bodies, A_REQUEST)
        told = f"{cost:.1f} µs | {cost / yardstick:.0%}".replace("%", " %")
        print(f"| gateway, {share:.0%} mapped | {told} |".replace("% mapped", " % mapped"), flush=True)


def _grow(sink: str, folder: Path, chance: random.Random, scale: int) -> None:
    print("\n| rules, 10 % mapped | CPU per span |\n|---|---|")
    for rules in (1, 10, 100, 1000):
        bodies = _requests(WARM_UP + 50 // scale, A_REQUEST, 0.1, chance)
        with _gateway(sink, folder, rules) as (url, process):
            print(f"| {rules:,} | {_cpu_per_span_us(url, process, bodies, A_REQUEST):.1f} µs |", flush=True)
    print("\n| spans a request, 10 % mapped | CPU per span |\n|---|---|")
    for spans, count in ((1, 2000), (10, 1000), (100, 300), (1000, 50), (5000, 10)):
        bodies = _requests(WARM_UP + max(2, count // scale), spans, 0.1, chance)
        with _gateway(sink, folder) as (url, process):
            print(f"| {spans:,} | {_cpu_per_span_us(url, process, bodies, spans):.1f} µs |", flush=True)


if __name__ == "__main__":
    main()
