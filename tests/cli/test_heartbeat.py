"""`otel-posthog heartbeat`, run as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from databases import some_database
from programs import bare_environment

PRODUCT = """
import os
from otel_posthog import Telemetry

telemetry = Telemetry(api_key="phc_test", host=os.environ["SINK_URL"], database=os.environ["DATABASE_URL"])
no_telemetry = 3

@telemetry.heartbeat.gauge("total_pipelines")
async def total_pipelines():
    return 3

@telemetry.heartbeat.gauge("label")
def label():
    return "mail " + "someone" + "@" + "example.org"
"""


@pytest.fixture
def run(tmp_path, sink_url, database_url):
    """Return a function that runs the command in the folder of a small product."""
    (tmp_path / "product_of_test.py").write_text(PRODUCT)
    program = str(Path(sys.executable).with_name("otel-posthog"))

    def call(*arguments):
        return subprocess.run(
            [program, "heartbeat", *arguments],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=bare_environment(SINK_URL=sink_url, DATABASE_URL=database_url, PATH="/usr/bin:/bin"),
            text=True,
            timeout=60,
        )

    return call


def test_dry_run_prints_what_would_leave(run, sink, make_telemetry):
    """Today's heartbeat is printed as it would leave, scrubbed, and nothing is sent."""
    make_telemetry().update_settings(enable_telemetry=True)

    done = run("--app", "product_of_test:telemetry", "--now", "--dry-run")

    event = json.loads(done.stdout)
    assert (event["event"], event["properties"]["total_pipelines"]) == ("instance_heartbeat", 3)
    assert event["properties"]["label"].startswith("mail [scrubbed:")
    assert (done.returncode, done.stderr, sink.requests) == (0, "", [])


def test_dry_run_takes_no_lease(run, tmp_path, make_telemetry):
    """A look at the heartbeat leaves the day to the workers."""
    make_telemetry().update_settings(enable_telemetry=True)

    run("--app", "product_of_test:telemetry", "--now", "--dry-run")

    with some_database("sqlite-url", str(tmp_path / "data" / "app.db")) as database:
        tables = database.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert ("system_heartbeat",) not in tables


def test_dry_run_shows_it_before_consent(run, sink):
    """An admin can look before deciding; the output says that nothing would be sent."""
    done = run("--app", "product_of_test:telemetry", "--now", "--dry-run")

    assert json.loads(done.stdout)["distinct_id"] == "00000000-0000-0000-0000-000000000000"
    assert "Telemetry is off here" in done.stderr
    assert sink.requests == []


def test_now_sends_a_due_heartbeat_once(run, tmp_path, sink, make_telemetry):
    """Sent by the normal rules: the lease of the day is taken, and a second call has nothing to do."""
    make_telemetry().update_settings(enable_telemetry=True)
    first = run("--app", "product_of_test:telemetry", "--now")
    with some_database("sqlite-url", str(tmp_path / "data" / "app.db")) as database:
        database.sql("UPDATE system_heartbeat SET done_day = '2020-01-01'")

    second = run("--app", "product_of_test:telemetry", "--now")
    third = run("--app", "product_of_test:telemetry", "--now")

    assert "No heartbeat is due now" in first.stdout
    assert second.stdout == "The heartbeat has been sent.\n"
    assert "No heartbeat is due now" in third.stdout
    assert [event.name for event in sink.events] == ["instance_heartbeat"]


def test_now_without_consent_sends_nothing(run, sink):
    """Without telemetry granted the command says so."""
    done = run("--app", "product_of_test:telemetry", "--now")

    assert "telemetry is off" in done.stdout
    assert sink.requests == []


@pytest.mark.parametrize(
    "place", ["nowhere:telemetry", "product_of_test:nothing", "product_of_test", ":", "a.:b"]
)
def test_wrong_place_is_one_clear_line(run, place):
    """What cannot be found is named, with what is expected."""
    done = run("--app", place, "--now")

    assert done.returncode == 2
    assert done.stderr.startswith(f"otel-posthog: --app {place}: ")
    assert len(done.stderr.splitlines()) == 1


def test_another_object_is_refused(run):
    """What is there but no Telemetry is refused too."""
    done = run("--app", "product_of_test:no_telemetry", "--now")

    assert (done.returncode, "is a int, not a Telemetry" in done.stderr) == (2, True)


def test_without_now_nothing_happens(run):
    """The command does nothing that was not asked for."""
    done = run("--app", "product_of_test:telemetry")

    assert done.returncode == 2
    assert "--now" in done.stderr
