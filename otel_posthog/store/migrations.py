"""A migration for products that run Alembic: call it from a revision file of your own.

    from otel_posthog.store import migrations

    def upgrade() -> None:
        migrations.upgrade(op)

Alembic itself is not imported here. For autogenerate, name our metadata beside yours:
``target_metadata = [Base.metadata, otel_posthog.store.metadata]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.schema import CreateTable

from otel_posthog.errors import StoreError

from .schema import ADDED_COLUMNS, SINGLETON_NAME, TABLE_NAME, metadata, settings_columns, system_settings

if TYPE_CHECKING:
    from alembic.operations import Operations

__all__ = ["downgrade", "metadata", "upgrade"]


def upgrade(op: Operations) -> None:
    """Create `system_settings`, or add to a product's own table only the columns that it lacks.

    In offline mode (``--sql``) the database cannot be asked; the script then creates the table.
    """
    present = set() if op.get_context().as_sql else _present_columns(op)
    if not present:
        op.execute(CreateTable(system_settings))
        return
    if "id" not in present:
        raise StoreError(f"the table {TABLE_NAME} exists without a column id. Add one with a row id = 1.")
    for column in settings_columns():
        if column.name not in present:
            op.add_column(TABLE_NAME, column)


def downgrade(op: Operations) -> None:
    """Drop the table if it is ours alone, otherwise only the columns that a product does not have.

    The three flags of a product's own table stay, with their data.
    """
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
    """Tell by our constraint's name: a product's table may hold the same columns and no more."""
    inspector = inspect(op.get_bind())
    if not inspector.has_table(TABLE_NAME):
        return False
    constraints = {constraint["name"] for constraint in inspector.get_check_constraints(TABLE_NAME)}
    ours = {column.name for column in settings_columns()}
    return SINGLETON_NAME in constraints and _present_columns(op) <= ours
