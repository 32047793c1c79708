"""An OpenTelemetry configuration file as we see it: its `posthog:` blocks, and all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _otel_config
from ._nearest import did_you_mean
from .block import BlockError, Problem, block_schema, read_block
from .block.problems import IS_SET, odd_name, problems_of
from .config import SETTINGS
from .errors import ConfigError

if TYPE_CHECKING:
    from .store import DatabaseSource

NAME = "posthog"
_RULE_SCALARS = ("kind", "status", "sample")
_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}


class ConfigFile:
    """A file with variables put in; raise `ConfigError` where it cannot be read at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}).") from error
        content = _otel_config.parsed(text, path)
        if not isinstance(content, Mapping):
            raise ConfigError(f"{path} holds no mapping.")
        self._content = content
        self._root = _otel_config.composed(text, path)
        self._parts = list(_otel_config.parts(content))

    def exporters(self) -> list[_otel_config.Part]:
        """Return the exporters that are ours, in order."""
        return [part for part in self._parts if part.kind in _otel_config.EXPORTERS and part.name == NAME]

    def block(self) -> Mapping[str, Any]:
        """Return the block that counts, or an empty one."""
        return next((_mapping(entry.value) for entry in self.exporters() if entry.value), {})

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return all that is wrong, each as a line that begins with file and line."""
        variables = os.environ if environ is None else environ
        found = [*self._obstacles(), *self._unknown_sections(), *self._absences(), *self._repetitions()]
        return self._told([*found, *self._block_problems(variables)])

    def obstacles(self) -> list[str]:
        """Return the lines of that for which OpenTelemetry refuses the whole file."""
        return self._told(self._obstacles())

    def block_problems(self, environ: Mapping[str, str]) -> list[str]:
        """Return the lines of that for which our exporters send nothing."""
        return self._told(self._block_problems(environ))

    def ignored(self) -> list[str]:
        """Return the lines of what OpenTelemetry leaves out without a word."""
        return self._told(self._unknown_sections())

    def _told(self, found: Iterable[Problem]) -> list[str]:
        lines = [(_otel_config.line_of(self._root, problem.path), problem) for problem in found]
        told = [self._line(line, problem) for line, problem in sorted(lines, key=itemgetter(0))]
        return list(dict.fromkeys(told))

    def _obstacles(self) -> Iterator[Problem]:
        yield from problems_of(dict(self._content), _otel_config.file_schema())
        if isinstance(self._content.get("file_format"), str):
            try:
                _otel_config.check_file_format(self._content)
            except ConfigError as error:
                yield Problem(("file_format",), f"{error}.")
        for part in self._parts:
            yield from _part_problems(part)

    def _repetitions(self) -> Iterator[Problem]:
        for path, line in _otel_config.repeated(self._root):
            yield Problem(path, f"stands here again in line {line}, expected once.")

    def _unknown_sections(self) -> Iterator[Problem]:
        known = _otel_config.file_schema()["properties"]
        for key in self._content.keys() - known.keys():
            yield Problem((key,), f"unknown key.{did_you_mean(key, known)}")

    def _absences(self) -> Iterator[Problem]:
        if "propagator" not in self._content:  # it extracts None, on which instrumentations fail
            text = "missing, expected how trace context is passed on: without it each traced request fails."
            yield Problem(("propagator",), text)
        if not self.exporters():
            yield Problem((), f"no exporter is called {NAME}, so nothing is sent.")

    def _block_problems(self, environ: Mapping[str, str]) -> Iterator[Problem]:
        named = self.exporters()
        first = next((entry for entry in named if entry.value), named[0] if named else None)
        if first is None:
            return
        try:
            config = read_block(_mapping(first.value), environ).config
        except BlockError as error:
            yield from (problem.under(first.place) for problem in error.problems)
        else:
            yield from self._database_problems((*first.place, "database"), config.database)
        for entry in named:
            if entry.value and entry.value != first.value:
                text = "differs from the first one, expected one block for all. Refer to it as *posthog."
                yield Problem(entry.place, text)

    def _database_problems(self, path: _otel_config.Place, database: DatabaseSource) -> Iterator[Problem]:
        from .store import usable_url  # noqa: PLC0415 - SQLAlchemy, which nobody needs to read a file

        try:
            usable_url(database)
        except ConfigError as error:
            yield Problem(path, str(error))

    def _line(self, line: int, problem: Problem) -> str:
        raw = _otel_config.raw_at(self._root, problem.path)
        if problem.text.endswith(IS_SET) and raw:
            instead = f"{raw} is empty or not set." if "${" in raw else ""
            problem = replace(problem, text=problem.text.replace(IS_SET, instead).rstrip())
        return f"{self._path}:{line}: {problem}"


def schema_for_editors() -> dict[str, Any]:
    """Return OpenTelemetry's schema of a file, with ours for what stands under `posthog:`.

    An editor sees the file before variables are put in, so settings and scalars of rules may be one.
    """
    ours: dict[str, Any] = deepcopy(block_schema())
    rule = ours["properties"]["spans"]["items"]["properties"]
    for known, names in ((ours["properties"], [row.name for row in SETTINGS]), (rule, _RULE_SCALARS)):
        for name in names:
            known[name] = {"anyOf": [known[name], _REFERENCE]}
    schema = deepcopy(_otel_config.file_schema())
    for kind in _otel_config.EXPORTERS:
        schema["$defs"][kind]["properties"][NAME] = ours
    return schema


def _part_problems(part: _otel_config.Part) -> Iterator[Problem]:
    known = _otel_config.known_names(part.kind)
    if part.name not in known:
        if part.is_in_schema:
            yield Problem(part.place, f"the package that brings this {part.what} is not installed.")
        else:
            near = did_you_mean(part.name, known) or f" There are: {', '.join(known)}."
            yield Problem(part.place, f"no package brings this {part.what}.{near}")
    if part.kind in _otel_config.EXPORTERS:  # which gets its keys as arguments of a call
        for key in _mapping(part.value):
            if not isinstance(key, str):
                yield Problem((*part.place, str(key)), odd_name(key))


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
