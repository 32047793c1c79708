"""The one door: order of its checks, batches, pauses and counts, with fakes through its seams."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import pytest
from gates import ACCEPTED, BREADCRUMBS, INSTANCE, Scripted, World, accepted_now, settings_row
from logs import warnings
from waiting import wait_until

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.delivery.gate import Outcome
from otel_posthog.delivery.prepare import Preparation
from otel_posthog.delivery.transport import Delivery, RecordingTransport, Result
from otel_posthog.errors import StoreError
from otel_posthog.events import Stamp
from otel_posthog.registry import Kind, MaxChars, Registry, event
from otel_posthog.scrubbing import Scrubber

WAIT_S = 5
FAR_TOO_LONG_S = 600


def test_granted_event_is_sent_as_posthogs_wire_object():
    """A granted event leaves with its frozen uuid and time and the instance's identity."""
    world = World()
    event = accepted_now(count=3)

    outcome = world.gate.send([event])

    assert outcome is Outcome.SENT
    assert world.transport.batches == [
        [
            {
                "uuid": str(event.uuid),
                "event": "happened",
                "distinct_id": str(INSTANCE),
                "timestamp": "2026-01-02T03:04:05.678+00:00",
                "properties": {"count": 3},
            }
        ]
    ]


def test_each_kind_is_sent_by_itself():
    """Errors and product events never share a POST, so that either can be withdrawn."""
    world = World()

    world.gate.send([accepted_now(), accepted_now("$exception"), accepted_now()])

    assert world.sent == [["$exception"], ["happened", "happened"]]


def test_denied_kind_is_discarded():
    """What the row denies is neither sent nor kept (R2)."""
    world = World(row=settings_row(enable_telemetry=True))

    world.gate.send([accepted_now("$exception"), accepted_now()])

    assert world.sent == [["happened"]]
    assert world.spool.first() is None
    assert world.counts.as_dict() == {"withdrawn": 1, "sent": 1}


@pytest.mark.parametrize("row", [StoreError("cannot read"), ValueError("a driver's own"), KeyError()])
def test_unknown_consent_holds(row):
    """While the row cannot be read events are kept scrubbed and nothing is sent (R2)."""
    world = World(row=row)

    outcome = world.gate.send([accepted_now(api_key="planted")])

    assert outcome is Outcome.HELD
    assert world.sent == []
    assert world.spool.first().events[0].properties == {"api_key": "[scrubbed:key]"}


def test_held_batch_leaves_once_consent_is_known():
    """A held batch is sent with the identity that is known by then."""
    world = World(row=StoreError("cannot read"))
    world.gate.send([accepted_now()])
    world.row = settings_row(enable_telemetry=True)

    is_done = world.gate.resend(world.spool.first())

    assert is_done
    assert world.transport.batches[0][0]["distinct_id"] == str(INSTANCE)


def test_held_batch_is_dropped_when_the_answer_is_no():
    """A held batch is done with, unsent, once the row denies its kind."""
    world = World(row=StoreError("cannot read"))
    world.gate.send([accepted_now()])
    world.row = settings_row()

    assert world.gate.resend(world.spool.first())
    assert world.sent == []


def test_spooled_event_that_was_withdrawn_is_counted_once():
    """Purging and the attempt that is under way meet the same event, and it is one that was withdrawn."""
    world = World(row=settings_row(enable_telemetry=True))
    world.watch.refresh()
    world.gate.hold([accepted_now()])
    batch = world.spool.first()
    world.row = settings_row(telemetry_generation=1)
    world.spool.purge(world.watch.refresh())

    assert world.gate.resend(batch)
    assert world.counts.as_dict() == {"withdrawn": 1}


def test_granted_without_identity_is_held():
    """A flag that is on without an instance UUID sends nothing, since nobody could be meant by it."""
    world = World(row=settings_row(enable_telemetry=True, instance_id=None))

    assert world.gate.send([accepted_now()]) is Outcome.HELD
    assert world.sent == []


