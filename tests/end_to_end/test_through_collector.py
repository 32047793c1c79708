"""Records that leave for a Collector: stamped with consent, and with nothing sent from here."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid5

import pytest
from asgi import call, http_scope
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog import ConfigError, SourceLineExporter, Telemetry, capture_exception, track
from otel_posthog.consent.stamps import read
from otel_posthog.delivery.gate import Outcome
from otel_posthog.emit.request_context import Owner
from otel_posthog.heartbeat import Result
from otel_posthog.pipeline.collector import CollectorGate
from otel_posthog.registry import Kind
from otel_posthog.telemetry.error_capture import event_now


class Host:
    """A product with providers and exporters of its own."""

    def __init__(self, database_url, *, clock=None, **options):
        self.kept_logs, self.kept_spans = InMemoryLogRecordExporter(), InMemorySpanExporter()
        self.logs, self.traces = LoggerProvider(), TracerProvider(**options)
        self.logs.add_log_record_processor(SimpleLogRecordProcessor(SourceLineExporter(self.kept_logs)))
        self.traces.add_span_processor(SimpleSpanProcessor(self.kept_spans))
        self.telemetry = Telemetry(
            database=database_url,
            logger_provider=self.logs,
            tracer_provider=self.traces,
            through_collector=True,
            clock=clock,
            environ={},
        )

    def span(self, **options):
        self.traces.get_tracer("host").start_span("span", **options).end()
        return self.kept_spans.get_finished_spans()[-1]

    @property
    def records(self):
        return [kept.log_record for kept in self.kept_logs.get_finished_logs()]


@pytest.fixture
def host(database_url):
    """Return a running product that sends through a Collector; nothing is granted yet."""
    host = Host(database_url)
    with host.telemetry:
        yield host


def test_each_record_carries_consent(host):
    """Spans and log records, the host's own ones too, carry id, flags, generations and manifests."""
    row = host.telemetry.update_settings(enable_telemetry=True)

    track("some_event", {"number": 1})
    span = host.span(attributes={"own": 1})

    registry = host.telemetry.registry
    expected = {
        "posthog.instance_id": str(row.instance_id),
        "posthog.consent.errors": False,
        "posthog.consent.telemetry": True,
        "posthog.consent.telemetry_generation": row.telemetry_generation,
        "posthog.consent.telemetry_manifest": registry.manifest(Kind.TELEMETRY).hash,
    }
    assert {key: value for key, value in span.attributes.items() if key != "own"} == expected
    [record] = host.records
    assert expected.items() <= record.attributes.items()
    assert read(record.attributes).grants.keys() == {Kind.TELEMETRY}


def test_handed_over_is_what_the_exporter_confirmed(host):
    """What the host's exporter has delivered counts as handed over, and what it gave up as dropped."""
    host.telemetry.update_settings(enable_telemetry=True)
    track("some_event")
    host.kept_logs.shutdown()  # from here on it answers FAILURE
    track("some_event")

    balance = host.telemetry.delivery().by_kind()[Kind.TELEMETRY]

    assert (balance.accepted, balance.handed_over, balance.sent, balance.unaccounted) == (2, 1, 0, 0)
    assert balance.dropped == {"handover_failed": 1}


def test_nothing_is_stamped_without_consent(host):
    """While nothing is granted records carry nothing, and so a gateway refuses them."""
    assert dict(host.span().attributes) == {}


def test_withdrawal_is_on_the_next_record(host):
    """A span that began before a withdrawal and ends after it carries no consent."""
    host.telemetry.update_settings(enable_telemetry=True)
    span = host.traces.get_tracer("host").start_span("span")

    host.telemetry.update_settings(enable_telemetry=False)
    span.end()

    assert dict(host.kept_spans.get_finished_spans()[-1].attributes) == {}


def test_renewed_consent_has_a_new_generation(host):
    """After off and on again records carry a generation that a gateway can tell from the one before."""
    found = []
    for flag in (True, False, True):
        host.telemetry.update_settings(enable_telemetry=flag)
        found.append(host.span().attributes.get("posthog.consent.telemetry_generation"))

    assert found == [0, None, 1]


