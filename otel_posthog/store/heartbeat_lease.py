"""Let one worker of an installation have a day's heartbeat.

Each step is one conditional UPDATE, so that simultaneous ones agree. Times are seconds since 1970 by
the database's clock, unless a caller brings its own. A lease belongs to one consent: with another
instance or generation in `system_settings` it starts anew, and owes nothing until the next due time.
"""

from __future__ import annotations

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
from otel_posthog.schedule import Due, LeaseState

from .failures import AbsentError
from .heartbeat_schema import HEARTBEAT_TABLE_NAME, system_heartbeat
from .schema import system_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection, Update

    from .engines import Database

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
_is_owed = or_(
    func.coalesce(_row.done_day, "") < bindparam("day", type_=String),
    _row.done_day > bindparam("newest_day", type_=String),
)
_is_free = or_(
    _row.claimed_until.is_(None),
    _row.claimed_until <= _now_s,
    _row.claimed_until > _now_s + bindparam("stale_after_s", type_=Integer),
)

# The stamps without a type, so that nothing converts what a hand may have written there.
_READ = (
    select(
        _now_s,
        literal_column("done_day"),
        literal_column("claimed_until"),
        case((_is_same_consent, 1), else_=0),
    )
    .select_from(system_heartbeat.join(system_settings, _settings.id == _row.id))
    .where(_is_first, _granted)
)
_HAS_ROW = select(_row.id).where(_is_first)
_CREATE_TABLE = CreateTable(system_heartbeat, if_not_exists=True)
_INSERT_ROW = text(f"INSERT INTO {HEARTBEAT_TABLE_NAME} (id) VALUES (1) ON CONFLICT DO NOTHING")  # noqa: S608 - a constant
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
_CLAIM = (
    update(system_heartbeat)
    .where(_is_first, _is_owed, _is_free, exists().where(_granted, _is_same_consent))
    .values(claimed_until=_now_s + bindparam("lease_s", type_=Integer))
)
_FINISH = (
    update(system_heartbeat)
    .where(_is_first, _is_owed)
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
        """Return how things stand, or None while telemetry is not granted; makes table and row if absent."""
        try:
            state = self._run("read", lambda connection: _read(connection, now_s))
        except AbsentError:
            self._create_table()
            state = None
        if state is None:
            self._run("create the row of", lambda connection: connection.execute(_INSERT_ROW))
            state = self._run("read", lambda connection: _read(connection, now_s))
        return state

    def begin(self, due: Due) -> None:
        """Start anew under the present consent, with nothing owed for the day; no-op under the same one."""
        self._change(_BEGIN, {"day": due.day})

    def claim(self, due: Due, *, lease_s: int, stale_after_s: int, now_s: int | None = None) -> bool:
        """Take the day for so long, if it is still owed and free; tell whether that is so."""
        values = {"lease_s": lease_s, "stale_after_s": stale_after_s, "now_s": now_s}
        return self._change(_CLAIM, {**_days(due), **values})

    def finish(self, due: Due) -> None:
        """Note that the day's heartbeat has been delivered, or waits in the spool."""
        self._change(_FINISH, _days(due))

    def _change(self, statement: Update, values: Mapping[str, object]) -> bool:
        return self._run(
            "update", lambda connection: connection.execute(statement, dict(values)).rowcount == 1
        )

    def _run(self, doing: str, operation: Callable[[Connection], _T]) -> _T:
        return self._database.run(doing, operation, table=HEARTBEAT_TABLE_NAME)

    def _create_table(self) -> None:
        try:
            self._run("create", lambda connection: connection.execute(_CREATE_TABLE))
        except StoreError:
            # PostgreSQL refuses one of two simultaneous IF NOT EXISTS; the other has the table by then.
            self._run("read", lambda connection: connection.execute(_HAS_ROW))


def _read(connection: Connection, now_s: int | None) -> LeaseState | None:
    values = connection.execute(_READ, {"now_s": now_s}).one_or_none()
    if values is None:
        return None
    now, done_day, claimed_until, is_same_consent = values
    return LeaseState(
        now_s=int(now),
        done_day=done_day,
        claimed_until=claimed_until,
        is_same_consent=bool(is_same_consent),
    )


def _days(due: Due) -> dict[str, object]:
    return {"day": due.day, "newest_day": due.newest_day}
