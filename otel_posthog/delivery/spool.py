"""Keep batches that could not be sent, and send them again later.

The spool is bounded and holds scrubbed events only. It uses a file, so that events outlive the process,
and memory while the disk fails. One thread sends again; while anything may be sent it also keeps the
cached consent fresh.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog._runtime.threads import Worker
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Answer, Consent, KindConsent
from otel_posthog.errors import StoreError
from otel_posthog.registry import Kind

from .balance import Balance, Drops
from .ledger import Ledger
from .prepare import Batch
from .spool_file import SpoolFile

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

IN_MEMORY = ":memory:"
RETRY_DISK_S = 5.0  # every batch would wait for a full or locked disk otherwise
MEMORY_MAX_BYTES = 16_000_000  # of JSON, while there is no file to write to
_PRODUCT = "otel-posthog"


def spool_folder(
    spool_dir: str | None,
    *,
    database_file: Path | None,
    database_name: str | None,
    environ: Mapping[str, str],
    platform: str = sys.platform,
) -> Path | None:
    """Return the spool's folder, or None if events can only wait in memory.

    A SQLite database has the folder beside it, so that one volume keeps consent and events. For another
    database the folder's name is derived from the database's, so that two products never share one. A
    database in memory loses the installation's id at each start, so its events could never be sent later.
    """
    if spool_dir is not None:
        return None if spool_dir == IN_MEMORY else Path(spool_dir).absolute()
    if database_file is not None:
        return database_file.with_name(f"{database_file.name}-spool")
    state = _state_folder(environ, platform)
    if database_name is None or state is None:
        return None
    return state / _PRODUCT / hashlib.sha256(database_name.encode()).hexdigest()[:16]


def _state_folder(environ: Mapping[str, str], platform: str) -> Path | None:
    """Return the user's folder for state: of the XDG specification, of systemd, of Windows."""
    if platform == "win32":
        return Path(environ["LOCALAPPDATA"]) if environ.get("LOCALAPPDATA") else None
    for variable in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        first = environ.get(variable, "").split(os.pathsep)[0]
        if first.startswith("/"):
            return Path(first)
    home = environ.get("HOME", "")
    return Path(home) / ".local" / "state" if home.startswith("/") else None


