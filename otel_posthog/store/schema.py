"""Define the tables: settings, what consent was given for and by whom, and the heartbeat's lease.

A product may own `system_settings` already, with the three flags and columns of its own; `migrations`
then adds what is missing. Column defaults are the server's, so that rows created by SQL are complete.
Later additions have tables of their own, which no product has to migrate.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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

from otel_posthog.consent.state import FLAGS
from otel_posthog.registry import Kind

TABLE_NAME = "system_settings"
GENERATIONS = tuple(f"{kind}_generation" for kind in Kind)
ADDED_COLUMNS = ("instance_id", *GENERATIONS)
SINGLETON_NAME = "ck_system_settings_singleton"
WHO_MAX_CHARS = 200
_UUID_CHARS = 36
_HASH_CHARS = 64  # SHA-256 in hexadecimal
_KIND_CHARS = 16
_TIME_CHARS = 32  # ISO 8601 with milliseconds and offset takes 29
_NAMING_CONVENTION = {"ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s"}


def settings_columns() -> tuple[Column[bool] | Column[int] | Column[str], ...]:
    """Return new columns that belong to no table yet."""
    return (
        Column("id", Integer, primary_key=True, autoincrement=False),
        *(Column(flag, Boolean, nullable=False, server_default=false()) for flag in FLAGS),
        Column("instance_id", String(_UUID_CHARS), nullable=True),
        *(Column(name, Integer, nullable=False, server_default=text("0")) for name in GENERATIONS),
    )


metadata = MetaData(naming_convention=_NAMING_CONVENTION)

system_settings = Table(
    TABLE_NAME, metadata, *settings_columns(), CheckConstraint("id = 1", name="singleton")
)

# Every manifest that was ever agreed to or declined.
consent_manifest = Table(
    "consent_manifest",
    metadata,
    Column("hash", String(_HASH_CHARS), primary_key=True),
    Column("kind", String(_KIND_CHARS), nullable=False),
    Column("content", Text, nullable=False),
)

# The manifest to which each kind's consent was given, and the wider one that was declined since.
consent_grant = Table(
    "consent_grant",
    metadata,
    Column("kind", String(_KIND_CHARS), primary_key=True),
    Column("manifest", String(_HASH_CHARS), nullable=True),
    Column("declined", String(_HASH_CHARS), nullable=True),
)

# When each kind was switched on, by the database's clock; NULL while it is off, and after a grant by SQL.
consent_moment = Table(
    "consent_moment",
    metadata,
    Column("kind", String(_KIND_CHARS), primary_key=True),
    Column("granted_ms", BigInteger, nullable=True),  # since 1970
)

# Each change of the decision; rows are only ever added.
consent_audit = Table(
    "consent_audit",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("at", String(_TIME_CHARS), nullable=False),
    Column("who", String(WHO_MAX_CHARS), nullable=True),
    Column("old_state", Text, nullable=False),
    Column("new_state", Text, nullable=False),
    # Or SQLite would give the number of a deleted last entry again.
    sqlite_autoincrement=True,
)

CONSENT_TABLES = (consent_manifest, consent_grant, consent_moment, consent_audit)

# Our tables for a product whose own model describes `system_settings`.
own_metadata = MetaData(naming_convention=_NAMING_CONVENTION)

for _table in CONSENT_TABLES:
    _table.to_metadata(own_metadata)


HEARTBEAT_TABLE_NAME = "system_heartbeat"
_DAY_CHARS = 10

# In own_metadata too, for products whose models contain system_settings.
system_heartbeat = Table(
    HEARTBEAT_TABLE_NAME,
    own_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("instance_id", String(_UUID_CHARS), nullable=True),
    Column("telemetry_generation", Integer, nullable=False, server_default=text("0")),
    Column("done_day", String(_DAY_CHARS), nullable=True),
    Column("claimed_until", BigInteger, nullable=True),
    CheckConstraint("id = 1", name="singleton"),
)
system_heartbeat.to_metadata(metadata)
