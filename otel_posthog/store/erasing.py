"""Leave nothing of the instance's UUID behind once both kinds are off."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import inspect, null, text, update
from sqlalchemy.exc import SQLAlchemyError

from .heartbeat_schema import HEARTBEAT_TABLE_NAME, system_heartbeat

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ERASE = text("PRAGMA secure_delete = ON")
_FORGET = update(system_heartbeat).values(instance_id=null())


def erase_what_is_replaced(connection: Connection) -> None:
    """Have SQLite overwrite old values with zeros; it would leave them in the free space of its file."""
    if connection.dialect.name == "sqlite":
        connection.execute(_ERASE).close()


def forget_instance(connection: Connection) -> None:
    """Take the UUID out of the heartbeat's row, if there is one.

    A withdrawal never fails for it: the role may lack the right, and the row counts for nothing by then.
    """
    with suppress(SQLAlchemyError):
        if inspect(connection).has_table(HEARTBEAT_TABLE_NAME):
            with connection.begin_nested():
                connection.execute(_FORGET)
