"""When a heartbeat is due, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.config.settings import time_of_day
from otel_posthog.heartbeat.rounds import (
    CLOCK_SKEW_S,
    heartbeat_event,
    latest_due,
    next_step,
)
from otel_posthog.store.heartbeat_lease import LeaseState

AT = time_of_day("03:00")
LEASE_S = 600
DAY_S = 86_400


def seconds(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def state(now, *, done_day="2026-11-23", claimed_until=None, is_same_consent=True):
    return LeaseState(
        now_s=seconds(now), done_day=done_day, claimed_until=claimed_until, is_same_consent=is_same_consent
    )


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-24 02:59:59", "2026-11-23"),
        ("2026-11-24 03:00:00", "2026-11-24"),
        ("2026-11-24 23:59:59", "2026-11-24"),
        ("2026-11-25 00:00:00", "2026-11-24"),
        ("2027-01-01 01:00:00", "2026-12-31"),
        ("2028-03-01 02:00:00", "2028-02-29"),
    ],
)
def test_day_begins_at_three(now, day):
    """The latest due moment is today's three o'clock, or yesterday's before it."""
    due = latest_due(seconds(now), AT)

    assert (due.day, due.at.isoformat()) == (day, f"{day}T03:00:00+00:00")


@given(st.integers(0, 4_000_000_000), st.times().map(lambda time: time.replace(tzinfo=UTC)))
def test_due_moment_is_never_ahead_and_less_than_a_day_ago(now_s, at):
    """Whatever the time of day, now lies between the latest due moment and the next one."""
    due = latest_due(now_s, at)

    assert 0 <= now_s - due.at.timestamp() < DAY_S
    assert 0 < due.next_in_s <= DAY_S


@pytest.mark.parametrize("moment", ["2026-03-29 03:00", "2026-10-25 03:00"])
def test_summer_time_changes_nothing(moment):
    """On the days on which Europe changes its clocks the next heartbeat is a day away as ever."""
    assert latest_due(seconds(moment), AT).next_in_s == DAY_S


def test_due_day_is_claimed():
    """With yesterday done and three o'clock past, the day is to be had."""
    assert next_step(state("2026-11-24 03:00"), AT, lease_s=LEASE_S).action == "claim"


def test_catching_up_is_for_the_latest_day_only():
    """After a week of downtime one heartbeat is due, that of the latest day."""
    step = next_step(state("2026-11-24 11:00", done_day="2026-11-17"), AT, lease_s=LEASE_S)

    assert (step.action, step.due.day) == ("claim", "2026-11-24")


def test_done_day_waits_for_the_next():
    """Once the day is done there is nothing to do until the next three o'clock."""
    step = next_step(state("2026-11-24 03:10", done_day="2026-11-24"), AT, lease_s=LEASE_S)

    assert (step.action, step.pause_s) == ("done", DAY_S - 600)


def test_new_consent_has_nothing_due():
    """On the day of consent the lease starts again instead of catching up."""
    step = next_step(state("2026-11-24 10:00", is_same_consent=False), AT, lease_s=LEASE_S)

    assert step.action == "begin"


def test_claimed_day_waits_for_the_claims_end():
    """While another worker is at it, this one looks again when that claim ends."""
    claimed = state("2026-11-24 03:00", claimed_until=seconds("2026-11-24 03:04"))

    step = next_step(claimed, AT, lease_s=LEASE_S)

    assert (step.action, step.pause_s) == ("taken", 240)


def test_expired_claim_is_open_to_all():
    """A worker that died gives the day away at the end of its claim, not a second later."""
    expired = state("2026-11-24 03:10", claimed_until=seconds("2026-11-24 03:10"))

    assert next_step(expired, AT, lease_s=LEASE_S).action == "claim"


def test_host_behind_does_not_repeat_yesterday():
    """A host whose clock is before three takes the day that another has done already as done."""
    behind = state("2026-11-24 02:57", done_day="2026-11-24")

    assert next_step(behind, AT, lease_s=LEASE_S).action == "done"


@pytest.mark.parametrize("done_day", ["2026-11-25", "2099-01-01", "banana", None, 7])
def test_day_that_cannot_be_counts_as_stale(done_day):
    """A stamp in the future, or none at all, holds no heartbeat back."""
    assert next_step(state("2026-11-24 10:00", done_day=done_day), AT, lease_s=LEASE_S).action == "claim"


@pytest.mark.parametrize("claimed_until", [seconds("2026-11-24 03:00") + LEASE_S + CLOCK_SKEW_S + 1, "soon"])
def test_claim_that_cannot_be_counts_as_stale(claimed_until):
    """A claim that ends later than any clock allows holds no heartbeat back."""
    claimed = state("2026-11-24 03:00", claimed_until=claimed_until)

    assert next_step(claimed, AT, lease_s=LEASE_S).action == "claim"


@pytest.mark.parametrize("text", ["3:00", "24:00", "03:60", "03", "03:00:00", "", "aa:bb", "٠٣:00 "])
def test_what_is_no_time_is_refused(text):
    """A time of day is two digits, a colon and two digits."""
    with pytest.raises(ValueError):  # noqa: PT011 - the settings name the variable
        time_of_day(text)


def test_identity_follows_from_instance_and_day():
    """Two heartbeats of one installation and day are one event to PostHog, whatever their values."""
    instance_id = "0f6a0f9d-51aa-4bbb-8ccc-2f0f6a0f9d51"
    due_at = datetime(2026, 11, 24, 3, tzinfo=UTC)

    first, second = (
        heartbeat_event({"a": number}, instance_id=instance_id, due_at=due_at, accepted_ns=number)
        for number in (1, 2)
    )

    assert first.uuid == second.uuid == uuid5(UUID(instance_id), "instance_heartbeat:2026-11-24")
    assert first.timestamp == second.timestamp == due_at
    assert first.distinct_id == second.distinct_id == instance_id
