"""Many processes at once, and processes that fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from databases import new_database
from thoroughness import IS_FULL

from otel_posthog.store import SettingsStore

PROCESSES = 32 if IS_FULL else 8
TIMEOUT_S = 120
ROOT = Path(__file__).parents[2]
FORK_SCRIPT = """
import os, sys, warnings
from otel_posthog.store import SettingsStore

store = SettingsStore(sys.argv[1])
before = store.update(enable_telemetry=True)
child = os.fork()
if child == 0:
    warnings.simplefilter("ignore", ResourceWarning)  # psycopg's at exit, on the parent's connection
    is_same = store.read() == before and store.update(is_setup_completed=True).is_setup_completed
    store.close()
    sys.exit(0 if is_same else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, store.read().is_setup_completed, store.read().instance_id == before.instance_id)
store.close()
"""

FORK_AT_WORK_SCRIPT = """
import os, sys, threading, warnings
from otel_posthog.store import SettingsStore

FORKS = 20
store = SettingsStore(sys.argv[1], timeout_s=30)
store.update(enable_telemetry=True)
is_over = threading.Event()

def work():
    while not is_over.wait(0.002):  # or SQLite, which is not fair, lets nobody else write
        store.update(is_setup_completed=True)

worker = threading.Thread(target=work)
worker.start()
codes = []
for _ in range(FORKS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks with threads, which is the case here
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if store.update(enable_error_reporting=True).enable_error_reporting else 2
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
is_over.set()
worker.join()
store.close()
print(codes == [0] * FORKS)
"""
WRITE_AHEAD_SCRIPT = """
import os, sqlite3, subprocess, sys
import sqlalchemy
from otel_posthog.store import SettingsStore

path, is_engine = sys.argv[1], sys.argv[2] == "engine"
LOOK = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM system_settings').fetchall()"
with sqlite3.connect(path) as connection:
    connection.execute("PRAGMA journal_mode=WAL")
connection.close()
url = f"sqlite:///{path}"
engine = sqlalchemy.create_engine(url)
store = SettingsStore(engine if is_engine else url)
store.update(enable_telemetry=True)
written, closed = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    store.update(is_setup_completed=True)
    os.write(written[1], b"x")
    os.read(closed[0], 1)
    store.update(enable_error_reporting=True)
    os._exit(0)
os.read(written[0], 1)
store.close()
engine.dispose()
subprocess.run([sys.executable, "-c", LOOK, path], check=True)
os.write(closed[1], b"x")
os.waitpid(child, 0)
print(store.read().enable_error_reporting)
store.close()
engine.dispose()
"""


def run(*arguments):
    """Run Python with the given arguments and return its lines; warnings are errors there too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def run_at_once(url, what):
    return run(Path(__file__).with_name("worker.py"), PROCESSES, url, what)


@pytest.fixture(params=["sqlite-url", "aiosqlite-url", "psycopg-url", "asyncpg-url"])
def url_database(request, tmp_path):
    """Return an empty database that other processes can open too."""
    with new_database(request.param, request) as made:
        yield made


def test_processes_that_start_at_once_make_one_row(url_database):
    """On an empty database all of them end with the same single row."""
    said = run_at_once(url_database.target, "create")

    assert said == ["None"] * PROCESSES
    assert url_database.sql("SELECT id FROM system_settings") == [(1,)]


def test_simultaneous_grants_return_one_id(url_database):
    """On an empty database all of them get the same UUID, which is the row's."""
    said = run_at_once(url_database.target, "grant")

    ((instance_id,),) = url_database.sql("SELECT instance_id FROM system_settings")
    assert said == [instance_id] * PROCESSES


def test_grants_of_started_workers_return_one_id(url_database):
    """On a database with the row, too, simultaneous grants agree."""
    store = SettingsStore(url_database.target)
    store.create()
    store.close()

    said = run_at_once(url_database.target, "grant")

    ((instance_id,),) = url_database.sql("SELECT instance_id FROM system_settings")
    assert said == [instance_id] * PROCESSES


def test_store_survives_a_fork(url_database):
    """A child works with connections of its own, and the parent's still work afterwards."""
    said = run("-c", FORK_SCRIPT, url_database.target)

    assert said == ["0 True True"]


def test_engine_survives_a_fork(plain_database):
    """A host's engine keeps its connections in the parent and gets new ones in the child."""
    url = plain_database.target.replace("postgresql:", "postgresql+psycopg:")
    on_engine = "import sqlalchemy\n" + FORK_SCRIPT.replace(
        "SettingsStore(sys.argv[1])", "SettingsStore(engine := sqlalchemy.create_engine(sys.argv[1]))"
    ).replace("store.close()", "engine.dispose()")

    said = run("-c", on_engine, url)

    assert said == ["0 True True"]


def test_child_can_write_whatever_a_thread_was_at(url_database):
    """A fork waits for the operations of other threads, whose locks nobody could end in the child."""
    assert run("-c", FORK_AT_WORK_SCRIPT, url_database.target) == ["True"]


@pytest.mark.parametrize("way", ["url", "engine"])
def test_child_loses_nothing_with_a_write_ahead_log(tmp_path, way):
    """What a child commits stays, though the parent closed the file that both had open."""
    assert run("-c", WRITE_AHEAD_SCRIPT, tmp_path / "app.db", way) == ["True"]
