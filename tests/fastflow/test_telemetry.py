"""What leaves an installation of the example product: seven events, and nothing that is not registered."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from fastflow_product import WAIT_S, WEBHOOK_SECRET, Person, git_repository, some_pipelines
from waiting import wait_until

from otel_posthog.registry import BASE_PROPERTIES, DROPPED_PREFIX, Kind

pytestmark = pytest.mark.example

AFTERNOON = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
GAUGES = {
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
CONSENT = {"is_setup_completed": True, "enable_error_reporting": True, "enable_telemetry": True}
SYSTEM = "/api/settings/system"


class Day:
    """A clock that the test sets."""

    def __init__(self):
        self.now = AFTERNOON

    def __call__(self):
        return self.now.timestamp()


def _own(event):
    """Return the event's properties without those that every event carries."""
    return {name: value for name, value in event.properties.items() if name not in BASE_PROPERTIES}


def _is_count_of_trouble(name):
    """Tell what a heartbeat leaves out as long as there was none."""
    return name == "failed_gauges" or name.startswith(DROPPED_PREFIX)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """Return settings for either database."""
    return {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("postgres_database")}


def test_a_day_gives_the_seven_events(tmp_path, start, sink, database):
    """A day of use gives each event with just its registered properties, and one heartbeat (R17, R20)."""
    day = Day()
    repository = git_repository(some_pipelines(tmp_path))
    product, url = start(
        clock=day,
        git_url=str(repository),
        is_pre_heating=True,
        webhook_secret=WEBHOOK_SECRET,
        telemetry={"heartbeat_check_s": 0.05},
        **database,
    )
    admin, guest = Person(url), Person(url)
    admin.sign_in("wilhelmina")
    admin.run("hello")
    before = list(sink.requests)

    admin.call("PUT", SYSTEM, CONSENT)
    code = admin.call("POST", "/api/invitations").json()["code"]
    guest.sign_in("humphrey", "google", invitation=code)
    admin.call("PUT", "/api/schedules", {"pipeline": "word_report", "every_minutes": 60})
    day.now += timedelta(hours=1)
    admin.call("POST", "/api/sync")
    guest.run("nightly_check")
    Person(url).call(
        "POST", "/api/hooks/runs", {"pipeline": "hello"}, Authorization=f"Bearer {WEBHOOK_SECRET}"
    )
    sink.wait_for(name="pipeline_run_finished", count=3, timeout_s=WAIT_S)
    shutil.rmtree(repository)
    admin.call("POST", "/api/sync")
    day.now = AFTERNOON.replace(hour=3, minute=1) + timedelta(days=1)
    sink.wait_for(name="instance_heartbeat", timeout_s=WAIT_S)
    assert product.telemetry.flush(WAIT_S)

    declared = product.telemetry.registry.manifest(Kind.TELEMETRY).events
    # The view raises an HTTP error from what failed, which is reported as well (R12).
    [error] = [event for event in sink.events if event.name == "$exception"]
    assert error.properties["$request_route"] == "/api/sync"
    events = [event for event in sink.events if event is not error]
    assert before == []
    assert {event.name for event in events} == {
        "user_registered",
        "user_logged_in",
        "pipeline_run_started",
        "pipeline_run_finished",
        "sync_completed",
        "sync_failed",
        "instance_heartbeat",
    }
    for event in events:
        promised = set(declared[event.name].properties)
        missing, added = promised - set(_own(event)), set(_own(event)) - promised
        assert added == set(), event.name
        assert all(_is_count_of_trouble(name) for name in missing), (event.name, missing)
        assert event.issues == ()
        assert event.properties["$process_person_profile"] is False
    [registered] = [_own(event) for event in events if event.name == "user_registered"]
    assert registered == {"provider": "google", "invitation": True, "initial_admin": False}
    finished = [_own(event) for event in events if event.name == "pipeline_run_finished"]
    assert {one["triggered_by"] for one in finished} == {"manual", "scheduler", "webhook"}
    assert {(one["success"], one["status"]) for one in finished} == {(True, "succeeded"), (False, "failed")}
    [synced] = [_own(event) for event in events if event.name == "sync_completed"]
    assert synced["pipelines_pre_heated"] == "1-5"
    [failed] = [_own(event) for event in events if event.name == "sync_failed"]
    assert failed == {"error_kind": "network"}
    [heartbeat] = [_own(event) for event in events if event.name == "instance_heartbeat"]
    assert set(heartbeat) - {"failed_gauges"} == GAUGES
    assert (heartbeat["total_users_bucket"], heartbeat["total_scheduled_jobs"]) == ("2-5", 1)
    named = ("nightly_check", "word_report", "wilhelmina", "humphrey", str(repository))
    assert [name for name in named if any(name in str(event.raw) for event in events)] == []


