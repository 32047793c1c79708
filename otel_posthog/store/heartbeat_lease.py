"""Assign each day's heartbeat to one worker of an installation.

Each step is one conditional UPDATE, so concurrent workers agree. Times are seconds since 1970 by the
database's clock, unless a caller passes its own. A lease belongs to one consent: under another instance
or generation in `system_settings` it starts again, and no heartbeat is due until the next due time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import (
    BigInteger,
    Integer,
    String,
    and_,
    bindparam,
    case,
    cast,
    exists,
    extract,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.schema import CreateTable

from otel_posthog.errors import StoreError

from .schema import HEARTBEAT_TABLE_NAME, system_heartbeat, system_settings
from .urls import AbsentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Executable, Update

    from .engines import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The latest time at which a heartbeat was due."""

    at: datetime
    day: str  # the date of that time, as ISO text
    # The latest day that another clock of a well-kept cluster may have reached by now.
    newest_day: str
    next_in_s: float  # seconds until the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """The row of `system_heartbeat`; its stamps are unchecked: a hand may have written them."""

    now_s: int
    done_day: object
    claimed_until: object
    is_same_consent: bool  # whether the row belongs to the present consent


_T = TypeVar("_T")
_row, _settings = system_heartbeat.c, system_settings.c
_is_first = _row.id == 1
_now_s = func.coalesce(
    bindparam("now_s", type_=BigInteger), cast(extract("epoch", func.current_timestamp()), BigInteger)
)
_granted = and_(_settings.id == 1, _settings.enable_telemetry.is_(true()))
_is_same_consent = and_(
    _row.instance_id == _settings.instance_id, _row.telemetry_generation == _settings.telemetry_generation
)
_is_due = or_(
    func.coalesce(_row.done_day, "") < bindparam("day", type_=String),
    _row.done_day > bindparam("newest_day", type_=String),
)
# A claim further ahead than any lease is from a clock that was wrong, and holds nothing back.
_is_free = or_(
    _row.claimed_until.is_(None),
    _row.claimed_until <= _now_s,
    _row.claimed_until > _now_s + bindparam("stale_after_s", type_=Integer),
)

# The stamps have no type, so that nothing converts a value that was written by hand.
_READ: Executable = (
    select(
        _now_s,
        *[literal_column(name) for name in ("done_day", "claimed_until")],
        case((_is_same_consent, 1), else_=0),
    )
    .select_from(system_heartbeat.join(system_settings, _settings.id == _row.id))
    .where(_is_first, _granted)
)
_HAS_ROW = select(_row.id).where(_is_first)
_CREATE_TABLE = CreateTable(system_heartbeat, if_not_exists=True)
_INSERT_ROW = text(f"INSERT INTO {HEARTBEAT_TABLE_NAME} (id) VALUES (1) ON CONFLICT DO NOTHING")  # noqa: S608 - a constant
# The day of a grant has no heartbeat, so it counts as done (docs/adr/0019).
_BEGIN = (
    update(system_heartbeat)
    .where(_is_first, exists().where(_granted), ~exists().where(_granted, _is_same_consent))
    .values(
        instance_id=select(_settings.instance_id).where(_granted).scalar_subquery(),
        telemetry_generation=select(_settings.telemetry_generation).where(_granted).scalar_subquery(),
        done_day=bindparam("day", type_=String),
        claimed_until=null(),
    )
)
# Consent is checked within the same UPDATE: no withdrawal can come between the two.
_CLAIM = (
    update(system_heartbeat)
    .where(_is_first, _is_due, _is_free, exists().where(_granted, _is_same_consent))
    .values(claimed_until=_now_s + bindparam("lease_s", type_=Integer))
)
# Asks for no owner: a slow worker whose claim has expired has delivered the heartbeat all the same.
_FINISH = (
    update(system_heartbeat)
    .where(_is_first, _is_due)
    .values(done_day=bindparam("day", type_=String), claimed_until=null())
)


class HeartbeatLease:
    """The row of `system_heartbeat`; safe in threads and across processes.

    Each operation blocks the calling thread, for the database's timeout at most, and raises
    `StoreError` when the answer is not certain.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, now_s: int | None = None) -> LeaseState | None:
        """Return the state, None while telemetry is not granted; creates a missing table or row."""
        try:
            state = self._run("read", lambda connection: _read(connection, now_s))
        except AbsentError:
            state = None
            try:
                self._run("create", lambda connection: connection.execute(_CREATE_TABLE))
            except StoreError:
                # PostgreSQL refuses one of two simultaneous IF NOT EXISTS; the other has the table by then.
                self._run("read", lambda connection: connection.execute(_HAS_ROW))
        if state is None:
            self._run("create the row of", lambda connection: connection.execute(_INSERT_ROW))
            state = self._run("read", lambda connection: _read(connection, now_s))
        return state

    def begin(self, due: Due) -> None:
        """Start again under a new consent, with the day done; does nothing under the same consent."""
        self._change(_BEGIN, day=due.day)

    def claim(self, due: Due, *, lease_s: int, stale_after_s: int, now_s: int | None = None) -> bool:
        """Claim the day for so long if it is still due and free; return whether it was."""
        days = {"day": due.day, "newest_day": due.newest_day}
        return self._change(_CLAIM, lease_s=lease_s, stale_after_s=stale_after_s, now_s=now_s, **days)

    def finish(self, due: Due) -> None:
        """Mark the day as done: its heartbeat has been delivered, or waits in the spool."""
        self._change(_FINISH, day=due.day, newest_day=due.newest_day)

    def _change(self, statement: Update, **values: object) -> bool:
        return self._run("update", lambda connection: connection.execute(statement, values).rowcount == 1)

    def _run(self, doing: str, operation: Callable[[Connection], _T]) -> _T:
        return self._database.run(doing, operation, table=HEARTBEAT_TABLE_NAME)


def _read(connection: Connection, now_s: int | None) -> LeaseState | None:
    values = connection.execute(_READ, {"now_s": now_s}).one_or_none()
    if values is None:
        return None
    now, done_day, until, is_same = values
    return LeaseState(now_s=int(now), done_day=done_day, claimed_until=until, is_same_consent=bool(is_same))
