"""Read and write the one settings row.

Values are checked raw: SQLite keeps a 2 or a 'banana' in a boolean column, and consent is never
guessed from one. Each change is one UPDATE, so that simultaneous ones agree.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from sqlalchemy import (
    Boolean,
    String,
    and_,
    bindparam,
    case,
    false,
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
from otel_posthog.settings import Settings

from .engines import Database
from .failures import AbsentError, BadRowError
from .schema import ADDED_COLUMNS, FLAGS, TABLE_NAME, system_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable

    from .urls import DatabaseSource

_row = system_settings.c
_is_first = _row.id == 1
_errors_after, _telemetry_after = (
    func.coalesce(bindparam(f"new_{flag}", type_=Boolean), _row[flag])
    for flag in ("enable_error_reporting", "enable_telemetry")
)

# Columns without a type, so that nothing converts what the driver returns.
_READ: Executable = (
    select(*[literal_column(name) for name in (*FLAGS, *ADDED_COLUMNS)])
    .select_from(system_settings)
    .where(_is_first)
)
_HAS_ROW = select(_row.id).where(_is_first)
_CREATE_TABLE = CreateTable(system_settings, if_not_exists=True)
# As text, since SQLAlchemy has this clause per database only, and both understand it.
_INSERT_ROW = text(
    f"INSERT INTO {TABLE_NAME} (id, {', '.join(FLAGS)}, errors_generation, telemetry_generation) "  # noqa: S608 - constants
    "VALUES (1, :off, :off, :off, 0, 0) ON CONFLICT DO NOTHING"
).bindparams(bindparam("off", value=False, type_=Boolean))
# Anything but off counts as having been on: a withdrawal from a bad value raises the generation too.
_UPDATE = (
    update(system_settings)
    .where(_is_first)
    .values(
        is_setup_completed=func.coalesce(
            bindparam("new_is_setup_completed", type_=Boolean), _row.is_setup_completed
        ),
        enable_error_reporting=_errors_after,
        enable_telemetry=_telemetry_after,
        errors_generation=_row.errors_generation
        + case((and_(_row.enable_error_reporting.is_not(false()), _errors_after.is_(false())), 1), else_=0),
        telemetry_generation=_row.telemetry_generation
        + case((and_(_row.enable_telemetry.is_not(false()), _telemetry_after.is_(false())), 1), else_=0),
        instance_id=case(
            (and_(_errors_after.is_(false()), _telemetry_after.is_(false())), null()),
            else_=func.coalesce(_row.instance_id, bindparam("new_instance_id", type_=String)),
        ),
    )
)
_GIVE_ID = (
    update(system_settings)
    .where(_is_first, _row.instance_id.is_(None))
    .where(or_(_row.enable_error_reporting.is_(true()), _row.enable_telemetry.is_(true())))
    .values(instance_id=bindparam("new_instance_id", type_=String))
)
_TAKE_ID = (
    update(system_settings)
    .where(_is_first, _row.enable_error_reporting.is_(false()), _row.enable_telemetry.is_(false()))
    .values(instance_id=null())
)


class SettingsStore:
    """The settings row in the product's database; safe in threads and across processes.

    Each operation takes at most about `timeout_s` for a lock, and blocks the calling thread: in an
    event loop, call it from a thread. It raises `StoreError` when the answer is not certain.
    """

    def __init__(self, database: DatabaseSource, *, timeout_s: float = 5.0) -> None:
        self._database = Database(database, timeout_s=timeout_s)

    def create(self) -> None:
        """Make the table and the row, and a SQLite file with its folder, where they are absent.

        Writes nothing if the row is there; safe when many processes do it at once.
        """
        self._database.prepare()
        try:
            if self._database.run("read", _has_row):
                return
        except AbsentError:
            self._create_table()
        self._database.run("create the row of", _insert_row)

    def read(self) -> Settings | None:
        """Return the row, or None if only the row is absent."""
        return self._database.run("read", _read)

    def update(
        self,
        *,
        is_setup_completed: bool | None = None,
        enable_error_reporting: bool | None = None,
        enable_telemetry: bool | None = None,
    ) -> Settings:
        """Set what is given, keep the rest, and return the new row; made first if absent.

        A withdrawal raises its generation; the first grant makes the instance's UUID, and the last
        withdrawal deletes it.
        """
        values = {
            "new_is_setup_completed": is_setup_completed,
            "new_enable_error_reporting": enable_error_reporting,
            "new_enable_telemetry": enable_telemetry,
            "new_instance_id": str(uuid4()),
        }

        def change(connection: Connection) -> Settings | None:
            if not connection.execute(_UPDATE, values).rowcount:
                return None  # without a look: another process may insert the row, all off, before it
            return _read(connection)

        try:
            changed = self._database.run("update", change)
        except AbsentError:
            changed = None
        if changed is None:
            self.create()
            changed = self._database.run("update", change)
        if changed is None:
            raise StoreError("the row of system_settings was deleted while it was updated. Try again.")
        return changed

    def settle(self) -> Settings | None:
        """Return the row like `read`, but first mend what SQL by hand can leave.

        A flag that is on gets an instance_id, and with both flags off it is deleted. Flags never change.
        """
        settings = self.read()
        if settings is None:
            return None
        if _is_settled(settings):
            return settings
        if _is_any_on(settings):
            mended = self._database.run("give an instance_id to", _give_id)
            if mended is None or _is_settled(mended):
                return mended
            raise StoreError("system_settings was changed while an instance_id was given to it. Try again.")
        try:
            return self._database.run("delete the instance_id of", _take_id)
        except StoreError:  # read-only or locked: both flags were read as off, and that is the answer
            return replace(settings, instance_id=None)

    def close(self) -> None:
        """Close our connections; the next call opens new ones. A given engine stays open."""
        self._database.close()

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them; call it in each child process."""
        self._database.after_fork()

    def _create_table(self) -> None:
        try:
            self._database.run("create", lambda connection: connection.execute(_CREATE_TABLE))
        except StoreError:
            # PostgreSQL refuses one of two simultaneous IF NOT EXISTS; the other has the table by then.
            try:
                self._database.run("read", _has_row)
            except AbsentError:
                pass
            else:
                return
            raise


