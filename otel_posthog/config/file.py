"""Find and check the `posthog:` blocks of an OpenTelemetry configuration file.

The rest of the file belongs to OpenTelemetry: if its loader refuses the file, its reason is one line.
opentelemetry-configuration is experimental: each version pins one of the SDK, and the parser that replaces
variables is private. `tests/config/test_otel_file.py` fails if these interfaces change.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from otel_posthog.errors import ConfigError, MissingExtraError, did_you_mean
from otel_posthog.otel.api import unsupported
from otel_posthog.scrubbing import scrub_text

from .block import IS_SET, BlockError, Mistake, Place, as_mapping, block_schema, read_block
from .settings import SETTINGS

try:
    import yaml
    from jsonschema import ValidationError
    from opentelemetry.configuration import load_config_file
except ImportError as error:
    raise MissingExtraError("opentelemetry-configuration", "config") from error
try:
    from opentelemetry.configuration._common import load_entry_point
    from opentelemetry.configuration.file._loader import _parse_config_content
except ImportError as error:
    raise unsupported("opentelemetry-configuration", error) from error

Node = yaml.Node | None

EXPORTERS = ("SpanExporter", "PushMetricExporter", "LogRecordExporter")
# Types in OpenTelemetry's model that packages extend, with the groups of their entry points.
_PLUGINS = {
    "SpanExporter": "opentelemetry_traces_exporter",
    "PushMetricExporter": "opentelemetry_metrics_exporter",
    "LogRecordExporter": "opentelemetry_logs_exporter",
    "PullMetricExporter": "opentelemetry_pull_metric_exporter",
    "SpanProcessor": "opentelemetry_span_processor",  # so far OpenTelemetry accepts only its own
    "LogRecordProcessor": "opentelemetry_log_record_processor",
    "Sampler": "opentelemetry_sampler",
    "IdGenerator": "opentelemetry_id_generator",
    "TextMapPropagator": "opentelemetry_propagator",
    "ExperimentalResourceDetector": "opentelemetry_resource_detector",
}
_LOADER_LOG = logging.getLogger("opentelemetry.configuration.file._loader")
NAME = "posthog"
_SIGNALS = {"tracer_provider": "processors", "meter_provider": "readers", "logger_provider": "processors"}
_WITH_EXPORTER = ("batch", "simple", "periodic")
_RULE_SCALARS = ("kind", "status", "sample")
_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}


class ConfigFile:
    """A file with its variables replaced; raises `ConfigError` if it cannot be read at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}).") from error
        content, self._refusal = loaded(text, path)
        if not isinstance(content, Mapping):
            raise ConfigError(*self.refusal())
        self._content = content
        self._root = composed(text, path)

    def exporters(self) -> list[tuple[Place, object]]:
        """Return path and block of each exporter that is ours, in order."""
        named: list[tuple[Place, object]] = []
        for signal, parts in _SIGNALS.items():
            found = as_mapping(self._content.get(signal)).get(parts)
            for at, part in enumerate(found if isinstance(found, list) else ()):
                for kind in _WITH_EXPORTER:
                    exporter = as_mapping(as_mapping(as_mapping(part).get(kind)).get("exporter"))
                    if NAME in exporter:
                        named.append(((signal, parts, at, kind, "exporter", NAME), exporter[NAME]))
        return named

    def block(self) -> Mapping[str, Any]:
        """Return the first block that is not empty, or an empty one."""
        return next((as_mapping(block) for _, block in self.exporters() if block), {})

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return the mistakes, each as a line that begins with file and line."""
        variables = os.environ if environ is None else environ
        found = [*self._file_problems(), *self._block_problems(variables)]
        return [*self.refusal(), *self._reported(found)]

    def refusal(self) -> list[str]:
        """Return the line with OpenTelemetry's reason if it refuses the file, or nothing."""
        if self._refusal is None:
            return []
        place, line, reason = explained(self._refusal)
        if place:
            line = located(self._root, place)[0]
        file = f"{self._path}:{line}" if line else self._path
        return [f"{file}: {Mistake(place, scrub_text(reason))}"]

    def block_problems(self, environ: Mapping[str, str]) -> list[str]:
        """Return the mistakes because of which our exporters send nothing."""
        return self._reported(self._block_problems(environ))

    def _reported(self, found: Iterable[Mistake]) -> list[str]:
        lines: dict[str, int] = {}
        for mistake in found:
            line, node = located(self._root, mistake.path)
            text, raw = mistake.text, str(getattr(node, "value", ""))
            if text.endswith(IS_SET) and raw:
                text = text.replace(IS_SET, f"{raw} is empty or not set." if "${" in raw else "").rstrip()
            lines.setdefault(f"{self._path}:{line}: {replace(mistake, text=text)}", line)
        return sorted(lines, key=lines.__getitem__)

    def _file_problems(self) -> Iterator[Mistake]:
        known = file_schema()["properties"]
        for key in self._content.keys() - known.keys():  # OpenTelemetry ignores it silently
            yield Mistake((key,), f"unknown key.{did_you_mean(key, known)}")
        # OpenTelemetry then extracts None, on which instrumentations fail.
        if "propagator" not in self._content:
            text = "missing, expected how trace context is passed on: without it each traced request fails."
            yield Mistake(("propagator",), text)
        if not self.exporters():
            yield Mistake((), f"no exporter is called {NAME}, so nothing is sent.")
        for place, _ in self.exporters():
            for path, line in repeated(self._root, place):
                yield Mistake(path, f"is also in line {line}, expected once.")

    def _block_problems(self, environ: Mapping[str, str]) -> Iterator[Mistake]:
        named = self.exporters()
        place, first = next((entry for entry in named if entry[1]), named[0] if named else ((), None))
        if not place:
            return
        from otel_posthog.store import usable_url  # noqa: PLC0415 - SQLAlchemy; reading a file does not need it

        try:
            usable_url(read_block(as_mapping(first), environ).config.database)
        except BlockError as error:
            yield from (replace(mistake, path=place + mistake.path) for mistake in error.mistakes)
        except ConfigError as error:
            yield Mistake((*place, "database"), str(error))
        for other, block in named:
            if block and block != first:
                text = "differs from the first one, expected one block for all. Refer to it as *posthog."
                yield Mistake(other, text)


