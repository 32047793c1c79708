"""ASGI middleware of otel_posthog."""

from .exceptions import TelemetryMiddleware, watch
from .security import SecurityHeaders, SecurityHeadersMiddleware, csp_nonce

__all__ = ["SecurityHeaders", "SecurityHeadersMiddleware", "TelemetryMiddleware", "csp_nonce", "watch"]