def _is_any_on(settings: Settings) -> bool:
    return settings.enable_error_reporting or settings.enable_telemetry


def _is_settled(settings: Settings) -> bool:
    return _is_any_on(settings) == (settings.instance_id is not None)


def _has_row(connection: Connection) -> bool:
    return connection.execute(_HAS_ROW).first() is not None


def _insert_row(connection: Connection) -> None:
    connection.execute(_INSERT_ROW)


def _read(connection: Connection) -> Settings | None:
    values = connection.execute(_READ).one_or_none()
    if values is None:
        return None
    completed, errors, telemetry, instance_id, errors_generation, telemetry_generation = values
    return Settings(
        is_setup_completed=_flag("is_setup_completed", completed),
        enable_error_reporting=_flag("enable_error_reporting", errors),
        enable_telemetry=_flag("enable_telemetry", telemetry),
        instance_id=_uuid(instance_id),
        errors_generation=_generation("errors_generation", errors_generation),
        telemetry_generation=_generation("telemetry_generation", telemetry_generation),
    )


def _give_id(connection: Connection) -> Settings | None:
    connection.execute(_GIVE_ID, {"new_instance_id": str(uuid4())})
    return _read(connection)


def _take_id(connection: Connection) -> Settings | None:
    connection.execute(_TAKE_ID)
    return _read(connection)


def _flag(column: str, value: object) -> bool:
    if isinstance(value, int) and value in (0, 1):  # bool is an int; SQLite has only the latter
        return bool(value)
    raise _bad(column, "neither true nor false", "false")


def _generation(column: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _bad(column, "no number from 0 on", "1")


def _uuid(value: object) -> UUID | None:
    if value is None or isinstance(value, UUID):
        return value
    try:
        uuid = UUID(str(value))
    except ValueError:
        uuid = None
    if uuid is None or str(uuid) != str(value).lower():  # UUID() also takes braces and urn:
        raise _bad("instance_id", "no UUID", "NULL")
    return uuid


def _bad(column: str, what: str, remedy: str) -> BadRowError:
    return BadRowError(
        f"{column} holds {what}. Correct it by SQL, for example: "  # noqa: S608 - constants, and not run
        f"UPDATE {TABLE_NAME} SET {column} = {remedy} WHERE id = 1;"
    )
