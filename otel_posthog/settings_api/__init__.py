"""Serve the settings row over HTTP: Starlette routes that any ASGI application can mount."""

from otel_posthog.web.requests import Allowed, Authorize, Need

from .routes import PATH, app, may_report_errors, mount

__all__ = ["PATH", "Allowed", "Authorize", "Need", "app", "may_report_errors", "mount"]
