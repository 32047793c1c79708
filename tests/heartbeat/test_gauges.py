"""Gauges: their names, their values, and the bucket of a count."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from otel_posthog import RegistryError, bucket, event
from otel_posthog.heartbeat.gauges import MAX_NUMBER, make_gauge
from otel_posthog.registry import HEARTBEAT, Kind, Registry


def gauge(name="some_number", **options):
    return make_gauge(lambda: 1, **{"name": name, "unit": "1", "description": "", "one_of": None, **options})


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (0, None),
        (1, "1"),
        (2, "2-5"),
        (5, "2-5"),
        (6, "6-10"),
        (10, "6-10"),
        (11, "11-50"),
        (50, "11-50"),
        (51, "51+"),
        (10**9, "51+"),
    ],
)
def test_bucket_is_exact_at_its_edges(count, name):
    """A number of users leaves as one of five buckets, 0 not at all (R3)."""
    assert bucket(count) == name


@pytest.mark.parametrize("count", [-1, 1.0, True, "1", None])
def test_bucket_refuses_what_is_no_count(count):
    """What is no whole number from 0 on has no bucket."""
    with pytest.raises(ValueError, match="whole number"):
        bucket(count)


@pytest.mark.parametrize("name", ["", "Total", "total-users", "1st", "$ip", "a" * 64, "größe", "a b"])
def test_bad_name_is_refused(name):
    """A name is lower_snake_case and short."""
    with pytest.raises(RegistryError, match="cannot name a gauge"):
        gauge(name)


@pytest.mark.parametrize("name", ["source", "environment", "failed_gauges", "telemetry_dropped_queue_full"])
def test_name_of_the_library_is_refused(name):
    """What the event carries anyway cannot be replaced."""
    with pytest.raises(RegistryError, match="carries"):
        gauge(name)


def test_name_that_scrubbing_hides_is_refused():
    """A gauge whose value would never arrive is told so at once."""
    with pytest.raises(RegistryError, match="scrubbed"):
        gauge("total_api_keys")


@pytest.mark.parametrize("unit", ["µs", "a b", "x" * 64])
def test_bad_unit_is_refused(unit):
    """OpenTelemetry takes short ASCII units only."""
    with pytest.raises(RegistryError, match="not a unit"):
        gauge(unit=unit)


@pytest.mark.parametrize("value", [0, -1, 2.5, MAX_NUMBER, True, "text", "x" * 200])
def test_sound_values_are_admitted(value):
    """Finite numbers, booleans and short texts may leave."""
    assert gauge().admits(value)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), MAX_NUMBER + 1, 10**400, 1e300, "x" * 201, b"x", [1], {}, object(), 1j],
)
def test_nonsense_is_not_admitted(value):
    """What PostHog could not hold, or nobody could read, stays behind."""
    assert not gauge().admits(value)


def test_closed_set_admits_its_words_only():
    """With `one_of` nothing else leaves, not even a number."""
    closed = gauge(one_of=("sqlite", "postgresql")).declared

    assert [closed.admits(value) for value in ("sqlite", "mysql", 1, True)] == [True, False, False, False]


def test_heartbeat_cannot_be_declared_by_hand():
    """The event is made from gauges, so that nobody sends a second one."""
    with pytest.raises(RegistryError, match=r"heartbeat\.gauge"):
        event(HEARTBEAT, why="w", since="1.0")


def test_gauges_are_the_allow_list():
    """A property without a gauge, or with a value outside its domain, does not leave."""
    registry = Registry()
    registry.declare_gauge(gauge("db_kind", one_of=("sqlite",)).declared)

    admitted = registry.admit(
        HEARTBEAT,
        {
            "db_kind": "sqlite",
            "host_name": "planted",
            "source": "backend",
            "failed_gauges": 1,
            "telemetry_dropped_queue_full": 2,
            "telemetry_dropped_X": 3,
            "telemetry_dropped_refused": "planted",
        },
    )

    assert admitted == {
        "db_kind": "sqlite",
        "source": "backend",
        "failed_gauges": 1,
        "telemetry_dropped_queue_full": 2,
    }


def test_gauges_leave_an_empty_registry_open():
    """A product that only has gauges can still try out `track` without declarations."""
    registry = Registry()
    registry.declare_gauge(gauge().declared)

    assert registry.admit("tried_out", {"number": 1}) == {"number": 1}


def test_heartbeat_is_declared_once_there_is_a_gauge():
    """Whoever shows the registry to admins finds the heartbeat in it."""
    registry = Registry()
    assert HEARTBEAT not in registry.manifest(Kind.TELEMETRY).events

    registry.declare_gauge(gauge("total_pipelines").declared)

    assert "total_pipelines" in registry.manifest(Kind.TELEMETRY).events[HEARTBEAT].properties


def test_same_gauge_twice_is_refused(make_telemetry):
    """Two gauges of one name would hide one another."""
    heartbeat = make_telemetry().heartbeat
    heartbeat.gauge("total_pipelines")(lambda: 1)

    with pytest.raises(RegistryError, match="twice"):
        heartbeat.gauge("total_pipelines")(lambda: 2)


def test_decorated_function_stays_as_it_is(make_telemetry):
    """The decorator returns the function, which the product may call itself."""

    async def count():
        return 5

    assert make_telemetry().heartbeat.gauge("total_pipelines")(count) is count
    assert asyncio.run(count()) == 5


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["free_disc"], {}, "There are: database_size_mb, db_kind, free_disk_gb"),
        (["log_files_count"], {}, "folder="),
        (["total_users_bucket"], {}, "count="),
    ],
)
def test_built_in_gauge_names_what_is_missing(make_telemetry, names, options, message):
    """An unknown name, or a missing folder or count, is an error at the start."""
    with pytest.raises(RegistryError, match=message):
        make_telemetry().heartbeat.use(*names, **options)


def test_registering_gauges_loads_no_metrics_sdk():
    """The metrics SDK costs import time, and is loaded with the first heartbeat only."""
    code = (
        "import sys; from otel_posthog import Telemetry; t = Telemetry(environ={}); "
        "t.heartbeat.use('system_ram_percent'); "
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk.metrics')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout.strip() == "[]"
