"""Accept errors of the product's pages at the product's own server, and report them as its own."""

from otel_posthog.web.requests import Authorize

from .routes import PATH, BrowserReports, route

__all__ = ["PATH", "Authorize", "BrowserReports", "route"]
