"""The table `system_heartbeat`: one row, id 1, about the daily heartbeat.

Which day is done, who is at it, and for which consent that holds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, String, Table, text

from .schema import metadata, own_metadata

HEARTBEAT_TABLE_NAME = "system_heartbeat"
_UUID_CHARS = 36
_DAY_CHARS = 10

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
