"""Connect the heartbeat to OpenTelemetry's metrics SDK; loaded with the first heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.resources import Resource

from otel_posthog.delivery.gate import Outcome
from otel_posthog.mapping import LIBRARY
from otel_posthog.otel import attributes
from otel_posthog.pipeline.exporters import ExporterMetrics

from .gauges import Collected, Gauge
from .rounds import Result, Rounds

_OUTCOMES = {Result.SENT: Outcome.SENT, Result.HELD: Outcome.HELD, Result.FAILED: Outcome.LOST}
_NO_LIMIT_MS = 86_400_000.0  # `observe` has a limit for each gauge, and for all together


class PostHogMetricExporter(MetricExporter):
    """Turn the gauges of our meter into the day's heartbeat, when due and leased; drop all other metrics."""

    def __init__(
        self, rounds: Rounds, *, check_s: float, meter_provider: AnyMeterProvider | None = None
    ) -> None:
        super().__init__()
        self._rounds = rounds
        self._check_s = check_s
        self._not_before_s = 0.0
        self._metrics = ExporterMetrics(meter_provider, "metric_data_point")

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - each step has a timeout of its own
        **_kwargs: object,
    ) -> MetricExportResult:
        """Run one round with what was collected; never raises."""
        values = _gauge_values(metrics_data)
        # The store is read only as often as the schedule requires, however often metrics arrive.
        if not values or time.monotonic() < self._not_before_s:
            return MetricExportResult.SUCCESS
        outcome = self._metrics.measured(len(values), lambda: self._round(values))
        return MetricExportResult.FAILURE if outcome is Outcome.LOST else MetricExportResult.SUCCESS

    def _round(self, values: Mapping[str, object]) -> Outcome:
        done = self._rounds.run(lambda _is_wanted: Collected(values=values))
        self._not_before_s = time.monotonic() + min(done.pause_s, self._check_s)
        return _OUTCOMES.get(done.result, Outcome.NOTHING)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - nothing is buffered
        """Return at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Do nothing: gate and store are shared, their owner closes them."""


class _OnDemandReader(MetricReader):
    """Keep what one call of `collect` finds."""

    def __init__(self) -> None:
        super().__init__()
        self.values: Mapping[str, object] = {}

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Do nothing: there is no thread."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the interface's
        **_kwargs: object,
    ) -> None:
        self.values = _gauge_values(metrics_data)


def collect_once(
    gauges: Iterable[Gauge], observe: Callable[[Gauge, CallbackOptions], Sequence[Observation]]
) -> Mapping[str, object]:
    """Return the values that `observe` yields, collected by a provider that lives only for this call."""
    # A lasting provider would hold a lock between two days, which a fork could copy locked.
    reader = _OnDemandReader()
    provider = MeterProvider(
        [reader],
        resource=Resource({"service.name": LIBRARY}),
        exemplar_filter=AlwaysOffExemplarFilter(),  # given, or a wrong OTEL_METRICS_EXEMPLAR_FILTER raises
        shutdown_on_exit=False,
    )
    try:
        meter = provider.get_meter(attributes.HEARTBEAT_SCOPE)
        for gauge in gauges:
            callback = partial(observe, gauge)
            meter.create_observable_gauge(gauge.name, [callback], gauge.unit, gauge.description)
        reader.collect(timeout_millis=_NO_LIMIT_MS)
    finally:
        provider.shutdown()
    return reader.values


def _gauge_values(data: MetricsData) -> dict[str, object]:
    """Return the value of each gauge of our meter: a number, or the text or boolean in its attribute."""
    return {
        metric.name: (point.attributes or {}).get(attributes.GAUGE_VALUE, point.value)
        for resource_metrics in data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        if scope_metrics.scope.name == attributes.HEARTBEAT_SCOPE
        for metric in scope_metrics.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }
