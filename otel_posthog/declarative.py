"""Provide the exporters that a configuration file or `OTEL_*_EXPORTER=posthog` names.

OpenTelemetry makes one for each signal, and passes each only the file's `posthog:` block. All of a process
share one `Telemetry`, so that a second load doubles nothing. Its own processors read the host's records where
the instrumentor is loaded; what they have not read, the exporters send. A block that cannot be used never
stops the host: one line reports that nothing is sent, and why.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._runtime.process import follow_forks
from .config.settings import REFUSED_FILE
from .emit.emitters import use_without_owner
from .errors import ConfigError, OtelPosthogError
from .otel import attributes
from .otel.api import Logger, LogRecord
from .otel.records import claim
from .otel.sdk import (
    BatchLogRecordProcessor,
    LoggerProvider,
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
)

if TYPE_CHECKING:
    from .config.block import Block
    from .telemetry import Telemetry
    from .telemetry.exporters import BareExporters

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"


class SharedTelemetry:
    """The `Telemetry` of a process that exporters named posthog request.

    It is built when an application is wrapped, or with the first record: opentelemetry-instrument makes
    exporters in supervisors and helpers too. It ends with the last exporter, if not before.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members = 0
        self._data: Mapping[str, object] = {}
        self._block: Block | None = None
        self._telemetry: Telemetry | None = None
        self._exporters: BareExporters | None = None
        self._unowned: LoggerProvider | None = None
        self._has_failed = False
        self.is_instrumented = False  # if so, the first record starts hooks and processors, too
        follow_forks(self)

    @property
    def is_wanted(self) -> bool:
        """Whether an exporter was made, and nothing is wrong with its block."""
        return self._members > 0 and not self._has_failed

    def join(self, data: Mapping[str, object]) -> None:
        """Add an exporter with this block, empty for that of the others or the environment; never raises."""
        with self._lock:
            self._members += 1
            use_without_owner(_unowned)
            file = os.environ.get(_FILE_VARIABLE)
            # OpenTelemetry refuses that file after it has made some of its exporters.
            is_refused = bool(file) and os.environ.get(REFUSED_FILE) == file
            self._has_failed = self._has_failed or is_refused
            if self._has_failed or not data:
                return
            if self._data and data != self._data:
                different = "the posthog blocks differ. Write one, and refer to it with *posthog."
                self._fail(ConfigError(different))
            elif self._block is None:
                self._data = data
                try:
                    self._block = _read(data)
                except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                    self._fail(error)

    def leave(self) -> None:
        """Remove an exporter; the last one ends what it requested."""
        with self._lock:
            provider = self._unowned if self._members == 1 else None
        if provider is not None:
            provider.shutdown()  # while there is something that sends
        with self._lock:
            self._members -= 1
            if self._members > 0:
                return
            self._unowned = None
            telemetry, self._telemetry, self._exporters = self._telemetry, None, None
            self._data, self._block, self._has_failed = {}, None, False
        if telemetry is not None:
            telemetry.shutdown()

    def telemetry(self) -> Telemetry | None:
        """Return it, built if necessary and not started; None if nothing can be sent."""
        with self._lock:
            if self._telemetry is None and self.is_wanted:
                try:
                    from .telemetry import Telemetry  # noqa: PLC0415 - loads SQLAlchemy

                    self._telemetry = Telemetry.from_block(self._block or _read({}))
                except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                    self._fail(error)
            return self._telemetry

    def exporters(self) -> BareExporters | None:
        """Return what sends, started if necessary; None if nothing can be sent or the product's own does."""
        telemetry = self.telemetry()
        if telemetry is None or telemetry.lifecycle.gives_way():
            return None
        if self.is_instrumented:
            telemetry.lifecycle.touch()
        with self._lock:
            try:
                from .telemetry.exporters import BareExporters  # noqa: PLC0415 - loads SQLAlchemy

                pipeline = telemetry.lifecycle.open()
                self._exporters = self._exporters or BareExporters(pipeline)
            except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                self._fail(error)
            return self._exporters

    def logger(self) -> Logger:
        """Return the logger of what belongs to no `Telemetry`, to our exporter alone."""
        with self._lock:
            from .pipeline.providers import logger_of, own_logger_provider  # noqa: PLC0415 - as above

            if self._unowned is None:
                config = (self._block or _read({})).config
                self._unowned = own_logger_provider(
                    BatchLogRecordProcessor(
                        _UnownedExporter(),
                        schedule_delay_millis=config.batch_delay_s * 1000,
                        max_export_batch_size=min(config.batch_max_events, config.queue_max_records),
                        max_queue_size=config.queue_max_records,
                    )
                )
            return logger_of(self._unowned)

    def after_fork(self) -> None:
        """Replace the lock in a child: a thread of the parent may hold it."""
        self._lock = threading.RLock()

    def _fail(self, error: Exception) -> None:
        """Send nothing from now on, and log why."""
        self._has_failed = True
        telemetry, self._telemetry, self._exporters = self._telemetry, None, None
        reason = str(error) if isinstance(error, OtelPosthogError) else type(error).__name__
        check = f" Try: otel-posthog config check {os.environ.get(_FILE_VARIABLE) or 'FILE'}"
        _log.error("Nothing is sent to PostHog. posthog: %s%s", reason, check if self._data else "")
        if telemetry is not None:
            telemetry.shutdown()


