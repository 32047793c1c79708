"""What follows from the settings row: which events may be sent, judged by time and by stamp."""

from __future__ import annotations

import math
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import IS_FULL

from otel_posthog.consent.state import (
    DENIED,
    UNKNOWN,
    Answer,
    Grant,
    KindConsent,
    KindSettings,
    ReadTimes,
    Settings,
)
from otel_posthog.events import Stamp
from otel_posthog.registry import Kind

MS_NS = 1_000_000
MAX_AGE_MS = 1_000
ID, OTHER_ID = UUID(int=1), UUID(int=2)
ROW = Settings(
    is_setup_completed=True,
    enable_error_reporting=True,
    enable_telemetry=False,
    instance_id=ID,
    errors_generation=3,
    telemetry_generation=4,
    errors_manifest="e",
    telemetry_manifest="t",
    errors_declined="wider e",
    telemetry_declined="wider t",
)
GRANTED = KindConsent(
    answer=Answer.GRANTED, stamp=Stamp(generation=3, instance_id="a"), withdrawn_before_ns=50
)


def _read(row, before=None, *, known=UNKNOWN, now_ns=1000, **times):
    """Read the row; unless a test says otherwise the read took no time and was caused by nothing older."""
    read = {"asked_ns": now_ns, "ended_ns": now_ns, "before_ns": 0, "oldest_ns": 10, **times}
    return known.followed_by(row, before, times=ReadTimes(**read), read_at_s=1.0)


def test_columns_are_sorted_by_kind():
    """Code that treats both kinds alike finds each column of the row under its kind."""
    errors = KindSettings(is_granted=True, generation=3, manifest="e", declined="wider e", granted_ms=None)
    telemetry = KindSettings(is_granted=False, generation=4, manifest="t", declined="wider t", granted_ms=7)

    assert replace(ROW, telemetry_granted_ms=7).kinds == {Kind.ERRORS: errors, Kind.TELEMETRY: telemetry}


@pytest.mark.parametrize(
    ("answer", "accepted_ns", "is_allowed"),
    [
        (Answer.GRANTED, 50, True),
        (Answer.GRANTED, 49, False),
        (Answer.DENIED, 10**18, False),
        (Answer.UNKNOWN, 10**18, False),
    ],
)
def test_time_decides_without_a_stamp(answer, accepted_ns, is_allowed):
    """What was accepted before a withdrawal is not sent, nor anything without a grant."""
    assert replace(GRANTED, answer=answer).allows(accepted_ns) is is_allowed


@pytest.mark.parametrize(
    ("generation", "instance_id", "is_allowed"),
    [
        (3, "a", True),
        (4, "a", True),  # another worker read the row first
        (2, "a", False),
        (3, "b", False),  # another installation
        (3, None, True),
        (None, "b", False),  # no generation: time decides
    ],
)
def test_generation_decides_whatever_the_time(generation, instance_id, is_allowed):
    """An event under the present generation is sent though it is old; one of an earlier one is not."""
    assert GRANTED.allows(1, Stamp(generation=generation, instance_id=instance_id)) is is_allowed


def test_generation_counts_before_the_row_was_read():
    """A process that knows no generation of its own takes no event for withdrawn."""
    unread = KindConsent(answer=Answer.UNKNOWN)

    assert unread.discard_stamped_before_ns(Stamp(generation=0, instance_id="a")) == -math.inf
    assert unread.discard_before_ns == 0


def test_denial_discards_whatever_was_accepted():
    """Nothing that is older or newer outlives a denial, stamped or not."""
    denied = replace(GRANTED, answer=Answer.DENIED)

    assert denied.discard_before_ns == math.inf
    assert denied.discard_stamped_before_ns(Stamp(generation=9, instance_id="a")) == math.inf


def test_manifest_depends_on_the_time_of_acceptance():
    """What was accepted before a wider manifest was agreed to is judged by the former one."""
    grant = Grant(manifest="wide", since_ns=100, before="narrow")

    assert [grant.manifest_at(at) for at in (99, 100)] == ["narrow", "wide"]


