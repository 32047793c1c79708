"""Import the private interfaces of opentelemetry-api, and name the supported version if one is missing.

The logs API is still named `_logs`; suppression keys are private. `tests/otel/test_seams.py`
fails when either moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from otel_posthog.errors import UnsupportedVersionError

_OURS = "otel-posthog"


def unsupported(package: str, error: ImportError) -> UnsupportedVersionError:
    """Return the error to raise if the package lacks a name that we import."""
    from importlib.metadata import PackageNotFoundError, requires, version  # noqa: PLC0415 - rarely needed

    try:
        present = version(package)
    except PackageNotFoundError:
        present = "unknown"
    wanted = [line.partition(";")[0].strip() for line in requires(_OURS) or ()]
    supported = next((line for line in wanted if line.startswith(package)), package)
    return UnsupportedVersionError(
        f"{package} {present} lacks a name that otel-posthog needs ({error.msg}). Supported is {supported}: "
        f"install that, or a newer otel-posthog."
    )


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

SUPPRESS_INSTRUMENTATION_KEY = _SUPPRESS_INSTRUMENTATION_KEY

__all__ = [
    "SUPPRESS_INSTRUMENTATION_KEY",
    "LogRecord",
    "Logger",
    "SeverityNumber",
    "context_within",
    "get_logger",
    "suppressed_instrumentation",
]


def context_within(span: SpanContext) -> Context | None:
    """Return a context within that span, None if a span is current."""
    if get_current_span().get_span_context().is_valid:
        return None
    return set_span_in_context(NonRecordingSpan(span))


@contextmanager
def suppressed_instrumentation() -> Iterator[None]:
    """Hide our own HTTP and database calls from the host's instrumentation."""
    context = set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, get_current())
    token = attach(set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, context))
    try:
        yield
    finally:
        detach(token)
