"""The exporters that OpenTelemetry makes from a file or from `OTEL_*_EXPORTER=posthog`."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import psycopg
import pytest
from conftest import API_KEY
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Status, StatusCode
from waiting import wait_until

from otel_posthog import Telemetry, track
from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.declarative import DeclaredLogExporter, DeclaredMetricExporter, DeclaredSpanExporter
from otel_posthog.emit.emitters import Emitter, diverted
from otel_posthog.otel.attributes import HEARTBEAT_SCOPE, SCOPE
from otel_posthog.otel.sdk import BatchLogRecordProcessor, LoggerProvider, LogRecordExporter
from otel_posthog.testing import Fault

DRAINER = "otel-posthog-drainer"
RULES = [{"name": "GET /runs/*", "event": "runs_seen"}]


@pytest.fixture
def decide(database_url):
    """Return a function that changes the flags as another process would."""
    telemetry = Telemetry(database=database_url, environ={}, spool_dir=":memory:")
    yield telemetry.update_settings
    telemetry.shutdown()


@pytest.fixture
def block(sink_url, database_url):
    """Return a block for the local PostHog."""
    return {"api_key": API_KEY, "host": sink_url, "database": database_url, "spans": RULES}


@pytest.fixture
def made():
    """Return a list of providers and exporters to be shut down after the test."""
    stoppable = []
    yield stoppable
    for one in stoppable:
        one.shutdown()


@pytest.fixture
def tracing(block, made):
    """Return a host's provider with our exporter behind a stock processor."""
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(DeclaredSpanExporter(**block)))
    made.append(provider)
    return provider


def _threads():
    return {thread.name for thread in threading.enumerate()}


def _end_span(provider, name, error=None):
    with provider.get_tracer("host").start_as_current_span(name, record_exception=False) as span:
        if error is not None:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("opentelemetry_traces_exporter", SpanExporter),
        ("opentelemetry_logs_exporter", LogRecordExporter),
        ("opentelemetry_metrics_exporter", MetricExporter),
    ],
)
def test_opentelemetry_finds_the_exporters(group, kind):
    """Each signal has an exporter called `posthog`, of the class that OpenTelemetry asks for."""
    [found] = entry_points(group=group, name="posthog")

    assert issubclass(found.load(), kind)


def test_nothing_leaves_while_off(tracing, decide, sink):
    """Behind a stock processor, too, nothing is sent before somebody has agreed (R2)."""
    decide(enable_telemetry=False)

    _end_span(tracing, "GET /runs/1", ValueError("x"))
    tracing.force_flush()

    assert sink.requests == []


def test_each_kind_has_its_own_switch(tracing, decide, sink):
    """A span that is both leaves as what was agreed to."""
    decide(enable_error_reporting=True)

    _end_span(tracing, "GET /runs/1", ValueError("x"))
    tracing.force_flush()

    assert [event.name for event in sink.events] == ["$exception"]


def test_withdrawal_by_another_process_counts_at_once(tracing, decide, sink):
    """What waits in the stock queue at a withdrawal never leaves, even if consent returns at once (R4)."""
    decide(enable_telemetry=True)
    _end_span(tracing, "GET /runs/1")
    tracing.force_flush()
    _end_span(tracing, "GET /runs/withdrawn")

    decide(enable_telemetry=False)
    decide(enable_telemetry=True)
    tracing.force_flush()

    assert len(sink.events) == 1


def test_what_was_recorded_while_off_never_leaves(tracing, decide, sink):
    """A grant does not reach back to what waits in the stock queue."""
    decide(enable_error_reporting=True)
    _end_span(tracing, "GET /", ValueError("first"))
    tracing.force_flush()
    _end_span(tracing, "GET /runs/before")

    decide(enable_telemetry=True)
    tracing.force_flush()
    _end_span(tracing, "GET /runs/after")
    tracing.force_flush()

    assert [event.name for event in sink.events] == ["$exception", "runs_seen"]


def test_two_exporters_tell_one_span_once(block, tracing, decide, sink):
    """A second load in the same process doubles nothing: all share one gate."""
    tracing.add_span_processor(SimpleSpanProcessor(DeclaredSpanExporter(**block)))
    decide(enable_error_reporting=True, enable_telemetry=True)

    _end_span(tracing, "GET /runs/1", ValueError("x"))
    tracing.force_flush()

    assert sorted(event.name for event in sink.events) == ["$exception", "runs_seen"]


def test_empty_block_goes_by_the_others(tracing, made, decide, sink):
    """`posthog:` alone under another provider means the same block."""
    decide(enable_telemetry=True)
    provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(DeclaredLogExporter()))
    made.append(provider)

    with diverted(Emitter(provider.get_logger(SCOPE), LogLimiter())):
        track("report_made", {"pages": 3})
    provider.force_flush()

    assert [(event.name, event.properties["pages"]) for event in sink.events] == [("report_made", 3)]


def test_what_belongs_to_no_telemetry_passes_our_exporter_alone(block, decide, sink):
    """Beside an exporter of the host it gets nothing raw, and the end of the provider waits for it."""
    decide(enable_telemetry=True)
    provider, host = (
        LoggerProvider(resource=Resource({}), shutdown_on_exit=False),
        InMemoryLogRecordExporter(),
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(host))
    provider.add_log_record_processor(BatchLogRecordProcessor(DeclaredLogExporter(**block)))

    track("report_made", {"pages": 3})
    provider.shutdown()

    assert [(event.name, event.properties["pages"]) for event in sink.events] == [("report_made", 3)]
    assert host.get_finished_logs() == ()


