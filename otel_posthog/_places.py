"""Find the product's own objects by name: `package.module:name`, from the current folder on."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from .errors import ConfigError


def module_at(name: str, *, place: str | None = None) -> object:
    """Return the module of this name; raise `ConfigError` where there is none, which names the place."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place or name}: there is no module {error.name!r} from {folder} on.") from error


def object_at(place: str) -> object:
    """Return what stands there; raise `ConfigError` where nothing does."""
    module_name, colon, name = place.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"{place}: name it as module:name, such as myproduct.main:telemetry.")
    module = module_at(module_name, place=place)
    if not hasattr(module, name):
        raise ConfigError(f"{place}: {module_name} has no {name}.")
    found: object = getattr(module, name)
    return found
