"""What the store promises about the row, on each kind of database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from otel_posthog.errors import StoreError


def set_by_sql(database, assignment):
    """Run an administrator's UPDATE; `on` and `off` stand for the database's own words."""
    on, off = ("true", "false") if database.is_postgresql else ("1", "0")
    statement = f"UPDATE system_settings SET {assignment} WHERE id = 1"
    database.sql(statement.replace("= on", f"= {on}").replace("= off", f"= {off}"))


# -- create and read -------------------------------------------------------------------------------


def test_created_row_is_all_off(store):
    """A new row grants nothing and names nobody."""
    store.create()

    settings = store.read()

    assert not settings.is_setup_completed
    assert not settings.enable_error_reporting
    assert not settings.enable_telemetry
    assert settings.instance_id is None
    assert settings.errors_generation == settings.telemetry_generation == 0


def test_create_keeps_the_row_that_is_there(store):
    """A second create changes nothing."""
    before = store.update(enable_telemetry=True, is_setup_completed=True)

    store.create()

    assert store.read() == before


def test_second_row_is_refused(store, database):
    """The table holds the row with id 1 and no other."""
    store.create()

    with pytest.raises(Exception, match=r"(?i)check constraint"):
        database.sql("INSERT INTO system_settings (id) VALUES (2)")

    assert database.sql("SELECT id FROM system_settings") == [(1,)]


def test_row_made_by_sql_is_whole(store, database):
    """A row that SQL inserts with its id alone is read as all off."""
    store.create()
    database.sql("DELETE FROM system_settings")
    database.sql("INSERT INTO system_settings (id) VALUES (1)")

    settings = store.read()

    assert (settings.enable_telemetry, settings.errors_generation) == (False, 0)


def test_absent_row_is_none(store, database):
    """Only a missing row reads as None, and settle does not make one."""
    store.create()
    database.sql("DELETE FROM system_settings")

    assert store.read() is None
    assert store.settle() is None
    assert database.sql("SELECT count(*) FROM system_settings") == [(0,)]


def test_absent_table_is_an_error(store, database):
    """A database without the table cannot be read, and the message says how to make it."""
    database.sql("SELECT 1")  # leaves an empty SQLite file

    with pytest.raises(StoreError, match=r"cannot read system_settings in .* Call create"):
        store.read()


def test_update_makes_table_and_row(store):
    """The first update needs no create before it."""
    settings = store.update(enable_error_reporting=True)

    assert settings.enable_error_reporting
    assert store.read() == settings


def test_update_makes_the_row_again(store, database):
    """An update of a deleted row starts from a row that is all off."""
    store.update(enable_error_reporting=True)
    database.sql("DELETE FROM system_settings")

    settings = store.update(enable_telemetry=True)

    assert (settings.enable_error_reporting, settings.enable_telemetry) == (False, True)


# -- update ----------------------------------------------------------------------------------------


def test_update_keeps_what_is_not_given(store):
    """A partial update leaves the other flags alone."""
    store.update(is_setup_completed=True, enable_error_reporting=True)

    settings = store.update(enable_telemetry=True)

    assert (settings.is_setup_completed, settings.enable_error_reporting) == (True, True)


def test_first_grant_makes_an_id_that_stays(store):
    """The instance has one random UUID from the first grant on."""
    first = store.update(enable_error_reporting=True)

    second = store.update(enable_telemetry=True)

    assert isinstance(first.instance_id, UUID)
    assert first.instance_id.version == 4
    assert second.instance_id == first.instance_id


def test_last_withdrawal_deletes_the_id(store):
    """With both flags off there is no id, and the next grant makes another one."""
    granted = store.update(enable_error_reporting=True, enable_telemetry=True)
    partly = store.update(enable_telemetry=False)

    withdrawn = store.update(enable_error_reporting=False)
    again = store.update(enable_telemetry=True)

    assert partly.instance_id == granted.instance_id
    assert withdrawn.instance_id is None
    assert again.instance_id not in (None, granted.instance_id)


def test_withdrawal_raises_its_own_generation(store):
    """Only a flag that goes from on to off raises a generation, and only its own."""
    store.update(enable_error_reporting=True, enable_telemetry=True)

    first = store.update(enable_error_reporting=False)
    repeated = store.update(enable_error_reporting=False)

    assert (first.errors_generation, first.telemetry_generation) == (1, 0)
    assert repeated == first


def test_update_follows_a_grant_by_sql(store, database):
    """A withdrawal counts the flag as it stands in the row, whoever set it."""
    store.create()
    set_by_sql(database, "enable_telemetry = on")

    settings = store.update(enable_telemetry=False)

    assert settings.telemetry_generation == 1


# -- settle ----------------------------------------------------------------------------------------


def test_settle_gives_an_id_to_a_grant_by_sql(store, database):
    """A flag set by SQL gets an instance_id, once, and stays on."""
    store.create()
    set_by_sql(database, "enable_telemetry = on")

    settled = store.settle()

    assert settled.enable_telemetry
    assert settled.instance_id is not None
    assert store.settle() == store.read() == settled


def test_settle_deletes_the_id_after_a_withdrawal_by_sql(store, database):
    """Flags switched off by SQL leave no instance_id behind."""
    store.update(enable_telemetry=True)
    set_by_sql(database, "enable_telemetry = off")

    settled = store.settle()

    assert settled.instance_id is None
    assert database.sql("SELECT instance_id FROM system_settings") == [(None,)]


def test_simultaneous_settles_agree(store, database):
    """Threads that mend the same row at once all return the same id."""
    store.create()
    set_by_sql(database, "enable_telemetry = on")

    with ThreadPoolExecutor(4) as threads:
        settled = list(threads.map(lambda _: store.settle(), range(8)))

    assert len({settings.instance_id for settings in settled}) == 1


# -- SQL beside the store --------------------------------------------------------------------------


def test_change_by_sql_is_read_at_once(store, database):
    """Nothing of an earlier read is kept."""
    store.update(is_setup_completed=True)
    assert store.read().is_setup_completed

    set_by_sql(database, "is_setup_completed = off")

    assert not store.read().is_setup_completed


# -- trouble ---------------------------------------------------------------------------------------


def test_locked_database_is_an_error(database, open_store):
    """A lock that others hold ends in an error within the timeout, for readers and writers."""
    open_store(database.target).create()
    store = open_store(database.target, timeout_s=1.0)
    store.read()  # connected, or a slow machine spends the time on that

    with database.locked():
        with pytest.raises(StoreError, match="holds a lock"):
            store.read()
        with pytest.raises(StoreError, match="holds a lock"):
            store.update(enable_telemetry=True)

    assert store.read() is not None


def test_closed_store_opens_again(store):
    """Closing twice is harmless, and the next call works."""
    settings = store.update(enable_telemetry=True)

    store.close()
    store.close()

    assert store.read() == settings


def test_store_works_inside_a_running_loop(store):
    """A call on an event loop's own thread gives the same answer."""

    async def grant_and_read():
        return store.update(enable_telemetry=True), store.read()

    granted, read = asyncio.run(grant_and_read())

    assert granted == read


def test_store_works_from_many_threads(store):
    """Threads share a store without waiting for each other's end."""
    store.create()

    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda _: store.read(), range(32)))

    assert set(read) == {store.read()}
