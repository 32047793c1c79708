"""The thirteen properties of R20, beside values that were measured in another way."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from databases import new_database

from otel_posthog.delivery.transport import RecordingTransport
from otel_posthog.heartbeat import Result

NOON_S = 1_795_521_600  # 2026-11-24 12:00 UTC
DAY_S = 86_400
MB, GB = 1_000_000, 1_000_000_000
R20 = {
    "total_users_bucket",
    "total_pipelines",
    "total_scheduled_jobs",
    "db_kind",
    "uv_pre_heat_enabled",
    "pipelines_with_requirements",
    "log_files_count",
    "log_files_size_mb",
    "database_size_mb",
    "free_disk_gb",
    "system_ram_total_mb",
    "system_ram_percent",
    "system_cpu_percent",
}
SAMPLE_PAUSE_S = 0.1
SAMPLES_PER_WINDOW = 8  # a little less than the second over which the gauge looks
CPU_TOLERANCE = 10  # percent points


class CpuSamples:
    """Shares of the CPU in use over windows of about a second, read from /proc/stat."""

    def __init__(self):
        self._samples = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(SAMPLE_PAUSE_S):
            fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            self._samples.append((sum(fields), fields[3] + fields[4]))

    def windows(self):
        pairs = zip(self._samples, self._samples[SAMPLES_PER_WINDOW:], strict=False)
        return [100 * (1 - (idle - idle_0) / (all_ - all_0)) for (all_0, idle_0), (all_, idle) in pairs]


def memory():
    """Return total and available bytes as the kernel tells them."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return [int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")]


@pytest.fixture
def logs(tmp_path):
    """Return a folder with three log files of 1.5 MB together, one of them below, and a link to one."""
    folder = tmp_path / "logs"
    (folder / "old").mkdir(parents=True)
    for index, place in enumerate(("a.log", "b.log", "old/c.log"), 1):
        (folder / place).write_bytes(b"x" * (index * 250_000))
    (folder / "latest.log").symlink_to("a.log")
    return folder


@pytest.fixture(params=["sqlite-url", "psycopg-url", "asyncpg-url", "aiosqlite-url"])
def database(request, tmp_path):
    """Return a database with 3 MB of the product's own rows in it."""
    with new_database(request.param, request) as made:
        made.sql("CREATE TABLE product (content TEXT)")
        for _ in range(30):  # random, since PostgreSQL compresses long rows
            made.sql(f"INSERT INTO product VALUES ('{os.urandom(50_000).hex()}')")
        yield made


def size_on_disk(database):
    """Return the bytes of the database's files: in PostgreSQL all in the folder named by its id."""
    if not database.is_postgresql:
        return Path(database.place).stat().st_size
    with psycopg.connect(database.place) as connection:
        connection.execute("CHECKPOINT")
        ((folder, number),) = connection.execute(
            "SELECT current_setting('data_directory'), oid FROM pg_database "
            "WHERE datname = current_database()"
        ).fetchall()
    return sum(file.stat().st_size for file in Path(folder, "base", str(number)).iterdir())


@pytest.fixture
def beating(make_telemetry, database, logs):
    """Return a `Telemetry` with all gauges of R20, for which a heartbeat is owed."""
    now_s = itertools.chain([NOON_S], itertools.repeat(NOON_S + DAY_S))
    telemetry = make_telemetry(database=database.target, clock=lambda: next(now_s))
    heartbeat = telemetry.heartbeat
    heartbeat.use("system_ram_total_mb", "system_ram_percent", "system_cpu_percent", "database_size_mb")
    heartbeat.use("log_files_count", "log_files_size_mb", "free_disk_gb", "db_kind", folder=logs)

    async def users():
        return 11

    heartbeat.use("total_users_bucket", count=users)
    heartbeat.gauge("total_pipelines")(lambda: 12)
    heartbeat.gauge("total_scheduled_jobs")(lambda: 4)
    heartbeat.gauge("uv_pre_heat_enabled")(lambda: False)
    heartbeat.gauge("pipelines_with_requirements")(lambda: 5)
    telemetry.update_settings(enable_telemetry=True)
    assert heartbeat.send_if_due() is Result.NOT_DUE
    return telemetry


