"""Values that consent must not be guessed from, and the rules of change against a plain model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest
from databases import SomeDatabase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_posthog.errors import StoreError
from otel_posthog.store import SettingsStore

FLAGS = ("is_setup_completed", "enable_error_reporting", "enable_telemetry")
LOOSE_TABLE = """
CREATE TABLE system_settings (
    id INTEGER PRIMARY KEY,
    is_setup_completed BOOLEAN,
    enable_error_reporting BOOLEAN,
    enable_telemetry BOOLEAN,
    instance_id VARCHAR(36),
    errors_generation INTEGER,
    telemetry_generation INTEGER
)"""
SQLITE_BAD = [
    *((flag, value) for flag in FLAGS for value in ("NULL", "2", "-1", "0.5", "'banana'", "'true'", "x'01'")),
    *(("instance_id", value) for value in ("'banana'", "''", "7", f"'{{{UUID(int=5)}}}'", "x'00'")),
    *(("errors_generation", value) for value in ("NULL", "-1", "'banana'", "1.5")),
    *(("telemetry_generation", value) for value in ("NULL", "-1", "'banana'", "1.5")),
]
POSTGRESQL_BAD = [
    *((flag, "NULL") for flag in FLAGS),
    ("instance_id", "'banana'"),
    ("errors_generation", "NULL"),
    ("telemetry_generation", "-1"),
]


def make_loose_table(database):
    """Make a product's table without any constraint, and its row."""
    database.sql(LOOSE_TABLE)
    database.sql("INSERT INTO system_settings VALUES (1, false, false, false, NULL, 0, 0)")


def assert_refused(store, database, column, value):
    make_loose_table(database)
    store.create()
    database.sql(f"UPDATE system_settings SET {column} = {value}")

    with pytest.raises(StoreError, match=f"{column} holds .* Correct it by SQL") as read:
        store.read()
    with pytest.raises(StoreError):
        store.settle()

    remedy = str(read.value).rpartition("for example: ")[2]
    database.sql(remedy)
    assert store.read() is not None


@pytest.mark.parametrize(("column", "value"), SQLITE_BAD)
def test_bad_value_in_sqlite_is_an_error(sqlite_database, open_store, column, value):
    """SQLite keeps any value in any column; each is refused, and the advice in the message cures it."""
    assert_refused(open_store(sqlite_database.target), sqlite_database, column, value)


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize(("column", "value"), POSTGRESQL_BAD)
def test_bad_value_in_postgresql_is_an_error(postgres_plain, open_store, column, value, kind):
    """PostgreSQL keeps fewer bad values; each is refused through both drivers."""
    target = postgres_plain.target.replace("postgresql", kind, 1)

    assert_refused(open_store(target), postgres_plain, column, value)


def test_partial_update_of_a_bad_row_changes_nothing(sqlite_database, open_store):
    """An update that would leave a bad value in the row is taken back."""
    make_loose_table(sqlite_database)
    sqlite_database.sql("UPDATE system_settings SET enable_telemetry = 'banana'")
    store = open_store(sqlite_database.target)

    with pytest.raises(StoreError, match="enable_telemetry holds neither true nor false"):
        store.update(enable_error_reporting=True)

    assert sqlite_database.sql("SELECT enable_error_reporting, instance_id FROM system_settings") == [
        (0, None)
    ]


def test_withdrawal_from_a_bad_value_raises_the_generation(sqlite_database, open_store):
    """What was no clear off may have been on: a withdrawal mends the flag and discards what was accepted."""
    make_loose_table(sqlite_database)
    sqlite_database.sql("UPDATE system_settings SET enable_telemetry = 'banana'")
    store = open_store(sqlite_database.target)

    settings = store.update(enable_telemetry=False)

    assert (settings.enable_telemetry, settings.telemetry_generation) == (False, 1)


@dataclass(frozen=True)
class Model:
    """The row as the requirements describe it; `has_id` stands for the random instance_id."""

    is_setup_completed: bool = False
    enable_error_reporting: bool = False
    enable_telemetry: bool = False
    errors_generation: int = 0
    telemetry_generation: int = 0
    has_id: bool = False

    @property
    def is_any_on(self):
        return self.enable_error_reporting or self.enable_telemetry

    def updated(self, **given):
        after = replace(self, **{name: value for name, value in given.items() if value is not None})
        errors = self.enable_error_reporting and not after.enable_error_reporting
        telemetry = self.enable_telemetry and not after.enable_telemetry
        return replace(
            after,
            errors_generation=self.errors_generation + errors,
            telemetry_generation=self.telemetry_generation + telemetry,
            has_id=after.is_any_on,
        )

    def settled(self):
        return replace(self, has_id=self.is_any_on)


maybe = st.sampled_from([None, True, False])


class StoreFollowsModel(RuleBasedStateMachine):
    """Any sequence of updates, mends and SQL by hand keeps store and model alike."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        place = str(Path(self.folder.name) / "app.db")
        self.database = SomeDatabase(target=f"sqlite:///{place}", place=place)
        self.store = SettingsStore(self.database.target)
        self.store.create()
        self.model = Model()
        self.instance_id = None

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(is_setup_completed=maybe, enable_error_reporting=maybe, enable_telemetry=maybe)
    def update(self, **given):
        self.model = self.model.updated(**given)
        self.compare(self.store.update(**given))

    @rule()
    def settle(self):
        self.model = self.model.settled()
        self.compare(self.store.settle())

    @rule(flag=st.sampled_from(FLAGS), value=st.booleans())
    def set_by_sql(self, flag, value):
        self.database.sql(f"UPDATE system_settings SET {flag} = {value} WHERE id = 1")
        self.model = replace(self.model, **{flag: value})

    @rule()
    def create(self):
        self.store.create()

    @invariant()
    def read_is_what_was_written(self):
        self.compare(self.store.read())

    def compare(self, settings):
        seen = {
            name: getattr(settings, name) for name in (*FLAGS, "errors_generation", "telemetry_generation")
        }
        assert Model(**seen, has_id=settings.instance_id is not None) == self.model
        if self.instance_id is not None and settings.instance_id is not None:
            assert settings.instance_id == self.instance_id
        self.instance_id = settings.instance_id


TestStoreFollowsModel = StoreFollowsModel.TestCase
TestStoreFollowsModel.settings = hypothesis_settings(max_examples=50, stateful_step_count=15, deadline=None)