def test_same_uuid_is_sent_once():
    """An event told twice is sent once."""
    world = World()
    event = accepted_now()

    world.gate.send([event, event])
    world.gate.send([event])

    assert world.sent == [["happened"]]


def test_memory_of_uuids_is_bounded():
    """Only the newest uuids are remembered."""
    world = World(uuid_memory=2)
    event = accepted_now()

    world.gate.send([event, accepted_now(), accepted_now()])
    world.gate.send([event])

    assert world.sent == [["happened"] * 3, ["happened"]]


def test_batches_are_bounded_in_number_and_bytes():
    """A batch holds no more events and bytes than the settings say."""
    by_number, by_bytes = World(batch_max_events=2), World(batch_max_bytes=1_000_000, event_max_bytes=900_000)
    large = {f"text_{number}": "x" * 200 for number in range(1000)}

    by_number.gate.send([accepted_now() for _ in range(5)])
    by_bytes.gate.send([accepted_now(**large) for _ in range(6)])

    assert [len(batch) for batch in by_number.transport.batches] == [2, 2, 1]
    assert [len(batch) for batch in by_bytes.transport.batches] == [4, 2]


def test_first_event_above_the_bound_of_a_batch_is_a_batch_of_its_own():
    """An event larger than `batch_max_bytes` waits alone, and no batch is empty."""
    world = World()
    world.preparation.config = replace(world.preparation.config, batch_max_bytes=1_000)
    large = {f"text_{number}": "x" * 150 for number in range(10)}

    events = [accepted_now(**large), accepted_now(**large), accepted_now()]

    world.gate.hold(events)

    assert [batch.events for batch in world.spool.waiting()] == [(event,) for event in events]


def test_too_large_event_is_set_aside():
    """An event over the limit is dropped with a count, the others go."""
    world = World(event_max_bytes=1000)

    world.gate.send([accepted_now(**{f"text_{number}": "x" * 100 for number in range(20)}), accepted_now()])

    assert world.sent == [["happened"]]
    assert world.counts.as_dict() == {"too_large": 1, "sent": 1}


def test_what_cannot_be_scrubbed_never_leaves():
    """An event on which scrubbing fails is dropped with a count, never sent raw."""

    class Hostile(dict):
        def items(self):
            raise RuntimeError("planted")

    world = World()
    hostile = accepted_now("$exception")
    report = {"type": "ValueError", "value": "v", "mechanism": {"meta": Hostile()}}
    object.__setattr__(hostile, "properties", {"$exception_list": [report]})

    outcome = world.gate.send([hostile])

    assert outcome is Outcome.NOTHING
    assert world.sent == []
    assert world.counts.as_dict() == {"unscrubbable": 1}


def test_outage_parks_deliveries():
    """After a failure what follows is spooled at once, until the pause is over."""
    world = World(Delivery(result=Result.RETRY, retry_after_s=30))

    first, second = world.gate.send([accepted_now()]), world.gate.send([accepted_now()])

    assert (first, second) == (Outcome.HELD, Outcome.HELD)
    assert len(world.transport.batches) == 1
    assert world.gate.pause_s() == pytest.approx(30)


def test_pause_doubles_and_ends_with_success():
    """Pauses grow with each failure up to the setting, and a success forgets them."""
    failed = Delivery(result=Result.RETRY)
    world = World(failed, failed, failed, failed, retry_initial_s=1, retry_max_s=4)
    world.gate.send([accepted_now()])
    batch = world.spool.first()
    pauses = [world.gate.pause_s()]
    for _ in range(3):
        world.now_s += 10
        assert not world.gate.resend(batch)
        pauses.append(world.gate.pause_s())

    world.now_s += 10
    is_done = world.gate.resend(batch)

    assert is_done
    assert world.gate.pause_s() < 0
    world.transport.answers = [failed]
    world.gate.send([accepted_now()])
    pauses.append(world.gate.pause_s())
    for pause, expected in zip(pauses, [1, 2, 4, 4, 1], strict=True):
        assert pause == pytest.approx(expected, rel=0.21)  # the jitter, both ways


