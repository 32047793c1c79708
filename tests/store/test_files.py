"""SQLite files: absent, read-only, replaced, moved away from."""

from __future__ import annotations

import sqlite3

import pytest
from databases import some_database
from sqlalchemy import create_engine

from otel_posthog.errors import StoreError
from otel_posthog.store.engines import Database

DRIVERS = ("sqlite", "sqlite+aiosqlite")


def read_only(target):
    """Return the URL that opens the same file without the right to write."""
    driver, path = target.split(":///")
    return f"{driver}:///file:{path}?mode=ro&uri=true"


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("call", ["read", "settle"])
def test_reading_makes_no_file(tmp_path, open_store, driver, call):
    """A missing file is an error that says so, and stays missing."""
    store = open_store(f"{driver}:///{tmp_path}/app.db")

    with pytest.raises(StoreError, match="no database file yet"):
        getattr(store, call)()

    assert list(tmp_path.iterdir()) == []


def test_reading_through_an_engine_makes_no_file(tmp_path, open_store):
    """The same holds for an engine that would make the file when it connects."""
    store = open_store(create_engine(f"sqlite:///{tmp_path}/app.db"))

    with pytest.raises(StoreError, match="no database file yet"):
        store.read()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("call", ["create", "update"])
def test_writing_makes_the_folder(tmp_path, open_store, driver, call):
    """The file's folder is made with it."""
    store = open_store(f"{driver}:///{tmp_path}/some/folder/app.db")

    getattr(store, call)()

    assert store.read() is not None


def test_folder_that_cannot_be_made_is_an_error(tmp_path, open_store):
    """A file in the folder's place is told as a database error."""
    (tmp_path / "taken").touch()
    store = open_store(f"sqlite:///{tmp_path}/taken/app.db")

    with pytest.raises(StoreError, match="cannot create system_settings"):
        store.create()


def test_relative_path_is_fixed_at_the_start(tmp_path, open_store, monkeypatch):
    """A process that changes its directory keeps its database."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///app.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    store.create()

    assert (tmp_path / "app.db").exists()


def test_replaced_file_is_read_anew(tmp_path, open_store):
    """After a backup was put in the file's place, the backup is what counts."""
    with some_database("sqlite-url", str(tmp_path / "app.db")) as database:
        store = open_store(database.target)
        backup = open_store(f"sqlite:///{tmp_path}/backup.db")
        store.update(enable_telemetry=True)
        backup.update(is_setup_completed=True)
        backup.close()

        (tmp_path / "backup.db").replace(tmp_path / "app.db")

        assert not store.read().enable_telemetry


def test_no_database_is_told_as_such(tmp_path, open_store):
    """A file of another kind is an error, not an empty database."""
    (tmp_path / "app.db").write_bytes(b"not a database, though long enough to be one " * 100)
    store = open_store(f"sqlite:///{tmp_path}/app.db")

    with pytest.raises(StoreError, match="Restore the file from a backup"):
        store.read()


def test_in_memory_database_serves_all_threads(open_store):
    """`sqlite://` is one database for the life of the store."""
    store = open_store("sqlite://")

    settings = store.update(enable_telemetry=True)

    assert store.read() == settings


def test_journal_mode_stays_the_products(sqlite_database, open_store):
    """Nothing about the file is changed but our table."""
    sqlite_database.sql("PRAGMA journal_mode = WAL")

    open_store(sqlite_database.target).update(enable_telemetry=True)

    assert sqlite_database.sql("PRAGMA journal_mode") == [("wal",)]


# -- read-only -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite-url", "aiosqlite-url"])
def test_read_only_file_is_read(tmp_path, open_store, kind):
    """Reading needs no right to write; creating finds the row there and writes nothing."""
    with some_database(kind, str(tmp_path / "app.db")) as database:
        settings = open_store(database.target).update(enable_telemetry=True)
        store = open_store(read_only(database.target))

        store.create()

        assert store.read() == store.settle() == settings


def test_read_only_file_refuses_an_update(sqlite_database, open_store):
    """A change that cannot be written is an error that names the remedy."""
    open_store(sqlite_database.target).create()
    store = open_store(read_only(sqlite_database.target))

    with pytest.raises(StoreError, match="make the file writable"):
        store.update(enable_telemetry=True)


def test_read_only_grant_without_an_id_is_an_error(sqlite_database, open_store):
    """A grant by SQL is no grant while the id cannot be written: each worker would make its own."""
    open_store(sqlite_database.target).create()
    sqlite_database.sql("UPDATE system_settings SET enable_telemetry = 1")
    store = open_store(read_only(sqlite_database.target))

    with pytest.raises(StoreError, match="cannot give an instance_id"):
        store.settle()


def test_read_only_withdrawal_is_certain(sqlite_database, open_store):
    """A withdrawal by SQL counts, though the id cannot be deleted yet."""
    open_store(sqlite_database.target).update(enable_telemetry=True)
    sqlite_database.sql("UPDATE system_settings SET enable_telemetry = 0")
    store = open_store(read_only(sqlite_database.target))

    settings = store.settle()

    assert not settings.enable_telemetry
    assert settings.instance_id is None


def test_absent_read_only_file_is_not_made(tmp_path, open_store):
    """A URL that says read-only makes neither file nor folder."""
    store = open_store(read_only(f"sqlite:///{tmp_path}/folder/app.db"))

    with pytest.raises(StoreError, match="no database file yet"):
        store.create()

    assert list(tmp_path.iterdir()) == []


def test_read_only_postgresql_grant_is_an_error(postgres_plain, open_store):
    """The same rules hold in a read-only PostgreSQL session."""
    writer = open_store(postgres_plain.target)
    reader = open_store(f"{postgres_plain.target}?options=-c%20default_transaction_read_only=on")
    writer.create()
    postgres_plain.sql("UPDATE system_settings SET enable_telemetry = true")

    with pytest.raises(StoreError, match="Give this user the permissions"):
        reader.settle()

    writer.update(enable_telemetry=True)
    postgres_plain.sql("UPDATE system_settings SET enable_telemetry = false")
    assert reader.settle().instance_id is None
    assert reader.read().instance_id is not None


def test_operation_that_outlives_the_closing_leaves_no_connection_open(tmp_path):
    """What is under way while the database is closed ends well, and then closes its connection."""
    database = Database(f"sqlite:///{tmp_path}/app.db", timeout_s=1)
    database.prepare()

    def close_meanwhile(connection):
        database.close()
        return connection.connection.dbapi_connection

    left = database.run("read", close_meanwhile)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        left.execute("SELECT 1")
