"""The lease of the daily heartbeat, on every kind of database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import make_url
from thoroughness import IS_FULL

from otel_posthog.config.settings import time_of_day
from otel_posthog.errors import StoreError
from otel_posthog.heartbeat.rounds import latest_due, next_step, stale_after_s
from otel_posthog.store import HeartbeatLease

ROOT = Path(__file__).parents[2]
PROCESSES, ROUNDS = (50, 200) if IS_FULL else (12, 20)
RACE_TIMEOUT_S = 1200
AT = time_of_day("03:00")
LEASE_S = 600
NOW_S = 1_800_000_000  # 2027-01-15 08:00 UTC
DAY_S = 86_400


@pytest.fixture
def any_lease(store):
    """Return the lease of a database of any kind in which telemetry is granted."""
    store.update(enable_telemetry=True)
    return HeartbeatLease(store.database)


@pytest.fixture
def plain_store(plain_database, open_store):
    return open_store(plain_database.target)


@pytest.fixture
def lease(plain_store):
    """Return the lease of a database in which telemetry is granted."""
    plain_store.update(enable_telemetry=True)
    return HeartbeatLease(plain_store.database)


def claim(lease, now_s=NOW_S):
    due = latest_due(now_s, AT)
    return lease.claim(due, lease_s=LEASE_S, stale_after_s=stale_after_s(LEASE_S), now_s=now_s)


def step(lease, now_s=NOW_S):
    return next_step(lease.read(now_s=now_s), AT, lease_s=LEASE_S)


@pytest.fixture
def owed(lease):
    """Return a lease that has begun a day before, so that this day is owed."""
    lease.read(now_s=NOW_S - DAY_S)
    lease.begin(latest_due(NOW_S - DAY_S, AT))
    return lease


def test_first_look_makes_table_and_row(any_lease, database):
    """Nothing has to be prepared; the fresh row belongs to no consent yet."""
    state = any_lease.read(now_s=NOW_S)

    assert (state.now_s, state.done_day, state.claimed_until) == (NOW_S, None, None)
    assert not state.is_same_consent
    assert database.sql("SELECT id, done_day FROM system_heartbeat") == [(1, None)]


def test_clock_is_the_databases(lease):
    """Without a clock of the caller's the database says what time it is."""
    assert abs(lease.read().now_s - time.time()) < 60


def test_claim_by_the_databases_clock(any_lease):
    """A claim without a clock of the caller's ends so many seconds after the database's now."""
    any_lease.read()
    any_lease.begin(latest_due(time.time() - DAY_S, AT))
    due = latest_due(time.time(), AT)

    is_won = any_lease.claim(due, lease_s=LEASE_S, stale_after_s=stale_after_s(LEASE_S))

    state = any_lease.read()
    assert is_won
    assert 0 < state.claimed_until - state.now_s <= LEASE_S


def test_new_consent_owes_nothing_for_its_day(lease):
    """After the first look of a consent the day counts as done."""
    assert step(lease).action == "begin"

    lease.begin(latest_due(NOW_S, AT))

    assert step(lease).action == "done"
    assert not claim(lease)


def test_next_day_is_won_once(owed):
    """Of two that want the day, the second gets no for an answer."""
    assert step(owed).action == "claim"

    assert [claim(owed), claim(owed)] == [True, False]


def test_finished_day_cannot_be_claimed(owed):
    """Once delivered, the day is over for everybody, also when the claim has expired."""
    claim(owed)
    owed.finish(latest_due(NOW_S, AT))

    assert not claim(owed)
    assert not claim(owed, NOW_S + LEASE_S + 1)
    assert step(owed).action == "done"


def test_unfinished_claim_expires(owed):
    """A worker that died between claim and done leaves the day to another one."""
    claim(owed)

    assert not claim(owed, NOW_S + LEASE_S - 1)
    assert claim(owed, NOW_S + LEASE_S)


def test_late_finish_counts(owed):
    """A worker that was slower than its claim has delivered all the same."""
    claim(owed)
    claim(owed, NOW_S + LEASE_S)

    owed.finish(latest_due(NOW_S, AT))

    assert step(owed, NOW_S + LEASE_S + 1).action == "done"


def test_host_behind_cannot_undo_a_day(owed):
    """A host whose clock is still before three neither claims nor finishes the day before again."""
    claim(owed)
    owed.finish(latest_due(NOW_S, AT))
    behind_s = int(latest_due(NOW_S, AT).at.timestamp()) - 180

    assert not claim(owed, behind_s)
    owed.finish(latest_due(behind_s, AT))

    assert step(owed).action == "done"


