"""Once both kinds are off nothing tells this installation from another."""

from __future__ import annotations

from pathlib import Path

import pytest
from databases import SQLITE_KINDS

from otel_posthog.config.settings import time_of_day
from otel_posthog.heartbeat.rounds import latest_due
from otel_posthog.store import HeartbeatLease

NOW_S = 1_800_000_000


@pytest.fixture
def beating(store):
    """Return a store for which telemetry is on and a heartbeat's row knows the instance."""
    store.update(enable_telemetry=True, enable_error_reporting=True)
    lease = HeartbeatLease(store.database)
    lease.read(now_s=NOW_S)
    lease.begin(latest_due(NOW_S, time_of_day("03:00")))
    return store


def _instances(database):
    return database.sql("SELECT instance_id FROM system_heartbeat")


def test_uuid_is_gone_from_every_table(beating, database):
    """With the last withdrawal the UUID goes from the heartbeat's row, too, and a new grant makes another."""
    uuid = str(beating.read().instance_id)
    beating.update(enable_telemetry=False)
    kept = _instances(database)

    beating.update(enable_error_reporting=False)

    assert kept == [(uuid,)]
    assert _instances(database) == [(None,)]
    assert uuid not in str(beating.audit())
    assert str(beating.update(enable_telemetry=True).instance_id) != uuid


@pytest.mark.parametrize("database", SQLITE_KINDS, indirect=True)
def test_uuid_is_gone_from_the_file(beating, database):
    """Of a SQLite file no byte holds it any more, not even the free space."""
    uuid = str(beating.read().instance_id).encode()
    assert uuid in Path(database.place).read_bytes()

    beating.update(enable_telemetry=False, enable_error_reporting=False)

    assert uuid not in Path(database.place).read_bytes()


def test_withdrawal_by_sql_takes_it_along(beating, database):
    """The look that finds both flags off by SQL takes the UUID from the heartbeat's row as well."""
    off = "false" if database.is_postgresql else "0"
    database.sql(f"UPDATE system_settings SET enable_telemetry = {off}, enable_error_reporting = {off}")

    beating.settle()

    assert _instances(database) == [(None,)]


def test_withdrawal_needs_no_right_on_the_heartbeat(beating, database):
    """A row of the heartbeat that cannot be written does not keep a withdrawal from taking effect."""
    if database.is_postgresql:
        database.sql("ALTER TABLE system_heartbeat ADD CONSTRAINT stays CHECK (instance_id IS NOT NULL)")
    else:
        database.sql(
            "CREATE TRIGGER stays BEFORE UPDATE ON system_heartbeat BEGIN SELECT RAISE(ABORT, 'no'); END"
        )

    row = beating.update(enable_telemetry=False, enable_error_reporting=False)

    assert (row.enable_telemetry, row.instance_id) == (False, None)
    assert beating.read() == row
