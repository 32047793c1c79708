"""What the gate reports and counts, and on which side of a limit an event falls."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from gates import ACCEPTED, BREADCRUMBS, Scripted, World, accepted_now, settings_row

from otel_posthog.delivery.gate import Outcome, Report
from otel_posthog.delivery.prepare import Batch
from otel_posthog.delivery.transport import Delivery, RecordingTransport, Result
from otel_posthog.errors import StoreError
from otel_posthog.events import time_from_ns
from otel_posthog.otel import records
from otel_posthog.registry import Kind, event

RETRY = Delivery(result=Result.RETRY, reason="status 503")
REFUSED = Delivery(result=Result.REFUSED, reason="status 401")
LONG_NS = 10**12
OLD = "2026-01-02T03:04:05.678+00:00"


def _accepted_at(accepted_ns, name="happened", **properties):
    return replace(accepted_now(name, **properties), accepted_ns=accepted_ns)


def _withdrawn_and_granted_again(world):
    """Return the time before which product events without a generation are discarded."""
    world.watch.refresh()
    world.row = replace(world.row, telemetry_generation=1)
    return world.watch.refresh().kinds[Kind.TELEMETRY].withdrawn_before_ns


def test_repeated_events_are_counted():
    """Each event beyond the first of its uuid is counted, in one call or several."""
    world = World()
    repeated = accepted_now()

    world.gate.send([repeated, repeated])
    world.gate.send([repeated, repeated])

    assert world.counts.as_dict() == {"sent": 1, "told_before": 3}


def test_forgotten_event_is_accepted_again():
    """What could not be kept may be told again; one that was never told may be forgotten, too."""
    world = World()
    first = accepted_now()
    world.gate.send([first])

    world.gate.forget([accepted_now(), first])
    world.gate.send([first])

    assert world.sent == [["happened"], ["happened"]]


def test_holding_nothing_is_no_outcome():
    """Without events nothing is held."""
    assert World().gate.hold([]) is Outcome.NOTHING


def test_report_of_rejected_events():
    """The report adds up what PostHog rejected in all batches."""
    world = World(REFUSED, ACCEPTED, REFUSED, batch_max_events=2)

    report = world.gate.submit([accepted_now() for _ in range(5)])

    assert report == Report(outcome=Outcome.LOST, refused=3)
    assert world.counts.as_dict() == {"refused": 3, "sent": 2}


def test_report_of_events_without_room():
    """The report says how many events were neither sent nor kept."""
    world = World(RETRY, memory_max_bytes=1)

    report = world.gate.submit([accepted_now(), accepted_now()])

    assert report == Report(outcome=Outcome.LOST, unkept=2)


def test_report_of_events_for_which_others_had_to_go():
    """Events that are kept are held, whatever had to be dropped for them."""
    world = World(RETRY, memory_max_bytes=300)
    world.gate.send([accepted_now()])

    report = world.gate.submit([accepted_now()])

    assert report == Report(outcome=Outcome.HELD)
    assert world.counts.as_dict() == {"spool_full": 1}


def test_report_of_what_the_end_has_spooled():
    """When the process ends during a later batch, the report still says what was rejected before."""
    world = World(batch_max_events=1)

    class Stuck(Scripted):
        """A transport that rejects the first batch, and in whose next call the process ends."""

        def send(self, batch, may_leave):
            super().send(batch, may_leave)
            if len(self.batches) == 1:
                return REFUSED
            world.gate.hold_unfinished()
            return RETRY

    world.use(Stuck())

    report = world.gate.submit([accepted_now(), accepted_now()])

    assert report == Report(outcome=Outcome.LOST, refused=1)


def test_what_is_dealt_with_is_not_spooled_at_the_end():
    """Events that were spooled after their attempt are not spooled again when the process ends."""
    world = World(RETRY)
    world.gate.send([accepted_now()])

    world.gate.hold_unfinished()

    assert len(world.spool.waiting()) == 1


def test_recent_grant_is_read_once():
    """Only the attempt itself reads the row again while a recent answer grants all kinds."""
    world = World(max_age_s=60)
    world.watch.refresh()
    reads = []
    world.on_read = lambda: reads.append("read")

    world.gate.send([accepted_now()])

    assert reads == ["read"]


def test_recent_denial_is_read_again():
    """An event that a recent answer denies is judged by a new one: another worker may have granted."""
    world = World(row=settings_row(), max_age_s=60)
    world.watch.refresh()
    world.row = settings_row(enable_telemetry=True)

    outcome = world.gate.send([_accepted_at(records.now_ns() + LONG_NS)])

    assert outcome is Outcome.SENT


def test_event_that_expires_while_it_waits_is_not_sent():
    """A spooled event is judged by the declarations of the day on which it would be sent."""
    days = [date(2027, 6, 30)]
    noted = event("noted", why="to know", since="1.0", expires="2027-06-30")(
        type("Noted", (), {"__doc__": "Something was noted."})
    )
    world = World(RETRY, registry=[noted], today=lambda: days[-1])
    world.gate.send([accepted_now("noted")])
    days.append(date(2027, 7, 1))
    world.now_s += 60

    is_done = world.gate.resend(world.spool.first())

    assert is_done
    assert world.sent == [["noted"]]  # by the attempt of the day before
    assert world.counts.as_dict() == {"unregistered": 1}


def test_outage_while_a_spooled_batch_is_halved():
    """Of a spooled batch only what was not sent waits again."""
    world = World(RETRY, Delivery(result=Result.SPLIT), ACCEPTED, RETRY)
    world.gate.send([accepted_now(number=number) for number in range(4)])
    world.now_s += 60
    batch = world.spool.first()

    is_done = world.gate.resend(batch)

    assert is_done
    world.spool.remove(batch)
    [left] = world.spool.waiting()
    assert [event.properties["number"] for event in left.events] == [2, 3]
    assert left.size_bytes == sum(event.size_bytes() for event in left.events)


@pytest.mark.parametrize(
    ("settings", "answer", "outcome"),
    [
        ({}, ACCEPTED, Outcome.SENT),
        ({}, RETRY, Outcome.LOST),
        ({"disabled": True}, ACCEPTED, Outcome.NOTHING),
        ({"environment": "production"}, ACCEPTED, Outcome.NOTHING),
    ],
    ids=["accepted", "failed", "disabled", "production"],
)
def test_outcome_of_the_startup_test(settings, answer, outcome):
    """The test at the start is tried once, in development, unless telemetry is disabled."""
    world = World(answer, **{"environment": "development", **settings})

    assert world.gate.send_startup_test(accepted_now("$exception")) is outcome
    assert len(world.sent) == (outcome is not Outcome.NOTHING)
    assert world.spool.first() is None


def test_startup_test_without_a_project_key():
    """Without a project API key there is no test at the start."""
    world = World(environment="development")
    world.use(None)

    assert world.gate.send_startup_test(accepted_now("$exception")) is Outcome.NOTHING


def test_startup_test_needs_no_consent():
    """The transport may send the test at the start while consent is unknown (R19)."""
    world = World(row=StoreError("cannot read"), environment="development")
    transport = RecordingTransport()
    world.use(transport)

    world.gate.send_startup_test(accepted_now("$exception"))

    assert [event["event"] for event in transport.events] == ["$exception"]


def test_transport_may_send_while_consent_stays():
    """A transport that asks for leave gets it if a new read of the row says the same."""
    world = World()
    transport = RecordingTransport()
    world.use(transport)

    outcome = world.gate.send([accepted_now()])

    assert outcome is Outcome.SENT
    assert [event["event"] for event in transport.events] == ["happened"]


def test_posts_in_progress_are_counted_by_kind():
    """A kind is idle once all its POSTs have ended, whatever becomes of the other kind's."""
    world = World()
    idle = []

    class Slow(Scripted):
        """A transport in whose first call another POST begins and ends."""

        def send(self, batch, may_leave):
            delivery = super().send(batch, may_leave)
            if len(self.batches) == 1:
                world.gate.send([accepted_now()])
                idle.extend(world.gate.wait_until_idle(kind, 0.01) for kind in Kind)
            return delivery

    world.use(Slow())

    world.gate.send([accepted_now()])

    assert list(zip(Kind, idle, strict=True)) == [(Kind.ERRORS, True), (Kind.TELEMETRY, False)]
    assert world.gate.wait_until_idle(Kind.TELEMETRY, 0) is True


