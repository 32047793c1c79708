"""ASGI middleware of otel_posthog."""

from .exceptions import TelemetryMiddleware

__all__ = ["TelemetryMiddleware"]
