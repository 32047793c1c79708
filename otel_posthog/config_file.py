"""An OpenTelemetry configuration file as we see it: its `posthog:` blocks, and all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _otel_config
from ._nearest import did_you_mean
from .block import BlockError, Problem, block_schema, read_block
from .block.problems import IS_SET, problems_of
from .config import SETTINGS
from .errors import ConfigError

if TYPE_CHECKING:
    from .store import DatabaseSource

NAME = "posthog"
_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
_Place = tuple[str | int, ...]
_PLACES = (
    ("tracer_provider", "processors", "SpanProcessor", ("batch", "simple"), "SpanExporter"),
    ("meter_provider", "readers", "MetricReader", ("periodic",), "PushMetricExporter"),
    ("logger_provider", "processors", "LogRecordProcessor", ("batch", "simple"), "LogRecordExporter"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterEntry:
    """One exporter that the file names."""

    path: _Place
    kind: str
    name: str
    block: Mapping[str, Any]


class ConfigFile:
    """A file with variables put in; raise `ConfigError` where it cannot be read at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}).") from error
        content = _otel_config.parsed(self._text, path)
        if not isinstance(content, Mapping):
            raise ConfigError(f"{path} holds no mapping.")
        self._content = content

    def exporters(self) -> list[ExporterEntry]:
        """Return what the file names as exporters, in order."""
        return list(self._entries())

    def block(self) -> Mapping[str, Any]:
        """Return the block that counts, or an empty one."""
        return next((entry.block for entry in self._entries() if entry.name == NAME and entry.block), {})

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return all that is wrong, each as a line that begins with file and line."""
        variables = os.environ if environ is None else environ
        found = [*self._obstacles(), *self._unknown_sections(), *self._absences(), *self._repetitions()]
        return self._told([*found, *self._block_problems(variables)])

    def obstacles(self) -> list[str]:
        """Return the lines of that for which OpenTelemetry refuses the whole file."""
        return self._told(self._obstacles())

    def ignored(self) -> list[str]:
        """Return the lines of what OpenTelemetry leaves out without a word."""
        return self._told(self._unknown_sections())

    def _told(self, found: Iterable[Problem]) -> list[str]:
        lines = [(_otel_config.line_of(self._text, problem.path), problem) for problem in found]
        return [self._line(line, problem) for line, problem in sorted(lines, key=itemgetter(0))]

    def _entries(self) -> Iterator[ExporterEntry]:
        for provider, listed, _, kinds, exporter_kind in _PLACES:
            for at, item in enumerate(self._listed(provider, listed)):
                for kind in kinds:
                    exporter = _mapping(_mapping(_mapping(item).get(kind)).get("exporter"))
                    for name, block in exporter.items():
                        path = (provider, listed, at, kind, "exporter", name)
                        yield ExporterEntry(path=path, kind=exporter_kind, name=name, block=_mapping(block))

    def _listed(self, provider: str, listed: str) -> list[Any]:
        return _list(_mapping(self._content.get(provider)).get(listed))

    def _obstacles(self) -> Iterator[Problem]:
        yield from problems_of(dict(self._content), _otel_config.file_schema())
        if isinstance(self._content.get("file_format"), str):
            try:
                _otel_config.check_file_format(self._content)
            except ConfigError as error:
                yield Problem(("file_format",), f"{error}.")
        yield from self._unknown_processors()
        for entry in self._entries():
            known = _otel_config.known_exporters(entry.kind)
            if entry.name not in known:
                yield Problem(entry.path, _unknown("exporter", entry.name, known))

    def _unknown_processors(self) -> Iterator[Problem]:
        kinds = _otel_config.file_schema()["$defs"]
        for provider, listed, kind, _, _ in _PLACES:
            known = kinds[kind]["properties"]
            if kinds[kind]["additionalProperties"] is not False:  # or the schema has said so
                for at, item in enumerate(self._listed(provider, listed)):
                    for name in _mapping(item).keys() - known.keys():
                        yield Problem((provider, listed, at, name), _unknown("processor", name, known))

    def _repetitions(self) -> Iterator[Problem]:
        for path, line in _otel_config.repeated(self._text):
            yield Problem(path, f"stands here again in line {line}, expected once.")

    def _unknown_sections(self) -> Iterator[Problem]:
        known = _otel_config.file_schema()["properties"]
        for key in self._content.keys() - known.keys():
            yield Problem((key,), f"unknown key.{did_you_mean(key, known)}")

    def _absences(self) -> Iterator[Problem]:
        if "propagator" not in self._content:  # it extracts None, on which instrumentations fail
            text = "missing, expected how trace context is passed on: without it each traced request fails."
            yield Problem(("propagator",), text)
        if all(entry.name != NAME for entry in self._entries()):
            yield Problem((), f"no exporter is called {NAME}, so nothing is sent.")

    def _block_problems(self, environ: Mapping[str, str]) -> Iterator[Problem]:
        named = [entry for entry in self._entries() if entry.name == NAME]
        first = next((entry for entry in named if entry.block), named[0] if named else None)
        if first is None:
            return
        try:
            config = read_block(first.block, environ).config
        except BlockError as error:
            yield from (problem.under(first.path) for problem in error.problems)
        else:
            yield from self._database_problems((*first.path, "database"), config.database)
        for entry in named:
            if entry.block and entry.block != first.block:
                text = "differs from the first one, expected one block for all. Refer to it as *posthog."
                yield Problem(entry.path, text)

    def _database_problems(self, path: _Place, database: DatabaseSource) -> Iterator[Problem]:
        from .store import usable_url  # noqa: PLC0415 - SQLAlchemy, which nobody needs to read a file

        try:
            usable_url(database)
        except ConfigError as error:
            yield Problem(path, str(error))

    def _line(self, line: int, problem: Problem) -> str:
        raw = _otel_config.raw_at(self._text, problem.path)
        if problem.text.endswith(IS_SET) and raw:
            problem = replace(problem, text=problem.text.replace(IS_SET, f"{raw} is not set."))
        return f"{self._path}:{line}: {problem}"


def schema_for_editors() -> dict[str, Any]:
    """Return OpenTelemetry's schema of a file, with ours for what stands under `posthog:`.

    An editor sees the file before variables are put in, so each setting may be one.
    """
    ours: dict[str, Any] = block_schema()
    for row in SETTINGS:
        ours["properties"][row.name] = {"anyOf": [ours["properties"][row.name], _REFERENCE]}
    schema = _otel_config.file_schema()
    for kind in _otel_config.EXPORTERS:
        schema["$defs"][kind]["properties"][NAME] = ours
    return schema


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known) or f" There are: {', '.join(known)}."
    return f"no package brings this {what}.{near}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
