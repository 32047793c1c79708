"""The underscored interfaces of opentelemetry-api that we stand on, in one place.

The logs API is still named `_logs`; suppression keys are private. `tests/test_otel_seams.py`
fails when either moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._versions import unsupported

try:
    from opentelemetry._logs import Logger, LogRecord, SeverityNumber, get_logger
    from opentelemetry.context import (
        _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
        _SUPPRESS_INSTRUMENTATION_KEY,
        attach,
        detach,
        get_current,
        set_value,
    )
    from opentelemetry.context.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
except ImportError as error:
    raise unsupported("opentelemetry-api", error) from error

__all__ = [
    "LogRecord",
    "Logger",
    "SeverityNumber",
    "context_within",
    "get_logger",
    "suppressed_instrumentation",
]


def context_within(span: SpanContext) -> Context | None:
    """Return a context within that span, None where one is current already."""
    if get_current_span().get_span_context().is_valid:
        return None
    return set_span_in_context(NonRecordingSpan(span))


@contextmanager
def suppressed_instrumentation() -> Iterator[None]:
    """Keep the host's instrumentation from seeing our own HTTP and database calls."""
    context = set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, get_current())
    token = attach(set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, context))
    try:
        yield
    finally:
        detach(token)
