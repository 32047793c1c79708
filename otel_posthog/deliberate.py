"""Test exceptions that somebody asked for, marked as such."""

from __future__ import annotations

import time
from uuid import uuid4

from . import analytics, attributes
from .config import Config
from .events import Event, time_from_ns
from .mapping import BaseProperties, exception_properties
from .registry import EXCEPTION
from .tracebacks import describe, type_of


class DeliberateError(Exception):
    """Raised nowhere; reported when somebody asks for a test report."""


def emit_test_exception(config: Config) -> None:
    """Report one through the normal consent path (requirement R10)."""
    marker = _marker(config, "backend_test")
    error = DeliberateError("Test exception of the backend")
    analytics.emit_exception(error, lambda: {marker: True}, handled=True)


def startup_test_event(config: Config, base: BaseProperties) -> Event:
    """Return the one of a start in development (requirement R19); its distinct_id is kept nowhere."""
    now_ns = time.time_ns()
    error = DeliberateError("Test exception at the start")
    recorded = {
        attributes.EXCEPTION_TYPE: type_of(error),
        attributes.EXCEPTION_CHAIN: describe(error),
        attributes.EXCEPTION_HANDLED: True,
        _marker(config, "startup_test"): True,
    }
    return Event(
        name=EXCEPTION,
        properties=exception_properties(recorded, base, trace_id=0, span_id=0),
        timestamp=time_from_ns(now_ns),
        uuid=uuid4(),
        accepted_ns=now_ns,
        distinct_id=str(uuid4()),
    )


def _marker(config: Config, name: str) -> str:
    return f"{attributes.PROPERTY_PREFIX}${config.marker_prefix}_{name}"
