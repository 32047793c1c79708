"""Hold records as the mapping reads them, and note on a record when this process accepted it.

SDK objects and OTLP messages differ in shape; each entrance converts its records to these values.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID, uuid4

from .attributes import EVENT_UUID

if TYPE_CHECKING:
    from otel_posthog.registry import Kind

# The times in a record are its maker's: a host may set them to anything, and a time in the future would
# outlive a withdrawal. So acceptance is noted as a plain attribute of the object, invisible to exporters.
_NOTE = "_otel_posthog_acceptance"
_QUEUED = "_otel_posthog_queued"
_CLAIMED = "_otel_posthog_claimed"
# One clock, aligned once with the time of day, that nobody can set while the process lives: the machine's,
# set back by an hour, would put what was accepted before a withdrawal after it (docs/adr/0031).
_BEGAN_NS = time.time_ns() - time.monotonic_ns()
NOTHING: Mapping[str, object] = {}


class Acceptance(NamedTuple):
    """What was noted when this process accepted a record."""

    at_ns: int
    # The consent that the record needs, where that is known.
    kind: Kind | None = None
    # What is known of a third-party record besides its attributes: its request, its exception.
    known: Mapping[str, object] = NOTHING
    # One for each event that is to be made of the record.
    kinds: Collection[Kind] = ()
    # Attributes that become known before it is sent, see `emit.failures.note_ending`.
    ending: Mapping[str, object] = NOTHING


def now_ns() -> int:
    """Return the time since 1970 by the clock of this module."""
    return _BEGAN_NS + time.monotonic_ns()


def accept(
    record: object,
    kind: Kind | None = None,
    known: Mapping[str, object] = NOTHING,
    kinds: Collection[Kind] = (),
) -> None:
    """Note on the record that it is accepted now."""
    with suppress(AttributeError, TypeError):  # one that takes no attribute keeps its own time
        setattr(record, _NOTE, Acceptance(now_ns(), kind, known, kinds, {}))


def ending_of(record: object) -> dict[str, object]:
    """Return the attributes that may still be added to an accepted record."""
    noted = getattr(record, _NOTE, None)
    return cast("dict[str, object]", noted.ending) if isinstance(noted, Acceptance) else {}


def claim(record: object) -> bool:
    """Return whether nothing of ours has read the record: a processor and a declared exporter both get it."""
    ours = object()
    try:  # in one step: they may be on different threads
        return vars(record).setdefault(_CLAIMED, ours) is ours
    except TypeError:  # one that takes no attribute
        return True


def release(record: object) -> None:
    """Leave a claimed record to a declared exporter: what claimed it has closed."""
    with suppress(TypeError):
        vars(record).pop(_CLAIMED, None)


def note_queued(record: object) -> None:
    """Note on the record that it waits in a queue of ours."""
    try:  # noqa: SIM105 - `suppress` needs room below the limit of recursion, and the record is queued already
        setattr(record, _QUEUED, True)
    except (AttributeError, TypeError):
        pass


def was_queued(record: object) -> bool:
    """Return whether `note_queued` was called for the record."""
    return getattr(record, _QUEUED, False) is True


def acceptance_of(record: object, own_ns: int) -> Acceptance:
    """Return what was noted on the record; without a note its own time, but none in the future."""
    noted = getattr(record, _NOTE, None)
    if isinstance(noted, Acceptance):
        return noted
    # Its time is by the machine's clock, which may have been set before or since: the earlier reading counts.
    ours_ns = _BEGAN_NS + time.monotonic_ns()
    set_forward_ns = time.time_ns() - ours_ns
    return Acceptance(min(own_ns, own_ns - set_forward_ns, ours_ns))


def recorded_uuid(recorded: Mapping[str, object]) -> UUID:
    """Return the event's uuid in the record's attributes, or a new one."""
    return uuid_in(recorded) or uuid4()


def uuid_in(recorded: Mapping[str, object]) -> UUID | None:
    """Return the event's uuid in the record's attributes, or None if there is no valid one."""
    try:
        return UUID(str(recorded.get(EVENT_UUID)))
    except ValueError:
        return None


class RecordedLog(NamedTuple):  # a frozen dataclass takes three times as long to make
    """A log record."""

    scope: str  # name of the instrumentation scope
    event_name: str | None
    attributes: Mapping[str, object]
    time_ns: int  # by its maker's clock
    # By this process's clock; withdrawals compare with it.
    accepted_ns: int
    trace_id: int  # in which it was recorded, 0 for none
    span_id: int
    severity: int = 0  # OpenTelemetry's number, 0 for none


class RecordedSpanEvent(NamedTuple):
    """An event of a span."""

    name: str
    attributes: Mapping[str, object]
    time_ns: int


class RecordedSpan(NamedTuple):
    """An ended span."""

    name: str
    scope: str  # name of the instrumentation scope
    kind: str  # one of `span_rules.rules.KINDS`
    status: str  # one of `span_rules.rules.STATUSES`
    attributes: Mapping[str, object]
    # In order of time, of a span whose status is ERROR; of others none is read.
    events: Sequence[RecordedSpanEvent]
    is_local_root: bool  # it has no parent, or one in another process
    is_error: bool
    start_ns: int
    end_ns: int
    # By this process's clock; withdrawals compare with it.
    accepted_ns: int
    trace_id: int
    span_id: int
