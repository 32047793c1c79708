"""Read and write the one settings row.

Values are checked raw: SQLite keeps a 2 or a 'banana' in a boolean column, and consent is never
guessed from one. Each change is one UPDATE, so that simultaneous ones agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
from otel_posthog.registry import Kind
from otel_posthog.settings import Settings

from . import consent_book
from .engines import Database
from .erasing import erase_what_is_replaced, forget_instance
from .failures import AbsentError, BadRowError
from .schema import ADDED_COLUMNS, CONSENT_TABLES, FLAGS, TABLE_NAME, system_settings

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection, Executable, RowMapping

    from .urls import DatabaseSource

_FLAG_OF = {Kind.ERRORS: "enable_error_reporting", Kind.TELEMETRY: "enable_telemetry"}
_row = system_settings.c
_is_first = _row.id == 1
_errors_after, _telemetry_after = (
    func.coalesce(bindparam(f"new_{flag}", type_=Boolean), _row[flag])
    for flag in ("enable_error_reporting", "enable_telemetry")
)

_GRANT_COLUMNS = tuple((kind, name) for name in ("manifest", "declined") for kind in Kind)


def _granted(kind: Kind, name: str) -> ColumnElement[object]:
    return literal_column(f"(SELECT {name} FROM consent_grant WHERE kind = '{kind}')").label(f"{kind}_{name}")  # noqa: S608 - constants


# Columns without a type, so that nothing converts what the driver returns.
_READ: Executable = (
    select(
        *[literal_column(name) for name in (*FLAGS, *ADDED_COLUMNS)],
        *[_granted(kind, name) for kind, name in _GRANT_COLUMNS],
    )
    .select_from(system_settings)
    .where(_is_first)
)
_HAS_ROW = select(_row.id).where(_is_first)
_HAS_TABLES = [select(table).limit(0) for table in CONSENT_TABLES]
_CREATE_TABLES = [CreateTable(table, if_not_exists=True) for table in (*CONSENT_TABLES, system_settings)]
_LOCK = update(system_settings).where(_is_first).values(id=1)
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


Manifests = Callable[[], Mapping[Kind, str]]
"""Returns what consent is asked for at present, by kind, as canonical JSON."""


def _no_manifests() -> Mapping[Kind, str]:
    return {}


class SettingsStore:
    """The settings row in the product's database; safe in threads and across processes.

    Each operation takes at most about `timeout_s` for a lock, and blocks the calling thread: in an
    event loop, call it from a thread. It raises `StoreError` when the answer is not certain. Each grant
    is one for the manifest that `manifests` returns at that moment.
    """

    def __init__(
        self, database: DatabaseSource, *, timeout_s: float = 5.0, manifests: Manifests = _no_manifests
    ) -> None:
        self._database = Database(database, timeout_s=timeout_s)
        self._manifests = manifests

    @property
    def database(self) -> Database:
        """Return the connections, for what else the product's database is asked."""
        return self._database

    @property
    def file(self) -> Path | None:
        """The database's file, if it is SQLite in a file."""
        return self._database.file

    @property
    def name(self) -> str | None:
        """What tells this database from others, without credentials; None in memory."""
        return self._database.name

    def create(self) -> None:
        """Make the tables and the row, and a SQLite file with its folder, where they are absent.

        Writes nothing if they are there; safe when many processes do it at once.
        """
        self._database.prepare()
        try:
            if self._database.run("read", _is_complete):
                return
        except AbsentError:
            self._create_tables()
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
        who: str | None = None,
    ) -> Settings:
        """Set what is given, keep the rest, and return the new row; made first if absent.

        A withdrawal raises its generation; the first grant makes the instance's UUID, and the last
        withdrawal deletes it. A change is entered into the audit trail under the name `who`.
        """
        values = {
            "new_is_setup_completed": is_setup_completed,
            "new_enable_error_reporting": enable_error_reporting,
            "new_enable_telemetry": enable_telemetry,
            "new_instance_id": str(uuid4()),
        }

        def change(connection: Connection) -> None:
            connection.execute(_UPDATE, values)

        changed = self._change("update", change, who)
        if changed is None:
            self.create()
            changed = self._change("update", change, who)
        if changed is None:
            raise StoreError("the row of system_settings was deleted while it was updated. Try again.")
        return changed

    def answer(
        self, *, agreed: Collection[Kind] = (), declined: Collection[Kind] = (), who: str | None = None
    ) -> Settings:
        """Note the answer to a wider manifest, for kinds that are on, and return the new row.

        What was agreed to may leave from now on; what was declined goes on as before.
        """

        def change(connection: Connection) -> None:
            row, present = _read(connection), self._manifests()
            if row is None:
                return
            for kind in [kind for kind in (*agreed, *declined) if row.is_granted(kind)]:
                name = consent_book.keep(connection, kind, present[kind])
                answers = (name, None) if kind in agreed else (row.manifest(kind), name)
                consent_book.grant(connection, kind, *answers)

        changed = self._change("update", change, who)
        if changed is None:
            raise StoreError("system_settings has no row with id 1. Save the telemetry settings once.")
        return changed

    def settle(self) -> Settings | None:
        """Return the row like `read`, but first mend what SQL by hand can leave.

        A flag that is on gets an instance_id, and counts as granted for the present manifest; with both
        flags off the id is deleted. Flags never change.
        """
        settings = self.read()
        if settings is None:
            return None
        if self._is_settled(settings):
            return settings
        if _is_any_on(settings):
            mended = self._change("give an instance_id to", _give_id, None)
            if mended is None or self._is_settled(mended):
                return mended
            raise StoreError("system_settings was changed while an instance_id was given to it. Try again.")
        try:
            return self._change("delete the instance_id of", _take_id, None)
        except StoreError:  # read-only or locked: both flags were read as off, and that is the answer
            return replace(settings, instance_id=None)

    def manifest(self, name: str) -> str:
        """Return the manifest of this hash, as it was when somebody answered it."""
        content = self._database.run("read", lambda connection: consent_book.content_of(connection, name))
        if content is None:
            raise StoreError(
                f"consent_manifest has no row {name}, to which consent was given. Restore it, or switch "
                "the flag off and on to consent anew."
            )
        return content

    def audit(self, *, after_id: int = 0, limit: int = 1000) -> list[dict[str, object]]:
        """Return so many changes of the decision at most, oldest first, from the one after `after_id`."""
        return self._database.run(
            "read", lambda connection: consent_book.entries(connection, after_id, limit)
        )

    def close(self) -> None:
        """Close our connections; the next call opens new ones. A given engine stays open."""
        self._database.close()

    def before_fork(self) -> None:
        """Let a child inherit no operation under way and no open SQLite file; call it before each fork."""
        self._database.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on; call it in the parent after each fork."""
        self._database.after_fork_in_parent()

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them; call it in each child process."""
        self._database.after_fork()

    def _change(self, doing: str, change: Callable[[Connection], None], who: str | None) -> Settings | None:
        """Change the row, let the grants follow it and enter it into the audit trail; None for no row."""

        def work(connection: Connection) -> Settings | None:
            erase_what_is_replaced(connection)
            if not connection.execute(_LOCK).rowcount:
                return None  # without a look: another process may insert the row, all off, before it
            before = _raw(connection)
            change(connection)
            self._follow(connection, before)
            after = _read(connection)
            if before is not None and before["instance_id"] and after is not None and not after.instance_id:
                forget_instance(connection)
            consent_book.record(connection, before, _raw(connection), who)
            return after

        try:
            return self._database.run(doing, work)
        except AbsentError:
            return None

    def _follow(self, connection: Connection, before: RowMapping | None) -> None:
        """Bind a kind that is on now, and was not, to the present manifest; let go of one that is off."""
        row = _read(connection)
        if row is None or before is None:
            return
        for kind, content in self._manifests().items():
            is_new = not before[_FLAG_OF[kind]] or row.manifest(kind) is None
            if row.is_granted(kind) and is_new:
                consent_book.grant(connection, kind, consent_book.keep(connection, kind, content), None)
            elif not row.is_granted(kind) and row.manifest(kind) is not None:
                consent_book.grant(connection, kind, None, None)

    def _is_settled(self, settings: Settings) -> bool:
        unbound = [kind for kind in self._manifests() if settings.manifest(kind) is None]
        has_id = settings.instance_id is not None
        return _is_any_on(settings) == has_id and not any(settings.is_granted(kind) for kind in unbound)

    def _create_tables(self) -> None:
        def make(connection: Connection) -> None:
            for statement in _CREATE_TABLES:
                connection.execute(statement)

        try:
            self._database.run("create", make)
        except StoreError:
            # PostgreSQL refuses one of two simultaneous IF NOT EXISTS; the other has the tables by then.
            try:
                self._database.run("read", _is_complete)
            except AbsentError:
                pass
            else:
                return
            raise


