"""Write batches as rows of the spool's file, read them back, and know how long they have waited."""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from otel_posthog.events import Event, Stamp
from otel_posthog.registry import Kind

from .prepare import Batch

# The columns of a file of version 1, in the order in which rows are read here.
REQUIRED = ("id", "accepted_ns", "kind", "generation", "instance_id", "put_at_s", "events", "body")
# The boot during which the row was written, and the seconds since; NULL in rows of earlier releases.
COLUMNS = (*REQUIRED, "boot_id", "boot_s")
PUT = f"INSERT INTO batches ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - constants
# The machine's clock may be set at any time, and one without a battery starts in the past. So it counts only
# for what was written before the machine was started, and only if it had been set by then (docs/adr/0053).
EXPIRED = (
    "CASE WHEN boot_id = :boot_id THEN boot_s < :boot_s - :max_age_s "
    "WHEN put_at_s < :earliest_s THEN :boot_s > :max_age_s "
    "ELSE put_at_s < :wall_s - :max_age_s END"
)
_EARLIEST_S = 1_793_000_000.0  # October 2026: a clock that shows less was not set, this library is younger
_COMPRESSION = 1  # of zlib: a tenth of the bytes, for half a millisecond per 100 events


class Reading(NamedTuple):
    """What the machine's clocks show."""

    wall_s: float
    boot_s: float  # since the machine was started; nobody sets it, and it goes on while the machine sleeps
    boot_id: str

    def limits(self, max_age_s: float) -> dict[str, object]:
        """Return the values for `EXPIRED`."""
        return {**self._asdict(), "max_age_s": max_age_s, "earliest_s": _EARLIEST_S}


def read_clocks() -> Reading:
    """Return what the machine's clocks show now."""
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()
    return Reading(time.time(), boot_s, _boot_id())


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return uuid4().hex  # the readings of other processes cannot be compared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredBatch(Batch):
    """A batch in the file."""

    name: tuple[int, int]
    """Number and time of the row, which no other row has, not even one of another file."""
    waited_s: float


def row_of(batch: Batch, body: bytes, now: Reading) -> tuple[object, ...]:
    """Return the values of a new row; `body` holds the encoded events."""
    stamp, number = batch.stamp, len(batch.events)
    accepted = batch.oldest_ns, batch.kind.value, stamp.generation, stamp.instance_id
    return None, *accepted, now.wall_s, number, body, now.boot_id, now.boot_s


def stored(row: tuple[Any, ...], now: Reading) -> StoredBatch:
    """Return the batch in a row; raise `ValueError` if it cannot be read, for whatever reason."""
    row_id, accepted_ns, kind, generation, instance_id, put_at_s, _, body, boot_id, boot_s = row
    try:
        size_bytes, events = decoded(body)
        waited_s = now.boot_s - boot_s if boot_id == now.boot_id else now.wall_s - put_at_s
        return StoredBatch(
            kind=Kind(kind),
            events=events,
            size_bytes=size_bytes,
            stamp=Stamp(
                generation=None if generation is None else _whole(generation),
                instance_id=None if instance_id is None else _text(instance_id),
            ),
            name=(row_id, accepted_ns),
            waited_s=float(waited_s),
        )
    except Exception as error:  # damaged bytes raise anything, and one row must not block the others
        raise ValueError from error


def encoded(batch: Batch) -> bytes:
    """Return the batch's events as bytes; kind and stamp have columns of their own."""
    written = ", ".join(f"[{event.accepted_ns}, {event.written()}]" for event in batch.events)
    return zlib.compress(f"[{batch.size_bytes}, [{written}]]".encode(), _COMPRESSION)


def decoded(body: bytes) -> tuple[int, tuple[Event, ...]]:
    """Return a batch's size and events; raise any exception if the bytes are no batch."""
    size_bytes, written = json.loads(zlib.decompress(body))
    events = tuple(_event(wire, accepted_ns) for accepted_ns, wire in written)
    if not events:
        raise ValueError
    return _whole(size_bytes), events


def _event(wire: Mapping[str, Any], accepted_ns: object) -> Event:
    distinct_id = wire["distinct_id"]
    return Event(
        name=str(wire["event"]),
        properties={**wire["properties"]},  # raises TypeError unless it is an object
        timestamp=datetime.fromisoformat(str(wire["timestamp"])),
        uuid=UUID(str(wire["uuid"])),
        accepted_ns=_whole(accepted_ns),
        distinct_id=None if distinct_id is None else str(distinct_id),
    )


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value
