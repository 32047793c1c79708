"""What this process knows of the administrator's decision."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from uuid import UUID

import pytest
from logs import warnings
from waiting import wait_until

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.consent.state import DENIED, Answer, Consent, Grant, KindConsent, Settings
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.errors import StoreError
from otel_posthog.events import Stamp
from otel_posthog.otel import records
from otel_posthog.registry import Kind

WAIT_S = 5
BRIEFLY_S = 0.05
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
        self.thread_name = None

    def __call__(self):
        self.reads += 1
        self.thread_name = threading.current_thread().name
        answer = self.answer
        self.is_asked.set()
        assert self.may_answer.wait(WAIT_S)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def answers_of(consent):
    """Return the answers that occur."""
    return {known.answer for known in consent.kinds.values()}


@pytest.fixture
def row():
    return FakeRow()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def make_watch(row, changes):
    def make(*, max_age_s=0.0, is_disabled=False, **options):
        return ConsentWatch(
            row,
            max_age_s=max_age_s,
            is_disabled=is_disabled,
            log_limiter=LogLimiter(),
            on_change=changes.append,
            **options,
        )

    return make


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(make_watch):
    return make_watch()


def test_consent_is_unknown_at_first(watch, row):
    """Before the first look nothing may leave and nothing is deleted."""
    consent = watch.current

    assert (answers_of(consent), row.reads) == ({Answer.UNKNOWN}, 0)
    assert not consent.kinds[Kind.ERRORS].allows(FAR_FUTURE_NS)
    assert consent.kinds[Kind.ERRORS].discard_before_ns <= 1


@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("telemetry", [True, False])
def test_each_flag_answers_for_its_kind(watch, row, errors, telemetry):
    """Each flag grants or denies its own kind (R2)."""
    row.answer = replace(GRANTED_ROW, enable_error_reporting=errors, enable_telemetry=telemetry)

    consent = watch.refresh()

    assert consent.kinds[Kind.ERRORS].allows(FAR_FUTURE_NS) is errors
    assert consent.kinds[Kind.TELEMETRY].allows(FAR_FUTURE_NS) is telemetry
    assert (consent.is_on, consent.is_off) == (errors or telemetry, not (errors or telemetry))


def test_denied_discards(watch, row):
    """What is denied is to be discarded, whenever it was accepted."""
    row.answer = DENIED_ROW

    assert watch.refresh().kinds[Kind.ERRORS].discard_before_ns > FAR_FUTURE_NS


@pytest.mark.parametrize(
    "trouble", [StoreError("locked"), OSError("disk"), ValueError("bad"), None], ids=repr
)
def test_trouble_is_unknown(watch, row, trouble):
    """Whatever goes wrong, the answer is unknown: nothing leaves, nothing is deleted (R2)."""
    row.answer = trouble

    consent = watch.refresh()

    assert answers_of(consent) == {Answer.UNKNOWN}
    assert (consent.is_on, consent.is_off) == (False, False)
    assert consent.kinds[Kind.ERRORS].discard_before_ns <= 1


def test_unknown_keeps_the_cut(watch, row):
    """Trouble after a withdrawal does not bring back what was withdrawn."""
    row.answer = DENIED_ROW
    before_ns = records.now_ns() - 1
    watch.refresh()
    row.answer = StoreError("locked")
    watch.refresh()
    row.answer = GRANTED_ROW

    consent = watch.refresh()

    assert consent.kinds[Kind.ERRORS].discard_before_ns > before_ns
    assert consent.kinds[Kind.TELEMETRY].discard_before_ns > before_ns


def test_identity_outlives_trouble(watch, row):
    """While the answer is unknown the instance is still known."""
    watch.refresh()
    row.answer = StoreError("locked")

    assert watch.refresh().instance_id == str(UUID(int=1))


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
    watch.refresh()
    before_ns = records.now_ns() - 1
    row.answer = replace(GRANTED_ROW, **generations)

    consent = watch.refresh()

    assert {kind for kind in Kind if consent.kinds[kind].discard_before_ns > before_ns} == withdrawn
    assert consent.kinds[Kind.ERRORS].allows(FAR_FUTURE_NS)


def test_first_look_cuts_nothing(watch):
    """What was accepted before the first look may leave if it is granted."""
    assert watch.refresh().kinds[Kind.ERRORS].allows(1)


def test_first_look_after_a_withdrawal_cuts_what_is_old(make_watch, row):
    """A withdrawal before the first look cannot be dated, so what waited long for that look goes (R4)."""
    watch = make_watch(max_age_s=1.0)
    row.answer = replace(GRANTED_ROW, errors_generation=1)
    now_ns = records.now_ns()

    consent = watch.refresh()

    assert consent.kinds[Kind.ERRORS].allows(now_ns)
    assert not consent.kinds[Kind.ERRORS].allows(now_ns - 60 * 10**9)
    assert consent.kinds[Kind.TELEMETRY].allows(now_ns - 60 * 10**9)


def test_unknown_keeps_what_the_first_read_found_out(make_watch, row):
    """Trouble after the first read does not bring back what may be older than a withdrawal (R4)."""
    watch = make_watch(max_age_s=1.0)
    row.answer = replace(GRANTED_ROW, errors_generation=1)
    old_ns = records.now_ns() - 60 * 10**9
    watch.refresh()

    watch.change(lambda: replace(row.answer, enable_telemetry=False))
    unknown = watch.current.unknown(read_at_s=0.0)

    assert unknown.kinds[Kind.ERRORS].discard_before_ns > old_ns
    assert unknown.kinds[Kind.TELEMETRY].discard_before_ns > old_ns


def test_unknown_forgets_nothing_but_the_answer():
    """A failed read changes the answer alone; generation, grant and withdrawal stay."""
    known = {
        kind: KindConsent(
            answer=Answer.GRANTED,
            stamp=Stamp(generation=number, instance_id="one"),
            withdrawn_before_ns=number * 100,
            grant=Grant(manifest=f"new {number}", since_ns=number, before=f"old {number}"),
        )
        for number, kind in enumerate(Kind, 1)
    }

    unknown = Consent(kinds=known, instance_id="one").unknown(read_at_s=7.0)

    assert answers_of(unknown) == {Answer.UNKNOWN}
    assert (unknown.instance_id, unknown.read_at_s) == ("one", 7.0)
    assert {k: replace(one, answer=Answer.GRANTED) for k, one in unknown.kinds.items()} == known


def test_stale_answer_is_not_fresh(make_watch):
    """An answer that has passed its age is not returned as a fresh one, nor is one that was never read."""
    stale, young, unread = make_watch(max_age_s=0.0), make_watch(max_age_s=3600), make_watch(max_age_s=3600)

    read = [stale.refresh(), young.refresh()]

    assert (stale.fresh(), young.fresh(), unread.fresh()) == (None, read[1], None)


@pytest.mark.parametrize(("age_s", "is_fresh"), [(10.0, True), (10.5, False)])
def test_answer_is_trusted_up_to_its_age(make_watch, row, clock, age_s, is_fresh):
    """An answer is fresh, and not read again, until it is older than allowed."""
    watch = make_watch(max_age_s=10.0, clock=clock)
    consent = watch.refresh()
    clock.now += age_s

    fresh = watch.fresh()
    watch.cached()
    watch.wait(WAIT_S)

    assert fresh is (consent if is_fresh else None)
    assert row.reads == (1 if is_fresh else 2)


@pytest.mark.parametrize(("pause_s", "reads"), [(0.0, 1), (0.1, 2)])
def test_refresh_accepts_what_was_read_since(make_watch, row, clock, pause_s, reads):
    """A refresh reads even what is still fresh, unless another thread has read it after the request."""
    watch = make_watch(max_age_s=3600, clock=clock)
    watch.refresh()
    clock.now += pause_s

    watch.refresh()

    assert row.reads == reads


@pytest.mark.parametrize(("pause_s", "reads"), [(4.9, 1), (5.0, 2)])
def test_failed_read_is_repeated_after_half_of_the_age(make_watch, row, clock, pause_s, reads):
    """Events are not held much longer than necessary once the database answers again."""
    watch = make_watch(max_age_s=10.0, clock=clock)
    row.answer = StoreError("locked")
    watch.refresh()
    clock.now += pause_s

    watch.refresh()

    assert row.reads == reads


def test_failed_look_is_not_repeated_at_once(make_watch, row):
    """Who asks right after a look that failed gets its answer, and does not wait as long again."""
    watch = make_watch(max_age_s=60)
    row.answer = StoreError("locked")

    answers = [watch.refresh().kinds[Kind.ERRORS].answer for _ in range(3)]

    assert answers == [Answer.UNKNOWN] * 3
    assert row.reads == 1


def test_closed_watch_reads_nothing_by_itself(watch, row):
    """After closing, `cached` reads nothing."""
    watch.close(WAIT_S)

    watch.cached()
    watch.wait(WAIT_S)

    assert row.reads == 0


def test_close_is_bounded(watch, row, changes):
    """Closing does not wait longer for a slow database than it is allowed to."""
    row.may_answer.clear()
    watch.cached()
    assert row.is_asked.wait(WAIT_S)

    watch.close(0)

    assert changes == []
    row.may_answer.set()
    watch.wait(WAIT_S)


def test_reopened_watch_reads_again(watch, row, changes):
    """After closing and opening, `cached` reads again, and the answer is announced though it is the same."""
    watch.refresh()
    watch.close(WAIT_S)

    watch.open()
    watch.cached()
    watch.wait(WAIT_S)

    assert (row.reads, len(changes)) == (2, 2)


def test_each_read_is_passed_on(watch, changes):
    """The listener to reads gets each answer, also one that changes nothing."""
    answers = []
    watch.on_read = answers.append

    read = [watch.refresh(), watch.refresh()]

    assert answers == read
    assert changes == read[:1]


def test_granted_answer_is_announced_once(watch, changes):
    """The same grant is announced again only on request."""
    first = watch.refresh()
    watch.refresh()
    watch.announce_again()
    last = watch.refresh()

    assert changes == [first, last]


@pytest.mark.parametrize("answer", [DENIED_ROW, StoreError("locked")], ids=["denied", "unknown"])
def test_answer_without_a_grant_is_announced_at_each_read(watch, row, changes, answer):
    """While nothing is granted each answer is announced: another worker may have spooled events since."""
    row.answer = answer

    read = [watch.refresh(), watch.refresh()]

    assert changes == read


def test_next_answer_is_announced_in_a_child(watch, changes):
    """After a fork the threads of the last answer are the parent's, so the next one is announced."""
    watch.refresh()
    watch.after_fork()

    watch.refresh()

    assert len(changes) == 2


