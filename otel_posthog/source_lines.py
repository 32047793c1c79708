"""Put source lines into exceptions before they leave for a Collector: no gateway has the product's files."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace

from . import attributes
from ._otel_sdk import LogRecordExporter, LogRecordExportResult, ReadableLogRecord
from .mapping import with_source_lines
from .notices import Notices
from .scrubbing import Scrubber, ScrubRules

_log = logging.getLogger(__name__)


class SourceLineExporter(LogRecordExporter):
    """Pass log records on to an exporter of yours; exceptions among them with scrubbed source lines.

    The records themselves stay as they are, for other exporters. Runs on the batch processor's thread.
    """

    def __init__(self, exporter: LogRecordExporter, scrub_rules: ScrubRules | None = None) -> None:
        self._exporter = exporter
        self._scrubber = Scrubber(scrub_rules)
        self._notices = Notices()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export the records, and answer what the exporter answers."""
        return self._exporter.export([self._enriched(record) for record in batch])

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Have the exporter flush."""
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
        except Exception as error:  # noqa: BLE001 - without lines rather than not at all
            self._notices.warn(_log, "Source lines could not be added (%s)", type(error).__name__)
            return record
        enriched = copy.copy(record.log_record)
        enriched.attributes = {**recorded, **lines}
        return replace(record, log_record=enriched)
