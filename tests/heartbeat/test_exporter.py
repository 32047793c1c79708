"""The exporter for a host's own MeterProvider."""

from __future__ import annotations

import itertools

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_posthog.heartbeat import Result
from otel_posthog.heartbeat.exporter import PostHogMetricExporter
from otel_posthog.otel.attributes import GAUGE_VALUE, HEARTBEAT_SCOPE
from otel_posthog.registry import Kind

NOON_S = 1_795_521_600
DAY_S = 86_400


@pytest.fixture
def telemetry(make_telemetry):
    """Return a `Telemetry` for which a heartbeat is due at the second reading of the clock."""
    now_s = itertools.chain([NOON_S], itertools.repeat(NOON_S + DAY_S))
    made = make_telemetry(clock=lambda: next(now_s))
    made.heartbeat.gauge("total_pipelines")(lambda: 3)
    made.update_settings(enable_telemetry=True)
    assert made.heartbeat.send_if_due() is Result.NOT_DUE
    return made


@pytest.fixture
def provider(telemetry):
    """Return a host's provider with our exporter, which exports when flushed."""
    exporter = PostHogMetricExporter(telemetry.heartbeat.rounds, check_s=3600)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    made = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    yield made
    made.shutdown()


def test_gauges_of_our_meter_become_the_heartbeat(provider, sink):
    """However often the host's reader exports, the day has one event."""
    meter = provider.get_meter(HEARTBEAT_SCOPE)
    meter.create_observable_gauge("total_pipelines", callbacks=[lambda _: [Observation(3)]])

    for _ in range(3):
        provider.force_flush()

    (event,) = sink.events
    assert (event.name, event.properties["total_pipelines"]) == ("instance_heartbeat", 3)


def test_texts_and_booleans_are_attributes(provider, telemetry, sink):
    """A text or boolean is an attribute of the number 1; a number is its value."""
    telemetry.heartbeat.gauge("db_kind")(lambda: "sqlite")
    telemetry.heartbeat.gauge("is_on")(lambda: False)
    telemetry.answer(agreed=[Kind.TELEMETRY])
    meter = provider.get_meter(HEARTBEAT_SCOPE)
    for name, value in (("db_kind", "sqlite"), ("is_on", False)):
        observation = Observation(1, {GAUGE_VALUE: value})
        meter.create_observable_gauge(name, callbacks=[lambda _, found=observation: [found]])

    provider.force_flush()

    (event,) = sink.events
    assert (event.properties["db_kind"], event.properties["is_on"]) == ("sqlite", False)


def test_base_properties_win(provider, sink):
    """No gauge of a host can change a property that every event has."""
    meter = provider.get_meter(HEARTBEAT_SCOPE)
    meter.create_observable_gauge("source", callbacks=[lambda _: [Observation(7)]])

    provider.force_flush()

    assert sink.events[0].properties["source"] == "backend"


def test_other_metrics_are_dropped(provider, sink):
    """What the host measures for itself goes nowhere, and takes no lease."""
    meter = provider.get_meter("the.host")
    meter.create_counter("requests").add(1)
    meter.create_histogram("duration").record(2.5)
    meter.create_observable_gauge("total_pipelines", callbacks=[lambda _: [Observation(3)]])

    provider.force_flush()

    assert sink.requests == []


def test_other_metrics_do_not_come_along(provider, sink):
    """Beside our gauges, too, those of other meters stay behind."""
    ours, theirs = provider.get_meter(HEARTBEAT_SCOPE), provider.get_meter("the.host")
    ours.create_observable_gauge("total_pipelines", callbacks=[lambda _: [Observation(3)]])
    theirs.create_observable_gauge("total_customers", callbacks=[lambda _: [Observation(4711)]])

    provider.force_flush()

    assert "total_customers" not in sink.events[0].properties


def test_exporter_measures_itself(telemetry, sink):
    """The host's metrics tell how many data points were exported, and how long that took."""
    own = InMemoryMetricReader()
    measuring = MeterProvider([own], shutdown_on_exit=False)
    exporter = PostHogMetricExporter(telemetry.heartbeat.rounds, check_s=3600, meter_provider=measuring)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    meter = provider.get_meter(HEARTBEAT_SCOPE)
    meter.create_observable_gauge("total_pipelines", callbacks=[lambda _: [Observation(3)]])

    provider.force_flush()
    provider.shutdown()

    [scope] = own.get_metrics_data().resource_metrics[0].scope_metrics
    measuring.shutdown()
    points = {metric.name: [dict(p.attributes) for p in metric.data.data_points] for metric in scope.metrics}
    assert sorted(points) == [
        "otel.sdk.exporter.metric_data_point.exported",
        "otel.sdk.exporter.metric_data_point.inflight",
        "otel.sdk.exporter.operation.duration",
    ]
    assert ["error.type" in each for each in points["otel.sdk.exporter.operation.duration"]] == [False]
    assert len(sink.events) == 1