def test_refused_batch_is_halved_until_the_bad_event_is_found():
    """A batch that PostHog refuses is halved, so that one bad event costs only itself."""
    refused = Delivery(result=Result.SPLIT, reason="status 400")
    world = World(refused, refused, refused, ACCEPTED, ACCEPTED)

    outcome = world.gate.send([accepted_now(number=number) for number in range(4)])

    numbers = [[event["properties"]["number"] for event in batch] for batch in world.transport.batches]
    assert numbers == [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3]]
    assert outcome is Outcome.LOST
    assert world.counts.as_dict() == {"refused": 1, "sent": 3}


def test_outage_in_the_middle_of_halving_loses_nothing():
    """When PostHog goes away while a batch is halved, what was not sent waits in the spool."""
    refused = Delivery(result=Result.SPLIT, reason="status 400")
    world = World(refused, ACCEPTED, Delivery(result=Result.RETRY))

    world.gate.send([accepted_now(number=number) for number in range(4)])

    waiting = [event.properties["number"] for event in world.spool.first().events]
    assert waiting == [2, 3]
    assert world.counts.as_dict() == {"sent": 2}


def test_withdrawal_while_the_connection_is_made():
    """A transport that asks for leave after a withdrawal gets a no, and the events are discarded."""
    world = World()

    class Slow:
        """A transport whose connection stands only after the withdrawal."""

        def send(self, _batch, may_leave):
            world.row = settings_row()
            world.watch.refresh()
            return Delivery(result=Result.ACCEPTED if may_leave() else Result.WITHDRAWN)

        def close(self):
            """Do nothing."""

    world.use(Slow())

    outcome = world.gate.send([accepted_now()])

    assert outcome is not Outcome.SENT
    assert world.spool.first() is None
    assert world.counts.as_dict() == {"withdrawn": 1}


def test_end_of_a_post_wakes_who_waits_for_it():
    """A withdrawal that waits for a POST in progress returns with its end, not at its time limit."""
    world = World()
    began, may_end = threading.Event(), threading.Event()

    class Slow:
        def send(self, _batch, _may_leave):
            began.set()
            assert may_end.wait(WAIT_S)
            return ACCEPTED

    world.use(Slow())
    sending = threading.Thread(target=world.gate.send, args=([accepted_now()],))
    idle = []
    waiting = threading.Thread(
        target=lambda: idle.append(world.gate.wait_until_idle(Kind.TELEMETRY, FAR_TOO_LONG_S)), daemon=True
    )
    sending.start()
    assert began.wait(WAIT_S)
    waiting.start()
    wait_until(lambda: sys._current_frames()[waiting.ident].f_code.co_name == "wait")

    may_end.set()
    sending.join(WAIT_S)
    waiting.join(WAIT_S)

    assert idle == [True]


def test_withdrawal_by_another_worker_while_the_connection_is_made():
    """Where to connect takes longer than an answer may be old, the row is asked again (R4)."""
    world = World()

    class Slow:
        """A transport whose connection stands only after another worker's withdrawal."""

        def send(self, _batch, may_leave):
            world.row = settings_row()
            return Delivery(result=Result.ACCEPTED if may_leave() else Result.WITHDRAWN)

        def close(self):
            """Do nothing."""

    world.use(Slow())

    outcome = world.gate.send([accepted_now()])

    assert outcome is not Outcome.SENT
    assert world.counts.as_dict() == {"withdrawn": 1}


def test_success_does_not_end_a_pause_that_was_asked_for_meanwhile():
    """A request that was under way when PostHog asked for a pause says nothing about it."""
    world = World()

    class Slow(Scripted):
        """A transport in whose first call another thread is asked to wait."""

        def send(self, batch, may_leave):
            delivery = super().send(batch, may_leave)
            if len(self.batches) == 1:
                world.gate.send([accepted_now()])
            return delivery

    world.use(Slow(ACCEPTED, Delivery(result=Result.RETRY, retry_after_s=30)))

    world.gate.send([accepted_now()])

    assert world.gate.pause_s() == pytest.approx(30)


