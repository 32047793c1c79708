"""The heartbeat for a host's own MeterProvider, such as one built from a configuration file."""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from otel_posthog import attributes
from otel_posthog.exporter_metrics import ExporterMetrics
from otel_posthog.gate import Outcome
from otel_posthog.records import MetricView

from .collecting import Collected
from .on_demand import metric_views
from .rounds import Result, Rounds

_OUTCOMES = {Result.SENT: Outcome.SENT, Result.HELD: Outcome.HELD, Result.FAILED: Outcome.LOST}


class PostHogMetricExporter(MetricExporter):
    """Turn the gauges of our meter into the day's heartbeat, when due and leased; drop all other metrics.

    It asks the store only as often as the schedule calls for, however often it is given metrics.
    """

    def __init__(
        self, rounds: Rounds, *, check_s: float, meter_provider: MeterProvider | None = None
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
        ours = [view for view in metric_views(metrics_data) if view.scope == attributes.HEARTBEAT_SCOPE]
        if not ours or time.monotonic() < self._not_before_s:
            return MetricExportResult.SUCCESS
        outcome = self._metrics.measured(len(ours), lambda: self._round(ours))
        return MetricExportResult.FAILURE if outcome is Outcome.LOST else MetricExportResult.SUCCESS

    def _round(self, ours: Sequence[MetricView]) -> Outcome:
        done = self._rounds.run(lambda _is_wanted: Collected(metrics=ours))
        self._not_before_s = time.monotonic() + min(done.pause_s, self._check_s)
        return _OUTCOMES.get(done.result, Outcome.NOTHING)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - nothing is kept back
        """Answer at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Do nothing: gate and store are shared, their owner closes them."""
