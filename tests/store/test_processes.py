"""Many processes at once, and processes that fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from databases import SQLITE_KINDS, some_database

from otel_posthog.store import SettingsStore

PROCESSES = 32
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
    store.after_fork()
    is_same = store.read() == before and store.update(is_setup_completed=True).is_setup_completed
    store.close()
    sys.exit(0 if is_same else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, store.read().is_setup_completed, store.read().instance_id == before.instance_id)
store.close()
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
    is_sqlite = request.param in SQLITE_KINDS
    place = str(tmp_path / "new" / "app.db") if is_sqlite else request.getfixturevalue("postgres_database")
    with some_database(request.param, place) as made:
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
