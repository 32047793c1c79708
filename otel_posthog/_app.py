"""Find the product's own objects for the command line: `--app package.module:telemetry`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

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
    module_name, colon, name = place.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"--app {place}: name it as module:name, such as myproduct.main:telemetry.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--app {place}: there is no module {error.name!r} from {folder} on.") from error
    if not hasattr(module, name):
        raise ConfigError(f"--app {place}: {module_name} has no {name}.")
    found: object = getattr(module, name)
    return found