def _read(data: Mapping[str, object]) -> Block:
    from .config.block import read_block  # noqa: PLC0415 - only where an exporter is named

    return read_block(data)


shared = SharedTelemetry()


class _LateLogger(Logger):
    """What is tracked outside of any `Telemetry`: the first record makes provider and thread."""

    def enabled(self, **_given: Any) -> bool:
        return shared.is_wanted

    def emit(self, record: LogRecord | None = None, **given: Any) -> None:
        shared.logger().emit(record, **given)  # type: ignore[arg-type]  # or its fields


_unowned = _LateLogger(attributes.SCOPE)


class _UnownedExporter(LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        exporters = shared.exporters()
        if exporters is None or not exporters.is_wanted:
            return LogRecordExportResult.SUCCESS
        return exporters.export_logs(batch)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 10_000) -> bool:  # noqa: ARG002 - nothing is kept back
        return True


class _SharedExporter:
    def __init__(self, /, **block: object) -> None:
        super().__init__()
        self._has_left = False
        shared.join(block)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:  # noqa: ARG002 - nothing is kept back
        """Return at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:  # noqa: ARG002 - `Telemetry` has its own
        """Send nothing from now on; the last exporter ends the `Telemetry`."""
        if not self._has_left:
            self._has_left = True
            shared.leave()

    def _wanted(self) -> BareExporters | None:
        # With both kinds denied nothing is even mapped.
        exporters = None if self._has_left else shared.exporters()
        return exporters if exporters is not None and exporters.is_wanted else None


class DeclaredSpanExporter(_SharedExporter, SpanExporter):
    """Send spans that no processor of ours has read to PostHog, behind any processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send what consent allows; never raises."""
        unread = [span for span in spans if claim(span)]
        exporters = self._wanted() if unread else None
        return SpanExportResult.SUCCESS if exporters is None else exporters.export_spans(unread)


class DeclaredLogExporter(_SharedExporter, LogRecordExporter):
    """Send log records that no processor of ours has read to PostHog, behind any processor."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send what consent allows; never raises."""
        unread = [record for record in batch if claim(record.log_record)]
        exporters = self._wanted() if unread else None
        return LogRecordExportResult.SUCCESS if exporters is None else exporters.export_logs(unread)


class DeclaredMetricExporter(_SharedExporter, MetricExporter):
    """Send the gauges of our meter to PostHog as the daily heartbeat; ignore all other metrics."""

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - each step has a timeout of its own
        **_kwargs: object,
    ) -> MetricExportResult:
        """Run one round of the heartbeat if there is a gauge; never raises."""
        scopes = [
            scope.scope for resource in metrics_data.resource_metrics for scope in resource.scope_metrics
        ]
        has_gauges = any(scope.name == attributes.HEARTBEAT_SCOPE for scope in scopes)
        exporters = self._wanted() if has_gauges else None
        return MetricExportResult.SUCCESS if exporters is None else exporters.metrics.export(metrics_data)
