"""Read all gauges once; whatever one of them does costs that one only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.metrics import Observation

from otel_posthog import attributes
from otel_posthog.records import MetricView

from .gauges import Gauge, Value
from .reading import GaugeError, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the gauges said, and why those that failed did."""

    metrics: Sequence[MetricView] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


class Collector:
    """Read gauges one after the other, each within `timeout_s`, all together within a budget."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]], reader: Reader, *, timeout_s: float) -> None:
        self._gauges = gauges
        self._reader = reader
        self._timeout_s = timeout_s

    def collect(self, budget_s: float, is_wanted: Callable[[], bool]) -> Collected:
        """Return what they say; one that is reached too late, or no longer wanted, counts as failed."""
        from . import on_demand  # noqa: PLC0415 - the metrics SDK costs 20 ms, for one moment a day

        deadline_s = time.monotonic() + budget_s
        failures: dict[str, str] = {}

        def observe(gauge: Gauge) -> Sequence[Observation]:
            if not is_wanted():
                failures[gauge.name] = "was not asked, since telemetry went off"
                return []
            try:
                return _observations(self._read(gauge, deadline_s - time.monotonic()))
            except GaugeError as error:
                failures[gauge.name] = str(error)
            except Exception as error:  # noqa: BLE001 - values may be hostile, and loops end at any moment
                failures[gauge.name] = f"could not be read ({type(error).__name__})"
            return []

        return Collected(metrics=on_demand.collect(self._gauges(), observe), failures=failures)

    def _read(self, gauge: Gauge, left_s: float) -> Value:
        if left_s <= 0:
            raise GaugeError("was not reached in time")
        return self._reader.read(gauge, min(self._timeout_s, left_s))


def _observations(value: Value) -> Sequence[Observation]:
    """Return one observation or none; a text or a boolean stands on a constant 1."""
    if value is None:
        return []
    if isinstance(value, (bool, str)):
        return [Observation(1, {attributes.GAUGE_VALUE: value})]
    return [Observation(value)]
