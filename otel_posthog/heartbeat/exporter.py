"""The heartbeat for a host's own MeterProvider, such as one built from a configuration file."""

from __future__ import annotations

import time

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from otel_posthog import attributes

from .collecting import Collected
from .on_demand import metric_views
from .rounds import Result, Rounds


class PostHogMetricExporter(MetricExporter):
    """Turn the gauges of our meter into the day's heartbeat, when due and leased; drop all other metrics.

    It asks the store only as often as the schedule calls for, however often it is given metrics.
    """

    def __init__(self, rounds: Rounds, *, check_s: float) -> None:
        super().__init__()
        self._rounds = rounds
        self._check_s = check_s
        self._not_before_s = 0.0

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
        done = self._rounds.run(lambda _is_wanted: Collected(metrics=ours))
        self._not_before_s = time.monotonic() + min(done.pause_s, self._check_s)
        return MetricExportResult.FAILURE if done.result is Result.FAILED else MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - nothing is kept back
        """Answer at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Do nothing: gate and store are shared, their owner closes them."""