def test_nothing_is_sent_from_here(host, sink):
    """Records go to the host's exporter alone; there is no queue, and no request."""
    host.telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)

    track("some_event")
    capture_exception(ValueError("no"))

    assert host.telemetry.flush(timeout_s=5)
    assert [len(host.records), sink.requests, host.telemetry.delivery()] == [2, [], {"handed_over": 2}]


def test_full_span_gets_its_stamps(database_url):
    """A span that has its limit of attributes gets them all the same, and loses none."""
    host = Host(database_url, span_limits=SpanLimits(max_span_attributes=2))
    with host.telemetry:
        host.telemetry.update_settings(enable_telemetry=True)
        span = host.span(attributes={"a": 1, "b": 2})

    assert {"a", "b", "posthog.instance_id"} <= span.attributes.keys()


def test_exception_carries_scrubbed_source_lines(host):
    """An exception leaves with its source lines and without secrets; the record itself stays as it was."""
    host.telemetry.update_settings(enable_error_reporting=True)

    with pytest.raises(ValueError, match="password") as raised:
        raise ValueError("password=Planted7secret9")
    capture_exception(raised.value)

    [record] = host.records
    [entry] = json.loads(record.attributes["posthog.exception_chain"])
    [frame] = entry["frames"]
    assert 'raise ValueError("password=' in frame[5]
    assert "Planted7secret9" not in record.attributes["posthog.exception_chain"]


def test_failed_span_outside_of_requests_tells_its_exception(host):
    """A failed root span speaks for itself; a later report by hand is not a second event."""
    host.telemetry.update_settings(enable_error_reporting=True)

    tracer = host.traces.get_tracer("host")
    with pytest.raises(ValueError, match="no") as raised, tracer.start_as_current_span("job"):
        raise ValueError("no")
    capture_exception(raised.value)

    assert "posthog.exception_told" not in host.kept_spans.get_finished_spans()[-1].attributes
    assert host.records == []


def test_span_within_a_request_leaves_its_exception_to_the_middleware(host):
    """A failed span of a request is marked, since only the middleware sees whether that was handled."""
    host.telemetry.update_settings(enable_error_reporting=True)

    async def app(_scope, _receive, _send):
        with suppress(ValueError), host.traces.get_tracer("host").start_as_current_span("job"):
            raise ValueError("no")

    call(host.telemetry.wrap(app), http_scope())

    assert host.kept_spans.get_finished_spans()[-1].attributes["posthog.exception_told"] is True


def test_heartbeat_leaves_as_a_log_record(database_url):
    """The day's heartbeat is a record with the uuid and the time that make it one event."""
    now_s = [datetime(2030, 5, 1, 12, tzinfo=UTC).timestamp()]
    host = Host(database_url, clock=lambda: now_s[0])
    host.telemetry.heartbeat.gauge("total_pipelines")(lambda: 7)
    host.telemetry.heartbeat.delay(3600)  # only by hand
    with host.telemetry:
        row = host.telemetry.update_settings(enable_telemetry=True)
        host.telemetry.heartbeat.send_if_due()
        now_s[0] += 86_400

        assert host.telemetry.heartbeat.send_if_due() is Result.SENT

    [record] = [record for record in host.records if record.event_name == "instance_heartbeat"]
    assert record.attributes["total_pipelines"] == 7
    assert record.attributes["posthog.event_uuid"] == str(
        uuid5(row.instance_id, "instance_heartbeat:2030-05-02")
    )
    assert record.timestamp == int(datetime(2030, 5, 2, 3, tzinfo=UTC).timestamp()) * 10**9


def test_heartbeat_after_the_end_is_left_to_another_process():
    """What comes too late for the provider does not count as sent, so that the day is not over."""
    gate = CollectorGate(Owner())

    assert gate.send([event_now("instance_heartbeat", {})]) is Outcome.LOST


def test_provider_is_needed(database_url):
    """Without a provider of the host records would go nowhere, so that is an error at the start."""
    with pytest.raises(ConfigError, match="logger_provider"):
        Telemetry(database=database_url, through_collector=True, environ={})
