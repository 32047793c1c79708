"""A product without ASGI: it starts the telemetry as it is imported, and so before gunicorn forks."""

from __future__ import annotations

import os

from otel_posthog import Telemetry, capture_exception, track

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["SINK_URL"],
    database=os.environ["DATABASE_URL"],
    spool_dir=os.environ["SPOOL_DIR"],
    environment="production",
    batch_delay_s=0.05,
)
telemetry.start()
track("imported", {"pid": os.getpid()})


def app(environ, start_response):
    """Report or track what the path says, and answer."""
    name, _, number = environ["PATH_INFO"].lstrip("/").partition("/")
    if name == "track":
        track("numbered", {"number": int(number), "pid": os.getpid()})
    elif name == "fail":
        capture_exception(LookupError(f"failure number {number}"))
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [b"fine"]
