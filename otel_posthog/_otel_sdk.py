"""The underscored interfaces of opentelemetry-sdk that we stand on, in one place.

The logs SDK is still named `_logs`, the batch processors take a shutdown timeout only inside, and an
ended span's attributes stand behind three wrappers.
`tests/test_otel_seams.py` fails when either moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordLimits,
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
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
    "attributes_of",
    "shut_down_within",
    "take_what_waits",
    "without_events",
]


def shut_down_within(processor: BatchLogRecordProcessor | BatchSpanProcessor, timeout_s: float) -> None:
    """Export what is queued and stop the processor's thread; returns after the timeout at the latest.

    The public `shutdown()` of both waits 30 s, whatever the host can afford.
    """
    processor._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))  # noqa: SLF001


def attributes_of(span: ReadableSpan) -> Mapping[str, object]:
    """Return an ended span's attributes; a look past the wrappers takes a tenth of the time."""
    try:
        plain: Mapping[str, object] = span._attributes._dict  # type: ignore[union-attr]  # noqa: SLF001 - see above
    except AttributeError:
        return span.attributes or {}
    return plain


def without_events(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of an ended span that tells of no exception."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def take_what_waits(processor: BatchLogRecordProcessor | BatchSpanProcessor) -> list[Any]:
    """Empty the queue of a processor that was shut down, oldest first, and return the records.

    What its thread did not get to within the timeout would end with the process.
    """
    queue = processor._batch_processor._queue  # noqa: SLF001
    records = []
    with suppress(IndexError):  # its thread may take one, too
        while True:
            records.append(queue.pop())
    return records