def test_child_knows_nothing_of_its_parents_posts():
    """After a fork during a POST nothing is in progress, and nothing of it is spooled at the end."""
    world = World()
    idle = []

    class Forked(Scripted):
        """A transport in whose call the process forks; the child goes on here."""

        def send(self, batch, may_leave):
            world.gate.after_fork()
            idle.extend(world.gate.wait_until_idle(kind, 0) for kind in Kind)
            world.gate.hold_unfinished()
            return super().send(batch, may_leave)

    world.use(Forked())

    world.gate.send([accepted_now()])

    assert idle == [True, True]
    assert world.spool.first() is None


def test_withdrawal_counts_from_its_moment_on():
    """A batch without a generation loses what was accepted before the withdrawal, and nothing else."""
    world = World()
    limit_ns = _withdrawn_and_granted_again(world)
    events = tuple(_accepted_at(limit_ns + late_ns, number=late_ns) for late_ns in (-1, 0))

    world.gate.resend(Batch(kind=Kind.TELEMETRY, events=events, size_bytes=1))

    assert [[event["properties"]["number"] for event in batch] for batch in world.transport.batches] == [[0]]


def test_outage_keeps_what_was_accepted_at_the_moment_of_a_withdrawal():
    """After a failed attempt an event waits if it was accepted no earlier than the withdrawal."""
    world = World(RETRY)
    limit_ns = _withdrawn_and_granted_again(world)

    assert world.gate.send([_accepted_at(limit_ns)]) is Outcome.HELD
    assert len(world.spool.waiting()) == 1


