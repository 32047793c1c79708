"""The interfaces of opentelemetry-configuration that we stand on, in one place.

The package is experimental: each version pins one of the SDK, and the parser with its substitution of
variables is private. `tests/test_otel_seams.py` fails when it moves.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
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
Node = yaml.Node | None

EXPORTERS = ("SpanExporter", "PushMetricExporter", "LogRecordExporter")
_KINDS = {
    "SpanExporter": ("exporter", "opentelemetry_traces_exporter"),
    "PushMetricExporter": ("exporter", "opentelemetry_metrics_exporter"),
    "PullMetricExporter": ("exporter", "opentelemetry_pull_metric_exporter"),
    "LogRecordExporter": ("exporter", "opentelemetry_logs_exporter"),
    "SpanProcessor": ("processor", None),  # OpenTelemetry takes no others than its own yet
    "LogRecordProcessor": ("processor", None),
    "Sampler": ("sampler", "opentelemetry_sampler"),
    "IdGenerator": ("generator of ids", "opentelemetry_id_generator"),
    "TextMapPropagator": ("propagator", "opentelemetry_propagator"),
    "ExperimentalResourceDetector": ("detector", "opentelemetry_resource_detector"),
}
"""Kinds of parts in the schema that packages bring: in words, and the entry points by which they do."""
_MODULES = {
    "otlp_http": "opentelemetry.exporter.otlp.proto.http",
    "otlp_grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "prometheus/development": "opentelemetry.exporter.prometheus",
    "b3": None,  # by entry point alone
    "b3multi": None,
    "container": None,
}
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_DEPTH = 40
_LOADER_LOG = logging.getLogger("opentelemetry.configuration.file._loader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that a file names and a package brings: an exporter, a sampler."""

    place: Place
    kind: str
    name: str
    value: object

    @property
    def what(self) -> str:
        """The kind in words."""
        return _KINDS[self.kind][0]

    @property
    def is_in_schema(self) -> bool:
        """Whether OpenTelemetry knows the name, if no package brings it."""
        return self.name in file_schema()["$defs"][self.kind]["properties"]


@cache
def file_schema() -> dict[str, Any]:
    """Return OpenTelemetry's JSON Schema of a configuration file; copy it before you change it."""
    text = (files("opentelemetry.configuration") / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def parts(content: object) -> Iterator[Part]:
    """Yield what the file names of the kinds that packages bring."""
    schema = file_schema()
    below: list[tuple[Place, object, dict[str, Any]]] = [((), content, schema)]
    while below:
        place, value, rules = below.pop(0)
        kind = rules.get("$ref", "").rpartition("/")[2]
        rules = schema["$defs"][kind] if kind else rules
        if isinstance(value, list) and "items" in rules:
            below += [((*place, at), item, rules["items"]) for at, item in enumerate(value)]
        if isinstance(value, Mapping) and len(place) < _MAX_DEPTH:
            known = rules.get("properties", {})
            below += [((*place, name), item, known[name]) for name, item in value.items() if name in known]
            if kind in _KINDS:
                for name, item in value.items():
                    yield Part(place=(*place, str(name)), kind=kind, name=str(name), value=item)


@cache
def known_names(kind: str) -> tuple[str, ...]:
    """Return the names by which a part of this kind can be called on this machine."""
    group = _KINDS[kind][1]
    brought = [point.name for point in entry_points(group=group)] if group else []
    return tuple(sorted({*filter(_is_installed, file_schema()["$defs"][kind]["properties"]), *brought}))


def _is_installed(name: str) -> bool:
    module = _MODULES.get(name, "opentelemetry")
    try:
        return module is not None and find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def parsed(text: str, path: Path) -> object:
    """Return the content with variables put in, as OpenTelemetry does; raise `ConfigError`."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: OpenTelemetry takes files that end in {', '.join(_SUFFIXES)}.")
    try:
        with _silence():
            content: object = _parse_config_content(text, suffix, path)
    except ConfigurationError as error:
        raise _explained(path, error.__cause__ or error) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _explained(path, error) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply.") from error
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back OpenTelemetry's tracebacks: what it raises is told in a line."""
    _LOADER_LOG.addFilter(_nothing)
    try:
        yield
    finally:
        _LOADER_LOG.removeFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


def _explained(path: Path, error: BaseException) -> ConfigError:
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return ConfigError(f"{path}:{line}: this is no YAML, {error.problem}.")
    if isinstance(error, json.JSONDecodeError):
        return ConfigError(f"{path}:{error.lineno}: this is no JSON, {error.msg}.")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ConfigError(f"{path} cannot be read ({reason}).")


def check_file_format(content: Mapping[str, object]) -> None:
    """Raise `ConfigError` for a version of the format that OpenTelemetry refuses."""
    try:
        _validate_file_format(dict(content))
    except ConfigurationError as error:
        raise ConfigError(str(error)) from error


def composed(text: str, path: Path) -> Node:
    """Return the nodes of a text that was parsed, which know their lines; None where they cannot be had."""
    if path.suffix.lower() == ".json":
        text = text.replace("\t", " ")  # which YAML does not take
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None


def line_of(root: Node, path: Place) -> int:
    """Return the line of that place, or of what is nearest above it."""
    return _way(root, path)[-1][0]


def repeated(root: Node) -> Iterator[tuple[Place, int]]:
    """Yield each key that stands again in its mapping, and its line: parsers take the last in silence."""
    below: list[tuple[Place, Node]] = [((), root)]
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


def raw_at(root: Node, path: Place) -> str:
    """Return the single value that stands there, before variables are put in; empty where none does."""
    way = _way(root, path)
    node = way[-1][1]
    return str(node.value) if len(way) > len(path) and isinstance(node, yaml.ScalarNode) else ""


def _way(root: Node, path: Place) -> list[tuple[int, Node]]:
    """Return line and node of each step towards that place, as far as there are any."""
    way: list[tuple[int, Node]] = [(1, root)]
    for part in path:
        found = _child(way[-1][1], part)
        if found is None:
            break
        way.append(found)
    return way


def _child(node: Node, part: str | int) -> tuple[int, Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    return None
