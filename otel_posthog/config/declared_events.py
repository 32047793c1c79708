"""Load the product's own objects by import string, and the registry that the settings name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from otel_posthog.errors import ConfigError, RegistryError
from otel_posthog.registry import Registry, spec_of

from .settings import Config


def module_at(name: str, *, shown: str | None = None) -> object:
    """Import the module, from the current folder on; raise `ConfigError` if there is none."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{shown or name}: there is no module {error.name!r} from {folder} on.") from error


def object_at(location: str) -> object:
    """Return the object at `package.module:name`; raise `ConfigError` if there is none."""
    module_name, colon, name = location.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"{location}: name it as module:name, such as myproduct.main:telemetry.")
    module = module_at(module_name, shown=location)
    if not hasattr(module, name):
        raise ConfigError(f"{location}: {module_name} has no {name}.")
    found: object = getattr(module, name)
    return found


def declared_events(config: Config) -> Registry:
    """Return the registry of `manifest` and `events`; raise `ConfigError` if one cannot be read."""
    events = _events(config.events) if config.events else ()
    if config.manifest is None:
        return registry_of(events)
    if isinstance(events, Registry):
        raise ConfigError("events: with a manifest, name a module or a list of classes, not a Registry.")
    from otel_posthog.registry.documents import read_manifest_file  # noqa: PLC0415 - only where there is one

    try:
        text = Path(config.manifest).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are not text, or a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"manifest: {config.manifest} cannot be read ({reason}).") from error
    try:
        return Registry.from_manifests(read_manifest_file(text), events)
    except RegistryError as error:
        raise ConfigError(f"manifest: {config.manifest}: {error}") from error


def registry_of(events: Registry | Iterable[type]) -> Registry:
    """Return the registry itself, or one of these classes."""
    return events if isinstance(events, Registry) else Registry(events)


def _events(location: str) -> Registry | list[type]:
    try:
        found = object_at(location) if ":" in location else module_at(location)
    except ConfigError as error:
        raise ConfigError(f"events: {error}") from error
    except (Exception, SystemExit) as error:  # a product's module may raise anything
        raise ConfigError(
            f"events: {location} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    if isinstance(found, Registry):
        return found
    if isinstance(found, ModuleType):
        classes = [item for item in vars(found).values() if isinstance(item, type) and spec_of(item)]
        return list(dict.fromkeys(classes))
    if isinstance(found, Iterable):
        return list(found)
    raise ConfigError(f"events: {location} is not a module, Registry or list of events.")