def test_summary_of_both_kinds():
    """Unknown is neither on nor off; one grant is on; two denials are off."""
    consent = _read(ROW)

    assert [(known.is_on, known.is_off) for known in (UNKNOWN, DENIED, consent)] == [
        (False, False),
        (False, True),
        (True, False),
    ]
    assert [known.was_read for known in (UNKNOWN, consent)] == [False, True]


def test_first_read_trusts_what_was_accepted_since_the_oldest():
    """Without a read before, an earlier withdrawal limits a grant to what this process can vouch for."""
    errors, telemetry = (_read(ROW).kinds[kind] for kind in (Kind.ERRORS, Kind.TELEMETRY))

    assert (errors.answer, telemetry.answer) == (Answer.GRANTED, Answer.DENIED)
    assert (errors.withdrawn_before_ns, telemetry.withdrawn_before_ns) == (10, 1000)
    assert errors.stamp == Stamp(generation=3, instance_id=str(ID))
    assert errors.grant == Grant(manifest="e")


def test_first_read_without_a_withdrawal_trusts_everything():
    """A row of which nothing was ever withdrawn sends what was accepted before it was read."""
    assert _read(replace(ROW, errors_generation=0)).kinds[Kind.ERRORS].withdrawn_before_ns == 0


def test_unchanged_grant_is_kept():
    """A read that finds the same grant keeps the same object."""
    first = _read(ROW)

    again = _read(ROW, ROW, known=first, now_ns=2000)

    assert again.kinds[Kind.ERRORS] is first.kinds[Kind.ERRORS]


@pytest.mark.parametrize(
    "change",
    [{"errors_generation": 4}, {"instance_id": OTHER_ID}, {"enable_error_reporting": False}],
    ids=["generation", "instance", "flag"],
)
def test_broken_grant_discards_what_came_before(change):
    """A withdrawal, another installation or a denial between two reads discards what was accepted."""
    later = _read(replace(ROW, **change), ROW, known=_read(ROW), now_ns=2000)

    assert later.kinds[Kind.ERRORS].withdrawn_before_ns == 2000


def test_grant_does_not_reach_back():
    """What was accepted while the flag was off is not sent after a grant."""
    later = _read(replace(ROW, enable_telemetry=True), ROW, known=_read(ROW), now_ns=2000)

    assert later.kinds[Kind.TELEMETRY].withdrawn_before_ns == 2000


def test_wider_manifest_counts_from_its_consent_on():
    """Events accepted under the narrower manifest keep to it."""
    later = _read(replace(ROW, errors_manifest="wide"), ROW, known=_read(ROW), now_ns=2000)

    assert later.kinds[Kind.ERRORS].grant == Grant(manifest="wide", since_ns=2000, before="e")
    assert later.kinds[Kind.ERRORS].withdrawn_before_ns == 10


def test_failed_read_forgets_nothing():
    """After a failed read the answers are unknown; times, stamps and grants stay."""
    consent = _read(ROW)

    failed = consent.unknown(7.0)

    assert {known.answer for known in failed.kinds.values()} == {Answer.UNKNOWN}
    assert failed.read_at_s == 7.0
    assert failed.instance_id == consent.instance_id
    errors = consent.kinds[Kind.ERRORS]
    assert failed.kinds[Kind.ERRORS] == replace(errors, answer=Answer.UNKNOWN)


def test_read_after_a_failed_one_restores_the_answer():
    """Once the row can be read again, what it grants is granted as before the failure."""
    consent = _read(ROW)

    recovered = _read(ROW, ROW, known=consent.unknown(7.0), now_ns=2000)

    assert recovered.kinds[Kind.ERRORS] == consent.kinds[Kind.ERRORS]


def test_row_without_an_instance_names_none():
    """Before the first grant there is no installation that an event could come from."""
    denied = _read(replace(ROW, enable_error_reporting=False, instance_id=None))

    assert denied.instance_id is None
    assert denied.kinds[Kind.ERRORS].stamp == Stamp(generation=3, instance_id=None)