def test_breadcrumbs_count_from_the_moment_of_a_withdrawal_on():
    """An exception loses the names of product events from before their withdrawal."""
    world = World()
    limit_ns = _withdrawn_and_granted_again(world)
    steps = [
        {
            **step,
            "$timestamp": time_from_ns(limit_ns + late_ns).isoformat(),
            "$message": f"{late_ns} {step['type']}",
        }
        for late_ns in (-LONG_NS, LONG_NS)
        for step in BREADCRUMBS
    ]

    world.gate.send([_accepted_at(2 * LONG_NS + limit_ns, "$exception", **{"$exception_steps": steps})])

    [[sent]] = world.transport.batches
    names = [step["$message"] for step in sent["properties"]["$exception_steps"]]
    assert names == [f"{-LONG_NS} log", f"{LONG_NS} event", f"{LONG_NS} log"]


def test_breadcrumbs_of_an_earlier_process_are_kept():
    """The process that accepted an exception has judged them; a later one knows no time of that grant."""
    row = settings_row(enable_error_reporting=True, errors_generation=1)
    earlier, later = World(RETRY, row=row), World(row=row)
    earlier.watch.refresh()
    failed_ns = records.now_ns()
    step = {**BREADCRUMBS[1], "$timestamp": time_from_ns(failed_ns + LONG_NS).isoformat()}
    earlier.gate.send([_accepted_at(failed_ns + LONG_NS, "$exception", **{"$exception_steps": [step]})])
    [waiting] = [earlier.spool.first()]
    old = replace(waiting.events[0], properties={"$exception_steps": [{**step, "$timestamp": OLD}]})

    later.gate.resend(replace(waiting, events=(old,)))

    [[sent]] = later.transport.batches
    assert [each["$message"] for each in sent["properties"]["$exception_steps"]] == ["slow"]


def test_breadcrumbs_from_before_a_grant_stay_here():
    """A report loses what happened before the grant that lets it leave."""
    world = World(row=settings_row())
    world.watch.refresh()
    world.row = settings_row(enable_error_reporting=True)

    world.gate.send(
        [_accepted_at(records.now_ns() + LONG_NS, "$exception", **{"$exception_steps": BREADCRUMBS})]
    )

    [[sent]] = world.transport.batches
    assert "$exception_steps" not in sent["properties"]


def test_spool_holds_no_names_of_product_events():
    """An exception that waits has lost them, since a later process cannot judge their consent."""
    world = World(RETRY)

    world.gate.send([accepted_now("$exception", **{"$exception_steps": BREADCRUMBS})])

    [waiting] = world.spool.first().events
    assert waiting.properties["$exception_steps"] == [BREADCRUMBS[1]]


def test_withdrawal_before_the_attempt_is_counted():
    """Events that were prepared before a withdrawal became known are counted, and not sent."""
    world = World(
        row=[StoreError("cannot read"), settings_row(enable_telemetry=True, telemetry_generation=1)]
    )
    later = _accepted_at(records.now_ns() + LONG_NS)

    outcome = world.gate.send([_accepted_at(1), _accepted_at(2), later])

    assert outcome is Outcome.SENT
    assert world.counts.as_dict() == {"withdrawn": 2, "sent": 1}


def test_withdrawal_during_the_attempt_is_counted():
    """Events that were withdrawn while they were sent in vain are counted, and not kept."""
    world = World()

    class Slow(Scripted):
        """A transport that fails after a withdrawal."""

        def send(self, _batch, _may_leave):
            world.row = settings_row()
            world.watch.refresh()
            return RETRY

    world.use(Slow())

    world.gate.send([accepted_now(), accepted_now()])

    assert world.counts.as_dict() == {"withdrawn": 2}
    assert world.spool.first() is None
