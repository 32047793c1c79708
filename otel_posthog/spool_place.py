"""Where the spool's file lies, if nobody says otherwise."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

IN_MEMORY = ":memory:"
_PRODUCT = "otel-posthog"


def spool_folder(
    spool_dir: str | None,
    *,
    database_file: Path | None,
    database_name: str | None,
    environ: Mapping[str, str],
) -> Path | None:
    """Return the folder, or None where what waits has to do with memory.

    Beside a SQLite file the volume that keeps the consent keeps the events; for a database elsewhere
    its name makes the folder, so that two products of one user never share one. A database in memory
    forgets at each start who it is, so nothing could leave later.
    """
    if spool_dir is not None:
        return None if spool_dir == IN_MEMORY else Path(spool_dir).absolute()
    if database_file is not None:
        return database_file.with_name(f"{database_file.name}-spool")
    state = _state_folder(environ)
    if database_name is None or state is None:
        return None
    return state / _PRODUCT / hashlib.sha256(database_name.encode()).hexdigest()[:16]


def _state_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the user's folder for state: of the XDG specification, of systemd, of Windows."""
    if sys.platform == "win32":
        return Path(environ["LOCALAPPDATA"]) if environ.get("LOCALAPPDATA") else None
    for variable in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        first = environ.get(variable, "").split(os.pathsep)[0]
        if first.startswith("/"):
            return Path(first)
    home = environ.get("HOME", "")
    return Path(home) / ".local" / "state" if home.startswith("/") else None
