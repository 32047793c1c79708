"""Offer our settings as options of `opentelemetry-instrument`, and report a file it will refuse.

`opentelemetry.instrumentation.auto_instrumentation.run` loads the entry point
`opentelemetry_environment_variables`, in the process that becomes the product, and makes an option of each
name in `dir()` that begins with `OTEL_`. Nothing else of ours is loaded before OpenTelemetry reads
`OTEL_CONFIG_FILE`, so a refused file is reported here: OpenTelemetry's tracebacks, two in each worker, do
not mention PostHog.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, MutableMapping
from importlib.metadata import entry_points
from pathlib import Path

from .config.settings import REFUSED_FILE, SETTINGS
from .errors import OtelPosthogError, did_you_mean

_log = logging.getLogger(__name__)
_FILE_VARIABLE = "OTEL_CONFIG_FILE"
_OURS = "posthog"
_NOTHING = "Nothing is sent to PostHog by"
_EXPORTERS = {
    "OTEL_TRACES_EXPORTER": "opentelemetry_traces_exporter",
    "OTEL_METRICS_EXPORTER": "opentelemetry_metrics_exporter",
    "OTEL_LOGS_EXPORTER": "opentelemetry_logs_exporter",
}


def __dir__() -> list[str]:
    """Return the variables of our settings; called by `opentelemetry-instrument`, which this checks for."""
    report_mistakes(os.environ)
    # A secret would be visible in the list of processes; the command has options of its own for the others.
    names = (name for row in SETTINGS if not row.secret for name in row.env)
    return [name for name in names if name.startswith("OTEL_POSTHOG_")]


def report_mistakes(environ: MutableMapping[str, str]) -> None:
    """Log one line if OpenTelemetry will refuse the file or an exporter that is named; never raise.

    Exporters that OpenTelemetry made before it found the mistake must send nothing either: the product
    finds the file in `REFUSED_FILE`, since only the environment survives its start.
    """
    try:
        mistake = _in_file(environ) if environ.get(_FILE_VARIABLE) else _in_exporters(environ)
    except Exception:  # noqa: BLE001 - a fault of ours never reaches the host
        _log.debug("The configuration was not checked", exc_info=True)
        return
    if mistake:
        _log.error("%s", mistake)


def _in_file(environ: MutableMapping[str, str]) -> str:
    name = environ[_FILE_VARIABLE]
    environ.pop(REFUSED_FILE, None)  # set by a parent process, perhaps before the file was repaired
    advice = f"Try: otel-posthog config check {name}"
    try:
        from .config.file import ConfigFile  # noqa: PLC0415 - needs the extra `config`

        refused = ConfigFile(Path(name)).refusal()
    except OtelPosthogError as error:
        refused = [str(error)]
    if not refused:
        return ""
    environ[REFUSED_FILE] = name
    return f"{_NOTHING} {_FILE_VARIABLE}. {refused[0]} {advice}"


def _in_exporters(environ: Mapping[str, str]) -> str:
    """Return what is wrong with a variable that names us almost; other names are not checked."""
    for variable, group in _EXPORTERS.items():
        for name in map(str.strip, environ.get(variable, "").split(",")):
            known = {point.name for point in entry_points(group=group)}
            if name and name not in known and did_you_mean(name, [_OURS]):
                return f"{_NOTHING} {variable}. No package brings {name!r}.{did_you_mean(name, [_OURS])}"
    return ""
