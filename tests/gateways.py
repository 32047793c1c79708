"""A gateway on a real socket before the local PostHog, and OTLP requests for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import httpx2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from ports import free_port
from waiting import wait_until

from otel_posthog import Registry
from otel_posthog.config.settings import Config
from otel_posthog.gateway import Gateway, make_app
from otel_posthog.registry.documents import manifest_file
from otel_posthog.testing import serve

TOKEN = "token-of-the-gateway"
PROTOBUF = "application/x-protobuf"
WAIT_S = 60


def manifest_at(folder, events=(), name="telemetry-manifest.json"):
    """Write the manifest of a product with these events, and return its path."""
    path = folder / name
    path.write_text(manifest_file(Registry(events)))
    return path


def rules_at(folder, rules):
    """Write span rules, and return their path."""
    path = folder / "span-rules.json"
    path.write_text(json.dumps(rules))
    return path


def config_of(sink_url, folder, **settings):
    """Return the settings of a gateway before that sink, with short pauses."""
    given = {
        "api_key": "phc_test_key_of_no_project",
        "host": sink_url,
        "gateway_token": TOKEN,
        "gateway_manifests": str(folder / "telemetry-manifest.json"),
        "retry_initial_s": 0.05,
        "retry_max_s": 0.2,
        "probe_interval_s": 0.1,
        "consent_max_age_s": 0.2,
    }
    return Config.resolve({**given, **settings}, {})


@contextmanager
def served_gateway(config, port=0):
    """Yield a client of a running gateway."""
    with serve(make_app(Gateway(config)), port) as url, client_of(url) as client:
        yield client


@contextmanager
def running_gateway(sink_url, folder, *arguments, port=None, verify=True, **environment):
    """Run the command until it is ready; yield its address and its process. `verify` is for TLS."""
    port = port or free_port()
    given = {
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": sink_url,
        "OTEL_POSTHOG_GATEWAY_TOKEN": TOKEN,
        "OTEL_POSTHOG_GATEWAY_MANIFESTS": str(folder / "telemetry-manifest.json"),
    }
    command = [sys.executable, "-m", "otel_posthog.cli", "gateway", "--port", str(port), *arguments]
    # A group of its own: a killed parent leaves its workers behind, and they keep the port.
    process = subprocess.Popen(command, env={**os.environ, **given, **environment}, start_new_session=True)
    url = f"http://127.0.0.1:{port}" if verify is True else f"https://localhost:{port}"
    try:
        wait_until(lambda: process.poll() is not None or _is_gateway_ready(url, verify), timeout_s=WAIT_S)
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) in (0, -signal.SIGTERM, -signal.SIGKILL)


def _is_gateway_ready(url, verify):
    try:
        return httpx2.get(f"{url}/ready", timeout=WAIT_S, verify=verify).status_code == 204
    except httpx2.TransportError:
        return False


def client_of(url, token=TOKEN):
    """Return a client that shows the token."""
    headers = {"authorization": f"Bearer {token}", "content-type": PROTOBUF}
    return httpx2.Client(base_url=url, headers=headers, timeout=WAIT_S)


def consent(instance_id=None, *, errors=True, telemetry=True, **more):
    """Return the attributes by which a record carries consent."""
    return {
        "posthog.instance_id": instance_id or str(uuid4()),
        "posthog.consent.errors": errors,
        "posthog.consent.telemetry": telemetry,
        **more,
    }


def tracked(name, attributes, *, scope="otel_posthog"):
    """Return a request with one log record as `track` emits it."""
    request = ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = scope
    record = scope_logs.log_records.add(
        event_name=name, time_unix_nano=time.time_ns(), observed_time_unix_nano=time.time_ns()
    )
    record.attributes.extend(pairs({"posthog.event_uuid": str(uuid4()), **attributes}))
    return request


def finished(count, instance_id, first=0):
    """Return a request with so many finished events, numbered from the first on."""
    request = ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = "otel_posthog"
    for number in range(first, first + count):
        wire = {
            "uuid": str(uuid4()),
            "event": "numbered",
            "distinct_id": instance_id,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "properties": {"number": number},
        }
        record = scope_logs.log_records.add(event_name="numbered", observed_time_unix_nano=time.time_ns())
        held = {"posthog.finished_event": json.dumps(wire), **consent(instance_id)}
        record.attributes.extend(pairs(held))
    return request


def raised(attributes, *, trace_id=b""):
    """Return a request with one log record that tells of an exception."""
    request = tracked("", {"exception.type": "ValueError", "exception.message": "no", **attributes})
    request.resource_logs[0].scope_logs[0].log_records[0].trace_id = trace_id
    return request


def spans(count, attributes, *, name="GET /", is_error=False, events=()):
    """Return a request with so many ended root spans."""
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    for _ in range(count):
        span = scope_spans.spans.add(
            name=name,
            trace_id=uuid4().bytes,
            span_id=uuid4().bytes[:8],
            start_time_unix_nano=time.time_ns(),
            end_time_unix_nano=time.time_ns() + 5_000_000,
        )
        span.attributes.extend(pairs(attributes))
        if is_error:
            span.status.code = Status.STATUS_CODE_ERROR
        for event in events:
            span.events.add(name="exception", time_unix_nano=time.time_ns()).attributes.extend(pairs(event))
    return request


def pairs(attributes):
    """Return attributes as OTLP writes them."""
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _any(value):
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))
        case _:
            return AnyValue(string_value=value)
