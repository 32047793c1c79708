"""The command line: `otel-posthog demo`, `config show`, `heartbeat`, and the commands of `commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import commands as consent_commands
from . import config_command, gateway_command
from .errors import OtelPosthogError

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return the exit code; a bad setting is one line on stderr and code 2."""
    options = _parser().parse_args(arguments)
    options.environ = os.environ if environ is None else environ
    try:
        if options.command == "demo":
            return _demo(options)
        if options.command == "heartbeat":
            return _heartbeat(options)
        return int(options.run(options))
    except OtelPosthogError as error:
        print(f"otel-posthog: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="otel-posthog", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
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
        help="show one plain page, also where Node could build the example product",
    )
    heartbeat = commands.add_parser("heartbeat", help="print today's heartbeat, or send it if it is owed")
    heartbeat.add_argument(
        "--app",
        required=True,
        metavar="MODULE:NAME",
        help="where your Telemetry is, such as product.main:telemetry",
    )
    heartbeat.add_argument("--now", action="store_true", required=True, help="do not wait for its time")
    heartbeat.add_argument("--dry-run", action="store_true", help="print it, and send nothing")
    consent_commands.add_to(commands)
    gateway_command.add_to(commands)
    config_command.add_to(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from .demo import run  # noqa: PLC0415 - needs the extra `demo`

    return run(
        folder=options.folder,
        port=options.port,
        sink_port=options.sink_port,
        open_browser=options.open,
        is_plain=options.plain,
    )


def _heartbeat(options: argparse.Namespace) -> int:
    from .heartbeat_command import print_heartbeat, send_heartbeat  # noqa: PLC0415 - costs the SDK

    return print_heartbeat(options.app) if options.dry_run else send_heartbeat(options.app)


if __name__ == "__main__":
    raise SystemExit(main())
