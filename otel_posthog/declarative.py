"""Provide the exporters that a configuration file or `OTEL_*_EXPORTER=posthog` names.

OpenTelemetry makes one for each signal, and passes each only the file's `posthog:` block. All of a process
share one backend, so that a second load doubles nothing. A block that cannot be used never stops the host:
one line reports that nothing is sent, and why.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import get_tracer_provider

from ._runtime.process import follow_forks
from ._runtime.process_end import AbruptEnd
from ._runtime.reporting import LogLimiter
from .config.settings import REFUSED_FILE
from .emit import emitters
from .errors import ConfigError, OtelPosthogError
from .otel import attributes
from .otel.sdk import (
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
    batch_processors_of,
    shut_down_within,
    take_what_waits,
)

if TYPE_CHECKING:
    from .config.block import Block
    from .telemetry.exporter_backend import ExporterBackend

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"
_END_S = 3.0  # the default of shutdown_timeout_s, until the settings are read


class SharedBackend:
    """The backend that the exporters of one process share.

    It starts with the first record, since opentelemetry-instrument makes exporters in supervisors and
    helpers too. It ends with the last exporter: an exit hook of ours would run before the providers flush.
    Where no provider flushes, at a signal or in a child of multiprocessing, it empties their processors.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members = 0
        self._data: Mapping[str, object] = {}
        self._block: Block | None = None
        self._backend: ExporterBackend | None = None
        self._has_failed = False
        self._is_ending = False
        self._process_end = AbruptEnd(self._end, timeout_s=_END_S)
        self._log_limiter = LogLimiter()
        follow_forks(self)

    def join(self, data: Mapping[str, object]) -> None:
        """Add an exporter with this block, empty for that of the others or the environment; never raises."""
        with self._lock:
            self._members += 1
            file = os.environ.get(_FILE_VARIABLE)
            # OpenTelemetry refuses that file after it has made some of its exporters.
            is_refused = bool(file) and os.environ.get(REFUSED_FILE) == file
            self._has_failed = self._has_failed or is_refused
            if self._has_failed:
                return
            self._process_end.want()
            if not data:
                return
            if self._data and data != self._data:
                different = "the posthog blocks differ. Write one, and refer to it with *posthog."
                self._fail(ConfigError(different))
            elif self._block is None:
                self._data = data
                try:
                    self._use(_read(data))
                except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
                    self._fail(error)

    def leave(self) -> None:
        """Remove an exporter; the last one closes the backend."""
        with self._lock:
            self._members -= 1
            if self._members > 0:
                return
            backend, self._backend = self._backend, None
            self._data, self._block, self._has_failed = {}, None, False
            self._process_end.drop()
        if backend is not None:
            backend.close(self._process_end.timeout_s)

    def backend(self) -> ExporterBackend | None:
        """Return the backend, started if necessary; None if nothing can be sent or a `Telemetry` sends."""
        if emitters.is_in_use():
            self._log_limiter.warning(
                _log,
                "This process has a Telemetry of its own: the exporters named posthog send nothing, "
                "so that no event is sent twice",
            )
            return None
        with self._lock:
            if self._backend is None and not self._has_failed:
                self._begin()
            return self._backend

    def after_fork(self) -> None:
        """Replace the lock in a child: a thread of the parent may hold it."""
        self._lock = threading.RLock()

    def _end(self) -> None:
        """Spool what the stock processors hold, within the timeout, and end the backend."""
        deadline_s = time.monotonic() + self._process_end.timeout_s
        with self._lock:
            self._members += 1  # so that the exporters, which leave below, do not close it
            self._is_ending, backend = True, self._backend
        if backend is not None:
            backend.end()
        for processor, exporter in batch_processors_of(
            _SharedExporter, [get_tracer_provider(), get_logger_provider()]
        ):
            shut_down_within(processor, (deadline_s - time.monotonic()) / 2)
            left_over = take_what_waits(processor)
            if left_over:  # its thread waits for an answer of PostHog's
                exporter.reopen()
                exporter.export(left_over)
        with self._lock:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close(deadline_s - time.monotonic())

    def _use(self, block: Block) -> Block:
        self._block, self._process_end.timeout_s = block, block.config.shutdown_timeout_s
        return block

    def _begin(self) -> None:
        try:
            from .telemetry.exporter_backend import ExporterBackend  # noqa: PLC0415 - loads SQLAlchemy

            backend = ExporterBackend(self._block or self._use(_read({})), self._log_limiter)
            backend.open()
            if self._is_ending:
                backend.end()
        except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the host
            self._fail(error)
        else:
            self._backend = backend

    def _fail(self, error: Exception) -> None:
        """Send nothing from now on, and log why."""
        self._has_failed = True
        backend, self._backend = self._backend, None
        reason = str(error) if isinstance(error, OtelPosthogError) else type(error).__name__
        check = f" Try: otel-posthog config check {os.environ.get(_FILE_VARIABLE) or 'FILE'}"
        _log.error("Nothing is sent to PostHog. posthog: %s%s", reason, check if self._data else "")
        if backend is not None:
            backend.close(self._process_end.timeout_s)


def _read(data: Mapping[str, object]) -> Block:
    from .config.block import read_block  # noqa: PLC0415 - only where an exporter is named

    return read_block(data)


_shared = SharedBackend()


class _SharedExporter:
    def __init__(self, /, **block: object) -> None:
        super().__init__()
        self._has_left = False
        _shared.join(block)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:  # noqa: ARG002 - nothing is kept back
        """Return at once."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:  # noqa: ARG002 - see `ExporterBackend.close`
        """Send nothing from now on; the last exporter closes the backend."""
        if not self._has_left:
            self._has_left = True
            _shared.leave()

    def reopen(self) -> None:
        """Export again after a shutdown."""
        self._has_left = False

    def _wanted_backend(self) -> ExporterBackend | None:
        # With both kinds denied nothing is even mapped.
        backend = None if self._has_left else _shared.backend()
        return backend if backend is not None and backend.is_wanted else None


class DeclaredSpanExporter(_SharedExporter, SpanExporter):
    """Send spans to PostHog, behind any processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send what consent allows; never raises."""
        backend = self._wanted_backend()
        return SpanExportResult.SUCCESS if backend is None else backend.export_spans(spans)


class DeclaredLogExporter(_SharedExporter, LogRecordExporter):
    """Send log records to PostHog, behind any processor."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send what consent allows; never raises."""
        backend = self._wanted_backend()
        return LogRecordExportResult.SUCCESS if backend is None else backend.export_logs(batch)


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
        backend = self._wanted_backend() if has_gauges else None
        return MetricExportResult.SUCCESS if backend is None else backend.metrics.export(metrics_data)
