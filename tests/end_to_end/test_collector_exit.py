"""Finished events on their way to a Collector: counts, bad events, heartbeat, and the host's own records."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest
from answering import answering
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from waiting import wait_until

from otel_posthog import SpanRule, track
from otel_posthog.heartbeat import Result
from otel_posthog.registry import Kind

WAIT_S = 60
DAY_S = 86_400


@pytest.fixture
def collector():
    with answering() as server:
        server.headers, server.body = {"Content-Type": "application/x-protobuf"}, b""
        yield server


@pytest.fixture
def make_product(make_telemetry, collector):
    """Return a function that makes a product that sends to the Collector."""
    endpoint = {"collector_endpoint": f"{collector.url}/v1/logs"}
    return lambda **options: make_telemetry(api_key=None, send_to="collector", **endpoint, **options)


@pytest.fixture
def product(make_product):
    """Return a running product with product events granted."""
    made = make_product()
    made.start()
    made.update_settings(enable_telemetry=True)
    return made


def _records(server):
    bodies = (gzip.decompress(body) for *_, body in server.requests)
    requests = map(ExportLogsServiceRequest.FromString, bodies)
    return [record for request in requests for record in request.resource_logs[0].scope_logs[0].log_records]


def _events(server):
    return [json.loads(record.attributes[0].value.string_value) for record in _records(server)]


def _balance(telemetry):
    balance = telemetry.delivery().by_kind()[Kind.TELEMETRY]
    return balance.accepted, balance.handed_over, balance.sent, balance.dropped, balance.unaccounted


def test_confirmed_events_count_as_handed_over(product, collector):
    """What the Collector has confirmed is handed over and not sent, and the state says that it is sending."""
    track("some_event")

    assert product.flush(WAIT_S)
    assert _balance(product) == (1, 1, 0, {}, 0)
    assert product.delivery() == {"handed_over": 1}
    status = product.status()[Kind.TELEMETRY]
    assert status.is_sending
    assert status.last_sent is not None
    assert len(collector.requests) == 1


def test_rejected_records_count_as_refused(product, collector):
    """A partial success is settled by its number, and nothing of it is sent again."""
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = 1
    collector.body = response.SerializeToString()
    collector.may_answer.clear()  # so that the rest is one batch
    for number in range(4):
        track("some_event", {"number": number})
    collector.may_answer.set()

    assert product.flush(WAIT_S)
    requests = len(collector.requests)
    assert _balance(product) == (4, 4 - requests, 0, {"refused": requests}, 0)
    assert len(_events(collector)) == 4


def test_bad_event_is_found_and_the_others_are_handed_over(make_product, collector):
    """A receiver that rejects a batch as a whole costs only the event that it rejects alone."""
    product = make_product(batch_delay_s=60)
    product.start()
    product.update_settings(enable_telemetry=True)
    for number in range(8):
        track("some_event", {"number": number})
    bad = b'"number": 5'
    collector.judge = lambda body: 400 if bad in gzip.decompress(body) else 200

    assert product.flush(WAIT_S)
    assert _balance(product) == (8, 7, 0, {"refused": 1}, 0)


def test_outage_is_survived(make_product, collector):
    """While the Collector answers 503 events wait, and arrive once it is back, under the same uuid."""
    product = make_product(retry_initial_s=0.05, retry_max_s=0.1)
    product.start()
    product.update_settings(enable_telemetry=True)
    collector.status = 503
    track("some_event")
    wait_until(lambda: len(collector.requests) >= 2, timeout_s=WAIT_S)

    collector.status = 200

    wait_until(lambda: _balance(product) == (1, 1, 0, {}, 0), timeout_s=WAIT_S)
    assert len({event["uuid"] for event in _events(collector)}) == 1


def test_heartbeat_is_a_finished_event(make_product, collector):
    """The day's heartbeat goes the same way, with a gauge of the product."""
    now_s = [datetime(2030, 5, 1, 12, tzinfo=UTC).timestamp()]
    product = make_product(clock=lambda: now_s[0])
    product.heartbeat.gauge("total_pipelines")(lambda: 7)
    product.heartbeat.delay(3600)  # only by hand
    product.start()
    row = product.update_settings(enable_telemetry=True)
    product.heartbeat.send_if_due()
    now_s[0] += DAY_S

    assert product.heartbeat.send_if_due() is Result.SENT

    [event] = _events(collector)
    assert (event["event"], event["distinct_id"]) == ("instance_heartbeat", str(row.instance_id))
    assert event["properties"]["total_pipelines"] == 7


def test_test_exception_of_a_start_is_not_sent(make_product, collector):
    """In development no event goes to a Collector without consent, which it would drop."""
    product = make_product(environment="development")
    product.start()
    product.update_settings(enable_telemetry=True)
    track("some_event")

    assert product.flush(WAIT_S)
    assert [event["event"] for event in _events(collector)] == ["some_event"]


def test_spans_of_the_host_are_read_and_not_written_on(make_product, collector):
    """A rule makes an event of the host's span; the span that the host exports is as the host made it."""
    kept, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    product = make_product(tracer_provider=tracers, span_rules=[SpanRule(name="work", event="worked")])
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    product.start()
    product.update_settings(enable_telemetry=True)

    tracers.get_tracer("host").start_span("work", attributes={"own": 1}).end()

    assert product.flush(WAIT_S)
    assert [event["event"] for event in _events(collector)] == ["worked"]
    assert [dict(span.attributes) for span in kept.get_finished_spans()] == [{"own": 1}]
