"""A product that does what it is asked, in this process or, run as a program, in one of its own.

As a program it is started by `opentelemetry-instrument`, and answers each line on its standard input with a
line of JSON on its standard error: its standard output is the host's console exporter's.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Annotated, Literal

from otel_posthog import MaxChars, capture_exception, event, track
from otel_posthog.registry.domains import canonical_json

HOST_LINE = "a line of the host's own"


@event("run_started", why="which triggers are worth improving", since="1.0")
class RunStarted:
    """A run began."""

    triggered_by: Literal["manual", "webhook"] | None = None
    note: Annotated[str, MaxChars(200)] | None = None


def hash_of(batch):
    """Return the SHA-256 of events as PostHog gets them."""
    return hashlib.sha256(canonical_json(batch).encode()).hexdigest()


def do(telemetry, command, *given):
    """Do one thing with a running `Telemetry`, and return what can be written as JSON."""
    match command:
        case "set":
            errors, events = given
            telemetry.update_settings(enable_error_reporting=errors, enable_telemetry=events)
        case "track":
            track("run_started", *given)
        case "fail":
            _fail(*given)
        case "flush":
            return telemetry.flush(*given)
        case "waiting":
            return len(telemetry.preview().waiting.events)
        case "preview":
            return [hash_of(request.batch) for request in telemetry.preview().waiting.requests]
    return None


def _fail(text):
    try:
        _raise(text)
    except ValueError as error:
        capture_exception(error)


def _raise(text):
    raise ValueError(text)


def _main():
    from opentelemetry._logs import get_logger_provider  # noqa: PLC0415 - of the program alone

    from otel_posthog.declarative import shared  # noqa: PLC0415

    get_logger_provider().get_logger("host").emit(body=HOST_LINE)
    telemetry = shared.telemetry()
    telemetry.start()
    for line in sys.stdin:
        sys.stderr.write(f"> {json.dumps(do(telemetry, *json.loads(line)))}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    _main()
