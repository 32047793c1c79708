"""`otel-posthog config`: look at the settings in force, check a configuration file, print its schema."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from .config import SETTINGS, Config

WRONG = 1
FILE_VARIABLE = "OTEL_CONFIG_FILE"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command; each action sets `run`."""
    actions = commands.add_parser("config", help="look at the settings, check a configuration file")
    parsers = actions.add_subparsers(dest="action", required=True)
    show = parsers.add_parser(
        "show", help="print each setting with its value, unit, source and meaning; secrets are masked"
    )
    show.add_argument(
        "--file", type=Path, help=f"OpenTelemetry's configuration file (default: {FILE_VARIABLE})"
    )
    show.set_defaults(run=_show)
    check = parsers.add_parser(
        "check", help="tell all that is wrong with a configuration file, with file and line"
    )
    check.add_argument("file", type=Path, help="OpenTelemetry's configuration file")
    check.set_defaults(run=_check)
    schema = parsers.add_parser("schema", help="print the JSON Schema of such a file, for editors")
    schema.set_defaults(run=_schema)


def _show(options: argparse.Namespace) -> int:
    environ: Mapping[str, str] = options.environ
    named = options.file or environ.get(FILE_VARIABLE)
    file, problems = _file_settings(Path(named), environ) if named else ({}, [])
    config = Config.resolve(environ=environ, file=file)
    for row in SETTINGS:
        value = f"{row.show(getattr(config, row.name))} {row.unit}".rstrip()
        source = str(named) if config.sources[row.name] == "file" else config.sources[row.name]
        print(f"{row.name} = {value}  [{source}]\n    {row.help}")
        print(f"    {', '.join(row.env)}\n")
    if problems:
        told = f"{problems[0]} Nothing is sent by this file. Try: otel-posthog config check {named}"
        print(told, file=sys.stderr)
        return WRONG
    return 0


def _file_settings(path: Path, environ: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Return the settings that stand in the file, and for what nothing is sent by it."""
    from .config_file import ConfigFile  # noqa: PLC0415 - needs the extra `config`

    file, names = ConfigFile(path), {row.name for row in SETTINGS}
    settings = {name: value for name, value in file.block().items() if name in names and value != ""}
    return settings, [*file.obstacles(), *file.block_problems(environ)]


def _check(options: argparse.Namespace) -> int:
    from .config_file import NAME, ConfigFile  # noqa: PLC0415 - needs the extra `config`

    file = ConfigFile(options.file)
    problems = file.problems(options.environ)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return WRONG
    places = [str(entry.place[0]) for entry in file.exporters()]
    print(f"{options.file}: {NAME} under {', '.join(places)}; nothing is wrong.")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    from .config_file import schema_for_editors  # noqa: PLC0415 - needs the extra `config`

    print(json.dumps(schema_for_editors(), indent=2))
    return 0
