"""What a gateway knows of the product: its manifest, and which spans become events."""

from __future__ import annotations

import json
import os
from pathlib import Path

from otel_posthog.errors import ConfigError
from otel_posthog.registry import Kind, Registry
from otel_posthog.registry.documents import read_manifest_file
from otel_posthog.span_rules import SpanRule, SpanRules


def registry_from(paths: str) -> Registry:
    """Return the registry of the first manifest file; the others are earlier ones, still agreed to."""
    present, *earlier = [read_manifest_file(_text(path, _HINT)) for path in paths.split(os.pathsep)]
    registry = Registry.from_manifests(present)
    for manifests in earlier:
        for kind in Kind:
            texts = {manifests[kind].hash: manifests[kind].text}
            registry.remember(manifests[kind].hash, texts.__getitem__)
    return registry


def rules_from(path: str | None, registry: Registry) -> SpanRules:
    """Return the span rules of a JSON file: a list of objects with the fields of `SpanRule`."""
    if path is None:
        return SpanRules()
    try:
        found = json.loads(_text(path, ""))
        rules = [SpanRule(**entry) for entry in found]
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is no list of span rules in JSON ({error}).") from None
    return SpanRules(rules, registry)


_HINT = " Write it with: otel-posthog docs --app module:name"


def _text(path: str, hint: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}).{hint}") from None
