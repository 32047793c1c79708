"""Accepted = sent + handed over + waiting + dropped, over processes, restarts, faults and withdrawals."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest
from ports import free_port
from thoroughness import IS_FULL
from trackers import WAIT_S, spooled_numbers, tracking
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.registry import Kind
from otel_posthog.testing import Fault, PostHogSink, serve

SEEDS = range(20) if IS_FULL else range(1)
STEPS = 40 if IS_FULL else 8
WORKERS = 2
FAULTS = (
    Fault(status=503, times=3),
    Fault(status=400, times=2),
    Fault(status=413, times=1),
    Fault(cut="before", times=2),
    Fault(cut="after", times=2),
    Fault(delay_s=0.1, times=5),
    Fault(redirect="http://127.0.0.1:9/", times=2),
)
SETTINGS = {"batch_max_events": 10, "spool_max_bytes": 100_000, "ledger_interval_s": 0.05}


@pytest.fixture
def granted_database(database_url):
    """Return the URL of a database in which product events have been granted."""
    _grant(database_url, is_granted=True)
    return database_url


def _grant(database_url, *, is_granted):
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_telemetry=is_granted)
    telemetry.shutdown()


def _balance(database_url):
    telemetry = Telemetry(database=database_url, environ={})
    balance = telemetry.delivery().by_kind()[Kind.TELEMETRY]
    telemetry.shutdown()
    return balance


class Day:
    """Random trouble for a few workers that share a database and a spool."""

    def __init__(self, chance, database_url, sink, url):
        self.chance, self.database_url, self.sink, self.url = chance, database_url, sink, url
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.tracked = 0

    def _worker(self):
        stack = ExitStack()
        return stack, stack.enter_context(tracking(self.url, self.database_url, **SETTINGS))

    def act(self):
        """Do one thing that happens to installations."""
        act = self.chance.choice([self.track, self.track, self.flood, self.break_down, self.restart])
        act()

    def track(self):
        self._track(self.chance.randrange(1, 60))

    def flood(self):
        self.sink.script([Fault(status=503, times=None)])
        self._track(600)

    def break_down(self):
        self.sink.script(self.chance.sample(FAULTS, k=3))

    def restart(self):
        index = self.chance.randrange(WORKERS)
        stack, product = self.workers[index]
        product.exit()
        stack.close()
        self.workers[index] = self._worker()

    def withdraw(self):
        _grant(self.database_url, is_granted=False)
        self.track()
        _grant(self.database_url, is_granted=True)
        self.track()

    def recover(self):
        """End the trouble, and every worker."""
        self.sink.script([])
        for stack, product in self.workers:
            product.ask("flush 30")
            product.exit()
            stack.close()

    def _track(self, number):
        _, product = self.chance.choice(self.workers)
        product.ask(f"track {self.tracked} {number}")
        self.tracked += number


@pytest.mark.parametrize("withdraws", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_accepted_event_has_one_place(granted_database, tmp_path, seed, withdraws, record_property):
    """After random faults of PostHog, a full spool, restarts and withdrawals the balance holds."""
    chance, sink, port = random.Random(seed), PostHogSink(max_events=100_000), free_port()
    with serve(sink, port=port):
        day = Day(chance, granted_database, sink, f"http://127.0.0.1:{port}")
        for step in range(STEPS):
            if withdraws and step == STEPS // 2:
                day.withdraw()
            day.act()
        day.recover()

    balance = _balance(granted_database)
    record_property("balance", str(balance))
    assert balance.unaccounted == 0, balance
    assert balance.waiting == len(spooled_numbers(tmp_path / "data" / "app.db-spool"))
    if not withdraws:
        assert balance.accepted == day.tracked
        assert balance.sent == len({event.uuid for event in sink.events})


def test_killed_process_shows_what_it_had_in_memory(granted_database):
    """Events in the memory of a process that is killed still count as accepted."""
    url = f"http://127.0.0.1:{free_port()}"
    settings = {"batch_delay_s": 60.0, "ledger_interval_s": 0.05}
    with tracking(url, granted_database, **settings) as product:
        product.ask("track 0 50")
        wait_until(lambda: _balance(granted_database).accepted == 50, timeout_s=WAIT_S)
        product.kill()

    balance = _balance(granted_database)
    assert (balance.accepted, balance.waiting, balance.unaccounted) == (50, 50, 0)
