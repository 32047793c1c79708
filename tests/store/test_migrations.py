"""The migration, run by the real Alembic with the code of docs/database.md."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from otel_posthog.errors import StoreError

DOCS = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
REVISION, TARGET_METADATA, MODEL = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
CONSENT_TABLES = ["consent_audit", "consent_grant", "consent_manifest", "consent_moment"]
ENV = """
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import NullPool


class Base(DeclarativeBase):
    pass


{documented}

url = context.config.attributes["url"]
if context.is_offline_mode():
    context.configure(url=url, target_metadata=target_metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""
PRODUCT_TABLE = """
CREATE TABLE system_settings (
    id INTEGER NOT NULL PRIMARY KEY,
    is_setup_completed BOOLEAN NOT NULL,
    enable_error_reporting BOOLEAN NOT NULL,
    enable_telemetry BOOLEAN NOT NULL
    {more}
)"""


@pytest.fixture
def make_project(plain_database, tmp_path):
    """Return a function that writes a product's Alembic folder and returns its configuration."""

    def make(documented):
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENV.format(documented=documented))
        (folder / "versions" / "0002_otel_posthog.py").write_text(REVISION)
        config = Config(output_buffer=io.StringIO(), stdout=io.StringIO())
        config.set_main_option("script_location", str(folder))
        config.set_main_option("path_separator", "os")
        config.attributes["url"] = plain_database.target.replace("postgresql:", "postgresql+psycopg:")
        return config

    return make


def columns(database):
    """Return the names of the columns, or nothing where there is no table."""
    if database.is_postgresql:
        source = "information_schema.columns WHERE table_name = 'system_settings' ORDER BY ordinal_position"
        return [name for (name,) in database.sql(f"SELECT column_name FROM {source}")]
    return [name for (name,) in database.sql("SELECT name FROM pragma_table_info('system_settings')")]


def tables(database):
    """Return the names of our tables that are there."""
    source = "information_schema.tables WHERE table_schema = 'public'"
    if not database.is_postgresql:
        source = "(SELECT name AS table_name FROM sqlite_master WHERE type = 'table')"
    names = [name for (name,) in database.sql(f"SELECT table_name FROM {source}")]
    return sorted(name for name in names if name.startswith(("consent_", "system_settings")))


def make_product_table(database, more=", theme VARCHAR"):
    """Make the table that a product had before, with its row."""
    database.sql(PRODUCT_TABLE.format(more=more))
    database.sql(
        "INSERT INTO system_settings (id, is_setup_completed, enable_error_reporting, enable_telemetry) "
        "VALUES (1, true, true, false)"
    )


def test_upgrade_makes_the_table_of_the_metadata(make_project, plain_database, open_store):
    """After the upgrade autogenerate finds no difference, and the store works."""
    config = make_project(TARGET_METADATA)

    command.upgrade(config, "head")

    command.check(config)
    assert open_store(plain_database.target).update(enable_telemetry=True).enable_telemetry


def test_table_of_the_store_is_that_of_the_migration(make_project, plain_database, open_store):
    """A table made on first use needs no change when the migration comes later."""
    before = open_store(plain_database.target).update(enable_telemetry=True)
    config = make_project(TARGET_METADATA)

    command.upgrade(config, "head")

    command.check(config)
    assert open_store(plain_database.target).read() == before


def test_downgrade_drops_our_own_table(make_project, plain_database):
    """Nothing of ours is left, and the upgrade can be repeated."""
    config = make_project(TARGET_METADATA)
    command.upgrade(config, "head")

    command.downgrade(config, "base")

    assert tables(plain_database) == []
    command.upgrade(config, "head")
    assert tables(plain_database) == [*CONSENT_TABLES, "system_settings"]
    assert len(columns(plain_database)) == 7


def test_upgrade_adopts_a_products_table(make_project, plain_database, open_store):
    """Only the missing columns are added; the product's row is the consent from then on."""
    make_product_table(plain_database)
    plain_database.sql("UPDATE system_settings SET theme = 'dark'")
    config = make_project(MODEL)

    command.upgrade(config, "head")

    command.check(config)
    settings = open_store(plain_database.target).settle()
    assert (settings.is_setup_completed, settings.enable_error_reporting) == (True, True)
    assert (settings.enable_telemetry, settings.errors_generation) == (False, 0)
    assert settings.instance_id is not None
    assert plain_database.sql("SELECT theme FROM system_settings") == [("dark",)]


@pytest.mark.parametrize("more", [", theme VARCHAR", ""])
def test_downgrade_leaves_a_products_table(make_project, plain_database, open_store, more):
    """The product keeps its table and data, also if it has no columns but the flags."""
    make_product_table(plain_database, more)
    before = columns(plain_database)
    config = make_project(TARGET_METADATA)
    command.upgrade(config, "head")

    command.downgrade(config, "base")

    assert columns(plain_database) == before
    assert tables(plain_database) == ["system_settings"]
    assert len(plain_database.sql("SELECT id FROM system_settings WHERE enable_error_reporting")) == 1


def test_downgrade_without_a_table_does_nothing(make_project, plain_database):
    """A table that somebody dropped already is no obstacle."""
    config = make_project(TARGET_METADATA)
    command.upgrade(config, "head")
    plain_database.sql("DROP TABLE system_settings")

    command.downgrade(config, "base")

    assert columns(plain_database) == []


def test_table_without_an_id_is_refused(make_project, plain_database):
    """A table of another kind is not changed."""
    plain_database.sql("CREATE TABLE system_settings (name VARCHAR)")
    config = make_project(TARGET_METADATA)

    with pytest.raises(StoreError, match="without a column id"):
        command.upgrade(config, "head")

    assert columns(plain_database) == ["name"]


def test_offline_script_makes_and_drops_the_table(make_project):
    """With --sql there is no database to ask; the script is for an empty one."""
    config = make_project(TARGET_METADATA)

    command.upgrade(config, "head", sql=True)
    command.downgrade(config, "0002:base", sql=True)

    script = config.output_buffer.getvalue()
    assert script.count("CREATE TABLE system_settings") == script.count("DROP TABLE system_settings") == 1
    assert script.count("CREATE TABLE IF NOT EXISTS") == script.count("DROP TABLE IF EXISTS") == 5


def test_product_table_before_the_migration_is_an_error(plain_database, open_store):
    """The store does not alter a product's table; the message names the migration."""
    make_product_table(plain_database)
    store = open_store(plain_database.target)

    with pytest.raises(StoreError, match="run the migration"):
        store.update(enable_telemetry=True)


def test_table_of_another_kind_is_left_alone(plain_database, open_store):
    """Beside a product's table of the same name nothing is created, and the message says what to do."""
    plain_database.sql("CREATE TABLE system_settings (key VARCHAR, value VARCHAR)")
    store = open_store(plain_database.target)

    with pytest.raises(StoreError, match=r"run the migration .* or name another database"):
        store.update(enable_telemetry=True)

    assert tables(plain_database) == ["system_settings"]
    assert columns(plain_database) == ["key", "value"]
