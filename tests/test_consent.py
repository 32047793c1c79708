"""What this process knows of the administrator's decision."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from uuid import UUID

import pytest
from logs import warnings

from otel_posthog import acceptance
from otel_posthog.consent import DENIED, Answer, Consent, ConsentWatch
from otel_posthog.errors import StoreError
from otel_posthog.notices import Notices
from otel_posthog.registry import Kind
from otel_posthog.settings import Settings

WAIT_S = 5
FAR_FUTURE_NS = 2**62
GRANTED_ROW = Settings(
    is_setup_completed=True,
    enable_error_reporting=True,
    enable_telemetry=True,
    instance_id=UUID(int=1),
    errors_generation=0,
    telemetry_generation=0,
)
DENIED_ROW = replace(GRANTED_ROW, enable_error_reporting=False, enable_telemetry=False, instance_id=None)


class FakeRow:
    """A row that answers, raises or blocks as it is told."""

    def __init__(self, answer=GRANTED_ROW):
        self.answer = answer
        self.reads = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_asked = threading.Event()

    def __call__(self):
        self.reads += 1
        answer = self.answer
        self.is_asked.set()
        assert self.may_answer.wait(WAIT_S)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def row():
    return FakeRow()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def make_watch(row, changes):
    def make(*, max_age_s=0.0, is_disabled=False):
        return ConsentWatch(
            row, max_age_s=max_age_s, is_disabled=is_disabled, notices=Notices(), on_change=changes.append
        )

    return make


@pytest.fixture
def watch(make_watch):
    return make_watch()


def test_consent_is_unknown_at_first(watch, row):
    """Before the first look nothing may leave and nothing is deleted."""
    consent = watch.current

    assert (consent.errors, consent.telemetry, row.reads) == (Answer.UNKNOWN, Answer.UNKNOWN, 0)
    assert not consent.allows(Kind.ERRORS, FAR_FUTURE_NS)
    assert not consent.is_withdrawn(Kind.ERRORS, 1)


@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("telemetry", [True, False])
def test_each_flag_answers_for_its_kind(watch, row, errors, telemetry):
    """Each flag grants or denies its own kind (R2)."""
    row.answer = replace(GRANTED_ROW, enable_error_reporting=errors, enable_telemetry=telemetry)

    consent = watch.look()

    assert consent.allows(Kind.ERRORS, FAR_FUTURE_NS) is errors
    assert consent.allows(Kind.TELEMETRY, FAR_FUTURE_NS) is telemetry
    assert (consent.is_on, consent.is_off) == (errors or telemetry, not (errors or telemetry))


def test_denied_discards(watch, row):
    """What is denied is to be discarded, whenever it was accepted."""
    row.answer = DENIED_ROW

    assert watch.look().is_withdrawn(Kind.ERRORS, FAR_FUTURE_NS)


@pytest.mark.parametrize(
    "trouble", [StoreError("locked"), OSError("disk"), ValueError("bad"), None], ids=repr
)
def test_trouble_is_unknown(watch, row, trouble):
    """Whatever goes wrong, the answer is unknown: nothing leaves, nothing is deleted (R2)."""
    row.answer = trouble

    consent = watch.look()

    assert (consent.errors, consent.telemetry) == (Answer.UNKNOWN, Answer.UNKNOWN)
    assert (consent.is_on, consent.is_off) == (False, False)
    assert not consent.is_withdrawn(Kind.ERRORS, 1)


def test_unknown_keeps_the_cut(watch, row):
    """Trouble after a withdrawal does not bring back what was withdrawn."""
    row.answer = DENIED_ROW
    before_ns = acceptance.now_ns() - 1
    watch.look()
    row.answer = StoreError("locked")
    watch.look()
    row.answer = GRANTED_ROW

    consent = watch.look()

    assert consent.is_withdrawn(Kind.ERRORS, before_ns)
    assert consent.is_withdrawn(Kind.TELEMETRY, before_ns)


def test_identity_outlives_trouble(watch, row):
    """While the answer is unknown the instance is still known."""
    watch.look()
    row.answer = StoreError("locked")

    assert watch.look().instance_id == str(UUID(int=1))


@pytest.mark.parametrize(
    ("generations", "withdrawn"),
    [
        ({"errors_generation": 1}, {Kind.ERRORS}),
        ({"telemetry_generation": 1}, {Kind.TELEMETRY}),
        ({"instance_id": UUID(int=2)}, {Kind.ERRORS, Kind.TELEMETRY}),
        ({}, set()),
        ({"is_setup_completed": False}, set()),
    ],
    ids=["errors", "telemetry", "instance", "nothing", "wizard"],
)
def test_withdrawal_between_two_looks_is_seen(watch, row, generations, withdrawn):
    """Off and on again between two looks leaks nothing: generation or instance have changed (R4)."""
    watch.look()
    before_ns = acceptance.now_ns() - 1
    row.answer = replace(GRANTED_ROW, **generations)

    consent = watch.look()

    assert {kind for kind in Kind if consent.is_withdrawn(kind, before_ns)} == withdrawn
    assert consent.allows(Kind.ERRORS, FAR_FUTURE_NS)


def test_first_look_cuts_nothing(watch):
    """What was accepted before the first look may leave if it is granted."""
    assert watch.look().allows(Kind.ERRORS, 1)


def test_first_look_after_a_withdrawal_cuts_what_is_old(make_watch, row):
    """A withdrawal before the first look cannot be dated, so what waited long for that look goes (R4)."""
    watch = make_watch(max_age_s=1.0)
    row.answer = replace(GRANTED_ROW, errors_generation=1)
    now_ns = acceptance.now_ns()

    consent = watch.look()

    assert consent.allows(Kind.ERRORS, now_ns)
    assert not consent.allows(Kind.ERRORS, now_ns - 60 * 10**9)
    assert consent.allows(Kind.TELEMETRY, now_ns - 60 * 10**9)


def test_failed_look_is_not_repeated_at_once(make_watch, row):
    """Who asks right after a look that failed gets its answer, and does not wait as long again."""
    watch = make_watch(max_age_s=60)
    row.answer = StoreError("locked")

    answers = [watch.look().errors for _ in range(3)]

    assert answers == [Answer.UNKNOWN] * 3
    assert row.reads == 1


def test_closed_watch_reads_nothing_by_itself(watch, row):
    """After closing, `peek` reads nothing."""
    watch.close(WAIT_S)

    watch.peek()
    watch.wait(WAIT_S)

    assert row.reads == 0


def test_each_look_is_announced(watch, changes):
    """Whoever has to stop or start is told of each answer."""
    seen = [watch.look(), watch.look()]

    assert changes == seen


def test_change_is_applied_at_once(watch, changes):
    """A written row counts when the call returns."""
    returned = watch.change(lambda: DENIED_ROW)

    assert (returned, watch.current.is_off, changes[-1].is_off) == (DENIED_ROW, True, True)


def test_failed_change_changes_nothing(watch):
    """A row that could not be written leaves the last answer in force, and the lock free."""

    def fail():
        raise StoreError("read-only")

    watch.look()
    with pytest.raises(StoreError):
        watch.change(fail)

    assert watch.look().is_on


def test_slow_look_never_undoes_a_change(watch, row):
    """A look that read the old row applies it before the change, never after."""
    row.may_answer.clear()
    looking = threading.Thread(target=watch.look)
    looking.start()
    assert row.is_asked.wait(WAIT_S)
    changing = threading.Thread(target=watch.change, args=(lambda: DENIED_ROW,))
    changing.start()

    row.may_answer.set()
    looking.join(WAIT_S)
    changing.join(WAIT_S)

    assert not looking.is_alive()
    assert watch.current.is_off


def test_peek_does_not_wait(watch, row):
    """A request gets the last answer at once, while the database is asked in the background."""
    row.may_answer.clear()

    consent = watch.peek()

    assert consent.errors is Answer.UNKNOWN
    assert row.is_asked.wait(WAIT_S)
    row.may_answer.set()
    watch.wait(WAIT_S)
    assert watch.current.is_on


def test_peek_renews_one_at_a_time(watch, row):
    """However many requests come in, the database is asked once."""
    row.may_answer.clear()
    for _ in range(50):
        watch.peek()
    assert row.is_asked.wait(WAIT_S)

    row.may_answer.set()
    watch.wait(WAIT_S)

    assert row.reads == 1


def test_peek_trusts_a_young_answer(make_watch, row):
    """An answer that is young enough is not asked for again."""
    watch = make_watch(max_age_s=3600)
    watch.look()

    watch.peek()
    watch.wait(WAIT_S)

    assert row.reads == 1


def test_peek_renews_an_old_answer(watch, row):
    """An answer that has passed its age is asked for again."""
    watch.look()
    row.answer = DENIED_ROW

    watch.peek()
    watch.wait(WAIT_S)

    assert watch.current.is_off


def test_disabled_never_reads(make_watch, row, changes):
    """Where the environment has switched off, nobody asks and nothing changes the answer (R2)."""
    watch = make_watch(is_disabled=True)

    answers = [watch.look(), watch.peek(), watch.current]
    watch.change(lambda: GRANTED_ROW)

    assert answers == [DENIED] * 3
    assert (watch.current, row.reads, changes) == (DENIED, 0, [])


def test_trouble_is_told_once(watch, row, caplog):
    """A database that is down is told once a minute, with what to do."""
    row.answer = StoreError("The database is locked.")

    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            watch.look()

    assert warnings(caplog) == ["Consent is unknown, so nothing is sent: The database is locked."]


def test_foreign_trouble_is_told_without_its_text(watch, row, caplog):
    """The text of a driver's error can hold anything, so only its type is told."""
    row.answer = ValueError("planted")

    watch.look()

    assert warnings(caplog) == ["Consent is unknown, so nothing is sent (ValueError)"]


def test_missing_row_is_told(watch, row, caplog):
    """A missing row is told with the way out."""
    row.answer = None

    watch.look()

    assert "system_settings has no row with id 1" in caplog.text


def test_child_process_can_look(watch, row):
    """A child is not held up by a look that its parent had under way."""
    row.may_answer.clear()
    looking = threading.Thread(target=watch.look)
    looking.start()
    assert row.is_asked.wait(WAIT_S)

    watch.after_fork()
    changed = watch.change(lambda: DENIED_ROW)

    assert changed is DENIED_ROW
    row.may_answer.set()
    looking.join(WAIT_S)


def test_cut_compares_with_the_moment_of_acceptance():
    """What was accepted at the cut or later may leave."""
    consent = Consent(
        errors=Answer.GRANTED, telemetry=Answer.GRANTED, errors_since_ns=100, telemetry_since_ns=200
    )

    assert [consent.allows(Kind.ERRORS, at) for at in (99, 100, 101)] == [False, True, True]
    assert consent.is_withdrawn(Kind.TELEMETRY, 199)
