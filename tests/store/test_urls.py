"""What may be given as database, and what is said about what may not."""

from __future__ import annotations

import subprocess
import sys
import traceback
from types import SimpleNamespace

import pytest
from databases import new_database
from postgres import PASSWORD
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from otel_posthog.errors import ConfigError, MissingExtraError, StoreError
from otel_posthog.store import SettingsStore

SECRET = "s3cret-of-mine"


@pytest.mark.parametrize(
    "database",
    [
        "",
        "data/app.db",
        f"postgresql://me:{SECRET}@host:port/name",
        f"postgresql+nodriver://me:{SECRET}@host/name",
        f"nodatabase://me:{SECRET}@host/name",
        f"mysql://me:{SECRET}@host/name",
        f"postgresql+pg8000://me:{SECRET}@host/name",
        "sqlite+aiosqlite://",
        7,
        None,
    ],
)
def test_unusable_database_is_refused_at_once(database):
    """A wrong URL fails when the store is made, and the error never quotes the password."""
    with pytest.raises(ConfigError, match=r"database|would be empty") as refused:
        SettingsStore(database)

    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_engine_of_another_database_is_refused():
    """Only SQLite and PostgreSQL are tested, so only they are taken."""
    driver = SimpleNamespace(paramstyle="pyformat", version_info=(2, 0))
    engine = create_engine("mysql+mysqldb://host/name", module=driver, poolclass=NullPool)

    with pytest.raises(ConfigError, match="of kind 'mysql'"):
        SettingsStore(engine)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_timeout_must_be_a_time(timeout_s):
    """Waiting for ever is not offered."""
    with pytest.raises(ConfigError, match="timeout_s"):
        SettingsStore("sqlite://", timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://me@host/name", "psycopg", "postgresql"),
        ("postgres://me@host/name", "psycopg", "postgresql"),
        ("postgresql+asyncpg://me@host/name", "asyncpg", "asyncpg"),
        ("sqlite+aiosqlite:///app.db", "aiosqlite", "aiosqlite"),
        ("sqlite+aiosqlite:///app.db", "greenlet", "aiosqlite"),
    ],
)
def test_missing_driver_names_its_extra(monkeypatch, url, driver, extra):
    """A driver that is not installed is told when the store is made, with the command to install it."""
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)

    with pytest.raises(MissingExtraError, match=f"{driver} is needed .*{extra}]"):
        SettingsStore(url)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg_async"]
)
def test_plain_postgresql_is_psycopg(postgres_database, open_store, scheme):
    """The names that other tools use for PostgreSQL work as they are."""
    store = open_store(postgres_database.replace("postgresql", scheme, 1))

    settings = store.update(enable_telemetry=True)

    assert store.read() == settings


def test_async_engine_of_psycopg_is_taken(postgres_database, open_store):
    """A psycopg engine that is asynchronous serves through its URL."""
    engine = create_async_engine(postgres_database.replace("postgresql", "postgresql+psycopg", 1))
    store = open_store(engine)

    settings = store.update(enable_telemetry=True)

    assert store.read() == settings


@pytest.mark.parametrize("isolation_level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_engine_with_another_isolation_level_is_taken(plain_database, open_store, isolation_level):
    """What a host set for its own work does not change ours."""
    url = plain_database.target.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, isolation_level=isolation_level)
    store = open_store(engine)

    settings = store.update(enable_telemetry=True)

    assert store.read() == settings
    engine.dispose()


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"password": SECRET}, "Correct user and password"),
        ({"database": "absent"}, "Create the database first"),
        ({"port": 1}, "Check that the database is running"),
    ],
)
def test_unreachable_database_is_told_without_the_password(postgres_url, open_store, driver, changed, advice):
    """What the driver says is passed on with advice, and without what may not be logged."""
    url = make_url(postgres_url).set(drivername=driver, **changed)
    store = open_store(url.render_as_string(hide_password=False))

    with pytest.raises(StoreError, match=advice) as told:
        store.read()

    text = "".join(traceback.format_exception(told.value))
    assert SECRET not in str(told.value) + text
    assert PASSWORD not in str(told.value) + text


def test_settings_cost_no_sqlalchemy():
    """The row's type can be imported where nothing is read."""
    script = "import sys, otel_posthog.consent.state; print('sqlalchemy' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert said == "False\n"


def test_sync_urls_cost_no_orm():
    """A store on a plain URL does not import SQLAlchemy's ORM."""
    script = (
        "import sys; from otel_posthog.store import SettingsStore; store = SettingsStore('sqlite://'); "
        "store.create(); print('sqlalchemy.orm' in sys.modules); store.close()"
    )

    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert said == "False\n"


class Wrapper:
    """Another class that passes on whatever is asked of it, as instrumentations make them."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __getattr__(self, name):
        return getattr(self._wrapped, name)


@pytest.mark.parametrize("kind", ["sqlite-engine", "sqlite-async-engine", "psycopg-engine", "asyncpg-engine"])
def test_wrapped_engine_is_taken(request, open_store, kind):
    """An engine serves behind a class that is not SQLAlchemy's."""
    with new_database(kind, request) as database:
        store = open_store(Wrapper(database.target))

        assert store.update(enable_telemetry=True) == store.read()


def test_parsed_url_is_taken(plain_database, open_store):
    """SQLAlchemy's own URL serves as its text does."""
    store = open_store(make_url(plain_database.target))

    assert store.update(enable_telemetry=True) == store.read()


@pytest.mark.parametrize("make", [sessionmaker, Session, Engine.connect])
def test_other_objects_are_refused_with_advice(make):
    """What is made from an engine is refused, and the error names what to give."""
    engine = create_engine("sqlite://")
    made = make(engine)

    with pytest.raises(ConfigError, match=f"database is a {type(made).__name__}, .*Give the engine"):
        SettingsStore(made)

    engine.dispose()
