"""Doubtful answers and verdicts: what waits, when the next attempt begins, and that nothing is lost."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from gates import ACCEPTED, Scripted, World, accepted_now
from logs import warnings

from otel_posthog.delivery.answers import Delivery, Result
from otel_posthog.delivery.gate import Outcome, Report
from otel_posthog.delivery.settling import MAX_PROBE_INTERVALS
from otel_posthog.delivery.spool import Drainer, Spool
from otel_posthog.delivery.spool_file import SpoolFile

DOUBTFUL = Delivery(result=Result.DOUBTFUL, reason="status 404", advice="Check the host setting.")
RETRY = Delivery(result=Result.RETRY, reason="status 503")
SPLIT = Delivery(result=Result.SPLIT, reason="status 400")
PROBE_S = 60


class Interrupted(Scripted):
    """A transport in whose first call something happens."""

    def __init__(self, act, *answers):
        super().__init__(*answers)
        self.act = act

    def send(self, batch, may_leave):
        delivery = super().send(batch, may_leave)
        if len(self.batches) == 1:
            self.act()
        return delivery


def _numbers(batches):
    return [[event["properties"]["number"] for event in batch] for batch in batches]


def _drain(world):
    Drainer(
        world.spool,
        attempt=world.gate.resend,
        pause=world.gate.pause_s,
        watch=lambda: True,
        interval_s=1,
        log_limiter=world.preparation.log_limiter,
    ).drain()


def _in_doubt():
    """Return a world whose last answer was doubtful, at the end of the pause."""
    world = World(DOUBTFUL)
    world.gate.send([accepted_now(number=0)])
    world.now_s += 2 * PROBE_S
    return world


@pytest.fixture
def on_disk(tmp_path):
    """Return a function that makes a world whose spool has a file."""

    def make(transport, file_type=SpoolFile):
        world = World()
        limiter = world.preparation.log_limiter
        file = file_type(tmp_path, max_bytes=10**7, max_age_s=3600, counts=world.counts, log_limiter=limiter)
        world.spool = Spool(file, memory_max_bytes=10**6, counts=world.counts, log_limiter=limiter)
        world.transport = transport
        world.use(transport)
        return world

    return make


def test_doubtful_answer_loses_nothing():
    """What was answered by something else waits, and is sent a minute later at the earliest."""
    world = World(DOUBTFUL)

    outcome = world.gate.send([accepted_now()])

    assert outcome is Outcome.HELD
    assert world.counts.as_dict() == {}
    assert world.gate.pause_s() >= PROBE_S
    world.now_s += 2 * PROBE_S
    _drain(world)
    assert world.counts.as_dict() == {"sent": 1}
    assert world.spool.first() is None


def test_cause_is_logged_once(caplog):
    """The log names the cause and what to check, once a minute."""
    world = World(DOUBTFUL, DOUBTFUL)
    world.gate.send([accepted_now()])
    world.now_s += 2 * PROBE_S
    world.gate.send([accepted_now()])

    [message] = warnings(caplog)
    assert message == (
        "PostHog has not confirmed events, so they are kept and sent later: status 404. "
        "Check the host setting."
    )


def test_pauses_between_probes_grow():
    """Each further doubtful answer doubles the pause up to a limit, and PostHog's own answer ends that."""
    world, pauses_s = World(), []
    for answer in [DOUBTFUL] * 7 + [ACCEPTED, DOUBTFUL]:
        world.transport.answers = [answer]
        world.gate.send([accepted_now()])
        pauses_s.append(world.gate.pause_s())
        world.now_s += max(0, world.gate.pause_s())

    del pauses_s[7]  # after the success
    factors = [1, 2, 4, 8, MAX_PROBE_INTERVALS, MAX_PROBE_INTERVALS, MAX_PROBE_INTERVALS, 1]
    for pause_s, factor in zip(pauses_s, factors, strict=True):
        assert factor * PROBE_S <= pause_s <= 1.2 * factor * PROBE_S


def test_several_doubtful_answers_at_once_are_one():
    """Requests that were in progress together make one pause, not a longer one each."""
    world = World()
    world.use(Interrupted(lambda: world.gate.send([accepted_now()]), DOUBTFUL, DOUBTFUL, DOUBTFUL))
    world.gate.send([accepted_now()])
    world.now_s += 1.2 * PROBE_S

    world.gate.send([accepted_now()])

    assert world.gate.pause_s() <= 1.2 * 2 * PROBE_S


def test_failure_does_not_shorten_a_longer_pause():
    """A server's trouble that is noticed during the pause of a doubtful answer leaves it as it is."""
    world = World()
    world.use(Interrupted(lambda: world.gate.send([accepted_now()]), RETRY, DOUBTFUL))

    world.gate.send([accepted_now()])

    assert world.gate.pause_s() >= PROBE_S


def test_one_probe_goes_alone():
    """After a doubtful answer a single batch is tried; until its answer has come the others wait."""
    world, others = _in_doubt(), []

    def send_too():
        other = threading.Thread(target=lambda: others.append(world.gate.send([accepted_now()])))
        other.start()
        other.join(10)

    world.gate._transport = Interrupted(send_too)

    outcome = world.gate.send([accepted_now()])

    assert (others, outcome) == ([Outcome.HELD], Outcome.SENT)
    assert world.gate.send([accepted_now()]) is Outcome.SENT


