"""Send the events of one installation: its consent, its gate, and what waits.

Stateless by default: events that PostHog does not accept now are rejected, and the sender keeps them. With
a folder for the spool they are kept there. Acknowledged events must not be lost, so a full spool rejects
new events and drops no old ones.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from otel_posthog._runtime.process import follow_forks
from otel_posthog.consent.state import Answer, Consent, Settings
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.delivery.dry_run import assumed
from otel_posthog.delivery.gate import Gate
from otel_posthog.delivery.prepare import Preparation
from otel_posthog.delivery.spool import Drainer, make_spool
from otel_posthog.delivery.spool_file import PromisedSpoolFile
from otel_posthog.delivery.transport import Transport
from otel_posthog.errors import RegistryError, StoreError
from otel_posthog.events import Event
from otel_posthog.store import SettingsStore

# In place of a row without a database: the stamps on each record are its consent. The id stays the same, or
# a restart would withdraw what the spool holds.
_STAMPED = replace(assumed(None), instance_id=UUID(int=0))
_STOP_S = 5.0


class BusyError(Exception):
    """Nothing was accepted; the sender may try again after so many seconds."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s = pause_s


class InstallationDelivery:
    """Send the events of the installation in one database, or of all installations without a database."""

    def __init__(
        self, preparation: Preparation, transport: Transport, *, folder: Path | None, database: str | None
    ) -> None:
        config, log_limiter = preparation.config, preparation.log_limiter
        self._registry = preparation.registry
        self._retry_s = config.retry_initial_s
        self._store = None
        if database is not None:
            self._store = SettingsStore(database, timeout_s=config.database_timeout_s)
        self._spool = make_spool(
            folder,
            config,
            counts=preparation.counts,
            log_limiter=log_limiter,
            file_type=PromisedSpoolFile,
            memory_max_bytes=0,  # what was acknowledged must outlive the process
        )
        self._watch = ConsentWatch(
            self._read,
            max_age_s=config.consent_max_age_s,
            is_disabled=config.disabled,
            log_limiter=log_limiter,
            on_change=self._spool.purge,
        )
        self._gate = Gate(preparation, watch=self._watch, transport=transport, spool=self._spool)
        self._drainer = Drainer(
            self._spool,
            attempt=self._gate.resend,
            pause=self._gate.pause_s,
            watch=lambda: self._watch.refresh().is_on,
            interval_s=config.consent_max_age_s,
            log_limiter=log_limiter,
        )
        self._is_durable = folder is not None
        self._in_progress: set[tuple[str | None, UUID]] = set()
        self._lock = threading.Lock()
        follow_forks(self)

    def start(self) -> None:
        """Read consent, and send what waits."""
        self._drainer.open()
        self._watch.refresh()
        if self._is_durable:
            self._drainer.ensure_running()

    def stop(self) -> None:
        """Stop the thread and close files and connections; what waits on disk stays there."""
        self._drainer.stop(_STOP_S)
        self._watch.close(_STOP_S)
        self._spool.close()
        if self._store is not None:
            self._store.close()

    def serves(self, instance_id: str) -> bool:
        """Return whether that installation's consent is read here."""
        return self._store is None or self._consent().instance_id == instance_id

    def is_ready(self) -> bool:
        """Return whether events would be accepted now."""
        is_known = _is_known(self._consent())
        return is_known and (self._is_durable or self._gate.pause_s() <= 0)

    def send(self, events: Sequence[Event]) -> int:
        """Send the events and return how many PostHog rejected for good; raise `BusyError` if not kept."""
        with self._exclusively({(event.distinct_id, event.uuid) for event in events}):
            if not _is_known(self._consent(events)):
                raise BusyError(self._retry_s)
            report = self._gate.submit(events)
            if report.unkept:
                # The sender keeps them, and what it sends again must not count as a repetition.
                self._gate.forget(events)
                raise BusyError(self._gate.pause_s())
            return report.refused

    def after_fork(self) -> None:
        """Start afresh in a child: the requests in progress are the parent's."""
        self._in_progress = set()
        self._lock = threading.Lock()

    @contextmanager
    def _exclusively(self, uuids: set[tuple[str | None, UUID]]) -> Iterator[None]:
        # A resend of a request in progress is rejected: acknowledged here, its events would be lost if
        # the first attempt failed.
        with self._lock:
            if not self._in_progress.isdisjoint(uuids):
                raise BusyError(self._retry_s)
            self._in_progress |= uuids
        try:
            yield
        finally:
            with self._lock:
                self._in_progress -= uuids

    def _consent(self, events: Sequence[Event] = ()) -> Consent:
        """Return the last answer if it is recent, and not older than the grants of the events."""
        consent = self._watch.fresh()
        if consent is None or (self._store is not None and _is_before(consent, events)):
            return self._watch.refresh()
        return consent

    def _read(self) -> Settings | None:
        if self._store is None:
            return _STAMPED
        row = self._store.read()
        for name in {kind.manifest for kind in row.kinds.values()} - {None} if row is not None else ():
            try:
                self._registry.remember(str(name), self._store.manifest)
            except RegistryError as error:
                raise StoreError(str(error)) from error
        return row


def _is_known(consent: Consent) -> bool:
    return all(known.answer is not Answer.UNKNOWN for known in consent.kinds.values())


def _is_before(consent: Consent, events: Sequence[Event]) -> bool:
    # An installation has stamped a later generation: its grant is newer than the row as read here.
    return any(
        (event.stamp.generation or 0) > (consent.kinds[event.kind].stamp.generation or 0) for event in events
    )
