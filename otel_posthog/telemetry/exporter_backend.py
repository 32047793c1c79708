"""Share one export pipeline between the exporters that OpenTelemetry makes, behind any processor."""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.config.block import Block
from otel_posthog.heartbeat.exporter import PostHogMetricExporter
from otel_posthog.mapping import fatal_exceptions
from otel_posthog.otel import attributes
from otel_posthog.otel.sdk import (
    LoggerProvider,
    LogRecordExportResult,
    ReadableLogRecord,
    SimpleLogRecordProcessor,
    without_events,
)
from otel_posthog.pipeline.exporters import Waiting, recorded_span
from otel_posthog.pipeline.providers import resource_of
from otel_posthog.scrubbing import Scrubber

from .export_pipeline import ExportPipeline, PipelineOptions


class ExporterBackend:
    """One gate, transport, spool and consent, and the exporters that share them."""

    def __init__(self, block: Block, log_limiter: LogLimiter) -> None:
        self._pipeline = ExportPipeline(
            PipelineOptions(
                config=block.config.over(resource_of()),
                database=block.config.database,
                registry=block.registry,
                span_rules=block.span_rules,
                scrubber=Scrubber(block.scrub_rules, registry=block.registry),
            ),
            log_limiter,
        )
        self._rate_limit = self._pipeline.error_capture.rate_limit
        self._ending = Waiting(block.config.queue_max_records)
        self._spans = self._pipeline.span_exporter(self._ending)
        self._logs = self._pipeline.log_exporter(self._ending)
        # A logger of our own: the host may have none whose records reach the exporter.
        provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        self._pipeline.error_capture.use(provider.get_logger(attributes.SCOPE))
        self.metrics = PostHogMetricExporter(
            self._pipeline.heartbeat.rounds, check_s=block.config.heartbeat_check_s
        )

    def open(self) -> None:
        """Watch consent, and send what an earlier process left."""
        self._pipeline.open()

    def export_spans(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send; repeated failures go without their exception."""
        return self._spans.export([self._limited(span) for span in spans])

    def export_logs(self, records: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send, without repeated failures."""
        return self._logs.export([record for record in records if self._is_admitted(record)])

    def _limited(self, span: ReadableSpan) -> ReadableSpan:
        """Return the span, without its exceptions if they come too often; its event still counts."""
        exceptions = fatal_exceptions(recorded_span(span))
        is_admitted = all(self._rate_limit.admits_record(recorded.attributes) for recorded in exceptions)
        return span if is_admitted else without_events(span)

    def _is_admitted(self, record: ReadableLogRecord) -> bool:
        recorded = record.log_record.attributes or {}
        return attributes.EXCEPTION_TYPE not in recorded or self._rate_limit.admits_record(recorded)

    @property
    def is_wanted(self) -> bool:
        """Whether anything may be sent or held, as far as is known."""
        # A recent yes will do; a no costs events, so it is asked for again.
        fresh = self._pipeline.watch.fresh()
        return (fresh is not None and fresh.is_on) or not self._pipeline.watch.refresh().is_off

    def end(self) -> None:
        """Spool from now on, and send nothing more from here: the process has no time for a request."""
        self._ending.end()

    def close(self, timeout_s: float) -> None:
        """Send what waits within the timeout, spool the rest, and stop every thread."""
        deadline_s = time.monotonic() + timeout_s
        self._pipeline.error_capture.emit_summary(is_final=True)
        self._pipeline.close(deadline_s)
        self._pipeline.release(deadline_s)
