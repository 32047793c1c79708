"""Import and use the private interfaces of opentelemetry-sdk, in one place.

The logs SDK is still named `_logs`, batch processors accept a shutdown timeout only internally, and an
ended span's attributes are behind three wrappers. `tests/otel/test_seams.py` fails when one moves.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any

from .api import unsupported

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
    )
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
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
    "attributes_of",
    "put_first",
    "put_span_processor_first",
    "shut_down_within",
    "take_what_waits",
    "without_events",
]


def shut_down_within(processor: BatchLogRecordProcessor | BatchSpanProcessor, timeout_s: float) -> None:
    """Export what is queued and stop the processor's thread; returns after the timeout at the latest."""
    # The public `shutdown()` of both waits 30 s, whatever the host can afford.
    processor._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))  # noqa: SLF001


def attributes_of(span: ReadableSpan) -> Mapping[str, object]:
    """Return an ended span's attributes; bypassing the wrappers takes a tenth of the time."""
    try:
        plain: Mapping[str, object] = span._attributes._dict  # type: ignore[union-attr]  # noqa: SLF001 - see above
    except AttributeError:
        return span.attributes or {}
    return plain


def put_first(provider: LoggerProvider, processor: LogRecordProcessor) -> None:
    """Add the processor before the provider's others, so that they see what it writes."""
    provider.add_log_record_processor(processor)
    multi = provider._multi_log_record_processor  # noqa: SLF001
    *others, added = multi._log_record_processors  # noqa: SLF001
    multi._log_record_processors = (added, *others)  # noqa: SLF001


def put_span_processor_first(provider: TracerProvider, processor: SpanProcessor) -> None:
    """Add the processor before the provider's others; a wrapper of a provider keeps its own order."""
    provider.add_span_processor(processor)
    multi = getattr(provider, "_active_span_processor", None)
    with getattr(multi, "_lock", nullcontext()):  # the host may add its own on another thread
        present = getattr(multi, "_span_processors", None)
        if multi is not None and isinstance(present, tuple):
            others = [each for each in present if each is not processor]
            multi._span_processors = (processor, *others)  # noqa: SLF001


def without_events(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of an ended span without its exceptions."""
    copied = copy.copy(span)
    copied._events = ()  # noqa: SLF001
    return copied


def take_what_waits(processor: BatchLogRecordProcessor | BatchSpanProcessor) -> list[Any]:
    """Empty the queue of a processor that was shut down, and return the records, oldest first.

    They are those that its thread did not export within the timeout.
    """
    queue = processor._batch_processor._queue  # noqa: SLF001
    records = []
    with suppress(IndexError):  # its thread may still take one
        while True:
            records.append(queue.pop())
    return records
