"""Run the command line: the demo, the gateway, and the check of settings and configuration files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from otel_posthog.config.settings import SETTINGS, Config
from otel_posthog.errors import MissingExtraError, OtelPosthogError

from . import telemetry

WRONG = 1
FILE_VARIABLE = "OTEL_CONFIG_FILE"
USAGE_ERROR = 2
DEFAULT_PORT = 4320  # beside 4317 and 4318, which a Collector on the same machine uses

# Commands import what they run only when they run: `otel-posthog --help` needs no extra.


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return the exit code; a bad setting is one line on stderr and code 2."""
    options = _parser().parse_args(arguments)
    options.environ = os.environ if environ is None else environ
    try:
        return int(options.run(options))
    except OtelPosthogError as error:
        print(f"otel-posthog: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-posthog",
        description="Ask for consent, show what would be sent, run the gateway and the demo.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_demo(commands)
    telemetry.add_to(commands)
    _add_gateway(commands)
    _add_config(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="start an example app and a local PostHog, offline")
    demo.add_argument("--folder", type=Path, help="keep the database here (default: a temporary folder)")
    demo.add_argument("--port", type=int, default=0, help="port of the example app (default: a free one)")
    demo.add_argument(
        "--sink-port", type=int, default=0, help="port of the local PostHog (default: a free one)"
    )
    demo.add_argument("--open", action="store_true", help="open the page in the browser")
    demo.add_argument(
        "--plain",
        action="store_true",
        help="show one plain page, even if Node could build the example product",
    )
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from otel_posthog.demo import run

    return run(
        folder=options.folder,
        port=options.port,
        sink_port=options.sink_port,
        open_browser=options.open,
        is_plain=options.plain,
    )


def _add_gateway(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    gateway = commands.add_parser(
        "gateway", help="accept OTLP/HTTP from a Collector and send events to PostHog"
    )
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    gateway.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    gateway.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    gateway.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    try:
        from otel_posthog.gateway import server
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "a package", "gateway") from error
    return server.run(host=options.host, port=options.port, workers=options.workers)


def _add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    actions = commands.add_parser("config", help="show the settings, check a configuration file")
    parsers = actions.add_subparsers(dest="action", required=True)
    show = parsers.add_parser(
        "show", help="print each setting with its value, unit, source and meaning; secrets are masked"
    )
    show.add_argument(
        "--file", type=Path, help=f"OpenTelemetry's configuration file (default: {FILE_VARIABLE})"
    )
    show.set_defaults(run=_show)
    check = parsers.add_parser(
        "check", help="report each mistake in the posthog block of a configuration file, with file and line"
    )
    check.add_argument("file", type=Path, help="OpenTelemetry's configuration file")
    check.set_defaults(run=_check)
    schema = parsers.add_parser("schema", help="print the JSON Schema of such a file, for editors")
    schema.set_defaults(run=_schema)


def _show(options: argparse.Namespace) -> int:
    environ: Mapping[str, str] = options.environ
    named = options.file or environ.get(FILE_VARIABLE)
    settings: dict[str, object] = {}
    problems: list[str] = []
    if named:
        from otel_posthog.config.file import ConfigFile

        file, names = ConfigFile(Path(named)), {row.name for row in SETTINGS}
        settings = {name: value for name, value in file.block().items() if name in names and value != ""}
        problems = [*file.refusal(), *file.block_problems(environ)]  # because of these it sends nothing
    config = Config.resolve(environ=environ, file=settings)
    for row in SETTINGS:
        value = f"{row.show(getattr(config, row.name))} {row.unit}".rstrip()
        source = str(named) if config.sources[row.name] == "file" else config.sources[row.name]
        print(f"{row.name} = {value}  [{source}]\n    {row.help}")
        print(f"    {', '.join(row.env)}\n")
    if problems:
        print(
            f"{problems[0]} Nothing is sent by this file. Try: otel-posthog config check {named}",
            file=sys.stderr,
        )
        return WRONG
    return 0


def _check(options: argparse.Namespace) -> int:
    from otel_posthog.config.file import NAME, ConfigFile

    file = ConfigFile(options.file)
    problems = file.problems(options.environ)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return WRONG
    sections = [str(place[0]) for place, _ in file.exporters()]
    print(f"{options.file}: {NAME} under {', '.join(sections)}; nothing is wrong with it.")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    from otel_posthog.config.file import schema_for_editors

    print(json.dumps(schema_for_editors(), indent=2))
    return 0