@pytest.mark.parametrize(("is_closed", "row"), [(True, {}), (False, {"enable_error_reporting": True})])
def test_connection_that_was_opened_after_a_withdrawal_is_closed(is_closed, row):
    """A withdrawal of everything during a POST leaves no connection open; one of a kind keeps it."""
    world = World()

    class Withdrawing(Scripted):
        """A transport that opens its connection only after the withdrawal has closed all."""

        def send(self, batch, may_leave):
            world.row = settings_row(**row)
            world.watch.refresh()
            return super().send(batch, may_leave)

    transport = Withdrawing()
    world.use(transport)

    world.gate.send([accepted_now()])

    assert transport.is_closed is is_closed


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, ["run_finished", "slow"]),
        ({"telemetry_generation": 1}, ["slow"]),
        ({"enable_telemetry": False}, ["slow"]),
        ({"errors_generation": 1}, None),
    ],
    ids=["granted", "withdrawn and granted again", "withdrawn", "errors withdrawn"],
)
def test_breadcrumbs_from_before_a_withdrawal_are_not_sent(changes, left):
    """An exception keeps the names of product events only under the consent of their time."""
    world = World()
    world.watch.refresh()
    failure = accepted_now("$exception", **{"$exception_steps": BREADCRUMBS})
    world.row = replace(world.row, **changes)

    world.gate.send([failure])

    sent = [event["properties"]["$exception_steps"] for batch in world.transport.batches for event in batch]
    assert [[step["$message"] for step in steps] for steps in sent] == ([] if left is None else [left])


def test_unregistered_event_is_counted():
    """What the registry does not admit stays behind and is counted."""
    world = World()

    outcome = world.gate.send([accepted_now("$set")])

    assert outcome is Outcome.NOTHING
    assert world.counts.as_dict() == {"unregistered": 1}


def test_mark_of_scrubbing_keeps_to_the_declaration():
    """What stands in for a secret leaves only where the declaration has room for it."""

    @event("noted", why="to know", since="1.0")
    class Noted:
        """Something was noted."""

        short: Annotated[str, MaxChars(13)]
        long: Annotated[str, MaxChars(40)]

    world = World(registry=[Noted])

    world.gate.send([accepted_now("noted", short="a@example.com", long="a@example.com")])

    assert world.transport.batches[0][0]["properties"] == {"long": "[scrubbed:email]"}
    assert world.counts.as_dict() == {"outside_declaration": 1, "sent": 1}


def test_consent_that_becomes_known_at_the_door():
    """An event prepared before consent was known leaves no wider than what was agreed to."""

    @event("noted", why="to know", since="1.0")
    class Before:
        """Something was noted."""

        agreed: bool

    @event("noted", why="to know", since="2.0")
    class After:
        """Something was noted."""

        agreed: bool
        added: bool

    granted = Registry([Before]).manifest(Kind.TELEMETRY)
    row = settings_row(enable_telemetry=True, telemetry_manifest=granted.hash)
    world = World(row=[StoreError("cannot read"), row], registry=[After])
    world.registry.remember(granted.hash, lambda _name: granted.text)

    outcome = world.gate.send([accepted_now("noted", agreed=True, added=True)])

    assert outcome is Outcome.SENT
    assert world.transport.batches[0][0]["properties"] == {"agreed": True}


def test_startup_test_is_for_development_only():
    """The door for the test at the start is shut everywhere but in development (R19)."""
    production, development = World(environment="production"), World(environment="development")

    outcomes = [
        world.gate.send_startup_test(accepted_now("$exception")) for world in (production, development)
    ]

    assert outcomes == [Outcome.NOTHING, Outcome.SENT]
    assert production.sent == []
    assert development.transport.is_closed


def test_held_events_wait_without_an_attempt():
    """What there is no time to send is spooled scrubbed, under the consent that is known."""
    world = World(row=settings_row(enable_telemetry=True, telemetry_generation=4))
    world.watch.refresh()

    outcome = world.gate.hold([accepted_now(api_key="planted"), accepted_now("$exception")])

    batch = world.spool.first()
    assert (outcome, world.sent) == (Outcome.HELD, [])
    assert [dict(event.properties) for event in batch.events] == [{"api_key": "[scrubbed:key]"}]
    assert batch.stamp == Stamp(generation=4, instance_id=str(INSTANCE))


