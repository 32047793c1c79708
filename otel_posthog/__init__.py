"""Consent-first error reports and product events: OpenTelemetry in, PostHog out.

Everything here is loaded on first use, so that `track` costs neither the SDK nor SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import settings_api
    from .emit.capture import capture_exception, track
    from .errors import ConfigError, MissingExtraError, OtelPosthogError, RegistryError, StoreError
    from .heartbeat import bucket
    from .middleware import SecurityHeaders, TelemetryMiddleware, csp_nonce
    from .registry import Buckets, Expires, MaxChars, Range, Registry, Sensitivity, Version, event
    from .scrubbing import ScrubRule, ScrubRules
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

_NAMES = {
    "emit.capture": ("capture_exception", "track"),
    "errors": ("ConfigError", "MissingExtraError", "OtelPosthogError", "RegistryError", "StoreError"),
    "heartbeat": ("bucket",),
    "middleware": ("SecurityHeaders", "TelemetryMiddleware", "csp_nonce"),
    "registry": ("Buckets", "Expires", "MaxChars", "Range", "Registry", "Sensitivity", "Version", "event"),
    "scrubbing": ("ScrubRule", "ScrubRules"),
    "span_rules": ("SpanRule",),
    "telemetry": ("Telemetry",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "settings_api":
        return import_module(".settings_api", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
