"""Requests a second, p99 and CPU time of a real uvicorn under wrk, with us and without, interleaved.

Needs `wrk` (Debian has it). One worker, answers of a bare application, so that the share of ours is
as large as it can be. The server's CPU time a request is what other processes disturb least.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil

ROUNDS = 5
SECONDS = 4
CONNECTIONS = 32
WAYS = (
    "bare application",
    "otel-posthog, off",
    "otel-posthog, errors on",
    "otel-posthog, errors and headers on",
)
SERVED = """
import os
from otel_posthog import SecurityHeaders, Telemetry

async def bare(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})

way = int(os.environ["WAY"])
app = bare
if way:
    headers = SecurityHeaders() if way == 3 else None
    telemetry = Telemetry(api_key="phc_benchmark", host="http://127.0.0.1:9",
                          database=os.environ["DATABASE"], environ={}, security_headers=headers)
    telemetry.update_settings(enable_error_reporting=way > 1)
    app = telemetry.wrap(bare)
"""
START_TIMEOUT_S = 30


@contextmanager
def served(way: int, folder: str) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the application wrapped in one way; return its address and its process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "WAY": str(way), "DATABASE": f"sqlite:///{folder}/{way}.db"}
    command = [sys.executable, "-m", "uvicorn", "served:app", "--app-dir", folder, "--no-access-log"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "error"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("uvicorn did not start")


def load(wrk: str, url: str, server: psutil.Process) -> tuple[float, float, float]:
    """Return requests a second, the 99th percentile in milliseconds, and CPU microseconds a request."""
    before = server.cpu_times()
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = server.cpu_times()
    number = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if number is None or rate is None or tail is None or "Non-2xx" in said:
        raise SystemExit(f"wrk said:\n{said}")
    cpu_s = after.user + after.system - before.user - before.system
    tail_ms = float(tail[1]) * {"us": 0.001, "ms": 1, "s": 1000}[tail[2]]
    return float(rate[1]), tail_ms, cpu_s / int(number[1]) * 1e6


def main() -> None:
    """Print the table."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is needed here. Install it with: apt-get install wrk")
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "served.py").write_text(SERVED, encoding="utf-8")
        for _ in range(ROUNDS):
            for number, way in enumerate(WAYS):
                with served(number, folder) as (url, server):
                    found[way].append(load(wrk, url, server))
    base = statistics.median(rate for rate, _, _ in found[WAYS[0]])
    print(f"uvicorn {version('uvicorn')}, 1 worker, wrk -t1 -c{CONNECTIONS}")
    print(f"medians of {ROUNDS} rounds of {SECONDS} s\n")
    print("| served | requests/s | of bare | p99 ms | CPU µs a request |\n|---|---:|---:|---:|---:|")
    for way, rounds in found.items():
        rate, tail, cpu = (statistics.median(figures) for figures in zip(*rounds, strict=True))
        print(f"| {way} | {rate:,.0f} | {rate / base:.3f} | {tail:.2f} | {cpu:.0f} |")


if __name__ == "__main__":
    main()
