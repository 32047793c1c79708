"""The interfaces of opentelemetry-configuration that we stand on, in one place.

The package is experimental: each version pins one of the SDK, and the parser with its substitution of
variables is private. `tests/test_otel_seams.py` fails when it moves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from ._versions import unsupported
from .errors import ConfigError, MissingExtraError

try:
    import yaml
    from opentelemetry.configuration import ConfigurationError
except ImportError as error:
    raise MissingExtraError("opentelemetry-configuration", "config") from error
try:
    from opentelemetry.configuration._common import load_entry_point  # noqa: F401 - what makes our exporters
    from opentelemetry.configuration.file._loader import _parse_config_content, _validate_file_format
except ImportError as error:
    raise unsupported("opentelemetry-configuration", error) from error

Place = tuple[str | int, ...]

EXPORTERS = {
    "SpanExporter": "opentelemetry_traces_exporter",
    "PushMetricExporter": "opentelemetry_metrics_exporter",
    "LogRecordExporter": "opentelemetry_logs_exporter",
}
"""Kinds of exporters in the schema, and where each package lists its own."""


def file_schema() -> dict[str, Any]:
    """Return OpenTelemetry's JSON Schema of a configuration file."""
    text = (files("opentelemetry.configuration") / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def known_exporters(kind: str) -> list[str]:
    """Return the names by which an exporter of this kind can be called."""
    built_in = file_schema()["$defs"][kind]["properties"]
    return sorted({*built_in, *(point.name for point in entry_points(group=EXPORTERS[kind]))})


def parsed(text: str, path: Path) -> object:
    """Return the content with variables put in, as OpenTelemetry does; raise `ConfigError`."""
    try:
        yaml.compose(text, Loader=yaml.SafeLoader)  # first, since OpenTelemetry logs a traceback
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: this is no YAML, {error.problem}.") from error
    try:
        content: object = _parse_config_content(text, path.suffix.lower(), path)
    except ConfigurationError as error:
        raise ConfigError(str(error)) from error
    return content


def check_file_format(content: Mapping[str, object]) -> None:
    """Raise `ConfigError` for a version of the format that OpenTelemetry refuses."""
    try:
        _validate_file_format(dict(content))
    except ConfigurationError as error:
        raise ConfigError(str(error)) from error


def line_of(text: str, path: Place) -> int:
    """Return the line of that place in a YAML or JSON text, or of what is nearest above it."""
    return _way(text, path)[-1][0]


def repeated(text: str) -> Iterator[tuple[Place, int]]:
    """Yield each key that stands again in its mapping, and its line: parsers take the last in silence."""
    below: list[tuple[Place, yaml.Node | None]] = [((), yaml.compose(text, Loader=yaml.SafeLoader))]
    met: set[int] = set()  # what an alias refers to is one node, and may hold itself
    while below:
        path, node = below.pop(0)
        if id(node) in met:
            continue
        met.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            below += [((*path, at), item) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                place = (*path, str(key.value))
                if place in seen:
                    yield place, key.start_mark.line + 1
                seen.add(place)
                below.append((place, value))


def raw_at(text: str, path: Place) -> str:
    """Return the single value that stands there, before variables are put in; empty where none does."""
    way = _way(text, path)
    node = way[-1][1]
    return str(node.value) if len(way) > len(path) and isinstance(node, yaml.ScalarNode) else ""


def _way(text: str, path: Place) -> list[tuple[int, yaml.Node | None]]:
    """Return line and node of each step towards that place, as far as there are any."""
    way: list[tuple[int, yaml.Node | None]] = [(1, yaml.compose(text, Loader=yaml.SafeLoader))]
    for part in path:
        found = _child(way[-1][1], part)
        if found is None:
            break
        way.append(found)
    return way


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node | None] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    return None
