"""Register gauges and send the daily heartbeat: the object behind ``telemetry.heartbeat``."""

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

from otel_posthog._runtime.threads import Worker
from otel_posthog.config.settings import SDK_SWITCH, is_off_by, time_of_day
from otel_posthog.consent.state import Answer, Consent
from otel_posthog.delivery.dry_run import assumed, gate_granting
from otel_posthog.errors import RegistryError
from otel_posthog.events import Event
from otel_posthog.otel import records
from otel_posthog.registry import Kind, Registry
from otel_posthog.store import Database

from .gauges import (
    Callback,
    Collected,
    Gauge,
    GaugeInputs,
    GaugeReader,
    UserCount,
    built_in_gauge,
    make_gauge,
)
from .rounds import Result, RoundParts, Rounds, latest_due

if TYPE_CHECKING:
    from otel_posthog.delivery.transport import Transport

_C = TypeVar("_C", bound=Callback)

# Shown as the installation's id while it has none.
NO_INSTANCE = str(UUID(int=0))
_BUDGET_SHARE = 0.5  # of the lease, for all gauges together; the rest is for sending


class Heartbeat:
    """Once a day, one event of this installation with a property for each registered gauge.

    Without a gauge there is no heartbeat.
    """

    def __init__(self, parts: RoundParts, *, registry: Registry, database: Database) -> None:
        self._parts = parts
        self._registry = registry
        self._database = database
        self._gauges: dict[str, Gauge] = {}
        self._reader = GaugeReader()
        # Decides when a heartbeat is sent; `exporter.PostHogMetricExporter` shares it.
        self.rounds = Rounds(parts)
        self._worker = Worker(self._act, "otel-posthog-heartbeat")

    def gauge(
        self, name: str, *, unit: str = "1", description: str = "", one_of: Collection[str] | None = None
    ) -> Callable[[_C], _C]:
        """Register the decorated function, sync or async, as the gauge of that name.

        It returns a number, a boolean or a short text (of `one_of`, if given), or None if it has no
        value today. It is called only when a heartbeat is due: a sync function on a separate thread, an
        async one on the application's event loop if there is one. Raises `RegistryError` for a name that
        cannot be used.
        """

        def register(callback: _C) -> _C:
            self._add(make_gauge(callback, name=name, unit=unit, description=description, one_of=one_of))
            return callback

        return register

    def use(self, *names: str, folder: Path | str | None = None, count: UserCount | None = None) -> None:
        """Register built-in gauges by name; docs/heartbeat.md lists them.

        `folder` holds the log files, or is on the disk to measure; `count` returns the number of users.
        Raises `RegistryError` for an unknown name, `MissingExtraError` if psutil is needed and missing.
        """
        inputs = GaugeInputs(database=self._database, folder=Path(folder) if folder else None, count=count)
        for gauge in [built_in_gauge(name, inputs) for name in names]:  # all, or none
            self._add(gauge)

    def send_if_due(self) -> Result:
        """Send the heartbeat if it is due and no other worker sends it; waits for gauges and PostHog."""
        return self.rounds.run(self._collect).result if self._is_on else Result.OFF

    def preview(self, transport: Transport) -> bool:
        """Pass today's heartbeat to this transport as it would leave; return whether it would be sent.

        It passes a gate like that of real events, and takes no lease.
        """
        consent = self._parts.watch.refresh()
        row = replace(assumed(None), instance_id=UUID(consent.instance_id or NO_INSTANCE))
        gate = gate_granting(row, registry=self._registry, config=self._parts.config, transport=transport)
        gate.send([self._event(str(row.instance_id))])
        return self._is_on and consent.kinds[Kind.TELEMETRY].answer is Answer.GRANTED

    def as_of_now(self, instance_id: str) -> Event | None:
        """Return the heartbeat that this installation would send now, or None without a gauge."""
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
        self._reader.loop = loop

    def delay(self, delay_s: float) -> None:
        """Delay the first round of the thread until `stop`: gauges may need the application ready."""
        self._worker.delay_s = delay_s

    def open(self) -> None:
        """Allow the thread, until `stop`."""
        self.rounds.is_open = True
        self._worker.open()

    def follow(self, consent: Consent) -> bool:
        """Run the thread only while telemetry is granted; return whether nothing remains to be done.

        Without a read or write, since a registration and an event loop call it too.
        """
        answer = consent.kinds[Kind.TELEMETRY].answer
        if answer is Answer.GRANTED:
            return not self._is_on or self._worker.ensure_running()
        if answer is Answer.DENIED:
            self._worker.end()
        return True

    def retire(self) -> None:
        """Send no heartbeat from this process by itself: another process does."""
        self._worker.retire()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread; a heartbeat in progress gets this long to be sent."""
        self._worker.stop(timeout_s)
        self.rounds.is_open = False
        self._reader.loop = None

    @property
    def _is_on(self) -> bool:
        """Whether there is a gauge, and OpenTelemetry is not switched off by its own variable."""
        return bool(self._gauges) and not is_off_by(SDK_SWITCH, os.environ)

    def _add(self, gauge: Gauge) -> None:
        if gauge.name in self._gauges:
            raise RegistryError(f"The gauge {gauge.name!r} is registered twice.")
        self._registry.declare_gauge(gauge.declared)
        self._gauges[gauge.name] = gauge
        self.follow(self._parts.watch.current)  # a grant that came before the gauge is not announced again

    def _event(self, instance_id: str) -> Event:
        accepted_ns = records.now_ns()
        collected = self._collect(lambda: True)
        due = latest_due(self._now_s(), time_of_day(self._parts.config.heartbeat_time))
        return self.rounds.event(due, instance_id, accepted_ns, collected, self._parts.spool.unreported())

    def _collect(self, is_wanted: Callable[[], bool]) -> Collected:
        config = self._parts.config
        return self._reader.collect(
            list(self._gauges.values()),
            timeout_s=config.gauge_timeout_s,
            budget_s=config.heartbeat_lease_s * _BUDGET_SHARE,
            is_wanted=is_wanted,
        )

    def _act(self) -> float | None:
        if not self._worker.is_open:
            return None  # stopped while it waited
        # Sooner than the next due time, in case the machine slept or its clock was set.
        return min(self.rounds.run(self._collect).pause_s, self._parts.config.heartbeat_check_s)

    def _now_s(self) -> float:
        return self._parts.clock() if self._parts.clock is not None else time.time()
