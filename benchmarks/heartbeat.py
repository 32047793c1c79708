"""Event-loop lag and `track` latency while a heartbeat with a 2 s gauge is collected, beside rounds without.

Rounds of both kinds alternate in one process. The promise is a ratio of about 1.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import tempfile
import threading
import time
from pathlib import Path

from otel_posthog import Telemetry, track
from otel_posthog.testing import PostHogSink, serve

ROUNDS = 5
GAUGE_S = 2.0
WINDOW_S = 1.8  # within the gauge's time
TICK_S = 0.002
TRACKS_PER_TICK = 1
START_S = 1_800_000_000
DAY_S = 86_400


class Bench:
    """A running product whose days pass on demand."""

    def __init__(self, sink_url: str, folder: Path) -> None:
        self.now_s = float(START_S)
        self.reading = threading.Event()
        self.telemetry = Telemetry(
            api_key="phc_bench",
            host=sink_url,
            database=f"sqlite:///{folder}/app.db",
            clock=lambda: self.now_s,
            heartbeat_check_s=0.05,
            queue_max_records=1_000_000,
            environ={},
        )
        self.telemetry.heartbeat.gauge("slow")(self._slow)

    def _slow(self) -> int:
        self.reading.set()
        time.sleep(GAUGE_S)
        return 1

    async def window(self) -> tuple[list[float], list[float]]:
        """Return loop lags and `track` times, in microseconds, over one window."""
        lags, tracks = [], []
        end = time.perf_counter() + WINDOW_S
        while time.perf_counter() < end:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            lags.append((time.perf_counter() - began - TICK_S) * 1e6)
            for _ in range(TRACKS_PER_TICK):
                began = time.perf_counter()
                track("bench", {"number": 1})
                tracks.append((time.perf_counter() - began) * 1e6)
        return lags, tracks

    async def heartbeat_window(self) -> tuple[list[float], list[float]]:
        """Let a day pass, and measure while its gauge is being read."""
        self.reading.clear()
        self.now_s += DAY_S
        await asyncio.to_thread(self.reading.wait, 30)
        return await self.window()


async def run(bench: Bench) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Alternate windows without and with a heartbeat."""
    found: dict[str, list[tuple[list[float], list[float]]]] = {"without": [], "with": []}
    async with bench.telemetry:
        bench.telemetry.update_settings(enable_telemetry=True)
        await asyncio.to_thread(bench.telemetry.heartbeat.send_if_due)
        await bench.window()  # warm
        for _ in range(ROUNDS):
            found["without"].append(await bench.window())
            found["with"].append(await bench.heartbeat_window())
            await asyncio.sleep(GAUGE_S - WINDOW_S + 1.0)  # the heartbeat is sent before the next round
    return found


def main() -> None:
    """Print medians over rounds and their ratio."""
    sink = PostHogSink(max_events=1_000_000)
    with serve(sink) as url, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Bench(url, Path(folder))))
        sent = sum(event.name == "instance_heartbeat" for event in sink.events)
    print(f"Python {platform.python_version()}, {sent} heartbeats with a gauge of {GAUGE_S:g} s\n")
    print("| µs, median of the rounds | without | with | ratio |\n|---|---:|---:|---:|")
    for index, what in enumerate(("event-loop lag", "track()")):
        for label, quantile in (("median", 50), ("99th percentile", 99)):
            each = {
                kind: statistics.median(
                    statistics.quantiles(window[index], n=100, method="inclusive")[quantile - 1]
                    for window in windows
                )
                for kind, windows in found.items()
            }
            ratio = each["with"] / each["without"]
            print(f"| {what}, {label} | {each['without']:.1f} | {each['with']:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