def test_all_properties_are_right(beating, database, logs, sink):
    """Each of the thirteen arrives with the value that another way of measuring gives (R20)."""
    with CpuSamples() as cpu:
        assert beating.heartbeat.send_if_due() is Result.SENT

    properties = sink.events[0].properties
    total, available = memory()
    assert {name for name in properties if name in R20} == R20
    assert properties["failed_gauges"] == 0
    assert {name: properties[name] for name in ("total_pipelines", "total_scheduled_jobs")} == {
        "total_pipelines": 12,
        "total_scheduled_jobs": 4,
    }
    assert (properties["uv_pre_heat_enabled"], properties["pipelines_with_requirements"]) == (False, 5)
    assert properties["total_users_bucket"] == "11-50"
    assert properties["db_kind"] == ("postgresql" if database.is_postgresql else "sqlite")
    assert (properties["log_files_count"], properties["log_files_size_mb"]) == (3, 1.5)
    assert properties["database_size_mb"] == pytest.approx(size_on_disk(database) / MB, abs=0.2)
    assert properties["free_disk_gb"] == pytest.approx(free_by_df(logs) / GB, abs=0.5)
    assert properties["system_ram_total_mb"] == pytest.approx(total / MB, abs=0.1)
    assert properties["system_ram_percent"] == pytest.approx(100 * (1 - available / total), abs=5)
    windows = cpu.windows()
    assert min(windows) - CPU_TOLERANCE <= properties["system_cpu_percent"] <= max(windows) + CPU_TOLERANCE


def free_by_df(folder):
    """Return the bytes that `df` calls available."""
    run = subprocess.run(
        ["df", "--output=avail", "-B1", str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    return int(run.stdout.split()[1])


def test_number_of_users_leaves_as_bucket_only(make_telemetry):
    """The count itself stands nowhere in the event (R3)."""
    telemetry = make_telemetry()
    telemetry.heartbeat.use("total_users_bucket", count=lambda: 4711)
    transport = RecordingTransport()

    telemetry.heartbeat.preview(transport)

    assert transport.events[0]["properties"]["total_users_bucket"] == "51+"
    assert "4711" not in str(transport.events[0]["properties"])


@pytest.mark.parametrize("count", [lambda: 0, lambda: -3], ids=["nobody", "nonsense"])
def test_no_users_leave_the_property_out(make_telemetry, count):
    """Zero is left out; what is no count is left out too, and counted as failed."""
    telemetry = make_telemetry()
    telemetry.heartbeat.use("total_users_bucket", count=count)
    transport = RecordingTransport()

    telemetry.heartbeat.preview(transport)

    assert "total_users_bucket" not in transport.events[0]["properties"]
    assert transport.events[0]["properties"]["failed_gauges"] == int(count() < 0)


def test_folder_that_is_not_there_holds_no_logs(make_telemetry, tmp_path):
    """A product that has not logged yet has zero files."""
    telemetry = make_telemetry()
    telemetry.heartbeat.use("log_files_count", "log_files_size_mb", folder=tmp_path / "nothing")
    transport = RecordingTransport()

    telemetry.heartbeat.preview(transport)

    properties = transport.events[0]["properties"]
    assert (properties["log_files_count"], properties["log_files_size_mb"]) == (0, 0)


def test_folder_is_that_of_the_start(make_telemetry, tmp_path, monkeypatch, logs):
    """A relative folder means the one at registration, also if the process moves on."""
    telemetry = make_telemetry()
    monkeypatch.chdir(tmp_path)
    telemetry.heartbeat.use("log_files_count", folder="logs")
    monkeypatch.chdir(Path.home())
    transport = RecordingTransport()

    telemetry.heartbeat.preview(transport)

    assert transport.events[0]["properties"]["log_files_count"] == 3


def test_missing_psutil_is_named():
    """Without the extra the error says what to install."""
    code = (
        "import sys; sys.modules['psutil'] = None\n"
        "from otel_posthog import MissingExtraError, Telemetry\n"
        "try:\n"
        "    Telemetry(environ={}).heartbeat.use('system_ram_percent')\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert "pip install 'otel-posthog[system]'" in run.stdout, run.stderr
