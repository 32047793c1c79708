"""ASGI middleware of otel_posthog."""

from .exceptions import TelemetryMiddleware
from .security import SecurityHeaders, SecurityHeadersMiddleware, csp_nonce

__all__ = ["SecurityHeaders", "SecurityHeadersMiddleware", "TelemetryMiddleware", "csp_nonce"]
