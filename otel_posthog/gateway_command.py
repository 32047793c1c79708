"""`otel-posthog gateway`: the end of a Collector pipeline."""

from __future__ import annotations

import argparse

from .errors import MissingExtraError

DEFAULT_PORT = 4320  # beside 4317 and 4318, which a Collector on the same machine has


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command; it sets `run`."""
    gateway = commands.add_parser("gateway", help="take OTLP/HTTP from a Collector and pass it on to PostHog")
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    gateway.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    gateway.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    gateway.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    try:
        from .gateway import serving  # noqa: PLC0415 - needs the extra `gateway`
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "a package", "gateway") from error
    return serving.run(host=options.host, port=options.port, workers=options.workers)