def test_change_is_applied_at_once(watch, changes):
    """A written row counts when the call returns."""
    returned = watch.change(lambda: DENIED_ROW)

    assert (returned, watch.current.is_off, changes[-1].is_off) == (DENIED_ROW, True, True)


def test_change_is_as_good_as_a_read(make_watch, row):
    """A written row need not be read: the answer is fresh from then on."""
    watch = make_watch(max_age_s=3600)

    watch.change(lambda: GRANTED_ROW)

    assert watch.fresh() is watch.current
    assert (watch.current.is_on, row.reads) == (True, 0)


def test_failed_change_changes_nothing(watch):
    """A row that could not be written leaves the last answer in force, and the lock free."""

    def fail():
        raise StoreError("read-only")

    watch.refresh()
    with pytest.raises(StoreError):
        watch.change(fail)

    assert watch.refresh().is_on


def test_slow_look_never_undoes_a_change(watch, row):
    """A look that read the old row applies it before the change, never after."""
    row.may_answer.clear()
    looking = threading.Thread(target=watch.refresh)
    looking.start()
    assert row.is_asked.wait(WAIT_S)
    changing = threading.Thread(target=watch.change, args=(lambda: DENIED_ROW,))
    changing.start()

    row.may_answer.set()
    looking.join(WAIT_S)
    changing.join(WAIT_S)

    assert not looking.is_alive()
    assert watch.current.is_off


