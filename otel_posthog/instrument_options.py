"""What `opentelemetry-instrument` loads before it starts a product: our settings as options of its own.

It loads what stands under the entry point `opentelemetry_environment_variables`, once and in a process that
becomes the product, and takes each name that begins with `OTEL_` as an option
(`opentelemetry.instrumentation.auto_instrumentation.run`). Nothing else of ours is loaded before
OpenTelemetry reads `OTEL_CONFIG_FILE`. So a file that it will refuse is told of here: its own tracebacks,
two in each worker, do not say what that means for PostHog, and of a section that it does not know it says
nothing at all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from .config import SETTINGS
from .errors import OtelPosthogError

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"
_NOTHING = f"Nothing is sent to PostHog by {_FILE_VARIABLE}."
_NOTHING_OF_A_PART = f"Nothing is sent to PostHog by a part of {_FILE_VARIABLE} that OpenTelemetry ignores."


def tell_of_mistakes(environ: Mapping[str, str]) -> None:
    """Log one line where OpenTelemetry will refuse the file that is named, or a part of it; never raise."""
    name = environ.get(_FILE_VARIABLE)
    if not name:
        return
    try:
        told = _told(Path(name))
    except Exception:  # noqa: BLE001 - a fault of ours never reaches the host
        _log.debug("%s was not checked", _FILE_VARIABLE, exc_info=True)
        return
    if told:
        _log.error("%s Try: otel-posthog config check %s", told, name)


def _told(path: Path) -> str:
    try:
        from .config_file import ConfigFile  # noqa: PLC0415 - needs the extra `config`

        file = ConfigFile(path)
    except OtelPosthogError as error:
        return f"{_NOTHING} {error}"
    obstacles, ignored = file.obstacles(), file.ignored()
    if obstacles:
        return f"{_NOTHING} {obstacles[0]}"
    return f"{_NOTHING_OF_A_PART} {ignored[0]}" if ignored else ""


globals().update(
    (name, name)
    for row in SETTINGS
    if not row.secret  # which would stand in the list of processes
    for name in row.env
    if name.startswith("OTEL_")
)
tell_of_mistakes(os.environ)
