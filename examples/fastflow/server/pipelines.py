"""Pipelines: Python programs in a folder, and the packages that some of them need."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

INSTALL_TIMEOUT_S = 600


class PreparationError(Exception):
    """Raised where the packages of a pipeline cannot be installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A program: `name.py`, or `main.py` in a folder of that name, with `requirements.txt` if need be."""

    name: str
    script: Path

    @property
    def requirements(self) -> Path | None:
        """The file that names its packages, if there is one."""
        file = self.script.parent / "requirements.txt"
        return file if self.script.name == "main.py" and file.is_file() else None


def discover(folder: Path) -> list[Pipeline]:
    """Return the pipelines in the folder, by name; hidden files and those with `_` in front are none."""
    scripts = [*folder.glob("*.py"), *folder.glob("*/main.py")]
    found = [
        Pipeline(name=script.parent.name if script.parent != folder else script.stem, script=script)
        for script in scripts
    ]
    return sorted((one for one in found if one.name[0] not in "._"), key=lambda one: one.name)


class Packages:
    """The packages of pipelines, each set in a folder named by what it was made from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._installing: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def prepare(self, pipeline: Pipeline, output: IO[bytes]) -> Path | None:
        """Return the folder of the pipeline's packages, installed if need be; raise `PreparationError`."""
        if pipeline.requirements is None:
            return None
        wanted = self._folder / _fingerprint(pipeline.requirements)
        if wanted.exists():
            return wanted
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as unfinished:
            target = Path(unfinished) / "packages"
            target.mkdir()
            self._install(pipeline.requirements, target, output)
            try:
                target.rename(wanted)
            except OSError:  # another run was faster
                if not wanted.exists():
                    raise
        return wanted

    def close(self) -> None:
        """End what is being installed; nothing is installed afterwards."""
        with self._lock:
            self._is_closed = True
            for process in self._installing:
                process.kill()

    def _install(self, requirements: Path, target: Path, output: IO[bytes]) -> None:
        command = [*_installer(), "--target", str(target), "--requirement", requirements.name]
        with self._lock:
            if self._is_closed:
                raise PreparationError
            process = subprocess.Popen(  # noqa: S603 - the installer, with files of pipelines that are run anyway
                command,
                cwd=requirements.parent,
                env={**os.environ, "TMPDIR": str(target.parent)},  # goes with it, also if it is killed
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._installing.add(process)
        try:
            code = process.wait(INSTALL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        finally:
            with self._lock:
                self._installing.discard(process)
        if code != 0:
            raise PreparationError


def _installer() -> Sequence[str]:
    uv = shutil.which("uv")
    if uv is not None:
        return (uv, "pip", "install", "--quiet", "--python", sys.executable)
    return (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def _fingerprint(requirements: Path) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(
        f"{python} {requirements.parent}\n".encode() + requirements.read_bytes()
    ).hexdigest()