def test_one_spool_is_shared(tracing, made, decide, sink):
    """What waits during an outage is sent by the same process once PostHog is back, whatever its signal."""
    decide(enable_telemetry=True)
    sink.script([Fault(status=503, times=1)])

    _end_span(tracing, "GET /runs/1")
    tracing.force_flush()

    sink.wait_for(count=1, timeout_s=30)


def test_last_exporter_closes_all(tracing, decide, sink):
    """After the provider's shutdown no thread of ours is left."""
    decide(enable_telemetry=True)
    _end_span(tracing, "GET /runs/1")
    tracing.force_flush()
    wait_until(lambda: DRAINER in _threads(), timeout_s=30)

    tracing.shutdown()

    assert DRAINER not in _threads()


def test_nothing_begins_before_the_first_record(block, made, database_url):
    """A process that records nothing opens no database and starts no thread."""
    before = set(threading.enumerate())

    made.append(DeclaredSpanExporter(**block))

    assert set(threading.enumerate()) <= before
    assert not Path(database_url.removeprefix("sqlite:///")).exists()


def test_different_blocks_send_nothing(block, tracing, made, decide, sink, caplog):
    """Two blocks that contradict each other are no configuration; one line says so."""
    decide(enable_telemetry=True)
    with caplog.at_level(logging.WARNING):
        made.append(DeclaredSpanExporter(**{**block, "environment": "staging"}))
        _end_span(tracing, "GET /runs/1")
        tracing.force_flush()

    assert sink.requests == []
    [record] = caplog.records
    assert "the posthog blocks differ" in record.getMessage()


@pytest.fixture
def metering(block, made):
    """Return a host's provider with our exporter, which exports when flushed."""
    exporter = DeclaredMetricExporter(**block, heartbeat_check_s=0.01)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    made.append(provider)
    return provider


def _owe_a_heartbeat(database_url):
    """Set the last heartbeat back, as if the machine had been off for a long time."""
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=30)) as connection:
        connection.execute("UPDATE system_heartbeat SET done_day = '2020-01-01', claimed_until = NULL")
        connection.commit()


def test_gauges_become_the_heartbeat(metering, decide, database_url, sink):
    """The gauges of our meter become one event, and other metrics of the host stay behind (R20)."""
    decide(enable_telemetry=True)
    for scope, name in ((HEARTBEAT_SCOPE, "total_pipelines"), ("the.host", "total_customers")):
        metering.get_meter(scope).create_observable_gauge(name, callbacks=[lambda _: [Observation(3)]])
    metering.force_flush()
    _owe_a_heartbeat(database_url)

    def has_beaten():
        metering.force_flush()
        return sink.events

    wait_until(has_beaten, timeout_s=30)
    [event] = sink.events
    assert (event.name, event.properties["total_pipelines"]) == ("instance_heartbeat", 3)
    assert "total_customers" not in event.properties


def test_metrics_of_the_host_open_nothing(metering, decide, database_url, sink):
    """A process that has no gauge of ours never asks the database for its metrics."""
    metering.get_meter("the.host").create_counter("requests").add(1)

    metering.force_flush()

    assert not Path(database_url.removeprefix("sqlite:///")).exists()


def test_storm_is_limited(block, made, decide, sink):
    """Of one failure only a burst is told (R16), its events all the same, and at the end how many were not.

    No logger provider is needed for that.
    """
    decide(enable_error_reporting=True, enable_telemetry=True)
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(DeclaredSpanExporter(**block, error_burst=3)))
    made.append(provider)

    for number in range(20):
        _end_span(provider, "GET /runs/1", ValueError(f"failure {number}"))
    provider.force_flush()

    names = [event.name for event in sink.events]
    assert (names.count("$exception"), names.count("runs_seen")) == (3, 20)
    provider.shutdown()
    [told] = [event.properties for event in sink.events if event.name == "exceptions_suppressed"]
    assert (told["suppressed"], told["failures"]) == (17, 1)


def test_switches_in_postgresql_count(block, made, postgres_database, sink):
    """The database may be a PostgreSQL of the product: off by SQL, nothing leaves with the next batch."""
    product = Telemetry(database=postgres_database, environ={}, spool_dir=":memory:")
    made.append(product)
    product.update_settings(enable_telemetry=True)
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(DeclaredSpanExporter(**{**block, "database": postgres_database}))
    )
    made.append(provider)
    _end_span(provider, "GET /runs/1")
    provider.force_flush()

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("UPDATE system_settings SET enable_telemetry = FALSE")
    _end_span(provider, "GET /runs/2")
    provider.force_flush()

    assert [event.name for event in sink.events] == ["runs_seen"]


def test_exporters_give_way_to_a_telemetry(tracing, make_telemetry, sink, caplog):
    """Where the product starts a `Telemetry` itself, a file beside it doubles nothing, and a line says so."""
    product = make_telemetry(tracer_provider=tracing)
    product.start()
    product.update_settings(enable_error_reporting=True, enable_telemetry=True)

    with caplog.at_level(logging.WARNING):
        _end_span(tracing, "GET /runs/1", ValueError("x"))
        tracing.force_flush()
    product.flush(timeout_s=30)

    assert [event.name for event in sink.events] == ["$exception"]
    assert "so that no event is sent twice" in caplog.text


def test_fork_leaves_a_working_child(tracing, decide, sink):
    """A child of the process sends what it records itself, and the parent goes on."""
    decide(enable_telemetry=True)
    _end_span(tracing, "GET /runs/parent")
    tracing.force_flush()

    pid = os.fork()
    if pid == 0:
        _end_span(tracing, "GET /runs/child")
        tracing.force_flush()
        os._exit(0)
    os.waitpid(pid, 0)
    _end_span(tracing, "GET /runs/parent")
    tracing.force_flush()

    sink.wait_for(count=3, timeout_s=30)
    assert len({event.uuid for event in sink.events}) == 3
