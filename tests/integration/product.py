"""A small product as its maintainer would write it, for servers that import it by name."""

from __future__ import annotations

import os

from asgi import some_app

from otel_posthog import Telemetry

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["SINK_URL"],
    database=os.environ["DATABASE_URL"],
    environment="production",
    batch_delay_s=0.05,
)
app = telemetry.wrap(some_app())
