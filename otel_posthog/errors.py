"""Define every exception that otel_posthog raises, and suggest the name that was probably meant.

OtelPosthogError
├── ConfigError          a setting is missing, unknown or of the wrong type
├── HookError            a product's hook raised, or returned what cannot be sent; the event is dropped
├── MissingExtraError    an optional package is not installed (also an ImportError)
├── RegistryError        an event or property was declared or used wrongly
├── StoreError           the settings row, or the balance of deliveries, could not be read or written
└── UnsupportedVersionError  a package is installed in an unsupported version (also an ImportError)

Only configuration, declaration and the settings calls raise; nothing during a request does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message, empty if no name is similar."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class OtelPosthogError(Exception):
    """Base of all errors raised by otel_posthog."""


class ConfigError(OtelPosthogError, ValueError):
    """Raised when a setting cannot be used; the message names it and what is expected."""


class MissingExtraError(OtelPosthogError, ImportError):
    """Raised when a part needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed here. Install it with: pip install 'otel-posthog[{extra}]'")


class RegistryError(OtelPosthogError, ValueError):
    """Raised when an event is declared wrongly, or used against its declaration."""


class StoreError(OtelPosthogError):
    """Raised when the settings row cannot be read or written, or the balance of deliveries not read.

    While the row cannot be read, consent is unknown.
    """


class HookError(OtelPosthogError):
    """Raised when a product's hook fails; the event is dropped."""


class UnsupportedVersionError(OtelPosthogError, ImportError):
    """Raised when a package has an unsupported version; the message names a supported one."""
