"""Every exception that otel_posthog raises on purpose.

OtelPosthogError
├── ConfigError          a setting is missing, unknown or of the wrong type
├── HookError            a product's hook raised or returned what cannot be sent; the event stays behind
├── MissingExtraError    an optional package is not installed (also an ImportError)
├── RegistryError        an event or property was declared or used wrongly
├── StoreError           the settings row could not be read or written
└── UnsupportedVersionError  a package is there in a version that cannot be used (also an ImportError)

Only configuration, declaration and the settings calls raise; nothing on a request's way does.
"""

from __future__ import annotations


class OtelPosthogError(Exception):
    """Base of all errors raised by otel_posthog."""


class ConfigError(OtelPosthogError, ValueError):
    """Raised when a setting cannot be used; the message names it and says what is expected."""


class MissingExtraError(OtelPosthogError, ImportError):
    """Raised when a part needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed here. Install it with: pip install 'otel-posthog[{extra}]'")


class RegistryError(OtelPosthogError, ValueError):
    """Raised when an event is declared wrongly, or used against its declaration."""


class StoreError(OtelPosthogError):
    """Raised when the settings row cannot be read or written; consent is then unknown."""


class HookError(OtelPosthogError):
    """Raised where a product's hook cannot be followed; the event stays behind."""


class UnsupportedVersionError(OtelPosthogError, ImportError):
    """Raised when a package is there in a version that cannot be used; the message names one that can."""
