"""What a product holds on to as ``telemetry.heartbeat``: register gauges, send, look."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from otel_posthog import acceptance
from otel_posthog.consent import Answer, Consent
from otel_posthog.errors import RegistryError
from otel_posthog.events import Event
from otel_posthog.mapping import Beat, heartbeat_event
from otel_posthog.preview import assumed, gate_granting
from otel_posthog.registry import Registry
from otel_posthog.schedule import latest_due, time_of_day
from otel_posthog.store import DatabaseMeasures

from .collecting import Collected, Collector
from .gauges import Callback, Gauge, make_gauge
from .reading import Reader
from .ready_made import Counting, Sources, ready_made
from .rounds import Result, RoundParts, Rounds
from .sleeper import Sleeper

if TYPE_CHECKING:
    from otel_posthog.transport import Transport

_C = TypeVar("_C", bound=Callback)

NO_INSTANCE = str(UUID(int=0))
"""Stands for the installation's id while there is none."""
_BUDGET_SHARE = 0.5  # of the lease, so that there is time to send


class Heartbeat:
    """Once a day, one event of this installation with a property for each registered gauge.

    Without a gauge there is no heartbeat.
    """

    def __init__(self, parts: RoundParts, *, registry: Registry, measures: DatabaseMeasures) -> None:
        self._parts = parts
        self._registry = registry
        self._measures = measures
        self._gauges: dict[str, Gauge] = {}
        self._reader = Reader()
        self._collector = Collector(
            lambda: list(self._gauges.values()), self._reader, timeout_s=parts.config.gauge_timeout_s
        )
        self.rounds = Rounds(parts)
        """What decides whether and when; `exporter.PostHogMetricExporter` shares it."""
        self._sleeper = Sleeper(self._act)

    def gauge(
        self, name: str, *, unit: str = "1", description: str = "", one_of: Collection[str] | None = None
    ) -> Callable[[_C], _C]:
        """Register the decorated function, sync or async, as the gauge of that name.

        It returns a number, a boolean or a short text (of `one_of`, if given), or None where it has
        nothing to say today. It is called only when a heartbeat is due: a sync function on a thread of
        its own, an async one on the application's event loop where there is one. Raises `RegistryError`
        for a name that cannot be used.
        """

        def register(callback: _C) -> _C:
            self._add(make_gauge(callback, name=name, unit=unit, description=description, one_of=one_of))
            return callback

        return register

    def use(self, *names: str, folder: Path | str | None = None, count: Counting | None = None) -> None:
        """Register ready-made gauges by name; docs/heartbeat.md lists them.

        `folder` is where the log files are, or whose disk is meant; `count` returns the number of users.
        Raises `RegistryError` for an unknown name, `MissingExtraError` where psutil is needed and absent.
        """
        sources = Sources(measures=self._measures, folder=Path(folder) if folder else None, count=count)
        for made in [ready_made(name, sources) for name in names]:
            self._add(made)

    def send_if_due(self) -> Result:
        """Send the heartbeat if one is owed and no other worker is at it; waits for gauges and PostHog."""
        return self.rounds.run(self._collect).result if self._is_wanted else Result.OFF

    def preview(self, transport: Transport) -> bool:
        """Hand today's heartbeat to this transport, as it would leave; tell whether one would be sent.

        It passes a gate like that of real events, takes no lease and sends nothing to PostHog.
        """
        consent = self._parts.watch.look()
        row = replace(assumed(None), instance_id=UUID(consent.instance_id or NO_INSTANCE))
        gate = gate_granting(row, registry=self._registry, config=self._parts.config, transport=transport)
        gate.send([self._event(str(row.instance_id))])
        return self._is_wanted and consent.telemetry is Answer.GRANTED

    def as_of_now(self, instance_id: str) -> Event | None:
        """Return the heartbeat that this instance would send now, or None without a gauge."""
        return self._event(instance_id) if self._gauges else None

    def next_due(self) -> datetime | None:
        """Return when the next heartbeat is due, or None without a gauge."""
        if not self._gauges:
            return None
        now_s = self._now_s()
        due = latest_due(now_s, time_of_day(self._parts.config.heartbeat_time))
        return datetime.fromtimestamp(round(now_s + due.next_in_s), tz=UTC)

    def use_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run async callbacks on the application's event loop, until `stop`."""
        self._reader.use_loop(loop)

    def delay(self, delay_s: float) -> None:
        """Let the first look at the lease wait so long after the next `open`: gauges may need a ready app."""
        self._sleeper.delay(delay_s)

    def open(self) -> None:
        """Allow the thread, until `stop`."""
        self.rounds.open()
        self._sleeper.open()

    def follow(self, consent: Consent) -> None:
        """Run the thread only while telemetry is granted; called after each look at consent."""
        if consent.telemetry is Answer.GRANTED and self._is_wanted:
            self._sleeper.ensure_running()
        elif consent.telemetry is Answer.DENIED:
            self._sleeper.let_go()
            self.rounds.forget_drops()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread; a heartbeat under way gets so long to be sent."""
        self._sleeper.stop(timeout_s)
        self.rounds.close()
        self._reader.use_loop(None)

    def after_fork(self) -> None:
        """Start afresh in a child: threads and locks are the parent's."""
        self._reader.after_fork()
        self.rounds.after_fork()
        self._sleeper.after_fork()

    @property
    def _is_wanted(self) -> bool:
        """Whether there is anything to tell, and OpenTelemetry's own switch has not been thrown."""
        return bool(self._gauges) and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"

    def _add(self, gauge: Gauge) -> None:
        if gauge.name in self._gauges:
            raise RegistryError(f"The gauge {gauge.name!r} is registered twice.")
        self._registry.declare_gauge(gauge.declared)
        self._gauges[gauge.name] = gauge

    def _event(self, instance_id: str) -> Event:
        collected = self._collect(lambda: True)
        beat = Beat(
            instance_id=instance_id,
            due_at=latest_due(self._now_s(), time_of_day(self._parts.config.heartbeat_time)).at,
            accepted_ns=acceptance.now_ns(),
        )
        news = self.rounds.news(self._parts.counts.dropped(), collected)
        return heartbeat_event(collected.metrics, beat, self._parts.base, news)

    def _collect(self, is_wanted: Callable[[], bool]) -> Collected:
        return self._collector.collect(self._parts.config.heartbeat_lease_s * _BUDGET_SHARE, is_wanted)

    def _act(self) -> float:
        return min(self.rounds.run(self._collect).pause_s, self._parts.config.heartbeat_check_s)

    def _now_s(self) -> float:
        return self._parts.clock() if self._parts.clock is not None else time.time()
