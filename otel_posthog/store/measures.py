"""What the heartbeat may tell of the product's database: its kind and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .engines import Database

_SIZES = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}


class DatabaseMeasures:
    """Kind and size of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def kind(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._database.kind

    def size_bytes(self) -> int:
        """Return what it takes on disk, as the database itself says; raise `StoreError` where that fails."""

        def ask(connection: Connection) -> int:
            return int(connection.execute(_SIZES[self.kind()]).scalar_one())

        return self._database.run("measure the database of", ask)