@pytest.mark.parametrize(
    ("changes", "is_sent"),
    [
        ({}, True),
        ({"telemetry_generation": 5}, False),
        ({"instance_id": UUID(int=9)}, False),
        ({"errors_generation": 7}, True),
        ({"enable_telemetry": False}, False),
    ],
    ids=["same", "withdrawn since", "another instance", "other kind", "denied"],
)
def test_batch_of_an_earlier_process_is_judged_by_its_stamp(changes, is_sent):
    """After a restart generation and instance tell whether a batch may leave, not clocks."""
    row = settings_row(enable_error_reporting=True, enable_telemetry=True, telemetry_generation=4)
    earlier = World(row=row)
    earlier.watch.refresh()
    earlier.gate.hold([accepted_now()])
    batch = earlier.spool.first()
    of_long_ago = replace(batch, events=tuple(replace(event, accepted_ns=1) for event in batch.events))
    world = World(row=replace(row, **changes))
    transport = RecordingTransport()
    world.use(transport)

    is_done = world.gate.resend(of_long_ago)

    assert is_done
    assert [event["event"] for event in transport.events] == (["happened"] if is_sent else [])


def test_unstamped_batch_of_long_ago_is_dropped_where_there_was_a_withdrawal():
    """What was held before consent was ever known is not sent if it may have been withdrawn since."""
    earlier = World(row=StoreError("cannot read"))
    earlier.gate.send([replace(accepted_now(), accepted_ns=1)])
    world = World(row=settings_row(enable_telemetry=True, telemetry_generation=1))

    assert world.gate.resend(earlier.spool.first())
    assert world.sent == []


def test_event_between_a_no_and_a_grant_is_never_sent():
    """It waits while the database fails, and a later grant does not reach back, in any process."""
    world = World(row=settings_row())
    world.watch.refresh()
    world.row = StoreError("cannot read")
    world.watch.refresh()
    assert world.gate.send([accepted_now()]) is Outcome.HELD
    batch, granted = world.spool.first(), settings_row(enable_telemetry=True)
    world.row, later = granted, World(row=granted)

    are_done = [each.gate.resend(batch) for each in (world, later)]

    assert are_done == [True, True]
    assert [world.sent, later.sent] == [[], []]


def test_unknown_consent_purges_nothing():
    """A worker that cannot read the row leaves alone what another one has spooled since."""
    world = World(row=settings_row(enable_telemetry=True, telemetry_generation=1))
    world.watch.refresh()
    newer = World(row=settings_row(enable_telemetry=True, telemetry_generation=2))
    newer.watch.refresh()
    newer.gate.hold([accepted_now()])
    world.spool.put(newer.spool.first())
    world.row = StoreError("cannot read")

    world.spool.purge(world.watch.refresh())

    assert world.spool.first() is not None


def test_what_is_under_way_at_the_end_is_spooled():
    """A first attempt that has not returned when the process ends is kept, and once only."""
    world = World()

    class Stuck:
        """A transport in whose call the process ends."""

        def send(self, _batch, _may_leave):
            world.gate.hold_unfinished()
            return Delivery(result=Result.RETRY)

        def close(self):
            """Do nothing."""

    world.use(Stuck())

    world.gate.send([accepted_now(number=1)])

    batch = world.spool.first()
    assert [event.properties["number"] for event in batch.events] == [1]
    world.spool.remove(batch)
    assert world.spool.first() is None


def test_what_is_being_made_ready_at_the_end_is_spooled():
    """A batch that waits for the database when the process ends is kept, and once only."""
    world = World()
    world.on_read = world.gate.hold_unfinished

    outcome = world.gate.send([accepted_now(number=1), accepted_now(number=2)])

    assert (outcome, world.sent) == (Outcome.HELD, [])
    batch = world.spool.first()
    assert [event.properties["number"] for event in batch.events] == [1, 2]
    world.spool.remove(batch)
    assert world.spool.first() is None


