"""The table `system_settings`: one row, id 1; and beside it what consent was given for, and by whom.

A product may own the table already, with the three flags and columns of its own; `migrations`
then adds what is missing. Column defaults are the server's, so that rows made by SQL are whole. What
came later stands in tables of its own, which no product has to migrate.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

TABLE_NAME = "system_settings"
FLAGS = ("is_setup_completed", "enable_error_reporting", "enable_telemetry")
ADDED_COLUMNS = ("instance_id", "errors_generation", "telemetry_generation")
SINGLETON_NAME = "ck_system_settings_singleton"
WHO_MAX_CHARS = 200
_UUID_CHARS = 36
_HASH_CHARS = 64
_KIND_CHARS = 16
_TIME_CHARS = 32
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

consent_manifest = Table(
    "consent_manifest",
    metadata,
    Column("hash", String(_HASH_CHARS), primary_key=True),
    Column("kind", String(_KIND_CHARS), nullable=False),
    Column("content", Text, nullable=False),
)
"""Every manifest that was ever agreed to or declined."""

consent_grant = Table(
    "consent_grant",
    metadata,
    Column("kind", String(_KIND_CHARS), primary_key=True),
    Column("manifest", String(_HASH_CHARS), nullable=True),
    Column("declined", String(_HASH_CHARS), nullable=True),
)
"""The manifest to which each kind's consent was given, and the wider one that was declined since."""

consent_audit = Table(
    "consent_audit",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("at", String(_TIME_CHARS), nullable=False),
    Column("who", String(WHO_MAX_CHARS), nullable=True),
    Column("old_state", Text, nullable=False),
    Column("new_state", Text, nullable=False),
    sqlite_autoincrement=True,
)
"""Each change of the decision; rows are only ever added."""

CONSENT_TABLES = (consent_manifest, consent_grant, consent_audit)

own_metadata = MetaData(naming_convention=_NAMING_CONVENTION)
"""Our tables for a product whose own model describes `system_settings`."""

for _table in CONSENT_TABLES:
    _table.to_metadata(own_metadata)
