"""OpenTelemetry's metrics about our exporters."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest
from opentelemetry.metrics import NoOpMeterProvider, get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_posthog import track
from otel_posthog.delivery.gate import Outcome
from otel_posthog.pipeline.exporters import ExporterMetrics, collects
from otel_posthog.registry import Kind
from otel_posthog.testing import Fault

SEMCONV = {
    "otel.sdk.exporter.log.inflight": "{log_record}",
    "otel.sdk.exporter.log.exported": "{log_record}",
    "otel.sdk.exporter.operation.duration": "s",
}
COUNTED_AS = {"sent": None, "waiting": "held", "dropped": "rejected"}


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    made = MeterProvider([reader], shutdown_on_exit=False)
    yield made
    made.shutdown()


def _metrics(reader):
    [of_resource] = reader.get_metrics_data().resource_metrics
    found = [metric for scope in of_resource.scope_metrics for metric in scope.metrics]
    return {metric.name: metric for metric in found if metric.name.startswith("otel.sdk.exporter.")}


def _points(metric):
    return {point.attributes.get("error.type"): point for point in metric.data.data_points}


def _export_three(make_telemetry, provider, sink, fault):
    """Track three events, export them once, and return the `Telemetry`."""
    telemetry = make_telemetry(meter_provider=provider, batch_delay_s=60, retry_initial_s=60)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script(fault)
    for _ in range(3):
        track("counted")

    telemetry.flush()
    return telemetry


@pytest.mark.parametrize(
    ("fault", "error"),
    [([], None), ([Fault(status=503)], "held"), ([Fault(status=400, times=None)], "rejected")],
)
def test_each_export_is_counted_once(make_telemetry, sink, provider, reader, fault, error):
    """Where the host has a meter provider, records in flight, exported and durations are told."""
    _export_three(make_telemetry, provider, sink, fault)

    metrics = _metrics(reader)
    assert {name: metric.unit for name, metric in metrics.items()} == SEMCONV
    assert {key: p.value for key, p in _points(metrics["otel.sdk.exporter.log.exported"]).items()} == {
        error: 3
    }
    assert [p.value for p in _points(metrics["otel.sdk.exporter.log.inflight"]).values()] == [0]
    assert [p.count for p in _points(metrics["otel.sdk.exporter.operation.duration"]).values()] == [1]
    component = _points(metrics["otel.sdk.exporter.log.exported"])[error].attributes
    assert component["otel.component.name"].startswith(f"{component['otel.component.type']}/")


@pytest.mark.parametrize(
    ("fault", "place"),
    [([], "sent"), ([Fault(status=503)], "waiting"), ([Fault(status=400, times=None)], "dropped")],
)
def test_exporter_metrics_agree_with_the_balance(make_telemetry, sink, provider, reader, fault, place):
    """The exporter's counts are in the balance of the installation, at the corresponding place."""
    telemetry = _export_three(make_telemetry, provider, sink, fault)

    exported = _points(_metrics(reader)["otel.sdk.exporter.log.exported"])[COUNTED_AS[place]].value
    balance = telemetry.delivery().by_kind()[Kind.TELEMETRY]
    found = {"sent": balance.sent, "waiting": balance.waiting, "dropped": sum(balance.dropped.values())}
    assert found == {"sent": 0, "waiting": 0, "dropped": 0} | {place: exported}
    assert balance.accepted == exported


@pytest.mark.parametrize("given", [None, NoOpMeterProvider()], ids=["none", "no-op"])
def test_nothing_is_measured_without_a_meter_provider(given):
    """Where the host collects no metrics, an export is only an export."""
    assert not collects(given or get_meter_provider())
    assert ExporterMetrics(given, "span").measured(3, lambda: Outcome.HELD) is Outcome.HELD


def test_provider_that_is_set_later_is_found():
    """A host that makes exporters before its meter provider gets their metrics all the same."""
    program = """
        from opentelemetry.metrics import set_meter_provider
        from otel_posthog.pipeline.exporters import ExporterMetrics
        from otel_posthog.delivery.gate import Outcome

        measured = ExporterMetrics(None, "span")
        measured.measured(3, lambda: Outcome.SENT)

        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader = InMemoryMetricReader()
        set_meter_provider(MeterProvider([reader]))
        measured.measured(4, lambda: Outcome.SENT)
        [scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
        [exported] = [m for m in scope.metrics if m.name == "otel.sdk.exporter.span.exported"]
        print([point.value for point in exported.data.data_points])
    """

    run = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )

    assert run.stdout == "[4]\n", run.stderr
