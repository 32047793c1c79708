"""What an installation of Fast-Flow can be told, each from one environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PIPELINES = HERE / "pipelines"
VERSION = "1.0.0"
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one installation; `from_environ` reads them."""

    data_dir: Path = Path("data")
    """Holds database, logs, packages of pipelines, and the copy of the git repository."""
    database_url: str = "sqlite:///data/fastflow.db"
    pipelines_dir: Path = PIPELINES
    """Where pipelines are found while there is no git repository to take them from."""
    git_url: str | None = None
    """A git repository, on disk or elsewhere; pipelines then come from there."""
    git_branch: str = "main"
    frontend_dir: Path = HERE / "frontend" / "dist"
    environment: str = "production"
    hosts: tuple[str, ...] = LOOPBACK
    """Names under which the server answers. The sign-in is a stand-in, so by default this computer only."""
    webhook_secret: str | None = field(default=None, repr=False)
    """Whoever knows it may start pipelines; without one there are no webhooks."""
    browser_reports: str = "direct"
    """Where pages report errors: `direct` to PostHog, or `server` to this server, which passes them on."""
    is_pre_heating: bool = True
    """Whether the packages of pipelines are installed at a sync, and not only at the first run."""
    run_timeout_s: float = 3600.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Config:
        """Return the settings of this process."""
        data_dir = Path(environ.get("FASTFLOW_DATA", "data"))
        hosts = [host.strip() for host in environ.get("FASTFLOW_HOSTS", "").split(",")]
        return cls(
            data_dir=data_dir,
            database_url=environ.get("DATABASE_URL") or f"sqlite:///{data_dir / 'fastflow.db'}",
            pipelines_dir=Path(environ.get("FASTFLOW_PIPELINES") or PIPELINES),
            git_url=environ.get("FASTFLOW_GIT_URL") or None,
            git_branch=environ.get("FASTFLOW_GIT_BRANCH", "main"),
            environment=environ.get("ENVIRONMENT", "production"),
            hosts=tuple(filter(None, hosts)) or LOOPBACK,
            webhook_secret=environ.get("FASTFLOW_WEBHOOK_SECRET") or None,
            browser_reports=environ.get("FASTFLOW_BROWSER_REPORTS", "direct"),
            is_pre_heating=environ.get("UV_PRE_HEAT", "1") != "0",
            run_timeout_s=float(environ.get("FASTFLOW_RUN_TIMEOUT_S", "3600")),
        )