def schema_for_editors() -> dict[str, Any]:
    """Return OpenTelemetry's schema of a file, with ours under `posthog:`.

    An editor sees variables before they are replaced, so a setting or a scalar of a rule may be one.
    """
    ours = block_schema()
    rule = ours["properties"]["spans"]["items"]["properties"]
    for known, names in ((ours["properties"], [row.name for row in SETTINGS]), (rule, _RULE_SCALARS)):
        for name in names:
            known[name] = {"anyOf": [known[name], _REFERENCE]}
    schema = file_schema()
    for kind in EXPORTERS:
        schema["$defs"][kind]["properties"][NAME] = ours
    return schema


def file_schema() -> dict[str, Any]:
    """Return OpenTelemetry's JSON Schema of a configuration file."""
    text = (files("opentelemetry.configuration") / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def loaded(text: str, path: Path) -> tuple[object, Exception | None]:
    """Return the content with variables replaced, and OpenTelemetry's error if it refuses the file."""
    content: object = None
    _LOADER_LOG.addFilter(_nothing)  # of its tracebacks; what it raises is reported in one line
    try:
        content = _parse_config_content(text, path.suffix.lower(), path)
        for kind, name in _named(load_config_file(path)):
            if kind in _PLUGINS:
                load_entry_point(_PLUGINS[kind], name)
    except Exception as error:  # noqa: BLE001 - YAML and the conversion raise anything
        return content, error
    finally:
        _LOADER_LOG.removeFilter(_nothing)
    return content, None


def explained(error: Exception) -> tuple[Place, int, str]:
    """Return path, line (0: unknown) and reason of a refusal, without values from the file."""
    cause = error.__cause__ or error
    if isinstance(cause, yaml.MarkedYAMLError):
        line = cause.problem_mark.line + 1 if cause.problem_mark else 1
        return (), line, f"this is no YAML, {cause.problem}."
    if isinstance(cause, json.JSONDecodeError):
        return (), cause.lineno, f"this is no JSON, {cause.msg}."
    if isinstance(cause, ValidationError):
        reason = cause.message.replace(repr(cause.instance), "it")
        return tuple(cause.absolute_path), 0, f"OpenTelemetry refuses this: {reason}."
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return (), 0, f"OpenTelemetry refuses the file: {reason}."


def _nothing(_record: logging.LogRecord) -> bool:
    return False


def _named(model: object) -> Iterator[tuple[str, str]]:
    """Yield type and name of each part that a package has to provide."""
    if isinstance(model, list):
        for item in model:
            yield from _named(item)
    elif is_dataclass(model):
        for name in getattr(model, "additional_properties", ()):
            yield type(model).__name__, name
        for column in fields(model):
            yield from _named(getattr(model, column.name))


def composed(text: str, path: Path) -> Node:
    """Return the nodes of a parsed text, which have their lines; None if it is not YAML."""
    if path.suffix.lower() == ".json":
        text = text.replace("\t", " ")  # not allowed in YAML
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None


def located(root: Node, path: Place) -> tuple[int, Node]:
    """Return line and node at that path; if it is missing, the line of its parent, and None."""
    line, node = 1, root
    for part in path:
        key, node = _children(node).get(part, (None, None))
        if key is None:
            return line, None
        line = key.start_mark.line + 1
    return line, node


def _children(node: Node) -> dict[str | int, tuple[Node, Node]]:
    """Return key and value of each part of a mapping or list; the last one of repeated keys."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): (key, value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return {at: (item, item) for at, item in enumerate(node.value)}
    return {}


def repeated(root: Node, path: Place) -> Iterator[tuple[Place, int]]:
    """Yield each repeated key below that path, and the line where it is first."""
    below: list[tuple[Place, Node]] = [(path, located(root, path)[1])]
    met: set[int] = set()  # an alias refers to the same node, which may contain itself
    while below:
        path, node = below.pop(0)
        if id(node) in met:
            continue
        met.add(id(node))
        last = _children(node)
        below += [((*path, part), value) for part, (_, value) in last.items()]
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if key is not last[str(key.value)][0]:
                    yield (*path, str(key.value)), key.start_mark.line + 1
