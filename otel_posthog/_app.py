"""Find the product's own objects for the command line: `--app package.module:telemetry`."""

from __future__ import annotations

from collections.abc import Iterable

from ._places import object_at
from .errors import ConfigError
from .registry import Registry
from .telemetry import Telemetry


def load_telemetry(place: str) -> Telemetry:
    """Return the Telemetry that stands there; raise `ConfigError` where none does."""
    found = _load(place)
    if not isinstance(found, Telemetry):
        raise ConfigError(f"--app {place}: that is a {type(found).__name__}, not a Telemetry.")
    return found


def load_registry(place: str) -> Registry:
    """Return the registry that stands there: a Telemetry's, a Registry, or a list of event classes."""
    found = _load(place)
    if isinstance(found, Telemetry):
        return found.registry
    if isinstance(found, Registry):
        return found
    if isinstance(found, Iterable):
        return Registry(found)
    raise ConfigError(
        f"--app {place}: that is a {type(found).__name__}, not a Telemetry, Registry or list of events."
    )


def _load(place: str) -> object:
    try:
        return object_at(place)
    except ConfigError as error:
        raise ConfigError(f"--app {error}") from error
