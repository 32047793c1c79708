"""OpenTelemetry's metrics about exporters, for ours: `otel.sdk.exporter.*` of the semantic conventions.

Only for a host that collects metrics at all; otherwise nothing is made and nothing is measured.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from typing import Literal

from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.metrics import get_meter_provider

from . import attributes
from .gate import Outcome

Signal = Literal["log", "span", "metric_data_point"]
_UNITS = {"log": "{log_record}", "span": "{span}", "metric_data_point": "{data_point}"}
_TYPES = {
    "log": "otel_posthog.exporters.PostHogLogExporter",
    "span": "otel_posthog.exporters.PostHogSpanExporter",
    "metric_data_point": "otel_posthog.heartbeat.exporter.PostHogMetricExporter",
}
_ERRORS = {Outcome.HELD: "held", Outcome.LOST: "rejected"}
_numbers = itertools.count()


class ExporterMetrics:
    """Count and time the exports of one exporter, from when the host collects metrics on.

    An export has failed with `held` where its records wait in the spool, to be delivered later and
    uncounted, and with `rejected` where any of them is lost.
    """

    def __init__(self, provider: AnyMeterProvider | None, signal: Signal) -> None:
        """Use the provider given, or the process's own, which a host may set after it made exporters."""
        self._provider = provider
        self._signal: Signal = signal
        self._instruments: _Instruments | None = None

    def measured(self, number: int, export: Callable[[], Outcome]) -> Outcome:
        """Return what the export of so many records returns, measured."""
        if self._instruments is None and collects(self._provider or get_meter_provider()):
            self._instruments = _Instruments(self._provider or get_meter_provider(), self._signal)
        return export() if self._instruments is None else self._instruments.measured(number, export)


class _Instruments:
    def __init__(self, provider: AnyMeterProvider, signal: Signal) -> None:
        meter = provider.get_meter(attributes.SCOPE)
        unit = _UNITS[signal]
        self._attributes = {
            "otel.component.type": _TYPES[signal],
            "otel.component.name": f"{_TYPES[signal]}/{next(_numbers)}",
        }
        self._inflight = meter.create_up_down_counter(
            f"otel.sdk.exporter.{signal}.inflight", unit, "Passed to the exporter and not yet dealt with."
        )
        self._exported = meter.create_counter(
            f"otel.sdk.exporter.{signal}.exported", unit, "Dealt with by the exporter, well or not."
        )
        self._duration = meter.create_histogram(
            "otel.sdk.exporter.operation.duration", "s", "How long the export of a batch took."
        )

    def measured(self, number: int, export: Callable[[], Outcome]) -> Outcome:
        self._inflight.add(number, self._attributes)
        began_s = time.monotonic()
        outcome = Outcome.LOST
        try:
            outcome = export()
        finally:
            error = {"error.type": _ERRORS[outcome]} if outcome in _ERRORS else {}
            self._duration.record(time.monotonic() - began_s, self._attributes | error)
            self._inflight.add(-number, self._attributes)
            self._exported.add(number, self._attributes | error)
        return outcome


def collects(provider: AnyMeterProvider) -> bool:
    """Tell whether the provider is one of the SDK's; whoever made one has loaded its module."""
    sdk = sys.modules.get("opentelemetry.sdk.metrics")
    return sdk is not None and isinstance(provider, sdk.MeterProvider)
