"""The underscored interfaces of opentelemetry-sdk that we stand on, in one place.

The logs SDK is still named `_logs`, the batch processors take a shutdown timeout only inside, and an
ended span's attributes stand behind three wrappers.
`tests/test_otel_seams.py` fails when either moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentelemetry._logs import LogRecord

from ._versions import unsupported

try:
    from opentelemetry.sdk._logs import (
        LoggerProvider,
        LogRecordLimits,
        LogRecordProcessor,
        ReadableLogRecord,
        ReadWriteLogRecord,
    )
    from opentelemetry.sdk._logs.export import (
        BatchLogRecordProcessor,
        LogRecordExporter,
        LogRecordExportResult,
        SimpleLogRecordProcessor,
    )
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError as error:
    raise unsupported("opentelemetry-sdk", error) from error

__all__ = [
    "BatchLogRecordProcessor",
    "LogRecordExportResult",
    "LogRecordExporter",
    "LogRecordLimits",
    "LogRecordProcessor",
    "LoggerProvider",
    "ReadWriteLogRecord",
    "ReadableLogRecord",
    "SimpleLogRecordProcessor",
    "attributes_of",
    "put_first",
    "shut_down_within",
    "take_what_waits",
    "without_events",
    "write_attributes",
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


def write_attributes(record: object, written: Mapping[str, bool | int | str]) -> None:
    """Write clean values on a log record, or on a span that is about to end and refuses the public way.

    One that has its limit of attributes gets them all the same.
    """
    bounded: Any = record.attributes if isinstance(record, LogRecord) else vars(record)["_attributes"]
    bounded._dict.update(written)  # noqa: SLF001


def put_first(provider: LoggerProvider, processor: LogRecordProcessor) -> None:
    """Add the processor before those that the provider has, so that these see what it writes."""
    provider.add_log_record_processor(processor)
    multi = provider._multi_log_record_processor  # noqa: SLF001
    *others, added = multi._log_record_processors  # noqa: SLF001
    multi._log_record_processors = (added, *others)  # noqa: SLF001


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
