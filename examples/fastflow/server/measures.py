"""What the daily heartbeat tells of an installation: thirteen gauges (docs/heartbeat.md)."""

from __future__ import annotations

from pathlib import Path

from otel_posthog import Telemetry

from .accounts import Accounts
from .scheduler import Scheduler
from .sync import Sync


def register_gauges(  # noqa: PLR0913 - what is measured
    telemetry: Telemetry,
    *,
    accounts: Accounts,
    sync: Sync,
    scheduler: Scheduler,
    logs_dir: Path,
    data_dir: Path,
    is_pre_heating: bool,
) -> None:
    """Register each gauge; they are read once a day, and only while telemetry is on."""
    heartbeat = telemetry.heartbeat

    @heartbeat.gauge("total_pipelines", description="How many pipelines there are.")
    def total_pipelines() -> int:
        return len(sync.pipelines())

    @heartbeat.gauge("pipelines_with_requirements", description="How many need packages of their own.")
    def pipelines_with_requirements() -> int:
        return sum(one.requirements is not None for one in sync.pipelines())

    @heartbeat.gauge("total_scheduled_jobs", description="How many pipelines run by themselves.")
    def total_scheduled_jobs() -> int:
        return scheduler.count()

    @heartbeat.gauge("uv_pre_heat_enabled", description="Whether packages are installed in advance.")
    def uv_pre_heat_enabled() -> bool:
        return is_pre_heating

    heartbeat.use("total_users_bucket", count=accounts.count)
    heartbeat.use("log_files_count", "log_files_size_mb", folder=logs_dir)
    heartbeat.use("free_disk_gb", folder=data_dir)
    heartbeat.use("db_kind", "database_size_mb")
    heartbeat.use("system_ram_total_mb", "system_ram_percent", "system_cpu_percent")
