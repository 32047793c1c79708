"""Import the private interfaces of opentelemetry-api, and name the supported version if one is missing.

The logs API is still named `_logs`; suppression keys are private. `tests/otel/test_seams.py`
fails when either moves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

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
    from opentelemetry._logs import (
        Logger,
        LogRecord,
        NoOpLogger,
        SeverityNumber,
        get_logger_provider,
    )
    from opentelemetry.context import (
        _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
        _SUPPRESS_INSTRUMENTATION_KEY,
        attach,
        detach,
        get_current,
        set_value,
    )
    from opentelemetry.context.context import Context
    from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER, OTEL_PYTHON_TRACER_PROVIDER
    from opentelemetry.metrics import MeterProvider, NoOpMeterProvider, get_meter_provider
    from opentelemetry.trace import (
        INVALID_SPAN,
        NonRecordingSpan,
        NoOpTracerProvider,
        SpanContext,
        TracerProvider,
        get_current_span,
        get_tracer_provider,
        set_span_in_context,
    )
except ImportError as error:
    raise unsupported("opentelemetry-api", error) from error

_log = logging.getLogger(__name__)
_P = TypeVar("_P")
_unloadable: set[str] = set()  # variables that were reported; looking for an entry point again takes ms
# A record's context that is in no span, whichever is current; an empty one would count as none.
OUTSIDE_OF_SPANS = set_span_in_context(INVALID_SPAN, Context())
SUPPRESS_INSTRUMENTATION_KEY = _SUPPRESS_INSTRUMENTATION_KEY

__all__ = [
    "OUTSIDE_OF_SPANS",
    "SUPPRESS_INSTRUMENTATION_KEY",
    "LogRecord",
    "Logger",
    "NoOpLogger",
    "SeverityNumber",
    "context_within",
    "get_logger_provider",
    "process_meter_provider",
    "process_tracer_provider",
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


def process_meter_provider() -> MeterProvider:
    """Return the process's meter provider, one that does nothing if a variable names an unknown one."""
    return _loaded(get_meter_provider, OTEL_PYTHON_METER_PROVIDER, NoOpMeterProvider)


def process_tracer_provider() -> TracerProvider:
    """Return the process's tracer provider, one that does nothing if a variable names an unknown one."""
    return _loaded(get_tracer_provider, OTEL_PYTHON_TRACER_PROVIDER, NoOpTracerProvider)


def _loaded(get: Callable[[], _P], variable: str, otherwise: Callable[[], _P]) -> _P:
    if variable not in _unloadable:
        try:
            return get()
        except Exception as error:  # noqa: BLE001 - whatever the named class raises
            _unloadable.add(variable)
            _log.warning(
                "%s cannot be loaded (%s) and is ignored. Correct or unset it.",
                variable,
                type(error).__name__,
            )
    return otherwise()
