"""The underscored interfaces of opentelemetry-sdk that we stand on, in one place.

The logs SDK is still named `_logs`, and the batch processors take a shutdown timeout only inside.
`tests/test_otel_seams.py` fails when either moves.
"""

from __future__ import annotations

from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordLimits,
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export import BatchSpanProcessor

__all__ = [
    "BatchLogRecordProcessor",
    "LogRecordExportResult",
    "LogRecordExporter",
    "LogRecordLimits",
    "LogRecordProcessor",
    "LoggerProvider",
    "ReadWriteLogRecord",
    "ReadableLogRecord",
    "shut_down_within",
]


def shut_down_within(processor: BatchLogRecordProcessor | BatchSpanProcessor, timeout_s: float) -> None:
    """Export what is queued and stop the processor's thread; returns after the timeout at the latest.

    The public `shutdown()` of both waits 30 s, whatever the host can afford.
    """
    processor._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))  # noqa: SLF001
