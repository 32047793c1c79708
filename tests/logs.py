"""Warnings of our own loggers: servers, drivers and frameworks of other tests may log at any moment."""

from __future__ import annotations

import logging


def warning_records(caplog, logger="otel_posthog"):
    """Return the records of this logger and those below it, from warning level on."""
    return [
        record
        for record in caplog.records
        if f"{record.name}.".startswith(f"{logger}.") and record.levelno >= logging.WARNING
    ]


def warnings(caplog, logger="otel_posthog"):
    """Return what they say."""
    return [record.getMessage() for record in warning_records(caplog, logger)]
