"""One SQLite connection for all threads of a product, as its tests have it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from otel_posthog.errors import StoreError
from otel_posthog.store import SettingsStore


@pytest.fixture
def engine():
    """Return the product's engine, with a table of the product's."""
    made = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE thing (id int)"))
    yield made
    made.dispose()


@pytest.fixture
def store(engine, open_store):
    """Return a store on the product's engine, with a grant."""
    made = open_store(engine)
    made.update(enable_telemetry=True)
    return made


def things(engine):
    """Return how many rows the product has."""
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM thing")).scalar_one()


def withdraw(store):
    """Change the row."""
    store.update(enable_telemetry=False)


CALLS = [SettingsStore.create, SettingsStore.read, SettingsStore.settle, withdraw, SettingsStore.audit]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_transaction_of_the_product_stays_open(engine, store, call, ending):
    """Whether the product's row stays is decided by the product, whatever we do meanwhile."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO thing VALUES (1)"))

        call(store)

        getattr(connection, ending)()
    assert things(engine) == (1 if ending == "commit" else 0)


def test_reading_keeps_out_of_what_another_thread_writes(engine, store):
    """A row written by another thread between two reads of ours can still be rolled back."""
    with engine.connect() as connection:
        for _ in range(2):
            store.read()
            thread = threading.Thread(
                target=connection.execute, args=[text("INSERT INTO thing VALUES (1)")], daemon=True
            )
            thread.start()
            thread.join()
        store.settle()
        connection.rollback()

    assert things(engine) == 0


def test_change_in_an_open_transaction_follows_it(engine, store):
    """A withdrawal within the product's transaction holds at once, and is undone with it."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO thing VALUES (1)"))
        withdraw(store)
        during = store.read().enable_telemetry
        connection.rollback()

    assert [during, store.read().enable_telemetry] == [False, True]


def test_change_without_a_transaction_is_final(engine, store):
    """A withdrawal outside of a transaction survives the product's next roll-back."""
    withdraw(store)

    with engine.connect() as connection:
        connection.rollback()

    assert store.read().enable_telemetry is False


def test_failed_change_is_undone_alone(engine, store):
    """Of a change that fails nothing stays, and what the product wrote before stays."""
    with engine.connect() as connection:
        refuse = "CREATE TRIGGER full BEFORE INSERT ON consent_audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        connection.execute(text(refuse))
        connection.execute(text("INSERT INTO thing VALUES (1)"))

        with pytest.raises(StoreError, match="full"):
            withdraw(store)

        connection.commit()
    assert things(engine) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT enable_telemetry FROM system_settings")).scalar_one() == 1


def test_postgresql_gets_connections_of_our_own(postgres_plain, open_store):
    """Where connections are to be had, the one that the product shares is left alone."""
    engine = create_engine(
        postgres_plain.target.replace("postgresql:", "postgresql+psycopg:"), poolclass=StaticPool
    )
    store = open_store(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE thing (id int)"))
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO thing VALUES (1)"))
        store.update(enable_telemetry=True)
        connection.rollback()

    assert store.read().enable_telemetry
    assert things(engine) == 0
    engine.dispose()
