"""Every kind of database, each with a store on it."""

from __future__ import annotations

import psycopg
import pytest
from databases import KINDS, new_database, some_database

from otel_posthog.store import SettingsStore


@pytest.fixture(params=KINDS)
def database(request, tmp_path):
    """Return an empty database; a SQLite file is not there yet."""
    with new_database(request.param, request) as made:
        yield made


@pytest.fixture(params=["sqlite-url", "psycopg-url"])
def plain_database(request, tmp_path):
    """Return an empty database by URL: where the way in does not matter."""
    with new_database(request.param, request) as made:
        yield made


@pytest.fixture
def sqlite_database(tmp_path):
    """Return an empty SQLite database by URL."""
    with some_database("sqlite-url", str(tmp_path / "app.db")) as made:
        yield made


@pytest.fixture
def postgres_plain(postgres_database):
    """Return an empty PostgreSQL database by URL."""
    with some_database("psycopg-url", postgres_database) as made:
        yield made


@pytest.fixture
def open_store():
    """Return a function that makes a store, which is closed after the test."""
    opened = []

    def make(target, **options):
        store = SettingsStore(target, **options)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(database, open_store):
    return open_store(database.target)


@pytest.fixture
def a_role(postgres_url, postgres_database):
    """Return the name of a role that may do nothing, which is its password too."""
    name = "role_of_one_test"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")
