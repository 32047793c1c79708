"""Batches, and spools as several processes have them: on disk, and with memory to fall back on."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from samples import some_event

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.consent.state import Answer, Consent, KindConsent
from otel_posthog.delivery.prepare import Batch
from otel_posthog.delivery.spool import RETRY_DISK_S, Spool
from otel_posthog.delivery.spool_file import SpoolFile
from otel_posthog.delivery.stored_batch import Reading
from otel_posthog.events import Stamp
from otel_posthog.registry import Kind

STAMP = Stamp(generation=3, instance_id="11111111-2222-4333-8444-555555555555")


def some_batch(*accepted_ns, kind=Kind.TELEMETRY, stamp=STAMP, text=""):
    events = tuple(some_event({"text": text}, accepted_ns=at) for at in accepted_ns or (1,))
    return Batch(kind=kind, events=events, size_bytes=100, stamp=stamp)


def telemetry_consent(*, before_ns=0, generation=0, answer=Answer.GRANTED, instance_id=None):
    """Return what is known of the consent to product events after a withdrawal."""
    return KindConsent(
        answer=answer,
        stamp=Stamp(generation=generation, instance_id=instance_id),
        withdrawn_before_ns=before_ns,
    )


def withdrawn(**known):
    """Return the same as a consent of which the other kind is unknown."""
    kinds = {Kind.ERRORS: KindConsent(answer=Answer.UNKNOWN), Kind.TELEMETRY: telemetry_consent(**known)}
    return Consent(kinds=kinds)


class World:
    """A folder, and spools in it as several processes would have them."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "spool.db"
        self.counts = Counts()
        self.now_s = 1000.0  # since the machine was started
        self.wall_s = 1_800_000_000.0
        self.boot_id = "first"
        self.made = []

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for spool in self.made:
            spool.close()

    def spool(self, *, max_bytes=10_000_000, max_age_s=100.0):
        self.made.append(
            SpoolFile(
                self.folder,
                max_bytes=max_bytes,
                max_age_s=max_age_s,
                counts=self.counts,
                log_limiter=LogLimiter(),
                clocks=lambda: Reading(self.wall_s, self.now_s, self.boot_id),
            )
        )
        return self.made[-1]

    def files(self):
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


class Disk(World):
    """A folder that can be made unusable: a file stands where it should be."""

    def __init__(self, folder):
        super().__init__(folder)
        self.put_to = []
        self.rows = 0

    def durable(self, **bounds):
        spool = Spool(
            self.spool(**bounds),
            memory_max_bytes=10_000,
            counts=self.counts,
            log_limiter=LogLimiter(lambda: self.now_s),
            clock=lambda: self.now_s,
        )
        spool.on_put = self._note
        return spool

    def _note(self):
        before, self.rows = self.rows, self._count()
        self.put_to.append("disk" if self.rows > before else "memory")

    def _count(self):
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
                return connection.execute("SELECT count(*) FROM batches").fetchone()[0]
        except sqlite3.Error:
            return 0

    def block(self):
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.write_text("in the way")

    def replace(self):
        shutil.rmtree(self.folder)
        self.block()

    def unblock(self):
        self.folder.unlink()
        self.wait()

    def wait(self):
        self.now_s += RETRY_DISK_S


def accepted(spool):
    """Remove all batches and return when their events were accepted."""
    return drained(spool.first, spool)


def drained(first, spool):
    """Do the same with the batches that a claim gives."""
    found = []
    while (batch := first()) is not None:
        found += [event.accepted_ns for event in batch.events]
        spool.remove(batch)
    return found
