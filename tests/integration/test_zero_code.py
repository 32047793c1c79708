"""A product that imports nothing of ours, under `opentelemetry-instrument` and our otel-config.yaml."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from servers import WAIT_S, call, serving
from trackers import PATIENT
from waiting import wait_until

from otel_posthog import Telemetry

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
INSTRUMENT = (str(PROGRAMS / "opentelemetry-instrument"),)
SERVER = ["uvicorn", "zero_code_product:app", "--port", "{port}"]
# A worker that starts slowly on a busy machine must not be killed for it.
PROGRAM = [*SERVER, "--workers", "2", "--timeout-worker-healthcheck", "60"]
ONE_EVENT = """\
from opentelemetry import trace
trace.get_tracer("t").start_span("pipeline.run").end()
trace.get_tracer_provider().shutdown()
print("runs")
"""
FOLLOWED_WITHIN_NS = 10**9
FAR_TOO_MANY = 2_000
AT_ONCE = 5


@pytest.fixture
def database(tmp_path):
    """Return the file of a database that is not there yet."""
    return tmp_path / "data" / "app.db"


@pytest.fixture
def environment(own_sink, database):
    """Return the variables that an operator would set."""
    return {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "OTEL_CONFIG_FILE": str(ROOT / "otel-config.yaml"),
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": own_sink[1],
        "OTEL_POSTHOG_DATABASE": f"sqlite:///{database}",
        # One worker may meet hundreds of the same failure before the other one meets any.
        "OTEL_POSTHOG_ERROR_BURST": "1000000",
        **PATIENT,
    }


def _has_a_row(database):
    """Tell whether a worker has made the tables and the installation's row by now."""
    try:
        return _sql(database, "SELECT * FROM system_settings")
    except sqlite3.OperationalError:
        return []


def _sql(database, statement):
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows


def _switch(database, flag):
    _sql(database, f"UPDATE system_settings SET enable_error_reporting = {flag}, enable_telemetry = {flag}")
    return time.monotonic_ns()


def _agree(database):
    """Agree to both kinds before the product starts."""
    telemetry = Telemetry(database=f"sqlite:///{database}", environ={}, spool_dir=":memory:")
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()


def _run(command, environment):
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def _ask(url, number):
    """Send one request of each kind; return which worker ran a pipeline."""
    assert call("GET", f"{url}/boom/{number}").status_code == 500
    assert call("GET", f"{url}/handled/{number}").status_code == 404
    return call("POST", f"{url}/api/pipelines/{number}/run").json()["pid"]


def _ask_both_workers(url, first):
    """Send requests until both workers have answered; return their numbers."""
    workers, number = set(), first
    while number < first + 10 or len(workers) < 2:
        workers |= _ask_at_once(url, number)
        number += AT_ONCE
        assert number < first + FAR_TOO_MANY, "one worker answers all"
    return range(first, number)


