"""Hear of what the product logs, where it asked for that: exceptions, and warnings as steps."""

from __future__ import annotations

import logging

from . import analytics
from .middleware.description import request_attributes
from .request_state import request_under_way
from .steps import LOG

_OTHERS_OWN = ("otel_posthog", "opentelemetry")
"""What these log is about telemetry and would come round in a circle."""


class LogHandler(logging.Handler):
    """Report `logger.exception(…)` and note warnings as steps; stands on the root logger."""

    def __init__(self, *, with_exceptions: bool, with_steps: bool) -> None:
        super().__init__(logging.WARNING)
        self._with_exceptions = with_exceptions
        self._with_steps = with_steps

    def install(self) -> None:
        """Stand on the root logger, if there is anything to do."""
        if self._with_exceptions or self._with_steps:
            logging.getLogger().addHandler(self)

    def remove(self) -> None:
        """Stand on the root logger no more."""
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Report or note the record; where nobody else handles it, Python's last resort still does."""
        if _is_alone(record, self) and logging.lastResort is not None:
            logging.lastResort.handle(record)
        if record.name.partition(".")[0] not in _OTHERS_OWN:
            self._take(record)

    def _take(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[1] if record.exc_info else None
            if self._with_exceptions and record.levelno >= logging.ERROR and isinstance(error, Exception):
                analytics.emit_exception(error, _request, handled=True)
            if self._with_steps:
                analytics.current().steps.note(LOG, record.getMessage(), record.levelname.lower())
        except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
            analytics.tell_fault("a log record could not be looked at", fault)


def _request() -> dict[str, object]:
    request = request_under_way()
    return {} if request is None else request_attributes(request)


def _is_alone(record: logging.LogRecord, ours: logging.Handler) -> bool:
    """Tell whether the record meets no other handler: then Python would have printed it without ours."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not ours for handler in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True
