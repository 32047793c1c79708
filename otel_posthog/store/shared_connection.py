"""Work on the one SQLite connection of a product's StaticPool without ending its transaction.

Tests of products often share one in-memory database between all threads. SQLAlchemy would commit what the
product has begun there, or roll it back.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar, cast

from sqlalchemy import Engine, event
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

_T = TypeVar("_T")
_SAVEPOINT = "SAVEPOINT otel_posthog"
_KEEP = ["RELEASE otel_posthog"]
_UNDO = ["ROLLBACK TO otel_posthog", *_KEEP]


def run_on_shared(host: Engine, operation: Callable[[Connection], _T]) -> _T:
    """Return the operation's result; what it changes is kept or undone as one, within an open transaction."""
    shared = cast("StaticPool", host.pool).connection.get_connection()
    is_changing = False

    # Reading takes no savepoint: the first one of a transaction begins it and the last one commits it, with
    # what another thread of the product has written in between (docs/adr/0056).
    def begin(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal is_changing
        if not (is_changing or statement.startswith("SELECT")):
            shared.cursor().execute(_SAVEPOINT)
            is_changing = True

    engine = _without_transactions(host, shared)
    event.listen(engine, "before_cursor_execute", begin)
    ending = _UNDO
    try:
        with engine.connect() as connection:
            result = operation(connection)
        ending = _KEEP
    finally:
        for statement in ending if is_changing else ():
            shared.cursor().execute(statement)
    return result


def _without_transactions(host: Engine, shared: object) -> Engine:
    """Return an engine on this connection that neither commits nor rolls back."""
    dialect = copy.copy(host.dialect)
    for name in ("do_begin", "do_commit", "do_rollback"):
        setattr(dialect, name, lambda _connection: None)
    pool = StaticPool(lambda: shared, dialect=dialect, reset_on_return=None)  # type: ignore[arg-type]
    return Engine(pool, dialect, host.url, hide_parameters=True)