def test_refusal_changes_nothing_in_the_product(sink, admin):
    """Who refuses has the whole product, and nothing leaves it."""
    admin.call("PUT", SYSTEM, {"is_setup_completed": True})

    assert admin.run("word_report")["status"] == "succeeded"
    assert admin.call("POST", "/api/sync").status_code == 200
    assert sink.requests == []


def test_fault_of_the_server_is_reported(start, sink):
    """An endpoint that fails is one report, without the name of the pipeline (R12)."""
    product, url = start()
    admin = Person(url)
    admin.sign_in("ada")
    run_id = admin.run("hello")["id"]
    admin.call("PUT", SYSTEM, {"enable_error_reporting": True})
    log = product.config.data_dir / "logs" / f"{run_id}.log"
    log.unlink()
    log.mkdir()

    answer = admin.call("GET", f"/api/runs/{run_id}?coupon=WINTER-4711")

    [event] = sink.wait_for(name="$exception", timeout_s=WAIT_S)
    assert answer.status_code == 500
    assert event.properties["$current_url"] == f"http://host.invalid/api/runs/{run_id}"
    assert not sink.contains("WINTER-4711")


@pytest.mark.parametrize(
    ("environment", "status"), [("development", 200), ("production", 404), ("staging", 404)]
)
def test_test_button_exists_in_development_only(start, environment, status):
    """The endpoint behind the button of the backend answers in development only (R10)."""
    _, url = start(environment=environment)
    person = Person(url)
    person.sign_in("ada")

    assert person.call("POST", "/api/settings/trigger-test-exception").status_code == status


def test_test_button_passes_consent(start, sink):
    """The test exception of the backend is marked, and leaves only with consent (R10)."""
    product, url = start(environment="development")
    person = Person(url)
    person.sign_in("ada")
    sink.wait_for(timeout_s=WAIT_S)  # the one of the start
    without = person.call("POST", "/api/settings/trigger-test-exception").json()
    person.call("PUT", SYSTEM, CONSENT)

    answer = person.call("POST", "/api/settings/trigger-test-exception").json()

    assert product.telemetry.flush(WAIT_S)
    marked = [event for event in sink.events if "$fastflow_backend_test" in event.properties]
    assert (without, answer) == ({"is_reported": False}, {"is_reported": True})
    assert [event.properties["$fastflow_backend_test"] for event in marked] == [True]


def test_visitor_cannot_press_the_test_button(start):
    """Who is not signed in sends no test exception (R10)."""
    _, url = start(environment="development")

    assert Person(url).call("POST", "/api/settings/trigger-test-exception").status_code == 401


def test_start_in_development_sends_one_marked_test(start, sink):
    """In development each start sends one marked test exception, without consent and identity (R19)."""
    product, _ = start(environment="development")

    [event] = sink.wait_for(timeout_s=WAIT_S)

    assert event.properties["$fastflow_startup_test"] is True
    assert product.telemetry.settings().instance_id is None


@pytest.mark.parametrize("environment", ["production", "staging", "test", ""])
def test_start_elsewhere_sends_nothing(start, sink, environment):
    """In any other environment a start sends nothing (R19)."""
    product, _ = start(environment=environment)
    wait_until(lambda: product.telemetry.recent_consent() is not None, timeout_s=WAIT_S)

    assert product.telemetry.flush(WAIT_S)
    assert sink.requests == []