def test_cached_does_not_wait(watch, row):
    """A request gets the last answer at once, while the database is asked in the background."""
    row.may_answer.clear()

    consent = watch.cached()

    assert answers_of(consent) == {Answer.UNKNOWN}
    assert row.is_asked.wait(WAIT_S)
    row.may_answer.set()
    watch.wait(WAIT_S)
    assert watch.current.is_on


def test_cached_reads_on_a_named_thread(watch, row):
    """A thread dump shows to whom the thread belongs."""
    watch.cached()
    watch.wait(WAIT_S)

    assert row.thread_name == "otel-posthog-consent"


def test_cached_renews_one_at_a_time(watch, row):
    """However many requests come in, the database is asked once."""
    row.may_answer.clear()
    for _ in range(50):
        watch.cached()
    assert row.is_asked.wait(WAIT_S)

    row.may_answer.set()
    watch.wait(WAIT_S)

    assert row.reads == 1


def test_cached_trusts_a_young_answer(make_watch, row):
    """An answer that is young enough is not asked for again."""
    watch = make_watch(max_age_s=3600)
    watch.refresh()

    watch.cached()
    watch.wait(WAIT_S)

    assert row.reads == 1


def test_cached_renews_an_old_answer(watch, row):
    """An answer that has passed its age is asked for again."""
    watch.refresh()
    row.answer = DENIED_ROW

    watch.cached()
    watch.wait(WAIT_S)

    assert watch.current.is_off


