"""Consent-first error reports and product events: OpenTelemetry in, PostHog out.

Everything here is loaded on first use, so that `track` costs neither the SDK nor SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import settings_api
    from .analytics import capture_exception, track
    from .errors import ConfigError, MissingExtraError, OtelPosthogError, RegistryError, StoreError
    from .heartbeat import bucket
    from .middleware import SecurityHeaders, TelemetryMiddleware, csp_nonce
    from .registry import Buckets, Expires, MaxChars, Range, Registry, Sensitivity, Version, event
    from .scrubbing import ScrubRule, ScrubRules
    from .source_lines import SourceLineExporter
    from .span_rules import SpanRule
    from .telemetry import Telemetry

__all__ = [
    "Buckets",
    "ConfigError",
    "Expires",
    "MaxChars",
    "MissingExtraError",
    "OtelPosthogError",
    "Range",
    "Registry",
    "RegistryError",
    "ScrubRule",
    "ScrubRules",
    "SecurityHeaders",
    "Sensitivity",
    "SourceLineExporter",
    "SpanRule",
    "StoreError",
    "Telemetry",
    "TelemetryMiddleware",
    "Version",
    "bucket",
    "capture_exception",
    "csp_nonce",
    "event",
    "settings_api",
    "track",
]

_HOMES = {
    "Buckets": "registry",
    "ConfigError": "errors",
    "Expires": "registry",
    "MaxChars": "registry",
    "MissingExtraError": "errors",
    "OtelPosthogError": "errors",
    "Range": "registry",
    "Registry": "registry",
    "RegistryError": "errors",
    "ScrubRule": "scrubbing",
    "ScrubRules": "scrubbing",
    "SecurityHeaders": "middleware",
    "Sensitivity": "registry",
    "SourceLineExporter": "source_lines",
    "SpanRule": "span_rules",
    "StoreError": "errors",
    "Telemetry": "telemetry",
    "TelemetryMiddleware": "middleware",
    "Version": "registry",
    "bucket": "heartbeat",
    "capture_exception": "analytics",
    "csp_nonce": "middleware",
    "event": "registry",
    "track": "analytics",
}


def __getattr__(name: str) -> object:
    if name == "settings_api":
        return import_module(".settings_api", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
