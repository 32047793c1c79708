"""Take pipelines from a git repository, and install their packages in advance."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from otel_posthog import capture_exception, track

from .config import Config
from .events import SyncCompleted, SyncFailed
from .pipelines import Packages, Pipeline, PreparationError, discover

ErrorKind = Literal["auth", "conflict", "network", "other", "timeout"]

GIT_TIMEOUT_S = 120
_SIGNS: tuple[tuple[ErrorKind, tuple[str, ...]], ...] = (
    ("auth", ("authentication", "permission denied", "could not read username", "access denied")),
    (
        "network",
        (
            "could not resolve",
            "could not connect",
            "connection",
            "unable to access",
            "does not exist",
            "does not appear",
        ),
    ),
    ("conflict", ("conflict", "unmerged", "would be overwritten")),
)
_log = logging.getLogger(__name__)


class SyncError(Exception):
    """Raised where the repository cannot be had; says what kind of trouble that is."""

    def __init__(self, kind: ErrorKind) -> None:
        super().__init__(f"The repository could not be synchronised ({kind}).")
        self.kind = kind


class Sync:
    """The folder with the pipelines: a copy of the git repository, or a folder as it is."""

    def __init__(self, config: Config, packages: Packages, *, clock: Callable[[], float]) -> None:
        self._config = config
        self._packages = packages
        self._clock = clock
        self._copy = config.data_dir / "repository"
        self._syncing = threading.Lock()

    def pipelines(self) -> list[Pipeline]:
        """Return what there is at the moment."""
        return discover(self._copy if self._config.git_url else self._config.pipelines_dir)

    def pipeline(self, name: str) -> Pipeline | None:
        """Return the pipeline of that name, if there is one."""
        return next((one for one in self.pipelines() if one.name == name), None)

    def run(self) -> int:
        """Bring the folder up to date and return how many pipelines there are; raise `SyncError`."""
        with self._syncing:
            started_at = self._clock()
            try:
                self._fetch()
            except SyncError as error:
                track(SyncFailed(error_kind=error.kind))
                raise
            found = self.pipelines()
            is_ready = [
                self._pre_heat(one) for one in found if one.requirements and self._config.is_pre_heating
            ]
            track(
                SyncCompleted(
                    duration_s=self._clock() - started_at,
                    pipelines_discovered=len(found),
                    pipelines_pre_heated=is_ready.count(True),
                    pre_heat_failures=is_ready.count(False),
                    uv_pre_heat_enabled=self._config.is_pre_heating,
                )
            )
            return len(found)

    def _pre_heat(self, pipeline: Pipeline) -> bool:
        try:
            with Path(os.devnull).open("wb") as output:
                self._packages.prepare(pipeline, output)
        except PreparationError:
            return False
        except OSError as error:
            capture_exception(error)
            _log.exception("Packages could not be prepared")
            return False
        return True

    def _fetch(self) -> None:
        url, branch = self._config.git_url, self._config.git_branch
        if url is None:
            return
        if not self._copy.exists():
            self._copy.parent.mkdir(parents=True, exist_ok=True)
            _git("clone", "--quiet", "--depth", "1", "--branch", branch, "--", url, str(self._copy))
            return
        _git("-C", str(self._copy), "fetch", "--quiet", "--depth", "1", "--", url, branch)
        _git("-C", str(self._copy), "reset", "--quiet", "--hard", "FETCH_HEAD")


def _git(*arguments: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        ended = subprocess.run(  # noqa: S603 - git, with settings of whoever runs the server
            ["git", *arguments],  # noqa: S607 - the git of this machine
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SyncError("timeout") from None
    except FileNotFoundError:
        raise SyncError("other") from None
    if ended.returncode != 0:
        raise SyncError(kind_of(ended.stderr))


def kind_of(message: str) -> ErrorKind:
    """Return which kind of trouble git speaks of; the message itself stays here."""
    text = message.lower()
    return next((kind for kind, signs in _SIGNS if any(sign in text for sign in signs)), "other")