def test_disabled_never_reads(make_watch, row, changes):
    """Where the environment has switched off, nobody asks and nothing changes the answer (R2)."""
    watch = make_watch(is_disabled=True)

    answers = [watch.refresh(), watch.cached(), watch.fresh(), watch.current]
    watch.change(lambda: GRANTED_ROW)

    assert answers == [DENIED] * 4
    assert (watch.current, row.reads, changes) == (DENIED, 0, [])


def test_trouble_is_told_once(watch, row, caplog):
    """A database that is down is told once a minute, with what to do."""
    row.answer = StoreError("The database is locked.")

    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            watch.refresh()

    assert warnings(caplog) == ["Consent is unknown, so nothing is sent: The database is locked."]


def test_foreign_trouble_is_told_without_its_text(watch, row, caplog):
    """The text of a driver's error can hold anything, so only its type is told."""
    row.answer = ValueError("planted")

    watch.refresh()

    assert warnings(caplog) == ["Consent is unknown, so nothing is sent (ValueError)"]


def test_missing_row_is_told(watch, row, caplog):
    """A missing row is told with the way out."""
    row.answer = None

    watch.refresh()

    [warning] = warnings(caplog)
    assert warning == (
        "Consent is unknown, so nothing is sent: system_settings has no row with id 1. "
        "Save the telemetry settings once, or restart, to create it."
    )


def test_child_process_can_look(watch, row):
    """A child is not held up by a look that its parent had under way."""
    row.may_answer.clear()
    looking = threading.Thread(target=watch.refresh)
    looking.start()
    assert row.is_asked.wait(WAIT_S)

    watch.after_fork()
    changed = watch.change(lambda: DENIED_ROW)

    assert changed is DENIED_ROW
    row.may_answer.set()
    looking.join(WAIT_S)


def test_child_process_refreshes_in_the_background(watch, row):
    """A child does not wait for a thread that only its parent has."""
    row.may_answer.clear()
    watch.cached()
    assert row.is_asked.wait(WAIT_S)

    watch.after_fork()
    watch.cached()

    wait_until(lambda: row.reads == 2)
    row.may_answer.set()
    watch.wait(WAIT_S)