def test_what_waits_for_the_database_at_the_end_is_prepared_once():
    """An event that is dropped while it is prepared is counted once if the process ends before that."""
    world = World()
    world.on_read = world.gate.hold_unfinished

    world.gate.send([accepted_now("$set")])

    assert world.counts.as_dict() == {"unregistered": 1}


@pytest.mark.parametrize("is_hanging", [False, True])
def test_what_is_being_prepared_at_the_end_is_prepared_once(is_hanging):
    """The end waits for a hook for a moment; after that the batch is spooled by its own thread."""
    world = World()
    asked, is_asked, is_released = [], threading.Event(), threading.Event()

    def before_send(event):
        asked.append(event.uuid)
        is_asked.set()
        is_released.wait(WAIT_S)
        return event

    _prepare_by(world, Preparation, before_send=before_send)
    sending = threading.Thread(target=world.gate.send, args=([accepted_now()],), daemon=True)
    sending.start()
    assert is_asked.wait(WAIT_S)
    if not is_hanging:
        threading.Timer(0.1, is_released.set).start()

    world.gate.hold_unfinished()

    is_released.set()
    sending.join(WAIT_S)
    assert [[event.uuid for event in batch.events] for batch in world.spool.waiting()] == [asked]
    assert (len(asked), world.sent) == (1, [])


def test_end_waits_for_what_is_being_written():
    """A batch that its thread is about to spool is on disk when the process ends."""
    world = World(Delivery(result=Result.RETRY))
    is_writing, is_released, order = threading.Event(), threading.Event(), []
    put = world.spool.put

    def put_slowly(batch):
        is_writing.set()
        is_released.wait(WAIT_S)
        order.append("written")
        return put(batch)

    world.spool.put = put_slowly
    sending = threading.Thread(target=world.gate.send, args=([accepted_now(number=1)],), daemon=True)
    sending.start()
    assert is_writing.wait(WAIT_S)
    threading.Timer(0.1, is_released.set).start()

    world.gate.hold_unfinished()
    order.append("ended")

    sending.join(WAIT_S)
    assert order == ["written", "ended"]


@pytest.mark.parametrize("place", ["consent", "clock", "transport"])
def test_fault_costs_no_event(place, caplog):
    """What could not be sent because something raised is kept, once, and the log names the type."""
    world = World()

    def fail(*_arguments):
        raise KeyError("planted")

    if place == "consent":
        world.watch.on_read = fail
    elif place == "clock":
        del world.now_s
    else:
        world.transport.send = fail

    outcome = world.gate.send([accepted_now()])

    world.gate.hold_unfinished()
    assert outcome is Outcome.HELD
    assert [len(batch.events) for batch in world.spool.waiting()] == [1]
    [line] = warnings(caplog)
    assert ("AttributeError" if place == "clock" else "KeyError") in line
    assert "planted" not in line


@pytest.mark.parametrize("way", ["send", "hold"])
def test_events_that_cannot_be_prepared_are_dropped(way, caplog):
    """A fault in the preparation raises nothing and is counted, since nothing may be kept unprepared."""
    world = World()

    class Broken(Preparation):
        """A preparation of which every batch fails."""

        def batches(self, kind, events, consent):
            raise KeyError("planted")

    _prepare_by(world, Broken)

    outcome = getattr(world.gate, way)([accepted_now(), accepted_now()])

    assert (outcome, world.spool.waiting()) == (Outcome.NOTHING, [])
    assert world.counts.as_dict()["unscrubbable"] == 2
    assert "KeyError" in warnings(caplog)[0]


def test_batch_that_comes_after_the_one_under_way_is_spooled_at_the_end():
    """Of several batches those that have not begun when the process ends are kept, too."""
    world = World(batch_max_events=1)

    class Stuck(Scripted):
        """A transport in whose first call the process ends."""

        def send(self, batch, may_leave):
            super().send(batch, may_leave)
            world.gate.hold_unfinished()
            return Delivery(result=Result.RETRY)

    transport = Stuck()
    world.use(transport)

    world.gate.send([accepted_now(number=number) for number in range(3)])

    assert len(transport.batches) == 1
    waiting = [event.properties["number"] for batch in world.spool.waiting() for event in batch.events]
    assert sorted(waiting) == [0, 1, 2]


