"""Map and send what exporters get behind third-party processors, by the pipeline of a `Telemetry`."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_posthog.heartbeat.exporter import PostHogMetricExporter
from otel_posthog.mapping import fatal_exceptions
from otel_posthog.otel import attributes
from otel_posthog.otel.sdk import LogRecordExportResult, ReadableLogRecord, without_events
from otel_posthog.pipeline.exporters import recorded_span

from .export_pipeline import ExportPipeline


class BareExporters:
    """Export what no processor of ours has read, within the limits that hold there."""

    def __init__(self, pipeline: ExportPipeline) -> None:
        self._watch = pipeline.watch
        self._rate_limit = pipeline.error_capture.rate_limit
        self._spans, self._logs = pipeline.span_exporter(), pipeline.log_exporter()
        rounds, check_s = pipeline.heartbeat.rounds, pipeline.config.heartbeat_check_s
        self.metrics = PostHogMetricExporter(rounds, check_s=check_s)

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
        fresh = self._watch.fresh()
        return (fresh is not None and fresh.is_on) or not self._watch.refresh().is_off
