"""OpenTelemetry's metrics SDK for one collection on demand; loaded with the first heartbeat.

The provider lives for one collection: nothing waits between two days, and a fork finds no lock of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData, NumberDataPoint
from opentelemetry.sdk.resources import Resource

from otel_posthog import attributes
from otel_posthog.mapping import LIBRARY
from otel_posthog.records import MetricView

from .gauges import Gauge

_NO_LIMIT_MS = 86_400_000.0  # each gauge has a limit of its own, and all together have the lease's


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkMetric:
    """One number data point of the SDK, seen as a `MetricView`."""

    scope: str
    name: str
    value: float
    attributes: Mapping[str, object]


class _OnDemandReader(MetricReader):
    def __init__(self) -> None:
        super().__init__()
        self.received: MetricsData | None = None

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Do nothing: there is no thread."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the interface's
        **_kwargs: object,
    ) -> None:
        self.received = metrics_data


def collect(gauges: Iterable[Gauge], observe: Callable[[Gauge], Sequence[Observation]]) -> list[MetricView]:
    """Return what `observe` says of each gauge, as OpenTelemetry sees it."""
    reader = _OnDemandReader()
    provider = MeterProvider(
        [reader],
        resource=Resource({"service.name": LIBRARY}),
        exemplar_filter=AlwaysOffExemplarFilter(),  # given, or a wrong OTEL_METRICS_EXEMPLAR_FILTER raises
        shutdown_on_exit=False,
    )
    try:
        register(provider.get_meter(attributes.HEARTBEAT_SCOPE), gauges, observe)
        reader.collect(timeout_millis=_NO_LIMIT_MS)
    finally:
        provider.shutdown()
    return list(metric_views(reader.received)) if reader.received is not None else []


def register(
    meter: Meter, gauges: Iterable[Gauge], observe: Callable[[Gauge], Sequence[Observation]]
) -> None:
    """Make each gauge an observable gauge of the meter."""

    def callback_of(gauge: Gauge) -> Callable[[CallbackOptions], Sequence[Observation]]:
        return lambda _options: observe(gauge)

    for gauge in gauges:
        meter.create_observable_gauge(
            gauge.name, callbacks=[callback_of(gauge)], unit=gauge.unit, description=gauge.description
        )


def metric_views(data: MetricsData) -> Iterator[MetricView]:
    """Yield the number data points of one collection."""
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in metric.data.data_points:
                    if isinstance(point, NumberDataPoint):
                        yield SdkMetric(
                            scope=scope_metrics.scope.name,
                            name=metric.name,
                            value=point.value,
                            attributes=point.attributes or {},
                        )