@pytest.mark.parametrize("stamp", ["done_day = '2099-01-01'", "claimed_until = 4000000000"])
def test_stamp_in_the_future_holds_nothing_back(owed, plain_database, stamp):
    """What a wrong clock wrote is replaced by the next claim."""
    plain_database.sql(f"UPDATE system_heartbeat SET {stamp}")

    is_won = claim(owed)
    owed.finish(latest_due(NOW_S, AT))

    assert is_won
    assert step(owed).action == "done"


def test_withdrawn_consent_cannot_be_claimed(owed, plain_store):
    """Without telemetry nobody gets a day, with a new consent it begins anew."""
    plain_store.update(enable_telemetry=False)
    assert owed.read(now_s=NOW_S) is None
    assert not claim(owed)

    plain_store.update(enable_telemetry=True)

    assert not claim(owed)
    assert step(owed).action == "begin"


def test_errors_alone_are_no_consent_to_it(plain_store):
    """With error reporting alone there is no heartbeat."""
    plain_store.update(enable_error_reporting=True)

    assert HeartbeatLease(plain_store.database).read(now_s=NOW_S) is None


def test_regrant_of_telemetry_alone_begins_anew(lease, plain_store):
    """While error reporting keeps the instance's id, the generation tells the consents apart."""
    plain_store.update(enable_error_reporting=True)
    lease.read(now_s=NOW_S - 3 * DAY_S)
    lease.begin(latest_due(NOW_S - 3 * DAY_S, AT))
    before = plain_store.read().instance_id

    plain_store.update(enable_telemetry=False)
    plain_store.update(enable_telemetry=True)

    assert plain_store.read().instance_id == before
    assert step(lease).action == "begin"


def test_begin_under_the_same_consent_changes_nothing(owed):
    """Of two workers that see a new consent, the later one leaves the row alone."""
    owed.begin(latest_due(NOW_S + 5 * DAY_S, AT))

    assert step(owed).action == "claim"


def test_locked_store_is_an_error(plain_database, open_store):
    """A store that does not answer in time says so, and nobody has the day."""
    store = open_store(plain_database.target, timeout_s=0.2)
    store.update(enable_telemetry=True)
    lease = HeartbeatLease(store.database)
    lease.read()

    with plain_database.locked(), pytest.raises(StoreError, match="system_heartbeat"):
        lease.read()


def test_documented_permissions_are_enough(postgres_plain, open_store, a_role):
    """With tables and rows there, a role that may only SELECT and UPDATE has heartbeats."""
    first = open_store(postgres_plain.target)
    first.update(enable_telemetry=True)
    HeartbeatLease(first.database).read()
    postgres_plain.sql(f"GRANT SELECT, UPDATE ON system_settings, system_heartbeat TO {a_role}")
    url = make_url(postgres_plain.target).set(username=a_role, password=a_role)
    lease = HeartbeatLease(open_store(url.render_as_string(hide_password=False)).database)

    lease.begin(latest_due(NOW_S - DAY_S, AT))

    assert claim(lease)


def test_workers_that_start_at_once_make_one_row(plain_database, open_store):
    """Two stores that look for the first time agree on one row."""
    stores = [open_store(plain_database.target) for _ in range(2)]
    stores[0].update(enable_telemetry=True)

    states = [HeartbeatLease(store.database).read(now_s=NOW_S) for store in stores]

    assert states[0] == states[1]
    assert next_step(states[0], AT, lease_s=LEASE_S).action != "claim"


def test_racing_processes_have_one_winner_each_day(plain_database, open_store):
    """However many processes claim a day at the same moment, exactly one gets it (R20)."""
    store = open_store(plain_database.target)
    store.update(enable_telemetry=True)
    lease = HeartbeatLease(store.database)
    lease.read(now_s=NOW_S - DAY_S)
    lease.begin(latest_due(NOW_S - DAY_S, AT))
    store.close()

    arguments = [str(PROCESSES), str(ROUNDS), plain_database.target]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("racing_for_days.py")), *arguments],
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
        timeout=RACE_TIMEOUT_S,
    )

    winners = Counter(done.stdout.split())
    assert done.stderr == ""
    assert len(winners) == ROUNDS
    assert set(winners.values()) == {1}


def test_size_is_the_files(sqlite_database, open_store):
    """On SQLite the size is that of the file."""
    store = open_store(sqlite_database.target)
    store.create()
    database = store.database

    assert (database.kind, database.size_bytes()) == ("sqlite", Path(sqlite_database.place).stat().st_size)