class Spool:
    """Keep batches in a file, or in memory if the file fails or there is none. Never raises.

    `on_put` is called after each batch that was kept.
    """

    def __init__(
        self,
        file: SpoolFile | None,
        *,
        memory_max_bytes: int,
        counts: Counts,
        log_limiter: LogLimiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_put: Callable[[], None] = lambda: None  # until a drainer is attached
        self._file = file
        self._batches: dict[Batch, float] = {}  # with the time from which they wait, oldest first
        self._size_bytes = 0
        self._memory_max_bytes = memory_max_bytes
        self._lock = threading.Lock()
        self._counts = counts
        self._in_memory = Ledger(counts) if file is None else None
        self._log_limiter = log_limiter
        self._clock = clock
        self._is_failing = False
        self._failed_at_s = -math.inf
        follow_forks(self)

    def put(self, batch: Batch) -> bool:
        """Keep the batch and return whether that was done; count what is dropped for want of room."""
        put = self._on_good_disk(lambda file: file.put(batch), None)
        lost, is_kept = put or self._put_in_memory(batch)
        if is_kept:
            self.on_put()
        self._log_lost(lost)
        return is_kept

    def first(self) -> Batch | None:
        """Return the first batch on disk or in memory, whichever has waited longer; it stays."""
        # Not the one with the older events: what was put back has to wait for the others.
        on_disk = self._on_good_disk(lambda file: file.first(), None)
        in_memory = self._first_in_memory()
        if on_disk is None or in_memory is None:
            return on_disk or in_memory
        now_s = self._clock()
        in_memory_s = now_s - self._batches.get(in_memory, now_s)  # another thread may have removed it
        return on_disk if on_disk.waited_s >= in_memory_s else in_memory

    def is_empty(self) -> bool:
        """Return whether nothing waits; False if the disk cannot be read."""
        return self._first_in_memory() is None and self._on_disk(
            lambda file: file.first() is None, self._file is None
        )

    def waiting(self) -> list[Batch]:
        """Return all batches, oldest first; they stay."""
        on_disk = self._read(lambda file: file.waiting())
        with self._lock:
            return sorted([*(on_disk or ()), *self._batches], key=lambda batch: batch.oldest_ns)

    def remove(self, batch: Batch) -> None:
        """Delete a batch that is dealt with; one that is gone already is no error."""
        if not self._removed_from_memory(batch):
            self._on_disk(lambda file: file.remove(batch), None)

    def replace(self, batch: Batch, pieces: Sequence[Batch]) -> bool:
        """Keep the pieces in place of their batch, behind the others; return whether that was done."""
        if self._removed_from_memory(batch):
            with self._lock:
                self._batches.update(dict.fromkeys(pieces, self._clock()))
                self._size_bytes += sum(piece.size_bytes for piece in pieces)
            return True
        return self._on_disk(lambda file: file.replace(batch, pieces), False)

    def purge(self, consent: Consent) -> None:
        """Delete and count what this consent has withdrawn; an unknown answer withdraws nothing."""
        if len(self._batches) or self._on_disk(lambda file: file.may_hold_events(), False):
            for kind, known in consent.kinds.items():
                if known.answer is not Answer.UNKNOWN:
                    self._counts.add("withdrawn", self._purge(kind, known), kind=kind.value)
        if self._in_memory is not None:
            self._in_memory.follow(consent.kinds)
            self._in_memory.end_reports(None)
        self._on_disk(lambda file: file.follow(consent.kinds), None)

    @contextmanager
    def claim(self) -> Iterator[Callable[[], Batch | None]]:
        """Give a function that returns the first batch which this process alone may send now.

        While another process sends what is in the file, that is what waits in memory.
        """
        if self._file is None:
            yield self._first_in_memory
            return
        file = self._file
        with file.claim() as is_ours:
            yield lambda: self.first() if is_ours and file.is_claimed() else self._first_in_memory()

    def delete(self) -> None:
        """Delete the file: everything is withdrawn."""
        self._on_disk(lambda file: file.delete(), None)

    def move_to_disk(self) -> bool:
        """Move what waits in memory to the file; return whether everything is there."""
        while (batch := self._first_in_memory()) is not None and self._moved_to_disk(batch):
            pass
        self.write_ledger()
        return self._file is not None and batch is None

    def close(self) -> None:
        """Move what waits in memory to disk, and close the file; the next use opens it again."""
        self.move_to_disk()
        self._on_disk(lambda file: file.close(), None)

    def write_ledger(self) -> None:
        """Write to the file what was accepted and what became of it."""
        self._on_disk(lambda file: file.write_ledger(), None)

    def balances(self) -> dict[Kind, Balance]:
        """Return what was accepted and what became of it, by kind, in all processes that share the file."""
        if self._in_memory is not None:
            return self._in_memory.balances(None)
        if found := self._read(lambda file: file.balances()):
            return found
        raise StoreError("The spool cannot be read. Check spool_dir, and whose files these are.")

    def unreported(self) -> Drops:
        """Return for each kind and reason how many drops no heartbeat has reported, as far as is known."""
        if self._in_memory is not None:
            return self._in_memory.unreported(None)
        return self._read(lambda file: file.unreported()) or {}

    def report(self, drops: Drops) -> None:
        """Let no later heartbeat report these drops."""
        self._counts.report(drops)
        self.write_ledger()

    def after_fork(self) -> None:
        """Start empty in a child: what waits in memory is the parent's to send."""
        self._lock = threading.Lock()
        self._batches = {}
        self._size_bytes = 0

    def _log_lost(self, lost: int) -> None:
        if lost:
            self._log_limiter.warning(
                _log, "The spool is full (spool_max_bytes), so events are dropped or rejected"
            )

    def _put_in_memory(self, batch: Batch) -> tuple[int, bool]:
        """Return how many events were dropped and counted, and whether the batch was kept."""
        lost: list[Batch] = []
        with self._lock:
            if batch.size_bytes > self._memory_max_bytes:
                return self._counted([batch]), False
            while self._size_bytes + batch.size_bytes > self._memory_max_bytes:
                lost.append(next(iter(self._batches)))
                del self._batches[lost[-1]]
                self._size_bytes -= lost[-1].size_bytes
            self._batches[batch] = self._clock()
            self._size_bytes += batch.size_bytes
        return self._counted(lost), True

    def _counted(self, lost: Sequence[Batch]) -> int:
        for batch in lost:
            self._counts.add("spool_full", len(batch.events), kind=batch.kind.value)
        return sum(len(batch.events) for batch in lost)

    def _first_in_memory(self) -> Batch | None:
        with self._lock:
            return next(iter(self._batches), None)

    def _removed_from_memory(self, batch: Batch) -> bool:
        with self._lock:
            if batch not in self._batches:
                return False
            del self._batches[batch]
            self._size_bytes -= batch.size_bytes
            return True

    def _purge(self, kind: Kind, known: KindConsent) -> int:
        purged = self._on_disk(lambda file: file.purge(kind, known), 0)
        before_ns = known.discard_stamped_before_ns
        with self._lock:
            same = [batch for batch in self._batches if batch.kind is kind]
        gone = [batch for batch in same if batch.oldest_ns < before_ns(batch.stamp)]
        return purged + sum(len(batch.events) for batch in gone if self._removed_from_memory(batch))

    def _moved_to_disk(self, batch: Batch) -> bool:
        put = self._on_disk(lambda file: file.put(batch), None)
        if put is not None:
            self._removed_from_memory(batch)
            self._log_lost(put[0])
        return put is not None

    def _read(self, read: Callable[[SpoolFile], _T]) -> _T | None:
        """Return None if that fails: a file that is busy now is no reason to write elsewhere."""
        with suppress(Exception):
            return None if self._file is None else read(self._file)
        return None

    def _on_good_disk(self, act: Callable[[SpoolFile], _T], otherwise: _T) -> _T:
        """Spare a disk that has just failed: frequent operations would wait for it each time."""
        if self._clock() < self._failed_at_s + RETRY_DISK_S:
            return otherwise
        return self._on_disk(act, otherwise)

    def _on_disk(self, act: Callable[[SpoolFile], _T], otherwise: _T) -> _T:
        if self._file is None:
            return otherwise
        try:
            result = act(self._file)
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch is kept in memory
            self._failed_at_s = self._clock()
            if not self._is_failing:
                self._is_failing = True
                self._log_limiter.warning(
                    _log,
                    "The spool cannot be used (%s: %s), so waiting events are kept in memory only. "
                    "Check the setting spool_dir, and the disk's space and permissions.",
                    type(error).__name__,
                    error,
                )
            return otherwise
        self._is_failing = False
        return result


def make_spool(
    folder: Path | None,
    config: Config,
    *,
    counts: Counts,
    log_limiter: LogLimiter,
    file_type: type[SpoolFile] = SpoolFile,
    memory_max_bytes: int = MEMORY_MAX_BYTES,
) -> Spool:
    """Return the configured spool; without a folder all of it is in memory."""
    max_bytes = config.spool_max_bytes
    file = None
    if folder is not None:
        file = file_type(
            folder,
            max_bytes=max_bytes,
            max_age_s=config.spool_max_age_s,
            counts=counts,
            log_limiter=log_limiter,
        )
    return Spool(
        file, memory_max_bytes=min(max_bytes, memory_max_bytes), counts=counts, log_limiter=log_limiter
    )


class Drainer(Worker):
    """Send spooled batches again, on a thread that exists only while it is needed.

    `attempt` tries one batch and returns whether it is dealt with; `pause` returns how many seconds the
    next attempt has to wait; `watch` reads consent and returns whether anything may be sent.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        attempt: Callable[[Batch], bool],
        pause: Callable[[], float],
        watch: Callable[[], bool],
        interval_s: float,
        log_limiter: LogLimiter,
    ) -> None:
        super().__init__(self._round, "otel-posthog-drainer")
        self._log_limiter = log_limiter
        self._spool = spool
        self._attempt = attempt
        self._pause = pause
        self._watch = watch
        self._interval_s = interval_s
        self._draining = threading.Lock()
        spool.on_put = self.wake

    def open(self) -> None:
        """Allow a thread until `stop`; one of an earlier life that is still busy keeps nothing locked."""
        self._draining = threading.Lock()
        super().open()

    def drain(self) -> None:
        """Send the waiting batches on this thread, until one has to wait or another process drains."""
        with self._draining:
            if self._pause() > 0 or self._spool.first() is None:
                return
            with self._spool.claim() as first:
                while self._pause() <= 0 and (batch := first()) is not None:
                    if not self._attempt(batch):
                        return
                    self._spool.remove(batch)

    def after_fork(self) -> None:
        """Start again in a child: the thread and the locks are the parent's."""
        super().after_fork()
        self._draining = threading.Lock()

    def _round(self) -> float | None:
        """Read consent and drain once; an error costs this round, not the thread."""
        try:
            is_needed = self._watch()
            self.drain()
        except Exception as error:  # noqa: BLE001 - whatever waits is tried again in the next round
            self._log_limiter.warning(
                _log, "Waiting events could not be sent again (%s)", type(error).__name__
            )
            is_needed = True
        if not is_needed and self._spool.first() is None:
            return None
        pause_s = self._pause()
        return min(self._interval_s, pause_s) if pause_s > 0 else self._interval_s
