"""The table `system_settings`: one row, id 1.

A product may own the table already, with the three flags and columns of its own; `migrations`
then adds what is missing. Column defaults are the server's, so that rows made by SQL are whole.
"""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Integer, MetaData, String, Table, false, text

TABLE_NAME = "system_settings"
FLAGS = ("is_setup_completed", "enable_error_reporting", "enable_telemetry")
ADDED_COLUMNS = ("instance_id", "errors_generation", "telemetry_generation")
SINGLETON_NAME = "ck_system_settings_singleton"
_UUID_CHARS = 36
_NAMING_CONVENTION = {
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}


def settings_columns() -> tuple[Column[bool] | Column[int] | Column[str], ...]:
    """Return new columns, not bound to a table yet."""
    return (
        Column("id", Integer, primary_key=True, autoincrement=False),
        *(Column(flag, Boolean, nullable=False, server_default=false()) for flag in FLAGS),
        Column("instance_id", String(_UUID_CHARS), nullable=True),
        Column("errors_generation", Integer, nullable=False, server_default=text("0")),
        Column("telemetry_generation", Integer, nullable=False, server_default=text("0")),
    )


metadata = MetaData(naming_convention=_NAMING_CONVENTION)

system_settings = Table(
    TABLE_NAME,
    metadata,
    *settings_columns(),
    CheckConstraint("id = 1", name="singleton"),
)
