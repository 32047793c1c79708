"""Serve the settings row over HTTP: Starlette routes that any ASGI application can mount."""

from .routes import PATH, Allowed, Authorize, Need, app, may_report_errors, mount

__all__ = ["PATH", "Allowed", "Authorize", "Need", "app", "may_report_errors", "mount"]
