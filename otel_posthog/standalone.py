"""The export half behind processors of others: it begins with the first record, without the emit half."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from . import attributes
from ._forks import follow_forks
from ._otel import Logger
from ._otel_sdk import (
    LoggerProvider,
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
    SimpleLogRecordProcessor,
    without_events,
)
from .block import Block
from .consent import Consent
from .decisions import Decisions
from .deliberate import startup_test_event
from .export_half import ExportHalf, Given
from .exporters import SdkSpan
from .gate import DEVELOPMENT
from .heartbeat.exporter import PostHogMetricExporter
from .mapping import fatal_exceptions
from .notices import Notices
from .scrubbing import Scrubber


class Standalone:
    """One gate, transport, spool and consent, and exporters that share them."""

    def __init__(self, block: Block, notices: Notices) -> None:
        self._config = block.config
        self._notices = notices
        self._decisions = Decisions(block.config.database, block.config, block.registry)
        self._half = ExportHalf(
            Given(
                config=block.config,
                registry=block.registry,
                span_rules=block.span_rules,
                scrubber=Scrubber(block.scrub_rules, registry=block.registry),
                before_send=None,
                transport=None,
                meter_provider=None,
                clock=None,
                environ=None,
            ),
            decisions=self._decisions,
            notices=notices,
            on_change=self._follow,
        )
        self._storms = self._half.listening.storms
        self._spans = self._half.span_exporter()
        self._logs = self._half.log_exporter()
        self._half.listening.tell_to(_logger_to(self._logs))
        self.metrics = PostHogMetricExporter(
            self._half.heartbeat.rounds, check_s=block.config.heartbeat_check_s
        )
        follow_forks(self)

    def begin(self) -> None:
        """Watch consent, and send what an earlier process left; in development the test of the start, too."""
        self._half.open()
        if self._config.environment == DEVELOPMENT:
            threading.Thread(target=self._send_startup_test, name="otel-posthog-test", daemon=True).start()

    def export_spans(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Map and send, without what is too much of one failure."""
        return self._spans.export([self._calmed(span) for span in spans])

    def export_logs(self, records: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Map and send, without what is too much of one failure."""
        return self._logs.export([record for record in records if self._is_calm(record)])

    def _calmed(self, span: ReadableSpan) -> ReadableSpan:
        """Return the span, without its exception where there is a storm of it; its event still counts."""
        told = fatal_exceptions(SdkSpan(span))
        is_calm = all(self._storms.admits_record(recorded.attributes) for recorded in told)
        return span if is_calm else without_events(span)

    def _is_calm(self, record: ReadableLogRecord) -> bool:
        recorded = record.log_record.attributes or {}
        return attributes.EXCEPTION_TYPE not in recorded or self._storms.admits_record(recorded)

    @property
    def is_wanted(self) -> bool:
        """Whether anything may be sent or held, as far as is known by now."""
        recent = self._half.watch.recent()
        return (recent is not None and recent.is_on) or not self._half.watch.look().is_off

    def close(self) -> None:
        """Send what waits within `shutdown_timeout_s`, spool the rest, and stop every thread."""
        deadline_s = time.monotonic() + self._config.shutdown_timeout_s
        self._half.listening.tell(is_over=True)
        self._half.close(deadline_s)
        self._half.release(deadline_s)
        self._decisions.store.close()

    def before_fork(self) -> None:
        """Wait until no thread of ours is where its locks would stay locked in the child."""
        self._half.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._half.after_fork_in_parent()

    def after_fork(self) -> None:
        """Forget in a child what is the parent's."""
        self._notices.after_fork()
        self._half.after_fork()
        self._decisions.store.after_fork()

    def _follow(self, consent: Consent) -> None:
        self._half.follow(consent)

    def _send_startup_test(self) -> None:
        self._half.gate.send_startup_test(startup_test_event(self._config, self._half.base))


def _logger_to(exporter: LogRecordExporter) -> Logger:
    """Return a logger of our own, since the host may have none whose records come here."""
    provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider.get_logger(attributes.SCOPE)
