"""Import cost: otel_posthog beside opentelemetry._logs, each in fresh interpreters, interleaved.

The promise is at most 20 ms more. Prints the median of each and the difference.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 21
STATEMENTS = (
    "import opentelemetry._logs",
    "import otel_posthog",
    "from otel_posthog import track, capture_exception",
    "from otel_posthog import Telemetry",
)


def measure(statement: str) -> float:
    """Return the milliseconds that one import takes in a new interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def main() -> None:
    """Print the table."""
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(ROUNDS):
        for statement in STATEMENTS:
            times[statement].append(measure(statement))
    base = statistics.median(times[STATEMENTS[0]])
    print(f"{'statement':<52}{'median ms':>10}{'more than the first':>22}")
    for statement, values in times.items():
        median = statistics.median(values)
        print(f"{statement:<52}{median:>10.1f}{median - base:>22.1f}")


if __name__ == "__main__":
    main()