def test_fork_waits_for_a_read(watch, row):
    """A fork begins after a read in progress, and nothing is read until it is over."""
    row.may_answer.clear()
    watch.cached()
    assert row.is_asked.wait(WAIT_S)
    forking = threading.Thread(target=watch.before_fork)
    forking.start()

    forking.join(BRIEFLY_S)
    was_waiting = forking.is_alive()
    row.may_answer.set()
    forking.join(WAIT_S)
    watch.after_fork_in_parent()

    assert was_waiting
    assert watch.refresh().is_on


def test_watch_made_during_a_fork_holds_nothing(watch):
    """After a fork for which it did not pause, a watch releases nothing and can be used."""
    watch.after_fork_in_parent()

    assert watch.refresh().is_on


def test_cut_compares_with_the_moment_of_acceptance():
    """What was accepted at the cut or later may leave."""
    consent = KindConsent(answer=Answer.GRANTED, withdrawn_before_ns=100)

    assert [consent.allows(at) for at in (99, 100, 101)] == [False, True, True]


def _raise(error):
    raise error


@pytest.fixture
def holding(make_watch, row, clock):
    """Return a watch that has read a no, and may hold two reports."""
    row.answer = DENIED_ROW
    watch = make_watch(max_age_s=0.2, clock=clock)
    watch.max_held = 2
    watch.refresh()
    clock.now += 1
    return watch


def test_held_report_is_decided_by_a_later_read(holding, row):
    """A report is held off its own thread until the row was read after it, and counts from itself on."""
    row.answer = GRANTED_ROW
    accepted, decided = [], []

    is_held = holding.hold(lambda: accepted.append(records.now_ns()), decided.append)
    holding.settle(WAIT_S)

    assert (is_held, row.reads, row.thread_name) == (True, 2, "otel-posthog-consent")
    assert [consent.kinds[Kind.ERRORS].allows(accepted[0]) for consent in decided] == [True]


def test_only_so_many_reports_are_held(holding, row):
    """What finds no room is refused, and there is room again after the read."""
    row.may_answer.clear()
    row.is_asked.clear()
    held = [holding.hold(lambda: None, lambda _consent: None) for _ in range(3)]
    assert row.is_asked.wait(WAIT_S)

    row.may_answer.set()
    holding.settle(WAIT_S)

    assert (held, holding.may_hold) == ([True, True, False], True)


def test_held_reports_cause_one_read_in_the_age_of_an_answer(holding, row, clock):
    """A later report waits for its turn, and does not date a grant by SQL, which may be younger."""
    holding.hold(lambda: None, lambda _consent: None)
    wait_until(lambda: row.reads == 2)
    holding.settle(WAIT_S)
    row.answer = GRANTED_ROW
    accepted, decided = [], []

    holding.hold(lambda: accepted.append(records.now_ns()), decided.append)
    reads_before_its_turn = row.reads
    clock.now += 1
    holding.settle(WAIT_S)

    assert (reads_before_its_turn, row.reads) == (2, 3)
    assert [consent.kinds[Kind.ERRORS].answer for consent in decided] == [Answer.GRANTED]


@pytest.mark.parametrize("state", ["closed", "disabled", "without room"])
def test_nothing_is_held_where_nothing_will_be_read(make_watch, row, state):
    """Without a later read a report is dropped at once."""
    watch = make_watch(is_disabled=state == "disabled")
    watch.max_held = 0 if state == "without room" else 2
    if state == "closed":
        watch.close(WAIT_S)

    assert watch.hold(lambda: None, lambda _consent: None) is False
    assert row.reads == 0


def test_child_forgets_what_its_parent_holds(holding, row):
    """The parent decides about it."""
    decided = []
    row.may_answer.clear()
    holding.hold(lambda: None, decided.append)

    holding.after_fork()
    row.may_answer.set()
    holding.settle(WAIT_S)

    assert decided == []


