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

Signal = Literal["log", "span"]
_UNITS = {"log": "{log_record}", "span": "{span}"}
_TYPES = {
    "log": "otel_posthog.exporters.PostHogLogExporter",
    "span": "otel_posthog.exporters.PostHogSpanExporter",
}
_ERRORS = {Outcome.HELD: "held", Outcome.LOST: "rejected"}
_numbers = itertools.count()


class ExporterMetrics:
    """Count and time the exports of one exporter.

    An export has failed with `held` where its records wait in the spool, to be delivered later and
    uncounted, and with `rejected` where any of them is lost.
    """

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
        """Return what the export of so many records returns, measured."""
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


def exporter_metrics(given: AnyMeterProvider | None, signal: Signal) -> ExporterMetrics | None:
    """Return the metrics for the provider given, or for the process's own where the host made one."""
    provider = given or get_meter_provider()
    sdk = sys.modules.get("opentelemetry.sdk.metrics")  # whoever made one of its providers has loaded it
    collects = sdk is not None and isinstance(provider, sdk.MeterProvider)
    return ExporterMetrics(provider, signal) if collects else None
