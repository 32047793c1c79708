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
    from .middleware import TelemetryMiddleware
    from .registry import MaxChars, Range, Registry, event
    from .telemetry import Telemetry

__all__ = [
    "ConfigError",
    "MaxChars",
    "MissingExtraError",
    "OtelPosthogError",
    "Range",
    "Registry",
    "RegistryError",
    "StoreError",
    "Telemetry",
    "TelemetryMiddleware",
    "capture_exception",
    "event",
    "settings_api",
    "track",
]

_HOMES = {
    "ConfigError": "errors",
    "MaxChars": "registry",
    "MissingExtraError": "errors",
    "OtelPosthogError": "errors",
    "Range": "registry",
    "Registry": "registry",
    "RegistryError": "errors",
    "StoreError": "errors",
    "Telemetry": "telemetry",
    "TelemetryMiddleware": "middleware",
    "capture_exception": "analytics",
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
