"""Real servers over days of a clock in a file, with workers killed at any moment: one heartbeat a day."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from databases import SomeDatabase, new_database
from thoroughness import IS_FULL
from waiting import wait_until

TESTS = Path(__file__).parent.parent
WORKERS = 4 if IS_FULL else 2
DAYS = 10 if IS_FULL else 4
SEEDS = range(5) if IS_FULL else range(1)
TROUBLES = ("deadly gauge", "deadly answer", "down over three", "restart", "killed host", "none")
KILLS_PER_TICK = 0.04
START_TIMEOUT_S = 120
DAY_TIMEOUT_S = 120
AHEAD_S = 180
TICK_S = 30  # of the clock in the file, each TICK_PAUSE_S
TICK_PAUSE_S = 0.02
CONSENT_AT = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


class FileClock:
    """The clock that all hosts read, each with its own error."""

    def __init__(self, file):
        self.file = file
        self.set(CONSENT_AT)

    def set(self, moment):
        self.now = moment
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(moment.timestamp()))
        fresh.replace(self.file)

    def tick(self):
        self.set(self.now + timedelta(seconds=TICK_S))
        threading.Event().wait(TICK_PAUSE_S)

    def run_until(self, is_reached, timeout_s=DAY_TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        while not is_reached():
            assert time.monotonic() < deadline, f"nothing came by {self.now}"
            self.tick()


class Host:
    """One uvicorn with its workers: a process group of its own."""

    def __init__(self, environment, log):
        self._environment = environment
        self._log = log
        self._process = None

    def start(self):
        command = [sys.executable, "-m", "uvicorn", "heartbeat_product:app", "--port", "0"]
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                [*command, "--workers", str(WORKERS)],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def workers(self):
        children = psutil.Process(self._process.pid).children()
        return [child.pid for child in children if _is_worker(child)]

    def kill_worker(self, chance):
        """Kill one worker, if any is alive at this moment; uvicorn starts another."""
        workers = self.workers()
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)

    def kill(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(START_TIMEOUT_S)

    def restart(self):
        self._process.terminate()
        self._process.wait(START_TIMEOUT_S)
        self.start()


def _is_worker(process):
    """Tell a live worker from multiprocessing's helper, and from one that was killed already."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@contextmanager
def hosts_on(number, database, sink_url, clock, folder):
    """Run so many hosts, each with a clock further ahead."""
    hosts = []
    for index in range(number):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS / 'integration'}",
            "SINK_URL": sink_url,
            "XDG_STATE_HOME": str(folder / f"state-{index}"),
            "DATABASE_URL": database.target,
            "CLOCK_FILE": str(clock.file),
            "CLOCK_AHEAD_S": str(index * AHEAD_S),
            "DEADLY_GAUGE": str(folder / "deadly gauge"),
            "DEADLY_ANSWER": str(folder / "deadly answer"),
        }
        hosts.append(Host(environment, folder / f"host-{index}.log"))
    try:
        for host in hosts:
            host.start()
        yield hosts
    finally:
        for host in hosts:
            host.kill()


def done_day(database):
    """Return the day that the lease says is done, or None while there is no lease."""
    try:
        rows = database.sql("SELECT done_day FROM system_heartbeat")
    except Exception:  # noqa: BLE001 - each driver has its own for an absent table
        return None
    return rows[0][0] if rows else None


@dataclass(frozen=True, kw_only=True)
class Life:
    """What an installation lives through."""

    hosts: list[Host]
    clock: FileClock
    database: SomeDatabase
    folder: Path
    chance: random.Random

    def day(self, midnight, trouble):
        """Let a night pass with this trouble around three o'clock, and return once the day is done."""
        self.clock.set(midnight + timedelta(hours=2, minutes=50))
        if trouble.startswith("deadly"):
            (self.folder / trouble).touch()
        for _ in range(self.chance.randrange(40)):
            self.clock.tick()
            if self.chance.random() < KILLS_PER_TICK:
                self.chance.choice(self.hosts).kill_worker(self.chance)
        self._trouble(midnight, trouble)
        self.clock.run_until(lambda: done_day(self.database) == midnight.date().isoformat())

    def _trouble(self, midnight, trouble):
        host = self.chance.choice(self.hosts)
        match trouble:
            case "killed host":
                host.kill()
                host.start()
            case "down over three":
                for each in self.hosts:
                    each.kill()
                self.clock.set(midnight + timedelta(hours=9))
                for each in self.hosts:
                    each.start()
            case "restart":
                host.restart()


@pytest.fixture(params=[("psycopg-url", 2), ("sqlite-url", 1)], ids=["postgresql-2-hosts", "sqlite-1-host"])
def installation(request, tmp_path, make_telemetry):
    """Return a database in which telemetry was granted, and how many hosts share it."""
    kind, number = request.param
    with new_database(kind, request) as database:
        make_telemetry(database=database.target).update_settings(enable_telemetry=True)
        yield database, number


def _told(sink):
    return {(event.uuid, event.timestamp, event.distinct_id) for event in sink.events}


@pytest.mark.parametrize("seed", SEEDS)
def test_each_day_has_one_heartbeat_whoever_dies(installation, seed, sink, sink_url, tmp_path):
    """None is sent twice and none is missing, though workers and hosts are killed at any moment (R20)."""
    database, number = installation
    clock, chance = FileClock(tmp_path / "clock"), random.Random(seed)
    nights = [datetime(2026, 11, 2, tzinfo=UTC) + timedelta(days=index) for index in range(DAYS)]
    with hosts_on(number, database, sink_url, clock, tmp_path) as hosts:
        wait_until(lambda: done_day(database) == "2026-11-01", timeout_s=START_TIMEOUT_S)
        life = Life(hosts=hosts, clock=clock, database=database, folder=tmp_path, chance=chance)

        for night, trouble in zip(nights, itertools.cycle(TROUBLES), strict=False):
            life.day(night, trouble)
        wait_until(lambda: len(_told(sink)) >= DAYS, timeout_s=DAY_TIMEOUT_S)  # one may wait in a spool

    told = _told(sink)
    assert {event.name for event in sink.events} == {"instance_heartbeat"}
    assert sorted(time for _, time, _ in told) == [f"{night.date()}T03:00:00.000+00:00" for night in nights]
    assert len({uuid for uuid, _, _ in told}) == DAYS
    assert len(sink.events) > DAYS  # one died after PostHog's answer, and another told the same event again
