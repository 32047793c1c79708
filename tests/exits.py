"""The ways on which events leave a product, each with the same methods: `tests/end_to_end/test_exits.py`.

A way more is one class more here, and a name more in `EXITS`.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from answering import answering
from exit_product import HOST_LINE, RunStarted, do
from gateways import TOKEN, config_of, manifest_at
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from programs import bare_environment

from otel_posthog import Telemetry
from otel_posthog.config.block import BlockError, read_block
from otel_posthog.gateway import Gateway as RealGateway
from otel_posthog.gateway import make_app
from otel_posthog.testing import Fault, serve

WAIT_S = 60
QUICK = {
    "batch_delay_s": 0.05,
    "retry_initial_s": 0.05,
    "retry_max_s": 0.2,
    "probe_interval_s": 0.1,
    "consent_max_age_s": 0.2,
    "database_timeout_s": 0.2,
    "shutdown_timeout_s": 30.0,
}


class PostHog:
    """Straight to PostHog, set up in code."""

    def __init__(self, sink, sink_url, folder, before_send=None):
        self.sink, self.sink_url, self.folder = sink, sink_url, folder
        self.database = folder / "app.db"
        self.stack = ExitStack()
        self.before_send = before_send
        self.telemetry = self.stack.enter_context(
            Telemetry(
                database=f"sqlite:///{self.database}",
                registry=[RunStarted],
                before_send=before_send,
                environ={},
                **QUICK,
                **self.way(),
            )
        )

    def way(self):
        """Return the settings of this way."""
        return {"api_key": "phc_test", "host": self.sink_url}

    def do(self, command, *given):
        """Let the product do one thing; see `exit_product.do`."""
        return do(self.telemetry, command, *given)

    def close_far_end(self):
        """Let the far end accept nothing until `open_far_end`."""
        self.sink.script([Fault(status=503, times=None)])

    def open_far_end(self):
        self.sink.script([])

    def arrived(self):
        """Return the batches that the far end has accepted."""
        accepted = [request for request in self.sink.requests if request.status == 200]
        return [json.loads(request.decoded)["batch"] for request in accepted]

    def requests(self):
        """Return how many requests have reached the far end, whatever it has answered."""
        return len(self.sink.requests)

    def left(self):
        """End the product, and return each byte that has left it, by whatever exporter."""
        self.close()
        return b"".join(request.decoded for request in self.sink.requests)

    def close(self):
        self.stack.close()


class Collector(PostHog):
    """To an OTLP receiver, which keeps what it gets."""

    def way(self):
        self.server = self.stack.enter_context(answering())
        self.server.headers, self.server.body = {"Content-Type": "application/x-protobuf"}, b""
        self._refused = 0
        return {"send_to": "collector", "collector_endpoint": f"{self.server.url}/v1/logs"}

    def close_far_end(self):
        self.server.status = 503

    def open_far_end(self):
        self._refused, self.server.status = len(self.server.requests), 200

    def arrived(self):
        batches = []
        for *_, body in self.server.requests[self._refused :]:
            request = ExportLogsServiceRequest.FromString(gzip.decompress(body))
            records = request.resource_logs[0].scope_logs[0].log_records
            batches.append([json.loads(_value(record, "posthog.finished_event")) for record in records])
        return batches

    def requests(self):
        return len(self.server.requests)

    def left(self):
        self.close()
        assert self.sink.requests == []
        return b"".join(gzip.decompress(body) for *_, body in self.server.requests)


def _value(record, name):
    return next(pair.value.string_value for pair in record.attributes if pair.key == name)


class Gateway(PostHog):
    """To our gateway, which sends to PostHog."""

    def way(self):
        manifest_at(self.folder, [RunStarted])
        self._app, self._bodies = make_app(RealGateway(config_of(self.sink_url, self.folder))), []

        async def app(scope, receive, send):  # uvicorn takes a method for an application of another kind
            await self._recording(scope, receive, send)

        url = self.stack.enter_context(serve(app))
        return {
            "send_to": "collector",
            "collector_endpoint": f"{url}/v1/logs",
            "collector_headers": f"authorization=Bearer%20{TOKEN}",
        }

    async def _recording(self, scope, receive, send):
        """Keep what the gateway gets."""
        body = bytearray()

        async def noting():
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self._app(scope, noting, send)
        if scope["type"] == "http":
            self._bodies.append(bytes(body))

    def requests(self):
        return len(self._bodies)

    def left(self):
        return super().left() + b"".join(map(gzip.decompress, self._bodies))


class HostProviders(PostHog):
    """Straight to PostHog beside providers of the host, which have exporters of their own."""

    def way(self):
        self.logs, self.spans = InMemoryLogRecordExporter(), InMemorySpanExporter()
        loggers, tracers = LoggerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        loggers.get_logger("host").emit(body=HOST_LINE)
        return {**super().way(), "logger_provider": loggers, "tracer_provider": tracers}

    def left(self):
        ours = super().left()
        return ours + _of_host("".join(kept.to_json() for kept in self.logs.get_finished_logs())).encode()


class File(PostHog):
    """Straight to PostHog from a process that a file or variables set up, beside a console exporter."""

    def __init__(self, sink, sink_url, folder, before_send=None):
        self.sink, self.database, self.stack = sink, folder / "app.db", ExitStack()
        self.before_send = before_send
        self._console = folder / "console"
        variables = {f"OTEL_POSTHOG_{name.upper()}": str(value) for name, value in QUICK.items()}
        program = Path(__file__).with_name("exit_product.py")
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, program],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=subprocess.PIPE,
                text=True,
                cwd=program.parent,
                env=bare_environment(
                    PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    OTEL_LOGS_EXPORTER="posthog,console",
                    OTEL_TRACES_EXPORTER="posthog,console",
                    OTEL_METRICS_EXPORTER="none",
                    POSTHOG_API_KEY="phc_test",
                    POSTHOG_HOST=sink_url,
                    OTEL_POSTHOG_DATABASE=f"sqlite:///{self.database}",
                    OTEL_POSTHOG_EVENTS="exit_product",
                    **variables,
                ),
            )

    def do(self, command, *given):
        self._process.stdin.write(f"{json.dumps([command, *given])}\n")
        self._process.stdin.flush()
        seen = []
        while line := self._process.stderr.readline():
            if line.startswith("> "):
                return json.loads(line[2:])
            seen.append(line)
        raise AssertionError("".join(seen))

    def left(self):
        ours = super().left()
        return ours + _of_host(self._console.read_text()).encode()

    def close(self):
        if self._process.poll() is None:
            self._process.communicate(timeout=WAIT_S)


def _of_host(text):
    """Return what the host's exporter got; its own line shows that it gets what the host makes."""
    assert HOST_LINE in text
    return text


EXITS = {
    "posthog": PostHog,
    "collector": Collector,
    "gateway": Gateway,
    "host's providers": HostProviders,
    "file beside console": File,
}


def refuses_hook():
    """Return whether a file cannot name a `before_send`, so that none is ignored there."""
    try:
        read_block({"api_key": "phc_test", "before_send": "product:hook"}, {})
    except BlockError as error:
        return "before_send" in str(error)
    return False
