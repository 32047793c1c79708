"""How long the gate pauses after a failure, and what it logs about failures."""

from __future__ import annotations

import pytest
from gates import ACCEPTED, Scripted, World, accepted_now
from logs import warnings

from otel_posthog.delivery.gate import Outcome
from otel_posthog.delivery.transport import Delivery, Result

RETRY = Delivery(result=Result.RETRY, reason="status 503")
REFUSED = Delivery(result=Result.REFUSED, reason="status 401")


def test_first_event_is_sent_on_a_clock_that_begins_at_zero():
    """A gate begins without a pause, whatever its clock shows."""
    world = World()
    world.now_s = 0.0

    assert world.gate.send([accepted_now()]) is Outcome.SENT


def test_pause_ends_on_time():
    """A batch waits until the pause is over, and a success at that moment ends the series of failures."""
    world = World(Delivery(result=Result.RETRY, retry_after_s=30), ACCEPTED, RETRY)
    world.gate.send([accepted_now()])
    batch = world.spool.first()

    world.now_s += 29.5
    is_done_early = world.gate.resend(batch)
    world.now_s += 0.5
    is_done = world.gate.resend(batch)

    assert (is_done_early, is_done) == (False, True)
    assert world.gate.send([accepted_now()]) is Outcome.HELD
    assert world.gate.pause_s() == pytest.approx(1, rel=0.21)


def test_success_does_not_end_failures_that_began_meanwhile():
    """A request that was under way when another one failed says nothing about the next pause."""
    world = World(retry_initial_s=0.5)

    class Slow(Scripted):
        """A transport in whose first call a later one fails."""

        def send(self, batch, may_leave):
            delivery = super().send(batch, may_leave)
            if len(self.batches) == 1:
                world.gate.send([accepted_now()])
            return delivery

    world.use(Slow(ACCEPTED, RETRY, RETRY))
    world.gate.send([accepted_now()])
    world.now_s += 1

    world.gate.send([accepted_now()])

    assert world.gate.pause_s() == pytest.approx(1, rel=0.21)


def test_pauses_vary_by_a_fifth_both_ways():
    """Installations do not all return at once after an outage."""
    world = World()
    pauses_s = []

    for _ in range(200):
        world.transport.answers = [RETRY]
        world.gate.send([accepted_now()])
        pauses_s.append(world.gate.pause_s())
        world.now_s += 2
        world.gate.send([accepted_now()])

    assert 0.799 < min(pauses_s) < 0.9
    assert 1.1 < max(pauses_s) < 1.201


def test_outage_is_logged_with_its_reason(caplog):
    """The log says why events wait, and where to look."""
    World(RETRY).gate.send([accepted_now()])

    [message] = warnings(caplog, "otel_posthog.delivery.settling")
    assert message == (
        "PostHog is out of reach, so events are kept and sent later: status 503. "
        "Check the host setting and the network."
    )


def test_rejection_is_logged_with_its_reason(caplog):
    """The log says why events were rejected, how many, and how to find them."""
    first, second = accepted_now(), accepted_now("happened_too")

    World(REFUSED).gate.send([first, second])

    [message] = warnings(caplog, "otel_posthog.delivery.settling")
    assert message == (
        "PostHog rejected events, so they are dropped: status 401 "
        f"(2 of them, first happened, uuid {first.uuid})"
    )


def test_missing_project_key_is_logged(caplog):
    """Without a project API key events are dropped, and the log names the variable to set."""
    world = World()
    world.use(None)

    outcome = world.gate.send([accepted_now()])

    assert outcome is Outcome.LOST
    [message] = warnings(caplog, "otel_posthog.delivery.settling")
    assert "no project API key is set (POSTHOG_API_KEY)" in message
