"""The same database by two ways: what a product hands to otel_posthog, and plain SQL beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

SQLITE_KINDS = ("sqlite-url", "aiosqlite-url", "sqlite-engine", "sqlite-async-engine")
POSTGRESQL_KINDS = ("psycopg-url", "asyncpg-url", "psycopg-engine", "asyncpg-engine")
KINDS = SQLITE_KINDS + POSTGRESQL_KINDS
_LOCK_TIMEOUT_S = 10
_HOST_LOCK_TIMEOUT_S = 0.5  # of an engine, whose timeouts are the host's choice


@dataclass(frozen=True, slots=True, kw_only=True)
class SomeDatabase:
    """A database, and the value by which it is handed to the store."""

    target: object
    """A URL, an Engine or an AsyncEngine."""
    place: str
    """The SQLite file, or the PostgreSQL URL."""

    @property
    def is_postgresql(self) -> bool:
        return self.place.startswith("postgresql:")

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement past the store, as an administrator would, and return its rows."""
        with self._connected() as connection:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows

    @contextmanager
    def locked(self):
        """Hold a lock that keeps every reader and writer out."""
        lock = (
            "LOCK TABLE system_settings IN ACCESS EXCLUSIVE MODE" if self.is_postgresql else "BEGIN EXCLUSIVE"
        )
        with self._connected() as connection:
            connection.execute(lock)
            yield
            connection.rollback()

    def _connected(self):
        if self.is_postgresql:
            return closing(psycopg.connect(self.place))
        return closing(sqlite3.connect(self.place, timeout=_LOCK_TIMEOUT_S))


@contextmanager
def new_database(kind, request):
    """Yield an empty database of this kind for the test that makes the request."""
    if kind in SQLITE_KINDS:
        place = f"{request.getfixturevalue('tmp_path')}/app.db"
    else:
        place = request.getfixturevalue("postgres_database")
    with some_database(kind, place) as made:
        yield made


@contextmanager
def some_database(kind: str, place: str):
    """Yield the database at this place, handed over in this way; its engine is closed at the end."""
    driver = {"aiosqlite": "sqlite+aiosqlite", "asyncpg": "postgresql+asyncpg"}
    match kind:
        case "sqlite-url":
            yield SomeDatabase(target=f"sqlite:///{place}", place=place)
        case "aiosqlite-url":
            yield SomeDatabase(target=f"sqlite+aiosqlite:///{place}", place=place)
        case "psycopg-url":
            yield SomeDatabase(target=place, place=place)
        case "asyncpg-url":
            yield SomeDatabase(target=_with_driver(place, driver["asyncpg"]), place=place)
        case "sqlite-engine":
            yield from _with_engine(f"sqlite:///{place}", place, timeout=_HOST_LOCK_TIMEOUT_S)
        case "psycopg-engine":
            yield from _with_engine(_with_driver(place, "postgresql+psycopg"), place)
        case "sqlite-async-engine":
            engine = create_async_engine(f"sqlite+aiosqlite:///{place}", poolclass=NullPool)
            yield SomeDatabase(target=engine, place=place)
        case "asyncpg-engine":
            engine = create_async_engine(_with_driver(place, driver["asyncpg"]), poolclass=NullPool)
            yield SomeDatabase(target=engine, place=place)
        case _:
            raise ValueError(kind)


def _with_engine(url: str, place: str, **connect_args: object):
    engine = create_engine(url, connect_args=connect_args)
    try:
        yield SomeDatabase(target=engine, place=place)
    finally:
        engine.dispose()


def _with_driver(url: str, driver: str) -> str:
    return url.replace("postgresql:", f"{driver}:", 1)