def _ask_at_once(url, first):
    """Send several requests at the same time, since one after the other may always meet the same worker."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return set(pool.map(partial(_ask, url), range(first, first + AT_ONCE)))


def _ask_until_both_send(url, sink, first):
    """Send requests until errors of both workers have arrived."""
    deadline, number = time.monotonic() + WAIT_S, first
    while len({pid for at, pid in _failures(sink) if at >= first}) < 2:
        _ask_at_once(url, number)
        number += AT_ONCE
        assert time.monotonic() < deadline, "a worker does not follow"


def _named(sink, name):
    return [event for event in sink.events if event.name == name]


def _failures(sink):
    """Return number and worker of each error that arrived."""
    messages = [event.properties["$exception_list"][0]["value"] for event in _named(sink, "$exception")]
    return [tuple(map(int, re.match(r"boom (\d+) of (\d+), ", message).groups())) for message in messages]


def test_two_workers_follow_the_switches_in_the_database(own_sink, database, environment, tmp_path):
    """Nothing while off; then each unhandled error once, and what rules name; off again by SQL (R28, R29)."""
    sink, log = own_sink[0], tmp_path / "log"
    with serving(PROGRAM, log, runner=INSTRUMENT, **environment) as (url, process):
        _ask_both_workers(url, 0)
        wait_until(database.exists, timeout_s=WAIT_S)
        wait_until(lambda: _has_a_row(database), timeout_s=WAIT_S)
        assert sink.requests == []

        _switch(database, 1)
        _ask_until_both_send(url, sink, 10_000)
        runs_before = len(_named(sink, "pipeline_run_started"))
        wanted = _ask_both_workers(url, 20_000)
        wait_until(
            lambda: len([at for at, _ in _failures(sink) if at in wanted]) >= len(wanted), timeout_s=WAIT_S
        )
        for name in ("pipeline_run_started", "pipeline_run_finished"):
            wait_until(
                lambda name=name: len(_named(sink, name)) >= runs_before + len(wanted), timeout_s=WAIT_S
            )

        switched_off_ns = _switch(database, 0)
        _ask_both_workers(url, 30_000)
        wait_until(lambda: time.monotonic_ns() > switched_off_ns + FOLLOWED_WITHIN_NS)
        requests_while_on = len(sink.requests)
        _ask_both_workers(url, 40_000)
        assert len(sink.requests) == requests_while_on
        _switch(database, 1)
        _ask_until_both_send(url, sink, 50_000)
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)

    numbers = [number for number, _ in _failures(sink)]
    assert sorted(number for number in numbers if number in wanted) == list(wanted), log.read_text()
    assert len(numbers) == len(set(numbers))
    assert [number for number in numbers if 30_000 <= number < 50_000] == []
    finished = [event.properties for event in _named(sink, "pipeline_run_finished")]
    assert {(own["success"], own["steps"]) for own in finished} == {(True, "6-10")}
    assert {event.name for event in sink.events} == {
        "$exception",
        "pipeline_run_started",
        "pipeline_run_finished",
    }
    assert not any(sink.contains(text) for text in ("planted", "a@b.example"))
    told = _named(sink, "$exception")[-1].properties
    assert (told["$request_method"], told["$request_path"]) == ("GET", f"/boom/{numbers[-1]}")
    assert told["$current_url"] == f"http://host.invalid/boom/{numbers[-1]}"


def test_classic_variables_make_the_same_exporters(own_sink, database, environment, tmp_path):
    """`OTEL_*_EXPORTER=posthog` without any file: an unhandled error arrives once (R29)."""
    sink = own_sink[0]
    _agree(database)
    del environment["OTEL_CONFIG_FILE"]
    environment |= {f"OTEL_{name}_EXPORTER": "posthog" for name in ("TRACES", "LOGS", "METRICS")}

    with serving(SERVER, tmp_path / "log", runner=INSTRUMENT, **environment) as (url, process):
        _ask(url, 1)
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)

    assert [number for number, _ in _failures(sink)] == [1], (tmp_path / "log").read_text()
    assert {event.name for event in sink.events} == {"$exception"}


def test_failures_beyond_spans_are_reported(own_sink, database, environment, tmp_path):
    """A 500 of an exception handler, a thread and a log line are each one event, with what is known of it."""
    sink = own_sink[0]
    _agree(database)
    environment |= {"OTEL_POSTHOG_CAPTURE_LOGGED": "1", "OTEL_POSTHOG_STEPS_FROM_LOGS": "1"}

    with serving(SERVER, tmp_path / "log", runner=INSTRUMENT, **environment) as (url, _process):
        assert call("GET", f"{url}/answered/7").status_code == 500
        for path in ("/thread", "/logged"):
            assert call("GET", f"{url}{path}").status_code == 200
        wait_until(lambda: len(_named(sink, "$exception")) >= 3, timeout_s=WAIT_S)

    events = {event.properties["$exception_list"][0]["type"]: event for event in _named(sink, "$exception")}
    paths = {kind: event.properties.get("$request_path") for kind, event in events.items()}
    assert paths == {"KeyError": "/answered/7", "ZeroDivisionError": None, "LookupError": "/logged"}
    assert len(sink.events) == 3
    answered = events["KeyError"].properties
    assert (answered["$request_method"], answered["$request_route"]) == ("GET", "/answered/{number}")
    assert answered["$exception_list"][0]["mechanism"]["handled"] is False
    assert "before the failure" in str(events["LookupError"].properties["$exception_steps"])


def test_second_load_of_the_file_doubles_nothing(own_sink, database, environment):
    """Each error and event arrives once, by one drainer, and the program ends."""
    sink, program = own_sink[0], Path(__file__).parent / "twice_loaded_product.py"
    _agree(database)

    ran = _run([sys.executable, program, environment["OTEL_CONFIG_FILE"]], environment)

    assert (ran.returncode, ran.stdout) == (0, "otel-posthog-drainer"), ran.stderr
    assert sorted(event.name for event in sink.events) == [
        "$exception",
        "pipeline_run_finished",
        "report_made",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("typo_in_a_setting", "posthog: batch_dely_s: unknown key. Did you mean 'batch_delay_s'?"),
        ("missing_variable", "posthog: api_key: found nothing, expected a text."),
    ],
)
def test_bad_file_does_not_stop_the_product(name, reason, own_sink, environment, tmp_path):
    """The product starts and answers, and one line says that nothing is sent, and why."""
    del environment["POSTHOG_API_KEY"]
    environment["OTEL_CONFIG_FILE"] = str(ROOT / "tests" / "golden" / "config" / f"{name}.yaml")

    with serving(SERVER, tmp_path / "log", runner=INSTRUMENT, **environment) as (url, _process):
        assert call("GET", f"{url}/").status_code == 200

    told = [line for line in (tmp_path / "log").read_text().splitlines() if "PostHog" in line]
    [line] = told
    assert line.startswith(f"Nothing is sent to PostHog. {reason}")
    assert line.endswith(f"Try: otel-posthog config check {environment['OTEL_CONFIG_FILE']}")
    assert own_sink[0].requests == []
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("misspelt_exporter", ": OpenTelemetry refuses the file: Plugin 'postog' not found"),
        ("no_yaml", ":4: this is no YAML, expected the node content"),
        ("queue_below_one", ":5: tracer_provider.processors[0].batch.max_queue_size: OpenTelemetry refuses"),
        ("not_there", " cannot be read ([Errno 2] No such file or directory"),
    ],
)
def test_file_that_opentelemetry_refuses_does_not_stop_the_product(
    name, reason, own_sink, environment, tmp_path
):
    """The product starts and answers with both workers, and one line says that nothing is sent, and why."""
    file = ROOT / "tests" / "golden" / "config" / f"{name}.yaml"
    environment["OTEL_CONFIG_FILE"] = str(file)

    with serving(PROGRAM, tmp_path / "log", runner=INSTRUMENT, **environment) as (url, _process):
        assert call("GET", f"{url}/").status_code == 200

    [line] = [line for line in (tmp_path / "log").read_text().splitlines() if "PostHog" in line]
    assert line.startswith(f"Nothing is sent to PostHog by OTEL_CONFIG_FILE. {file}{reason}")
    assert line.endswith(f"Try: otel-posthog config check {file}")
    assert own_sink[0].requests == []


def test_file_that_is_refused_late_sends_nothing(own_sink, database, environment, tmp_path):
    """OpenTelemetry makes the exporters of spans before it finds the mistake; they stay silent, too."""
    _agree(database)
    file = tmp_path / "late.yaml"
    before, after = (ROOT / "otel-config.yaml").read_text().rsplit("posthog: *posthog", 1)
    file.write_text(f"{before}postog: *posthog{after}")
    environment["OTEL_CONFIG_FILE"] = str(file)

    ran = _run([*INSTRUMENT, sys.executable, "-c", ONE_EVENT], environment)

    assert ran.stdout == "runs\n", ran.stderr
    [line] = [line for line in ran.stderr.splitlines() if "PostHog" in line]
    assert "OpenTelemetry refuses the file: Plugin 'postog' not found" in line
    assert own_sink[0].requests == []


def test_file_that_was_mended_counts_again(own_sink, database, environment):
    """What started this command may have been told of the file before."""
    _agree(database)
    environment["OTEL_POSTHOG_REFUSED_FILE"] = environment["OTEL_CONFIG_FILE"]

    ran = _run([*INSTRUMENT, sys.executable, "-c", ONE_EVENT], environment)

    assert [event.name for event in own_sink[0].events] == ["pipeline_run_finished"], ran.stderr


def test_misspelt_name_in_a_variable_is_told_of(environment):
    """OTEL_TRACES_EXPORTER=posthogg: OpenTelemetry sets up nothing, and one line says which name is meant."""
    del environment["OTEL_CONFIG_FILE"]
    environment["OTEL_TRACES_EXPORTER"] = "console, posthogg"

    ran = _run([*INSTRUMENT, sys.executable, "-c", "print('runs')"], environment)

    told = "by OTEL_TRACES_EXPORTER. No package brings 'posthogg'. Did you mean 'posthog'?"
    assert ran.stdout == "runs\n"
    assert f"Nothing is sent to PostHog {told}" in ran.stderr.splitlines()


def test_module_that_ends_the_process_does_not_stop_the_product(environment, tmp_path):
    """A module of events that calls sys.exit is a mistake like any other."""
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    file = tmp_path / "leaving.yaml"
    text = (ROOT / "otel-config.yaml").read_text()
    file.write_text(text.replace("# events: myproduct.events", "events: leaving"))
    environment |= {"OTEL_CONFIG_FILE": str(file), "PYTHONPATH": str(tmp_path)}

    ran = _run([*INSTRUMENT, sys.executable, "-c", ONE_EVENT], environment)

    assert ran.stdout == "runs\n", ran.stderr
    [line] = [line for line in ran.stderr.splitlines() if "PostHog" in line]
    assert "posthog: events: leaving cannot be imported (SystemExit: 3)." in line


@pytest.mark.parametrize("version", ["1.10", "20261126", "2026-11-26", ""])
def test_file_takes_any_version(version, own_sink, database, environment):
    """`SERVICE_VERSION` stays a text, and what is empty counts as not given."""
    _agree(database)
    environment |= {"SERVICE_VERSION": version, "ENVIRONMENT": ""}

    ran = _run([*INSTRUMENT, sys.executable, "-c", ONE_EVENT], environment)

    [event] = own_sink[0].events
    assert ran.stdout == "runs\n"
    assert event.properties["environment"] == "production", ran.stderr
    assert event.properties.get("service_version") == (version or None)


def test_settings_are_options_of_the_instrument_command(environment):
    """`--posthog_environment` is OTEL_POSTHOG_ENVIRONMENT; secrets stay out of the list of processes."""
    program = "import os; print(os.environ['OTEL_POSTHOG_ENVIRONMENT'])"

    ran = _run([*INSTRUMENT, "--posthog_environment", "test", sys.executable, "-c", program], environment)
    told = _run([*INSTRUMENT, "--help"], environment)

    assert ran.stdout == "test\n", ran.stderr
    assert "--posthog_heartbeat_time" in told.stdout
    assert "--posthog_database " not in told.stdout
