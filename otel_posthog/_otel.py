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
except ImportError as error:
    raise unsupported("opentelemetry-api", error) from error

__all__ = ["LogRecord", "Logger", "SeverityNumber", "get_logger", "suppressed_instrumentation"]


@contextmanager
def suppressed_instrumentation() -> Iterator[None]:
    """Keep the host's instrumentation from seeing our own HTTP and database calls."""
    context = set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, get_current())
    token = attach(set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, context))
    try:
        yield
    finally:
        detach(token)
