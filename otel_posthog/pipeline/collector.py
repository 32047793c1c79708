"""Emit our own events as log records, and add source lines to exceptions, for a Collector.

A gateway behind the Collector does not have the product's files, so source lines are added here.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.delivery.gate import Outcome
from otel_posthog.emit.emitters import current
from otel_posthog.emit.request_context import Owner, within
from otel_posthog.events import Event
from otel_posthog.mapping import with_source_lines
from otel_posthog.otel import attributes
from otel_posthog.otel.api import SeverityNumber
from otel_posthog.otel.records import counts_of
from otel_posthog.otel.sdk import LogRecordExporter, LogRecordExportResult, ReadableLogRecord
from otel_posthog.registry import BASE_PROPERTIES
from otel_posthog.scrubbing import Scrubber, ScrubRules

_log = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000


class CollectorGate:
    """Emit events as log records in place of the gate; the gateway makes the same events of them."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def send(self, events: Sequence[Event]) -> Outcome:
        """Emit each event with its uuid and time; after the end another process has to."""
        if self._owner.emitter is None:
            return Outcome.LOST
        for event in events:
            own = {name: value for name, value in event.properties.items() if name not in BASE_PROPERTIES}
            with within(self._owner):
                current().logger.emit(
                    event_name=event.name,
                    # In whole seconds, as a heartbeat is due: a float has too few digits for nanoseconds.
                    timestamp=int(event.timestamp.timestamp()) * _NS_PER_S,
                    severity_number=SeverityNumber.INFO,
                    attributes={**own, attributes.EVENT_UUID: str(event.uuid)},  # type: ignore[dict-item]  # scalars
                )
        return Outcome.SENT


class SourceLineExporter(LogRecordExporter):
    """Add scrubbed source lines to exceptions on their way to an exporter of yours.

    The records themselves do not change, for other exporters. Runs on the batch processor's thread.
    """

    def __init__(self, exporter: LogRecordExporter, scrub_rules: ScrubRules | None = None) -> None:
        self._exporter = exporter
        self._scrubber = Scrubber(scrub_rules)
        self._log_limiter = LogLimiter()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export the records and return the exporter's result; count what the Collector has confirmed."""
        result = self._exporter.export([self._enriched(record) for record in batch])
        for record in batch:
            noted = counts_of(record.log_record)
            if noted is not None:
                counts, kind = noted
                counts.accept(kind.value)
                if result is LogRecordExportResult.SUCCESS:
                    counts.add("handed_over", kind=kind.value)
                else:
                    counts.add("handover_failed", kind=kind.value)
        return result

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's interface has no types there

    def _enriched(self, record: ReadableLogRecord) -> ReadableLogRecord:
        recorded = record.log_record.attributes or {}
        chain = recorded.get(attributes.EXCEPTION_CHAIN)
        if not isinstance(chain, str):
            return record
        try:
            lines = {attributes.EXCEPTION_CHAIN: with_source_lines(chain, self._scrubber)}
        except Exception as error:  # noqa: BLE001 - an exception without lines is better than none
            self._log_limiter.warning(_log, "Source lines could not be added (%s)", type(error).__name__)
            return record
        # Other exporters of the host hold the same record.
        enriched = copy.copy(record.log_record)
        enriched.attributes = {**recorded, **lines}
        return replace(record, log_record=enriched)