def _grant(row=ROW, *, granted_ms=None, read_ms=0):
    return replace(row, enable_telemetry=True, telemetry_granted_ms=granted_ms, read_ms=read_ms)


def test_grant_counts_from_its_time_in_the_database():
    """What was accepted after a grant elsewhere is sent, however late this process read of it."""
    later = _read(_grant(granted_ms=5_000, read_ms=5_300), ROW, known=_read(ROW), now_ns=10**12)

    known = later.kinds[Kind.TELEMETRY]
    assert 10**12 - 300 * MS_NS <= known.withdrawn_before_ns <= 10**12 - 297 * MS_NS


@pytest.mark.parametrize("clock_ms", [-3_600_000, 0, 3_600_000])
def test_clocks_need_not_agree(clock_ms):
    """Only the time between two readings of the database's clock counts, not what either shows."""
    row = _grant(granted_ms=5_000 + clock_ms, read_ms=5_300 + clock_ms)

    known = _read(row, ROW, known=_read(ROW), now_ns=10**12).kinds[Kind.TELEMETRY]

    assert 10**12 - 300 * MS_NS <= known.withdrawn_before_ns <= 10**12 - 297 * MS_NS


def test_database_clock_that_was_set_forward_brings_nothing_back():
    """A new grant is no older than the last read that did not know it."""
    row = _grant(granted_ms=5_000, read_ms=3_605_000)

    known = _read(row, ROW, known=_read(ROW), now_ns=10**12, before_ns=10**12 - MS_NS).kinds[Kind.TELEMETRY]

    assert known.withdrawn_before_ns == 10**12 - MS_NS


def test_database_clock_that_was_set_back_delays_a_grant_to_its_read():
    """A grant that seems to lie ahead counts from the end of the read."""
    row = _grant(granted_ms=9_000, read_ms=5_000)

    assert (
        _read(row, ROW, known=_read(ROW), now_ns=10**12).kinds[Kind.TELEMETRY].withdrawn_before_ns == 10**12
    )


@pytest.mark.parametrize(
    ("asked_ns", "since_ns"), [(1_500, 1_500), (900, 1_000)], ids=["after the no", "before the no"]
)
def test_grant_by_sql_counts_from_what_caused_its_read(asked_ns, since_ns):
    """It is no older than the record that caused the read, nor than the last read, which said no."""
    later = _read(_grant(), ROW, known=_read(ROW), now_ns=2_000, asked_ns=asked_ns)

    assert later.kinds[Kind.TELEMETRY].withdrawn_before_ns == since_ns


def test_grant_by_sql_after_an_unseen_withdrawal_counts_from_its_read():
    """A generation that was raised in between is a withdrawal at an unknown time."""
    row = replace(_grant(), telemetry_generation=5)

    later = _read(row, ROW, known=_read(ROW), now_ns=2_000, asked_ns=1_500)

    assert later.kinds[Kind.TELEMETRY].withdrawn_before_ns == 2_000


def test_time_that_was_known_before_dates_no_later_grant():
    """A writer that leaves the time of the grant before, and raises the generation, has withdrawn since."""
    earlier = _grant(granted_ms=5_000)
    row = replace(_grant(granted_ms=5_000, read_ms=5_300), telemetry_generation=9)

    known = _read(row, earlier, known=_read(earlier), now_ns=10**12).kinds[Kind.TELEMETRY]

    assert known.withdrawn_before_ns == 10**12


