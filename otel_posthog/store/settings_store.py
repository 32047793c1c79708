"""Read and write the one settings row.

Each change is one UPDATE, so that simultaneous ones agree. Once both kinds are off, nothing of the
instance's UUID remains.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import (
    Boolean,
    String,
    and_,
    bindparam,
    case,
    false,
    func,
    inspect,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from otel_posthog.consent.state import FLAG_OF, FLAGS, Settings
from otel_posthog.errors import StoreError
from otel_posthog.otel.records import now_ns
from otel_posthog.registry import Kind

from . import consent_history
from .engines import Database
from .schema import (
    ADDED_COLUMNS,
    CONSENT_TABLES,
    GENERATIONS,
    HEARTBEAT_TABLE_NAME,
    TABLE_NAME,
    system_heartbeat,
    system_settings,
)
from .urls import AbsentError, BadRowError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable, RowMapping

    from .urls import DatabaseSource


_SECURE_DELETE = text("PRAGMA secure_delete = ON")
_DELETE_HEARTBEAT_ID = update(system_heartbeat).values(instance_id=null())
_row = system_settings.c
_is_first = _row.id == 1
_after = {name: func.coalesce(bindparam(f"new_{name}", type_=Boolean), _row[name]) for name in FLAGS}
_all_off = and_(*(_row[flag].is_(false()) for flag in FLAG_OF.values()))
_any_on = or_(*(_row[flag].is_(true()) for flag in FLAG_OF.values()))
_GRANT_COLUMNS = {"manifest": "consent_grant", "declined": "consent_grant", "granted_ms": "consent_moment"}
_OF_KINDS = {
    f"{kind}_{name}": f"(SELECT {name} FROM {table} WHERE kind = '{kind}')"  # noqa: S608 - constants
    for name, table in _GRANT_COLUMNS.items()
    for kind in Kind
}
# Columns without a type, so that nothing converts what the driver returns.
_READ: dict[str, Executable] = {
    dialect: select(
        *[literal_column(name) for name in (*FLAGS, *ADDED_COLUMNS)],
        *[literal_column(query).label(name) for name, query in (*_OF_KINDS.items(), ("read_ms", now_ms))],
    )
    .select_from(system_settings)
    .where(_is_first)
    for dialect, now_ms in consent_history.NOW_MS.items()
}
_HAS_ROW = select(_row.id).where(_is_first)
_HAS_COLUMNS = select(system_settings).limit(0)
_HAS_TABLES = [select(table).limit(0) for table in CONSENT_TABLES]
_CREATE_TABLES = [CreateTable(table, if_not_exists=True) for table in (*CONSENT_TABLES, system_settings)]
# It changes nothing and locks the row, in SQLite too, which has no SELECT FOR UPDATE.
_LOCK = update(system_settings).where(_is_first).values(id=1)
# As text, since SQLAlchemy has this clause per database only, and both understand it.
_INSERT_ROW = text(
    f"INSERT INTO {TABLE_NAME} (id, {', '.join((*FLAGS, *GENERATIONS))}) "  # noqa: S608 - constants
    "VALUES (1, :off, :off, :off, 0, 0) ON CONFLICT DO NOTHING"
).bindparams(bindparam("off", value=False, type_=Boolean))
_UPDATE = (
    update(system_settings)
    .where(_is_first)
    .values(
        **_after,
        # Anything but off counts as having been on: a withdrawal from a bad value raises the generation too.
        **{
            generation: _row[generation]
            + case((and_(_row[flag].is_not(false()), _after[flag].is_(false())), 1), else_=0)
            for generation, flag in zip(GENERATIONS, FLAG_OF.values(), strict=True)
        },
        instance_id=case(
            (and_(*(_after[flag].is_(false()) for flag in FLAG_OF.values())), null()),
            else_=func.coalesce(_row.instance_id, bindparam("new_instance_id", type_=String)),
        ),
    )
)
_GIVE_ID = (
    update(system_settings)
    .where(_is_first, _row.instance_id.is_(None), _any_on)
    .values(instance_id=bindparam("new_instance_id", type_=String))
)
_DELETE_ID = update(system_settings).where(_is_first, _all_off).values(instance_id=null())


# Returns what consent is asked for at present, by kind, as canonical JSON.
Manifests = Callable[[], Mapping[Kind, str]]


class SettingsStore:
    """The settings row in the product's database; safe in threads and across processes.

    Each operation waits at most about `timeout_s` for a lock, and blocks the calling thread: in an event
    loop, call it from a thread. It raises `StoreError` when the answer is not certain. A new grant is for
    the manifest that `manifests` returns at that time.
    """

    def __init__(
        self, database: DatabaseSource, *, timeout_s: float = 5.0, manifests: Manifests = dict
    ) -> None:
        self.database = Database(database, timeout_s=timeout_s)
        self._manifests = manifests

    def create(self) -> None:
        """Create what is absent: a SQLite file with its folder, the tables and the row.

        Writes nothing if all exist; safe when many processes do it at once.
        """
        self.database.prepare()
        try:
            if self.database.run("read", _is_complete):
                return
        except AbsentError:
            self._create_tables()
        self.database.run("create the row of", lambda connection: connection.execute(_INSERT_ROW).close())

    def read(self) -> Settings | None:
        """Return the row, or None if only the row is absent."""
        return self.database.run("read", _read)

    def update(self, *, who: str | None = None, **flags: bool | None) -> Settings:
        """Set the flags that are given, keep the rest, and return the new row, created first if absent.

        A withdrawal raises its generation; the first grant creates the instance's UUID, and the last
        withdrawal deletes it. The audit trail records a change under the name `who`.
        """
        values: dict[str, object] = {f"new_{name}": None for name in FLAGS}
        values |= {f"new_{name}": value for name, value in flags.items()}
        values["new_instance_id"] = str(uuid4())
        change = partial(self._change, "update", lambda connection: connection.execute(_UPDATE, values), who)
        changed = change()
        if changed is None:
            self.create()
            changed = change()
        if changed is None:
            raise StoreError("the row of system_settings was deleted while it was updated. Try again.")
        return changed

    def answer(
        self, *, agreed: Collection[Kind] = (), declined: Collection[Kind] = (), who: str | None = None
    ) -> Settings:
        """Record the answer to a wider manifest, for kinds that are on, and return the new row.

        What was agreed to may be sent from now on; what was declined changes nothing.
        """

        def change(connection: Connection) -> None:
            row, present = _read(connection), self._manifests()
            for kind in (*agreed, *declined):
                if row is None or not row.kinds[kind].is_granted:
                    continue
                name = consent_history.keep(connection, kind, present[kind])
                answers = (name, None) if kind in agreed else (row.kinds[kind].manifest, name)
                consent_history.grant(connection, kind, *answers)

        changed = self._change("update", change, who)
        if changed is None:
            raise StoreError("system_settings has no row with id 1. Save the telemetry settings once.")
        return changed

    def settle(self) -> Settings | None:
        """Return the row like `read`, but first repair what SQL by hand can cause.

        A flag that is on gets an instance_id, and counts as granted for the present manifest; with both
        flags off the id is deleted. Flags never change.
        """
        row = self.read()
        if row is None or self._is_settled(row):
            return row
        if _is_any_on(row):
            new_id = {"new_instance_id": str(uuid4())}
            repaired = self._change("give an instance_id to", lambda c: c.execute(_GIVE_ID, new_id))
            if repaired is None or self._is_settled(repaired):
                return repaired
            raise StoreError("system_settings was changed while an instance_id was given to it. Try again.")
        try:
            return self._change("delete the instance_id of", lambda c: c.execute(_DELETE_ID))
        except StoreError:  # read-only or locked: both flags were read as off, and that is the answer
            return replace(row, instance_id=None)

    def manifest(self, name: str) -> str:
        """Return the manifest of this hash, as it was when it was answered."""
        content = self.database.run("read", partial(consent_history.content_of, name=name))
        if content is None:
            raise StoreError(
                f"consent_manifest has no row {name}, to which consent was given. Restore it, or switch "
                "the flag off and on to consent again."
            )
        return content

    def audit(self, *, after_id: int = 0, limit: int = 1000) -> list[dict[str, object]]:
        """Return at most `limit` changes of the decision that follow `after_id`, oldest first."""
        entries = partial(consent_history.entries, after_id=after_id, limit=limit)
        return self.database.run("read", entries)

    def close(self) -> None:
        """Close our connections; the next call opens new ones. A given engine stays open."""
        self.database.close()

    def _change(
        self, doing: str, change: Callable[[Connection], object], who: str | None = None
    ) -> Settings | None:
        """Change the row, its grants and the audit trail in one transaction; return None for no row."""

        def work(connection: Connection) -> Settings | None:
            if connection.dialect.name == "sqlite":  # it would leave old values in the free space of its file
                connection.execute(_SECURE_DELETE).close()
            if not connection.execute(_LOCK).rowcount:
                return None  # without reading: another process may insert the row, all off, before it
            before = _raw(connection)
            change(connection)
            after = _read(connection)
            if after is not None and before is not None:
                if self._update_grants(connection, before, after):
                    after = _read(connection)
                if before["instance_id"] and after is not None and not after.instance_id:
                    _delete_heartbeat_id(connection)
            consent_history.record(connection, before, _raw(connection), who)
            return after

        try:
            return self.database.run(doing, work)
        except AbsentError:
            return None

    def _update_grants(self, connection: Connection, before: RowMapping, row: Settings) -> bool:
        """Grant the present manifest to kinds switched on, none to those off; return whether any changed."""
        has_changed = False
        for kind, held in row.kinds.items():
            was_on, name = before[FLAG_OF[kind]], None
            if held.is_granted:
                # A kind that was off is granted what is asked for now, whatever was agreed to before.
                is_known = held.manifest is not None and was_on
                content = None if is_known else self._manifests().get(kind)
                if content is None:
                    continue
                name = consent_history.keep(connection, kind, content)
            elif held.manifest is None:
                continue
            consent_history.grant(connection, kind, name, None)
            consent_history.date(connection, kind, is_on=held.is_granted and not was_on)
            has_changed = True
        return has_changed

    def _is_settled(self, row: Settings) -> bool:
        unbound = [kind for kind, held in row.kinds.items() if held.is_granted and held.manifest is None]
        has_id = row.instance_id is not None
        return _is_any_on(row) == has_id and not (unbound and self._manifests().keys() & unbound)

    def _create_tables(self) -> None:
        def make(connection: Connection) -> None:
            if inspect(connection).has_table(TABLE_NAME):  # perhaps of another shape: then nothing is created
                connection.execute(_HAS_COLUMNS)
            for statement in _CREATE_TABLES:
                connection.execute(statement)

        try:
            self.database.run("create", make)
        except StoreError:
            # PostgreSQL refuses one of two simultaneous IF NOT EXISTS; the other has created the tables.
            with suppress(AbsentError):
                self.database.run("read", _is_complete)
                return
            raise


def _is_any_on(row: Settings) -> bool:
    return any(held.is_granted for held in row.kinds.values())


def _delete_heartbeat_id(connection: Connection) -> None:
    """Delete the UUID from the heartbeat's row, if there is one; a withdrawal never fails for it."""
    with suppress(SQLAlchemyError):  # the role may lack the right, and the row counts for nothing by now
        if inspect(connection).has_table(HEARTBEAT_TABLE_NAME):
            with connection.begin_nested():
                connection.execute(_DELETE_HEARTBEAT_ID)


def _is_complete(connection: Connection) -> bool:
    """Return whether the row exists; raise if a table does not."""
    for statement in _HAS_TABLES:
        connection.execute(statement)
    return connection.execute(_HAS_ROW).first() is not None


def _raw(connection: Connection) -> RowMapping | None:
    return connection.execute(_READ[connection.dialect.name]).mappings().one_or_none()


def _read(connection: Connection) -> Settings | None:
    values, read_ns = _raw(connection), now_ns()
    if values is None:
        return None
    checked: dict[str, Any] = {"instance_id": _uuid(values["instance_id"])}
    checked |= {name: _flag(name, values[name]) for name in FLAGS}
    checked |= {name: _generation(name, values[name]) for name in GENERATIONS}
    held = {name: values[name] for name in (*_OF_KINDS, "read_ms")}
    # SQLite keeps any text in a column of numbers.
    held |= {name: None for name in held if name.endswith("_ms") and not isinstance(held[name], int)}
    return Settings(**held, **checked, read_ns=read_ns)


def _flag(column: str, value: object) -> bool:
    # SQLite keeps a 2 or a 'banana' in a boolean column, and consent is never guessed from one.
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
