"""Where events leave for PostHog: a gate with consent, transport and what waits.

Stateless by default: what PostHog does not take now is turned back to the sender, who keeps it. With a
folder for the spool it is kept there; it goes before what was promised is broken, so a full spool turns
new events back and drops no old ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from otel_posthog._otel import suppressed_instrumentation
from otel_posthog.config import Config
from otel_posthog.consent import Answer, Consent, ConsentWatch
from otel_posthog.counts import Counts
from otel_posthog.durable_spool import DurableSpool
from otel_posthog.errors import RegistryError, StoreError
from otel_posthog.events import Event
from otel_posthog.gate import Gate, Parts
from otel_posthog.notices import Notices
from otel_posthog.outgoing import Outgoing
from otel_posthog.registry import Kind, Registry
from otel_posthog.scrubbing import Scrubber
from otel_posthog.settings import Settings
from otel_posthog.spool import Drainer, MemorySpool
from otel_posthog.spool_file import PromisedSpoolFile
from otel_posthog.store import SettingsStore
from otel_posthog.transport import Delivery, Result, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)
_EVERYBODY = Settings(
    is_setup_completed=True,
    enable_error_reporting=True,
    enable_telemetry=True,
    instance_id=UUID(int=0),
    errors_generation=0,
    telemetry_generation=0,
)
"""What stands in for a row where each record's own stamps are the consent."""
_STOP_S = 5.0


class BusyError(Exception):
    """Nothing was taken; the sender may try again after so many seconds."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all outlets of one gateway have in common."""

    config: Config
    registry: Registry
    scrubber: Scrubber
    transport: Transport
    counts: Counts
    notices: Notices


class Outlet:
    """Send the events of one installation's database, or of all where none is looked at."""

    def __init__(self, shared: Shared, *, folder: Path | None, database: str | None) -> None:
        self._shared = shared
        config = shared.config
        self._store = (
            None if database is None else SettingsStore(database, timeout_s=config.database_timeout_s)
        )
        self._watch = ConsentWatch(
            self._read,
            max_age_s=config.consent_max_age_s,
            is_disabled=config.disabled,
            notices=shared.notices,
            on_change=self._follow,
        )
        file = None
        if folder is not None:
            file = PromisedSpoolFile(
                folder,
                max_bytes=config.spool_max_bytes,
                max_age_s=config.spool_max_age_s,
                counts=shared.counts,
                notices=shared.notices,
            )
        self._spool = DurableSpool(
            file,
            memory=MemorySpool(max_bytes=0, on_put=_nothing),
            on_put=self._wake_drainer,
            notices=shared.notices,
        )
        self._gate = Gate(
            Parts(
                watch=self._watch,
                registry=shared.registry,
                scrubber=shared.scrubber,
                transport=_Patient(shared.transport),
                spool=self._spool,
                counts=shared.counts,
                notices=shared.notices,
            ),
            config,
        )
        self._drainer = Drainer(
            self._spool,
            attempt=self._gate.resend,
            pause=self._gate.pause_s,
            watch=lambda: self._watch.look().is_on,
            interval_s=config.consent_max_age_s,
            notices=shared.notices,
        )
        self._is_durable = file is not None
        self._under_way: set[UUID] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Look at consent, and send what waits."""
        self._drainer.open()
        self._watch.look()
        if self._is_durable:
            self._drainer.ensure_running()

    def stop(self) -> None:
        """Stop the thread and close what is open; what waits on disk stays there."""
        self._drainer.stop(_STOP_S)
        self._watch.close(_STOP_S)
        self._spool.close()
        if self._store is not None:
            self._store.close()

    def speaks_for(self, instance_id: str) -> bool:
        """Tell whether that installation's consent is looked up here."""
        return self._store is None or self._consent().instance_id == instance_id

    def is_ready(self) -> bool:
        """Tell whether events would be taken now."""
        consent = self._consent()
        is_known = Answer.UNKNOWN not in (consent.errors, consent.telemetry)
        return is_known and (self._is_durable or self._gate.pause_s() <= 0)

    def send(self, events: Sequence[Event]) -> int:
        """Send the events and return how many PostHog refused for good; raise `BusyError` for none taken.

        An event that another request is sending at this moment may still fail there, so it is not
        acknowledged here either.
        """
        with self._alone_with({event.uuid for event in events}):
            consent = self._consent(events)
            if any(consent.answer(event.kind) is Answer.UNKNOWN for event in events):
                raise BusyError(self._shared.config.retry_initial_s)
            report = self._gate.submit(events)
            if report.unkept:
                self._gate.forget(events)
                raise BusyError(self._gate.pause_s())
            return report.refused

    @contextmanager
    def _alone_with(self, uuids: set[UUID]) -> Iterator[None]:
        with self._lock:
            if not self._under_way.isdisjoint(uuids):
                raise BusyError(self._shared.config.retry_initial_s)
            self._under_way |= uuids
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= uuids

    def _consent(self, events: Sequence[Event] = ()) -> Consent:
        """Return the last answer where it is recent, and not older than the grants of the events."""
        consent = self._watch.recent()
        if consent is None or (self._store is not None and _is_before(consent, events)):
            return self._watch.look()
        return consent

    def _read(self) -> Settings | None:
        if self._store is None:
            return _EVERYBODY
        with suppressed_instrumentation():
            row = self._store.read()
            for name in {row.manifest(kind) for kind in Kind} - {None} if row is not None else ():
                self._remember(str(name), self._store)
            return row

    def _remember(self, name: str, store: SettingsStore) -> None:
        try:
            self._shared.registry.remember(name, store.manifest)
        except RegistryError as error:
            raise StoreError(str(error)) from error

    def _wake_drainer(self) -> None:
        self._drainer.wake()

    def _follow(self, consent: Consent) -> None:
        self._gate.discard(consent)


def _is_before(consent: Consent, events: Sequence[Event]) -> bool:
    return any(
        (event.stamp.generation or 0) > (consent.stamp(event.kind).generation or 0) for event in events
    )


class _Patient:
    """A transport for which a wrong key or address is an outage: what was promised waits for its remedy."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def send(self, batch: Outgoing, may_leave: Callable[[], bool]) -> Delivery:
        delivery = self._inner.send(batch, may_leave)
        return replace(delivery, result=Result.RETRY) if delivery.result is Result.REFUSED else delivery

    def close(self) -> None:
        self._inner.close()


def _nothing() -> None:
    """Do nothing: memory keeps nothing here."""
