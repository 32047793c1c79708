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
from collections.abc import Mapping, MutableMapping
from importlib.metadata import entry_points
from pathlib import Path

from ._nearest import did_you_mean
from .config import REFUSED_FILE, SETTINGS
from .errors import OtelPosthogError

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"
_OURS = "posthog"
_NOTHING = "Nothing is sent to PostHog by"
_EXPORTERS = {
    "OTEL_TRACES_EXPORTER": "opentelemetry_traces_exporter",
    "OTEL_METRICS_EXPORTER": "opentelemetry_metrics_exporter",
    "OTEL_LOGS_EXPORTER": "opentelemetry_logs_exporter",
}


def tell_of_mistakes(environ: MutableMapping[str, str]) -> None:
    """Log one line where OpenTelemetry will refuse what the variables name, or a part of it; never raise.

    What OpenTelemetry had made of a file before it came to the mistake sends nothing either: the product
    finds `REFUSED_FILE`.
    """
    try:
        told = _of_file(environ) if environ.get(_FILE_VARIABLE) else _of_exporters(environ)
    except Exception:  # noqa: BLE001 - a fault of ours never reaches the host
        _log.debug("The configuration was not checked", exc_info=True)
        return
    if told:
        _log.error("%s", told)


def _of_file(environ: MutableMapping[str, str]) -> str:
    name = environ[_FILE_VARIABLE]
    environ.pop(REFUSED_FILE, None)  # of whoever started this process, perhaps before the file was mended
    advice = f"Try: otel-posthog config check {name}"
    try:
        from .config_file import ConfigFile  # noqa: PLC0415 - needs the extra `config`

        file = ConfigFile(Path(name))
        refused = file.obstacles()
        ignored = file.ignored()
    except OtelPosthogError as error:
        refused, ignored = [str(error)], []
    if refused:
        environ[REFUSED_FILE] = name
        return f"{_NOTHING} {_FILE_VARIABLE}. {refused[0]} {advice}"
    if ignored:
        return f"{_NOTHING} a part of {_FILE_VARIABLE} that OpenTelemetry ignores. {ignored[0]} {advice}"
    return ""


def _of_exporters(environ: Mapping[str, str]) -> str:
    """Return what is wrong with a variable that seems to mean us; others are not our business."""
    for variable, group in _EXPORTERS.items():
        for name in map(str.strip, environ.get(variable, "").split(",")):
            known = {point.name for point in entry_points(group=group)}
            if name and name not in known and did_you_mean(name, [_OURS]):
                return f"{_NOTHING} {variable}. No package brings {name!r}.{did_you_mean(name, [_OURS])}"
    return ""


globals().update(
    (name, name)
    for row in SETTINGS
    if not row.secret  # which would stand in the list of processes
    for name in row.env
    if name.startswith("OTEL_")
)
tell_of_mistakes(os.environ)
