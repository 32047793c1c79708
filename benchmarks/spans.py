"""What an ended span costs: one that maps to nothing, and one that becomes an event on the wire.

First table: microseconds of CPU per span that no rule wants, with 100 rules in force, beside doing nothing;
at our own processor, and at our exporter behind a stock one. Second table: CPU per span from the span
to compressed bytes at a local server, which answers alike to all: our exporter (map, scrub, serialise,
compress) beside the OTLP/HTTP exporter with gzip, posthog-otel-exporter, and `capture` of posthog's
client with its consumer. posthog-otel-exporter sends nothing but the events of spans, so its spans carry
one each; OTLP is measured without and with it. Each contender has a process of its own, and the rounds
take turns.

`--quick` takes a fifth of each.
"""

from __future__ import annotations

import argparse
import gc
import math
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from random import Random

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Tracer

PIECES = 400
PIECE = 100  # spans that are looked at when they end, as in a product: cold memory takes longer
WIRE_ROUNDS = 9
WIRE_SPANS = 10_240
BATCH = 512  # OpenTelemetry's default and ours; posthog's client sends 100 events in a request
RULES = [
    *({"name": f"POST /api/thing{n}/{{id}}/run", "event": "thing_run"} for n in range(50)),
    *({"name": f"GET /exact{n}", "event": "exact_seen"} for n in range(25)),
    *({"name": f"job {n}.*", "event": "job_failed", "status": "error"} for n in range(25)),
]
WIRE_RULE = {
    "name": "POST /api/pipelines/{id}/run",
    "kind": "server",
    "event": "pipeline_run_started",
    "properties": {
        "http.route": "route",
        "http.request.method": "method",
        "http.response.status_code": "status",
        "pipeline.trigger": "triggered_by",
        "pipeline.has_requirements": "has_requirements",
    },
}


class Kept(SpanProcessor):
    """Keep ended spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.spans.append(span)


def ended(names: Iterable[str]) -> list[ReadableSpan]:
    """Return spans as instrumentations of HTTP make them."""
    kept = Kept()
    tracer = tracer_of(kept)
    for number, name in enumerate(names):
        own = {f"http.attribute_{at}": "value" for at in range(12)}
        with tracer.start_as_current_span(name, kind=SpanKind.SERVER, attributes=own) as span:
            span.set_attribute("url.path", f"/api/pipelines/{number}/run")
    return kept.spans


def tracer_of(kept: Kept) -> Tracer:
    """Return a tracer whose spans are kept."""
    provider = TracerProvider(resource=Resource({"service.name": "product"}), shutdown_on_exit=False)
    provider.add_span_processor(kept)
    return provider.get_tracer("benchmark")


def requests(dice: Random, *, has_event: bool) -> list[ReadableSpan]:
    """Return a batch of requests that start a run; few take longer than a quarter of a second."""
    kept = Kept()
    tracer = tracer_of(kept)
    for number in range(BATCH):
        own = REQUEST | {
            "http.response.status_code": dice.choice((202, 202, 202, 400, 404, 500)),
            "pipeline.trigger": dice.choice(("manual", "webhook", "scheduler")),
            "pipeline.has_requirements": dice.choice((True, False)),
            "url.path": f"/api/pipelines/{number}/run",
        }
        began_ns = time.time_ns() - int(dice.lognormvariate(math.log(40), 1) * 1e6)
        span = tracer.start_span(
            "POST /api/pipelines/17/run", kind=SpanKind.SERVER, attributes=own, start_time=began_ns
        )
        if has_event:
            span.add_event("pipeline_run_started", own)
        span.end()
    return kept.spans


REQUEST = {
    "http.request.method": "POST",
    "http.route": "/api/pipelines/{pipeline_id}/run",
    "url.scheme": "http",
    "server.address": "product.example",
    "server.port": 8000,
    "network.protocol.version": "1.1",
    "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "client.address": "192.0.2.7",
}


class Server(ThreadingHTTPServer):
    """Take requests and count their bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bytes = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Answer 200 to everything."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.bytes += len(body)
        answer = b"" if "traces" in self.path else b'{"status": "Ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def microseconds(call: Callable[[ReadableSpan], object], spans: Sequence[ReadableSpan]) -> float:
    """Return the CPU time of one span."""
    began = time.thread_time()
    for span in spans:
        call(span)
    return (time.thread_time() - began) / len(spans) * 1e6


def unmatched(scale: float) -> None:
    """Print the first table."""
    from otel_posthog import SpanRule, Telemetry

    kinds: dict[str, Callable[[int], str]] = {
        "a name seen before": lambda _: "GET /other",
        "a name that a rule nearly has": lambda _: "POST /api/thing42/17/stop",
        "each name for the first time": lambda at: f"POST /api/thing{at % 100}/{at}/stop",
    }
    with tempfile.TemporaryDirectory() as folder:
        rules = [SpanRule(**rule) for rule in RULES]
        telemetry = Telemetry(database=f"sqlite:///{folder}/app.db", environ={}, span_rules=rules)
        telemetry.start()
        telemetry.update_settings(enable_telemetry=True)
        half = telemetry._pipeline  # noqa: SLF001 - what is measured
        exporter, idle = half.span_exporter(), SpanProcessor()
        print(f"\n{len(RULES)} rules; a span that matches none:\n")
        print(
            "| the span has | our processor, µs | our exporter behind a stock one, µs | doing nothing, µs |"
        )
        print("|---|---:|---:|---:|")
        measured = (
            (microseconds, half.spans.on_end),
            (in_batches, exporter.export),
            (microseconds, idle.on_end),
        )
        for kind, name in kinds.items():
            numbers = count()
            rounds = [
                [measure(call, ended(map(name, islice(numbers, PIECE)))) for measure, call in measured]
                for _ in range(int(PIECES * scale))
            ]
            ours, behind, nothing = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| {kind} | {ours:.2f} | {behind:.2f} | {nothing:.2f} |")
        telemetry.shutdown(timeout_s=2)


