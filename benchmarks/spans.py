"""Cost of an ended span that no rule wants, with 100 rules in force.

Prints the median over the rounds in microseconds a span, beside a processor that does nothing.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from otel_posthog import SpanRule, Telemetry

ROUNDS = 50
SPANS = 20_000
RULES = [
    *(SpanRule(name=f"POST /api/thing{n}/{{id}}/run", event="thing_run") for n in range(50)),
    *(SpanRule(name=f"GET /exact{n}", event="exact_seen") for n in range(25)),
    *(SpanRule(name=f"job {n}.*", event="job_failed", status="error") for n in range(25)),
]


class Kept(SpanProcessor):
    """Keep ended spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.spans.append(span)


def ended(names: Sequence[str]) -> list[ReadableSpan]:
    """Return spans as instrumentations of HTTP make them."""
    kept = Kept()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(kept)
    for name in names:
        attributes = {f"http.attribute_{number}": "value" for number in range(12)}
        with provider.get_tracer("benchmark").start_as_current_span(name, attributes=attributes):
            pass
    return kept.spans


def microseconds(processor: SpanProcessor, spans: Sequence[ReadableSpan]) -> float:
    """Return the time of one span."""
    began = time.perf_counter()
    for span in spans:
        processor.on_end(span)
    return (time.perf_counter() - began) / len(spans) * 1e6


def main() -> None:
    """Print the table."""
    kinds = {
        "a name seen before": ended(["GET /other"]) * SPANS,
        "a name that a rule nearly has": ended(["POST /api/thing42/17/stop"]) * SPANS,
        "each name for the first time": ended([f"POST /api/thing{n % 100}/{n}/stop" for n in range(SPANS)]),
    }
    with tempfile.TemporaryDirectory() as folder:
        telemetry = Telemetry(database=f"sqlite:///{folder}/app.db", environ={}, span_rules=RULES)
        telemetry.start()
        telemetry.update_settings(enable_telemetry=True)
        ours, idle = telemetry._exports.spans, SpanProcessor()  # noqa: SLF001 - what is measured
        print(f"Python {platform.python_version()}, opentelemetry-sdk {version('opentelemetry-sdk')}")
        print(f"\n{len(RULES)} rules; a span that matches none:\n")
        print("| the span has | median µs | doing nothing, µs |\n|---|---:|---:|")
        for kind, spans in kinds.items():
            rounds = [(microseconds(ours, spans), microseconds(idle, spans)) for _ in range(ROUNDS)]
            cost, base = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| {kind} | {cost:.2f} | {base:.2f} |")
        telemetry.shutdown(timeout_s=2)


if __name__ == "__main__":
    main()
