"""Many processes that want the same days: `racing_for_days.py <how many> <days> <URL>`.

Before each day they wait for each other, then all claim it; each prints the days that it got.
"""

from __future__ import annotations

import multiprocessing
import sys

from otel_posthog.config.settings import time_of_day
from otel_posthog.heartbeat.rounds import latest_due, stale_after_s
from otel_posthog.store import HeartbeatLease, SettingsStore

AT = time_of_day("03:00")
FIRST_DAY_S = 1_800_000_000
DAY_S = 86_400
LEASE_S = 600
BARRIER_TIMEOUT_S = 300


def race(url, days, barrier, won) -> None:
    """Claim each day once, at the same moment as the others."""
    store = SettingsStore(url, timeout_s=60)
    lease = HeartbeatLease(store.database)
    for day in range(days):
        now_s = FIRST_DAY_S + day * DAY_S
        due = latest_due(now_s, AT)
        barrier.wait(BARRIER_TIMEOUT_S)
        if lease.claim(due, lease_s=LEASE_S, stale_after_s=stale_after_s(LEASE_S), now_s=now_s):
            won.put(due.day)
    store.close()


def main(count: int, days: int, url: str) -> None:
    """Start the processes, and print every day that one of them got."""
    context = multiprocessing.get_context("fork")
    barrier, won = context.Barrier(count), context.SimpleQueue()
    children = [context.Process(target=race, args=(url, days, barrier, won)) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    while not won.empty():
        sys.stdout.write(f"{won.get()}\n")
    sys.exit(max(abs(child.exitcode or 0) for child in children))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