def in_batches(export: Callable[[list[ReadableSpan]], object], spans: Sequence[ReadableSpan]) -> float:
    """Return the CPU time of one span in batches, as a stock processor hands them over."""
    began = time.thread_time()
    for begin in range(0, len(spans), BATCH):
        export(list(spans[begin : begin + BATCH]))
    return (time.thread_time() - began) / len(spans) * 1e6


def on_the_wire(scale: float) -> None:
    """Print the second table."""
    number, server = int(WIRE_SPANS * scale), Server()
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    size: dict[str, float] = {}
    for _ in range(WIRE_ROUNDS):
        for name in CONTENDERS:
            server.bytes = 0
            arguments = ["--contender", name, "--url", server.url, "--spans", str(number)]
            run = subprocess.run(
                [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
            )
            if run.returncode == 0:
                cpu[name].append(float(run.stdout.split()[-1]))
                size[name] = server.bytes / (number + BATCH)
            elif "ModuleNotFoundError" not in run.stderr:
                raise SystemExit(run.stderr)
    server.shutdown()
    print(f"\n{number} spans of requests in batches of {BATCH}, from the span to the wire:\n")
    print("| contender | CPU per span, µs | ours is | bytes per span |\n|---|---:|---:|---:|")
    median = {name: statistics.median(rounds) for name, rounds in cpu.items() if rounds}
    for name in CONTENDERS:
        if name in median:
            share = median[OURS] / median[name]
            print(f"| {name} | {median[name]:.1f} | {share:.2f} of it | {size[name]:.0f} |")
        else:
            print(f"| {name} | not installed | – | – |")


def contend(name: str, url: str, number: int) -> None:
    """Send the spans as this contender does, and print the CPU time that one took."""
    dice = Random(1)
    make, has_event = CONTENDERS[name]
    with tempfile.TemporaryDirectory() as folder:
        export, finish = make(url, folder)
        export(requests(dice, has_event=has_event))
        gc.collect()
        gc.freeze()  # what was imported is not what a span costs the collector
        began_s, making_s = _cpu_s(), 0.0
        for _ in range(number // BATCH):
            making_began_s = time.thread_time()
            spans = requests(dice, has_event=has_event)
            making_s += time.thread_time() - making_began_s
            export(spans)
        finish()
        print((_cpu_s() - began_s - making_s) / (number // BATCH * BATCH) * 1e6)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _otel_posthog(url: str, folder: str) -> tuple[Export, Finish]:
    from span_events import PipelineRunStarted

    from otel_posthog import SpanRule, Telemetry

    telemetry = Telemetry(
        registry=[PipelineRunStarted],
        api_key="phc_test",
        host=url,
        database=f"sqlite:///{folder}/app.db",
        environ={},
        span_rules=[SpanRule(**WIRE_RULE)],
    )
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    return telemetry._pipeline.span_exporter().export, telemetry.shutdown  # noqa: SLF001 - what is measured


def _otlp(url: str, _folder: str) -> tuple[Export, Finish]:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=Compression.Gzip)
    return exporter.export, exporter.shutdown


def _posthog_otel_exporter(url: str, _folder: str) -> tuple[Export, Finish]:
    from posthog_otel_exporter import PosthogSpanExporter

    exporter = PosthogSpanExporter("phc_test", url)
    client = exporter._posthog_client  # noqa: SLF001 - the exporter has neither flush nor shutdown of its own

    def export(spans: Sequence[ReadableSpan]) -> None:
        exporter.export(spans)
        client.flush()  # its queue drops what comes faster than its consumer sends

    return export, client.shutdown


def _posthog(url: str, _folder: str) -> tuple[Export, Finish]:
    from posthog import Posthog

    client = Posthog("phc_test", host=url)
    wanted = WIRE_RULE["properties"]

    def export(spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            own = {name: span.attributes[attribute] for attribute, name in wanted.items()}
            client.capture(WIRE_RULE["event"], distinct_id="instance", properties=own)
        client.flush()

    return export, client.shutdown


Export = Callable[[Sequence[ReadableSpan]], object]
Finish = Callable[[], object]
OURS = "otel_posthog"
CONTENDERS = {
    OURS: (_otel_posthog, False),
    "otlp/http + gzip": (_otlp, False),
    "otlp/http + gzip, an event on each span": (_otlp, True),
    "posthog-otel-exporter, an event on each span": (_posthog_otel_exporter, True),
    "posthog capture": (_posthog, False),
}


def versions() -> str:
    """Return what was measured."""
    told = [f"Python {platform.python_version()}"]
    for name in (
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
        "posthog",
        "posthog-otel-exporter",
    ):
        with suppress(PackageNotFoundError):
            told.append(f"{name} {version(name)}")
    return ", ".join(told)


def main() -> None:
    """Print both tables, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--contender", choices=CONTENDERS)
    parser.add_argument("--url")
    parser.add_argument("--spans", type=int)
    options = parser.parse_args()
    if options.contender:
        return contend(options.contender, options.url, options.spans)
    scale = 0.2 if options.quick else 1.0
    print(versions())
    unmatched(scale)
    return on_the_wire(scale)


if __name__ == "__main__":
    main()
