"""ASGI middleware of otel_posthog."""

from .exceptions import TelemetryMiddleware, watch
from .security import ResponseHeaders, SecurityHeaders, csp_nonce

__all__ = ["ResponseHeaders", "SecurityHeaders", "TelemetryMiddleware", "csp_nonce", "watch"]
