"""Requests a second and p99 of a real uvicorn under wrk, with us and without, interleaved.

Needs `wrk` (Debian has it). One worker, answers of a bare application, so that the share of ours is
as large as it can be.
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
from pathlib import Path

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
def served(way: int, folder: str) -> Iterator[str]:
    """Serve the application wrapped in one way and return its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "WAY": str(way), "DATABASE": f"sqlite:///{folder}/{way}.db"}
    command = [sys.executable, "-m", "uvicorn", "served:app", "--app-dir", folder, "--no-access-log"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "error"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/"
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


def load(wrk: str, url: str) -> tuple[float, float]:
    """Return requests a second and the 99th percentile in milliseconds."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if rate is None or tail is None or "Non-2xx" in said:
        raise SystemExit(f"wrk said:\n{said}")
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1, "s": 1000}[tail[2]]


def main() -> None:
    """Print the table."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is needed here. Install it with: apt-get install wrk")
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "served.py").write_text(SERVED, encoding="utf-8")
        for _ in range(ROUNDS):
            for number, way in enumerate(WAYS):
                with served(number, folder) as url:
                    found[way].append(load(wrk, url))
    base = statistics.median(rate for rate, _ in found[WAYS[0]])
    print(f"uvicorn, 1 worker, wrk -t1 -c{CONNECTIONS}, medians of {ROUNDS} rounds of {SECONDS} s\n")
    print("| served | requests/s | of bare | p99 ms |\n|---|---:|---:|---:|")
    for way, rounds in found.items():
        rate = statistics.median(rate for rate, _ in rounds)
        tail = statistics.median(tail for _, tail in rounds)
        print(f"| {way} | {rate:,.0f} | {rate / base:.3f} | {tail:.2f} |")


if __name__ == "__main__":
    main()