def test_batch_that_waits_for_a_later_attempt_is_spooled_at_the_end():
    """What was tried before the batch in progress, and has to wait, is kept when the process ends."""
    world = World(batch_max_events=1)

    class Stuck(Scripted):
        """A transport that loses consent for one batch, and in whose next call the process ends."""

        def send(self, batch, may_leave):
            super().send(batch, may_leave)
            if len(self.batches) == 1:
                return Delivery(result=Result.WITHDRAWN)
            world.gate.hold_unfinished()
            return Delivery(result=Result.RETRY)

    world.use(Stuck())

    world.gate.send([accepted_now(number=number) for number in range(2)])

    waiting = [event.properties["number"] for batch in world.spool.waiting() for event in batch.events]
    assert sorted(waiting) == [0, 1]


def test_what_was_spooled_at_the_end_does_not_leave_late():
    """A request that gets its connection only after the end has spooled its batch sends nothing."""
    world = World()

    class Late:
        """A transport whose connection stands when the process has given it up."""

        def send(self, _batch, may_leave):
            world.gate.hold_unfinished()
            return Delivery(result=Result.ACCEPTED if may_leave() else Result.WITHDRAWN)

        def close(self):
            """Do nothing."""

    world.use(Late())

    world.gate.send([accepted_now()])

    assert world.counts.as_dict() == {}
    world.spool.remove(world.spool.first())
    assert world.spool.first() is None


def test_several_poisoned_events():
    """Each of several events that PostHog refuses is found and set aside, wherever they stand."""
    poisoned = {0, 3, 4, 250, 498, 499}

    class Picky(Scripted):
        """A transport that refuses a batch with a poisoned event in it."""

        def send(self, batch, may_leave):
            super().send(batch, may_leave)
            numbers = {event["properties"]["number"] for event in batch}
            return Delivery(result=Result.SPLIT) if numbers & poisoned else ACCEPTED

    world = World(batch_max_events=500)
    world.use(Picky())

    world.gate.send([accepted_now(number=number) for number in range(500)])

    assert world.counts.as_dict() == {"refused": len(poisoned), "sent": 500 - len(poisoned)}
    assert world.spool.first() is None


def test_large_event_is_trimmed_and_counted():
    """An event above the limit leaves shortened, marked and counted."""
    world = World(event_max_bytes=5_000)

    chain = [{"type": "LookupError", "value": "x" * 9_000}]
    world.gate.send([accepted_now("$exception", **{"$exception_list": chain})])

    [[sent]] = world.transport.batches
    assert sent["properties"]["otel_posthog_trimmed"] is True
    assert world.counts.as_dict() == {"trimmed": 1, "sent": 1}


def test_outage_keeps_what_was_accepted_under_a_grant_known_elsewhere():
    """What another process accepted under the present grant waits, though this one has just learnt of it."""
    world = World(Delivery(result=Result.RETRY), row=settings_row())
    world.watch.refresh()
    stamp = Stamp(generation=1, instance_id=str(INSTANCE))
    event = replace(accepted_now(), stamp=stamp)
    world.row = settings_row(enable_telemetry=True, telemetry_generation=1)

    outcome = world.gate.send([event])

    assert outcome is Outcome.HELD
    assert [len(batch.events) for batch in world.spool.waiting()] == [1]
    assert "withdrawn" not in world.counts.as_dict()


def _prepare_by(world, preparation, **hooks):
    """Give the world's gate a preparation of that class."""
    world.preparation = preparation(
        Config.resolve({}, {}),
        registry=world.registry,
        scrubber=Scrubber(),
        counts=world.counts,
        log_limiter=LogLimiter(),
        **hooks,
    )
    world.use(world.transport)
