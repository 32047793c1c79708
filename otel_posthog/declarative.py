"""The exporters that a configuration file or `OTEL_*_EXPORTER=posthog` names.

OpenTelemetry makes them, one for each signal, and hands over nothing but the file's `posthog:` block. So
all of a process meet here: they share one gate, transport, spool and consent, and a second load doubles
nothing. A block that cannot be used never stops the host: one line says that nothing is sent, and why.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from . import analytics, attributes
from ._forks import follow_forks
from ._otel_sdk import LogRecordExporter, LogRecordExportResult, ReadableLogRecord
from .config import REFUSED_FILE
from .errors import ConfigError, OtelPosthogError
from .notices import Notices

if TYPE_CHECKING:
    from .block import Block
    from .standalone import Standalone

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"


class Sharing:
    """What the exporters of one process share, from the first record until the last exporter has left."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members = 0
        self._data: Mapping[str, object] = {}
        self._block: Block | None = None
        self._parts: Standalone | None = None
        self._has_failed = False
        self._notices = Notices()
        follow_forks(self)

    def join(self, data: Mapping[str, object]) -> None:
        """Take part with this block; an empty one goes by the others' or by the environment. Never raises."""
        with self._lock:
            self._members += 1
            self._has_failed = self._has_failed or _is_refused()
            if not data or self._has_failed:
                return
            if self._data and data != self._data:
                self._fail(
                    ConfigError("the posthog blocks differ. Write one, and refer to it with *posthog.")
                )
            elif self._block is None:
                self._data = data
                self._block = self._read(data)

    def leave(self) -> None:
        """Take part no longer; with the last one all is closed."""
        with self._lock:
            self._members -= 1
            if self._members > 0:
                return
            parts, self._parts = self._parts, None
            self._data, self._block, self._has_failed = {}, None, False
        if parts is not None:
            parts.close()

    def parts(self) -> Standalone | None:
        """Return what is shared, begun if need be; None where nothing can be sent, or somebody else sends."""
        if analytics.is_in_use():
            self._notices.warn(
                _log,
                "This process has a Telemetry of its own: the exporters called posthog send nothing, "
                "so that nothing is told twice",
            )
            return None
        with self._lock:
            if self._parts is None and not self._has_failed:
                self._begin()
            return self._parts

    def before_fork(self) -> None:
        """Do nothing: nobody holds the lock for long."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork(self) -> None:
        """Start afresh in a child: the lock may be held by a thread of the parent."""
        self._lock = threading.RLock()

    def _begin(self) -> None:
        block = self._block or self._read({})
        if block is None:
            return
        try:
            from .standalone import Standalone  # noqa: PLC0415 - SQLAlchemy, which many a process never needs

            parts = Standalone(block, self._notices)
            parts.begin()
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
            self._fail(error)
        else:
            self._parts = parts

    def _read(self, data: Mapping[str, object]) -> Block | None:
        try:
            from .block import read_block  # noqa: PLC0415 - only where an exporter is named

            return read_block(data)
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        """Send nothing from now on, and say so."""
        self._has_failed = True
        parts, self._parts = self._parts, None
        reason = str(error) if isinstance(error, OtelPosthogError) else type(error).__name__
        check = f" Try: otel-posthog config check {os.environ.get(_FILE_VARIABLE) or 'FILE'}"
        _log.error("Nothing is sent to PostHog. posthog: %s%s", reason, check if self._data else "")
        if parts is not None:
            parts.close()


def _is_refused() -> bool:
    """Tell whether OpenTelemetry will refuse the file, if some of its exporters are made already."""
    file = os.environ.get(_FILE_VARIABLE)
    return bool(file) and os.environ.get(REFUSED_FILE) == file


_sharing = Sharing()


class _Member:
    """What the exporters have in common."""

    def __init__(self, /, **block: object) -> None:
        super().__init__()
        self._has_left = False
        _sharing.join(block)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:  # noqa: ARG002 - nothing is kept back
        """Answer at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:  # noqa: ARG002 - see `Standalone.close`
        """Take part no longer."""
        if not self._has_left:
            self._has_left = True
            _sharing.leave()

    def _wanted_parts(self) -> Standalone | None:
        """Return what is shared, unless all is denied: then nothing is even mapped."""
        parts = None if self._has_left else _sharing.parts()
        return parts if parts is not None and parts.is_wanted else None


class DeclaredSpanExporter(_Member, SpanExporter):
    """Spans to PostHog, behind any processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send what consent allows; never raises."""
        parts = self._wanted_parts()
        return SpanExportResult.SUCCESS if parts is None else parts.export_spans(spans)


class DeclaredLogExporter(_Member, LogRecordExporter):
    """Log records to PostHog, behind any processor."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send what consent allows; never raises."""
        parts = self._wanted_parts()
        return LogRecordExportResult.SUCCESS if parts is None else parts.export_logs(batch)


class DeclaredMetricExporter(_Member, MetricExporter):
    """The gauges of our meter to PostHog, as the daily heartbeat; all other metrics go nowhere."""

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_kwargs: object
    ) -> MetricExportResult:
        """Run one round of the heartbeat, if there is anything to tell; never raises."""
        parts = self._wanted_parts() if _has_gauges(metrics_data) else None
        return (
            MetricExportResult.SUCCESS
            if parts is None
            else parts.metrics.export(metrics_data, timeout_millis)
        )


def _has_gauges(metrics_data: MetricsData) -> bool:
    scopes = [scope for resource in metrics_data.resource_metrics for scope in resource.scope_metrics]
    return any(scope.scope.name == attributes.HEARTBEAT_SCOPE for scope in scopes)