class World:
    """A row that API and SQL change, and one process that reads it; times are milliseconds."""

    def __init__(self, clock_ms):
        self.now_ms, self.clock_ms = 1_000_000, clock_ms
        self.row = replace(ROW, enable_error_reporting=False, errors_generation=0, instance_id=None)
        self.consent, self.before, self.before_ns = UNKNOWN, None, 0
        self.withdrawn_ms = self.granted_ms = self.no_ms = 0  # the last of each; granted by API only
        self.seen_ms = 0  # the grant that the last read saw
        self.trusted_ms = math.inf
        self.records_ms = []

    def api(self, is_on):
        was_on = self.row.enable_error_reporting
        if is_on and not was_on:
            self.granted_ms = self.now_ms
            self._write(True, errors_granted_ms=self.now_ms + self.clock_ms)
        elif not is_on:
            self.withdrawn_ms, self.granted_ms = self.now_ms if was_on else self.withdrawn_ms, 0
            self._write(False, errors_granted_ms=None, errors_generation=self.row.errors_generation + was_on)

    def sql(self, is_on):
        if is_on != self.row.enable_error_reporting:
            self.granted_ms = 0
            self._write(is_on)

    def read(self, before_ms, after_ms, cause_ms):
        began_ms, self.now_ms = self.now_ms, self.now_ms + before_ms
        if not self.row.enable_error_reporting:
            self.no_ms = self.now_ms
            self._write(False, errors_granted_ms=None)
        row, snapshot_ms = replace(self.row, read_ms=self.now_ms + self.clock_ms), self.now_ms
        self.now_ms += after_ms
        oldest_ms = self.now_ms - MAX_AGE_MS
        times = ReadTimes(
            (began_ms - cause_ms) * MS_NS, self.now_ms * MS_NS, self.before_ns, oldest_ms * MS_NS
        )
        if self.before is None:  # a withdrawal before the first read is followed within the age of an answer
            is_dated = row.errors_granted_ms is not None or not row.errors_generation
            self.trusted_ms = math.inf if is_dated else oldest_ms
        elif row.kinds[Kind.ERRORS] != self.before.kinds[Kind.ERRORS]:
            self.trusted_ms = math.inf
        self.consent = self.consent.followed_by(row, self.before, times=times, read_at_s=0.0)
        self.before, self.before_ns = row, began_ms * MS_NS
        self.check(self.now_ms - snapshot_ms)

    def check(self, late_ms):
        known = self.consent.kinds[Kind.ERRORS]
        allowed = [at_ms for at_ms in self.records_ms if known.allows(at_ms * MS_NS)]
        since_ms = min(self.trusted_ms, max(self.withdrawn_ms, self.granted_ms, self.no_ms))
        assert all(at_ms >= since_ms for at_ms in allowed)
        if self.granted_ms not in (0, self.seen_ms):  # else an earlier read decided, with a delay of its own
            since_ms = self.granted_ms + late_ms + 3
            assert [at_ms for at_ms in self.records_ms if at_ms >= since_ms and at_ms not in allowed] == []
        self.seen_ms = self.granted_ms

    def _write(self, is_on, **more):
        instance_id = (self.row.instance_id or UUID(int=self.now_ms)) if is_on else None
        self.row = replace(self.row, enable_error_reporting=is_on, instance_id=instance_id, **more)


_actions = st.sampled_from(
    ["api on", "api off", "sql on", "sql off", "read", "read", "fail", "record", "record"]
)


@settings(max_examples=1_000 if IS_FULL else 200, deadline=None)
@given(
    clock_ms=st.integers(-(10**6), 10**6),
    steps=st.lists(
        st.tuples(_actions, st.integers(0, 2_000), *[st.integers(0, 60)] * 3), min_size=20, max_size=60
    ),
)
def test_no_sequence_of_changes_reaches_back(clock_ms, steps):
    """Nothing from before a withdrawal, a no or an API's grant is allowed; all from after the latter is."""
    world = World(clock_ms)
    for action, pause_ms, *delays_ms in steps:
        world.now_ms += pause_ms
        what, _, state = action.partition(" ")
        if what in ("api", "sql"):
            getattr(world, what)(state == "on")
        elif what == "read":
            world.read(*delays_ms)
        elif what == "fail":
            world.consent = world.consent.unknown(0.0)
        else:
            world.records_ms.append(world.now_ms)