def test_report_before_a_read_that_failed_dates_no_later_grant(holding, row, clock):
    """A grant by SQL counts from the record that caused the read which saw it, not from an earlier one."""
    row.answer = StoreError("locked")
    holding.hold(lambda: None, lambda _consent: None)
    wait_until(lambda: holding.current.kinds[Kind.ERRORS].answer is Answer.UNKNOWN)
    between_ns = records.now_ns()
    clock.now += 1
    row.answer = GRANTED_ROW

    consent = holding.refresh()

    assert consent.kinds[Kind.ERRORS].answer is Answer.GRANTED
    assert not consent.kinds[Kind.ERRORS].allows(between_ns)


def test_cause_of_a_read_that_another_one_spared_dates_no_later_grant(holding, row, clock):
    """A refresh that returns because the last one has just failed leaves no time behind."""
    row.answer = StoreError("locked")
    holding.refresh()
    holding.hold(lambda: None, lambda _consent: None)
    holding.refresh()
    between_ns = records.now_ns()
    clock.now += 1
    row.answer = GRANTED_ROW

    consent = holding.refresh()

    assert not consent.kinds[Kind.ERRORS].allows(between_ns)


def test_end_does_not_wait_for_a_thread_that_is_at_holding(holding):
    """At a signal the main thread may be anywhere in `hold`, and waits for the end of the telemetry."""
    is_in_hold, may_go_on = threading.Event(), threading.Event()

    def note():
        is_in_hold.set()
        assert may_go_on.wait(WAIT_S)

    reporting = threading.Thread(target=holding.hold, args=(note, lambda _consent: None))
    reporting.start()
    assert is_in_hold.wait(WAIT_S)

    holding.settle(BRIEFLY_S)

    is_still_there = reporting.is_alive()
    may_go_on.set()
    reporting.join(WAIT_S)
    assert is_still_there


def test_closed_watch_stops_asking(holding, row):
    """What is held when a telemetry ends is decided with the answer that there is, and nothing reads on."""
    row.answer = StoreError("locked")
    decided = []
    holding.hold(lambda: None, decided.append)

    holding.close(WAIT_S)

    wait_until(lambda: decided)
    assert [consent.kinds[Kind.ERRORS].answer for consent in decided] == [Answer.UNKNOWN]


def test_held_report_waits_for_a_known_answer(holding, row, clock):
    """While the row cannot be read a report stays held; only the end of the process decides at once."""
    row.answer = StoreError("locked")
    decided = []
    holding.hold(lambda: None, decided.append)
    wait_until(lambda: holding.current.kinds[Kind.ERRORS].answer is Answer.UNKNOWN)
    row.answer = DENIED_ROW
    before = list(decided)

    clock.now += 1
    holding.hold(lambda: None, decided.append)
    holding.settle(WAIT_S)

    assert before == []
    assert [consent.kinds[Kind.ERRORS].answer for consent in decided] == [Answer.DENIED] * 2


def test_reports_that_a_failing_thread_left_are_decided_with_the_next(make_watch, row, clock):
    """A thread that ended early is replaced, also where no further report finds room."""
    row.answer = DENIED_ROW
    watch = make_watch(max_age_s=0.2, clock=clock)
    watch.max_held = 1
    failures = [RuntimeError()]
    watch.on_read = lambda _consent: failures and _raise(failures.pop())
    decided = []
    watch.hold(lambda: None, decided.append)
    wait_until(lambda: "otel-posthog-consent" not in {each.name for each in threading.enumerate()})
    left = list(decided)

    is_held = watch.hold(lambda: None, decided.append)
    watch.settle(WAIT_S)

    assert (left, is_held, len(decided)) == ([], False, 1)


def test_failing_decision_costs_only_itself(holding, caplog):
    """A report that cannot be queued is logged, and the next one is decided."""
    decided = []

    def fail(_consent):
        raise RuntimeError

    holding.hold(lambda: None, fail)
    holding.hold(lambda: None, decided.append)
    holding.settle(WAIT_S)

    assert (len(decided), warnings(caplog)) == (1, ["A held report is lost (RuntimeError)"])