def test_probe_that_raises_holds_nobody_up():
    """If the probe ends in an error the next batch is the probe."""
    world = _in_doubt()

    def fail():
        raise RuntimeError("planted")

    world.gate._transport = Interrupted(fail)
    outcome = world.gate.send([accepted_now()])
    world.now_s += world.gate.pause_s()

    assert outcome is Outcome.HELD
    assert world.gate.send([accepted_now()]) is Outcome.SENT


def test_probe_of_a_parent_is_not_a_childs():
    """A child that was forked during a probe may send."""
    world, outcomes = _in_doubt(), []

    def fork():
        world.gate._pauses.after_fork()
        outcomes.append(world.gate.send([accepted_now()]))

    world.gate._transport = Interrupted(fork)

    world.gate.send([accepted_now()])

    assert outcomes == [Outcome.SENT]


def test_rejection_by_posthog_ends_the_doubt():
    """PostHog's own word on one event shows that it is there: others need not wait for a probe."""
    world, outcomes = _in_doubt(), []
    world.transport.answers = [SPLIT]
    world.gate.send([accepted_now()])
    world.gate._transport = Interrupted(lambda: outcomes.append(world.gate.send([accepted_now()])))

    world.gate.send([accepted_now()])

    assert outcomes == [Outcome.SENT]
    assert world.counts.as_dict() == {"refused": 1, "sent": 2}


class Firewall(Scripted):
    """A transport behind a firewall that dislikes the number 0."""

    def send(self, batch, may_leave):
        super().send(batch, may_leave)
        return DOUBTFUL if any(event["properties"]["number"] == 0 for event in batch) else ACCEPTED


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_batch_that_nobody_can_judge_steps_behind_the_others(on_disk, is_on_disk):
    """A batch that alone gets a doubtful answer blocks no other, and waits."""
    world, firewall = World(), Firewall()
    if is_on_disk:
        world = on_disk(firewall)
    world.use(firewall)
    for number in range(4):
        world.gate.hold([accepted_now(number=number)])

    _drain(world)
    world.now_s += 2 * PROBE_S
    _drain(world)

    assert _numbers(firewall.batches) == [[0], [1], [2], [3], [0]]
    assert world.counts.as_dict() == {"sent": 3}
    [left] = world.spool.waiting()
    assert [event.properties["number"] for event in left.events] == [0]


def test_batch_that_steps_behind_keeps_its_age(on_disk, tmp_path):
    """However often a batch steps behind the others, it has waited since it was spooled."""
    world = on_disk(Scripted(DOUBTFUL))
    world.gate.hold([accepted_now()])

    def rows():
        with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
            connection.execute("UPDATE batches SET put_at_s = put_at_s - 100 WHERE id = 1")
            connection.commit()
            return connection.execute("SELECT id, put_at_s FROM batches").fetchall()

    [(first_id, put_at_s)] = rows()

    _drain(world)

    [(row_id, kept_at_s)] = rows()
    assert row_id > first_id
    assert kept_at_s == put_at_s


def test_rest_of_a_batch_takes_its_place(on_disk):
    """Of a batch of which a part was sent only the rest waits, and nothing is counted as dropped."""
    world = on_disk(Scripted(SPLIT, ACCEPTED, RETRY))
    world.gate.hold([accepted_now(number=number) for number in range(4)])

    _drain(world)

    [left] = world.spool.waiting()
    assert [event.properties["number"] for event in left.events] == [2, 3]
    assert world.counts.as_dict() == {"sent": 2}


def test_part_that_was_sent_is_not_sent_again_while_the_disk_fails(on_disk):
    """If the disk cannot replace a batch by its rest, the rest waits in memory and is sent alone."""

    class Failing(SpoolFile):
        """A file in which nothing can be replaced."""

        def replace(self, *_):
            raise sqlite3.OperationalError("planted")

    world = on_disk(Scripted(SPLIT, ACCEPTED, RETRY), Failing)
    world.gate.hold([accepted_now(number=number) for number in range(4)])
    batch = world.spool.first()

    is_done = [world.gate.resend(batch)]
    world.now_s += PROBE_S
    is_done.append(world.gate.resend(batch))

    assert is_done == [False, True]
    assert _numbers(world.transport.batches) == [[0, 1, 2, 3], [0, 1], [2, 3], [2, 3]]
    assert world.counts.as_dict() == {"sent": 4}


def test_quota_is_a_reason_of_its_own(caplog):
    """What the quota keeps PostHog from taking is dropped with a count, and the log says what to do."""
    world = World(Delivery(result=Result.QUOTA))

    report = world.gate.submit([accepted_now(), accepted_now()])

    assert report == Report(outcome=Outcome.LOST, refused=2)
    assert world.counts.as_dict() == world.counts.dropped() == {"quota": 2}
    [message] = warnings(caplog)
    assert "billing limit" in message


def test_each_event_has_its_verdict():
    """Of a batch that PostHog has sorted each event is sent, dropped or kept on its own."""
    events = [accepted_now(number=number) for number in range(5)]
    results = [Result.ACCEPTED, Result.REFUSED, Result.QUOTA, Result.RETRY]
    given = {str(event.uuid): result for event, result in zip(events, results, strict=False)}
    world = World(Delivery(result=Result.SORTED, verdicts=given))

    report = world.gate.submit(events)

    assert report == Report(outcome=Outcome.LOST, refused=2)
    assert world.counts.as_dict() == {"sent": 1, "refused": 1, "quota": 1}
    [left] = world.spool.waiting()
    assert [event.properties["number"] for event in left.events] == [3, 4]  # the last one has no verdict
    assert left.size_bytes == sum(event.size_bytes() for event in left.events)
    assert world.gate.pause_s() > 0
