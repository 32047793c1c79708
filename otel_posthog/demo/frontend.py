"""Build the front end of the example product, where Node is there and the sources are."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otel_posthog.errors import OtelPosthogError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fastflow"
FRONTEND = EXAMPLE / "frontend"
DIST = FRONTEND / "dist"
OLDEST_NODE = (20, 19)
NEEDED_PACKAGES = ("fastapi", "psutil")
STEP_TIMEOUT_S = 600

_NOT_SOURCES = frozenset({"dist", "node_modules"})
_TOLD_CHARS = 2000  # the end of what npm said


class FrontendError(OtelPosthogError):
    """Raised where the front end could not be built; holds the end of npm's output."""


def obstacle() -> str | None:
    """Return why the example product cannot be shown here, or None where it can."""
    if not (FRONTEND / "package.json").is_file():
        return "its sources are not installed; they are in the repository"
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    return node_obstacle()


def node_obstacle() -> str | None:
    """Return why nothing can be built with Node here, or None where it can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node with npm is not installed"
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607 - this machine's
    found = re.match(r"v(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return f"Node is {told.strip() or 'unknown'}, and {'.'.join(map(str, OLDEST_NODE))} is needed"
    return None


def build(tell: Callable[[str], object]) -> Path:
    """Return the folder with the built front end; install and build only what has changed since."""
    lock = _digest([FRONTEND / "package-lock.json"])
    installed = FRONTEND / "node_modules" / ".installed"
    if _text(installed) != lock:
        tell("Installing the front end's packages, once …")
        _npm("ci", "--prefer-offline", "--no-audit", "--no-fund")
        installed.write_text(lock)
    sources = _digest(_sources())
    built = DIST / ".built"
    if _text(built) != sources:
        tell("Building the front end …")
        _npm("run", "build")
        built.write_text(sources)
    return DIST


def _npm(*arguments: str) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 - npm, with arguments from above
            ["npm", *arguments],  # noqa: S607 - this machine's
            cwd=FRONTEND,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FrontendError(f"npm {arguments[0]} did not end within {STEP_TIMEOUT_S} s.") from None
    if ended.returncode != 0:
        raise FrontendError(f"npm {' '.join(arguments)} failed:\n{ended.stdout[-_TOLD_CHARS:]}")


def _sources() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(FRONTEND):
        folders[:] = sorted(set(folders) - _NOT_SOURCES)
        found += [Path(folder) / name for name in sorted(names)]
    return found


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(FRONTEND)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _text(file: Path) -> str | None:
    return file.read_text() if file.is_file() else None
