"""Fast-Flow as its environment sets it up: `uvicorn server.main:app`, from the folder above this one.

`otel-posthog status --app server.main:telemetry` looks at the same installation.
"""

from __future__ import annotations

from .config import Config
from .product import FastFlow

product = FastFlow(Config.from_environ())
telemetry = product.telemetry
app = product.app
