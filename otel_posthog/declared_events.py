"""The registry that the settings name: a manifest file, a module with `@event` classes, or both."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from ._places import module_at, object_at
from .config import Config
from .errors import ConfigError, RegistryError
from .registry import Registry, spec_of


def declared_events(config: Config) -> Registry:
    """Return it; raise `ConfigError` where it cannot be read. Without either setting it is empty."""
    events = _events(config.events) if config.events else ()
    if config.manifest is None:
        return registry_of(events)
    if isinstance(events, Registry):
        raise ConfigError(
            "events: name a module or a list of classes where there is a manifest, no Registry."
        )
    from .registry.documents import read_manifest_file  # noqa: PLC0415 - only where there is one

    try:
        text = Path(config.manifest).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # also of bytes that are no text, and of a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"manifest: {config.manifest} cannot be read ({reason}).") from error
    try:
        return Registry.from_manifests(read_manifest_file(text), events)
    except RegistryError as error:
        raise ConfigError(f"manifest: {config.manifest}: {error}") from error


def registry_of(events: Registry | Iterable[type]) -> Registry:
    """Return the registry itself, or one of these classes."""
    return events if isinstance(events, Registry) else Registry(events)


def _events(place: str) -> Registry | list[type]:
    try:
        found = object_at(place) if ":" in place else module_at(place)
    except ConfigError as error:
        raise ConfigError(f"events: {error}") from error
    except (Exception, SystemExit) as error:  # a product's module runs anything
        raise ConfigError(f"events: {place} cannot be imported ({type(error).__name__}: {error}).") from error
    if isinstance(found, Registry):
        return found
    if isinstance(found, ModuleType):
        classes = [item for item in vars(found).values() if isinstance(item, type) and spec_of(item)]
        return list(dict.fromkeys(classes))
    if isinstance(found, Iterable):
        return list(found)
    raise ConfigError(f"events: {place} is no module, Registry or list of events.")
