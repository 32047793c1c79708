"""Define what an event may hold: the typed declarations that both halves agree on.

A product declares each event as a small class. Consent is given for these declarations, so nothing
else is sent once a product has declared its first event. What only the export half needs is loaded on
first use, so that `track` does not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .declarations import (
    ERROR_EVENTS,
    EVENT_NAME_MAX_BYTES,
    EXCEPTION,
    HEARTBEAT,
    SUPPRESSED,
    Buckets,
    EventSpec,
    Expires,
    Kind,
    MaxChars,
    Property,
    Range,
    Sensitivity,
    Version,
    event,
    kind_of,
    spec_of,
    values_of,
)
from .domains import SHORT_TEXT_MAX_CHARS, is_short_scalar

if TYPE_CHECKING:
    from .builtin import BASE_PROPERTIES, DROPPED_PREFIX, EXCEPTION_PROPERTIES, FAILED_GAUGES, TRIMMED
    from .manifest import Admission, Manifest
    from .registry import Registry

__all__ = [
    "BASE_PROPERTIES",
    "DROPPED_PREFIX",
    "ERROR_EVENTS",
    "EVENT_NAME_MAX_BYTES",
    "EXCEPTION",
    "EXCEPTION_PROPERTIES",
    "FAILED_GAUGES",
    "HEARTBEAT",
    "SHORT_TEXT_MAX_CHARS",
    "SUPPRESSED",
    "TRIMMED",
    "Admission",
    "Buckets",
    "EventSpec",
    "Expires",
    "Kind",
    "Manifest",
    "MaxChars",
    "Property",
    "Range",
    "Registry",
    "Sensitivity",
    "Version",
    "event",
    "is_short_scalar",
    "kind_of",
    "spec_of",
    "values_of",
]

# `track` needs the declarations only; the rest is loaded by the export half.
_LAZY = {
    "builtin": ("BASE_PROPERTIES", "DROPPED_PREFIX", "EXCEPTION_PROPERTIES", "FAILED_GAUGES", "TRIMMED"),
    "manifest": ("Admission", "Manifest"),
    "registry": ("Registry",),
}


def __getattr__(name: str) -> object:
    for module, names in _LAZY.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
