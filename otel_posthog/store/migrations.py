"""Migrate the tables with Alembic: call it from a revision file of your own.

    from otel_posthog.store import migrations

    def upgrade() -> None:
        migrations.upgrade(op)

Alembic itself is not imported here. For autogenerate, name our metadata beside yours:
``target_metadata = [Base.metadata, otel_posthog.store.metadata]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.schema import CreateTable, DropTable

from otel_posthog.errors import StoreError

from .schema import (
    ADDED_COLUMNS,
    CONSENT_TABLES,
    SINGLETON_NAME,
    TABLE_NAME,
    metadata,
    own_metadata,
    settings_columns,
    system_heartbeat,
    system_settings,
)

if TYPE_CHECKING:
    from alembic.operations import Operations

__all__ = ["downgrade", "metadata", "own_metadata", "upgrade"]

_OUR_TABLES = (*CONSENT_TABLES, system_heartbeat)


def upgrade(op: Operations) -> None:
    """Create our tables; to a product's own `system_settings` add only the columns that it lacks.

    In offline mode (``--sql``) no database is available; the script then creates all tables.
    """
    present = set() if op.get_context().as_sql else _present_columns(op)
    if present and "id" not in present:
        raise StoreError(f"the table {TABLE_NAME} exists without a column id. Add one with a row id = 1.")
    for table in _OUR_TABLES:
        op.execute(CreateTable(table, if_not_exists=True))
    if not present:
        op.execute(CreateTable(system_settings))
        return
    for column in settings_columns():
        if column.name not in present:
            op.add_column(TABLE_NAME, column)


def downgrade(op: Operations) -> None:
    """Drop our tables, and of a product's own `system_settings` only the columns that we added.

    The three flags of a product's own table stay, with their data. The audit trail goes.
    """
    for table in _OUR_TABLES:
        op.execute(DropTable(table, if_exists=True))
    if op.get_context().as_sql or _is_ours_alone(op):
        op.drop_table(TABLE_NAME)
        return
    present = _present_columns(op)
    for name in ADDED_COLUMNS:
        if name in present:
            op.drop_column(TABLE_NAME, name)


def _present_columns(op: Operations) -> set[str]:
    inspector = inspect(op.get_bind())
    if not inspector.has_table(TABLE_NAME):
        return set()
    return {column["name"] for column in inspector.get_columns(TABLE_NAME)}


def _is_ours_alone(op: Operations) -> bool:
    """Return whether the table has our constraint: a product's may have the same columns and no more."""
    present = _present_columns(op)
    if not present or present - {column.name for column in settings_columns()}:
        return False
    constraints = inspect(op.get_bind()).get_check_constraints(TABLE_NAME)
    return SINGLETON_NAME in {constraint["name"] for constraint in constraints}