def _is_any_on(settings: Settings) -> bool:
    return settings.enable_error_reporting or settings.enable_telemetry


def _is_complete(connection: Connection) -> bool:
    """Tell whether the row is there; raises where a table is not."""
    for statement in _HAS_TABLES:
        connection.execute(statement)
    return connection.execute(_HAS_ROW).first() is not None


def _insert_row(connection: Connection) -> None:
    connection.execute(_INSERT_ROW)


def _raw(connection: Connection) -> RowMapping | None:
    return connection.execute(_READ).mappings().one_or_none()


def _read(connection: Connection) -> Settings | None:
    values = _raw(connection)
    if values is None:
        return None
    return Settings(
        is_setup_completed=_flag("is_setup_completed", values["is_setup_completed"]),
        enable_error_reporting=_flag("enable_error_reporting", values["enable_error_reporting"]),
        enable_telemetry=_flag("enable_telemetry", values["enable_telemetry"]),
        instance_id=_uuid(values["instance_id"]),
        errors_generation=_generation("errors_generation", values["errors_generation"]),
        telemetry_generation=_generation("telemetry_generation", values["telemetry_generation"]),
        errors_manifest=values["errors_manifest"],
        telemetry_manifest=values["telemetry_manifest"],
        errors_declined=values["errors_declined"],
        telemetry_declined=values["telemetry_declined"],
    )


def _give_id(connection: Connection) -> None:
    connection.execute(_GIVE_ID, {"new_instance_id": str(uuid4())})


def _take_id(connection: Connection) -> None:
    connection.execute(_TAKE_ID)


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
