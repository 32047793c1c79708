"""What docs/database.md says, done."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from databases import some_database
from postgres import postgres_binaries
from sqlalchemy import make_url

from otel_posthog.errors import StoreError
from otel_posthog.registry import Kind

DOCS = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
RESET_SQLITE, RESET_POSTGRESQL = re.findall(r"```sh\n(.*?)\n```", DOCS)
(GRANT,) = re.findall(r"```sql\n(.*?)\n```", DOCS, re.DOTALL)


def test_documented_resets_are_the_promised_ones():
    """Scripts of others rely on these two statements."""
    assert shlex.split(RESET_SQLITE)[-1] == "UPDATE system_settings SET is_setup_completed = 0 WHERE id = 1;"
    assert shlex.split(RESET_POSTGRESQL)[-1] == (
        "UPDATE system_settings SET is_setup_completed = false WHERE id = 1;"
    )


def test_wizard_is_reset_in_sqlite(sqlite_database, open_store):
    """The documented statement shows the wizard again at the next read, and changes nothing else."""
    store = open_store(sqlite_database.target)
    before = store.update(is_setup_completed=True, enable_telemetry=True)

    with closing(sqlite3.connect(sqlite_database.place)) as connection:
        connection.executescript(shlex.split(RESET_SQLITE)[-1])

    settings = store.read()
    assert not settings.is_setup_completed
    assert (settings.enable_telemetry, settings.instance_id) == (True, before.instance_id)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 command is not installed")
def test_wizard_is_reset_by_the_sqlite_command(tmp_path, open_store):
    """The documented command line works as it stands, on the default file."""
    with some_database("sqlite-url", str(tmp_path / "data" / "otel_posthog.db")) as database:
        store = open_store(database.target)
        store.update(is_setup_completed=True)

        subprocess.run(["sh", "-c", RESET_SQLITE], check=True, cwd=tmp_path, timeout=60)

        assert not store.read().is_setup_completed


def test_wizard_is_reset_by_psql(postgres_plain, open_store):
    """The documented command line works as it stands."""
    store = open_store(postgres_plain.target)
    store.update(is_setup_completed=True)

    subprocess.run(
        ["sh", "-c", RESET_POSTGRESQL],
        check=True,
        env={"DATABASE_URL": postgres_plain.place, "PATH": f"{postgres_binaries()}:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        timeout=60,
    )

    assert not store.read().is_setup_completed


def test_documented_permissions_are_enough(postgres_plain, open_store, a_role):
    """With the tables there, a role with these permissions does everything."""
    store = open_documented(postgres_plain, open_store, a_role)

    store.create()
    granted = store.update(enable_telemetry=True)

    assert store.settle() == granted
    assert store.answer(declined=[Kind.TELEMETRY]).telemetry_declined == granted.telemetry_manifest
    assert store.update(enable_telemetry=False).instance_id is None
    assert len(store.audit()) == 3


@pytest.mark.parametrize("statement", ["UPDATE consent_audit SET who = NULL", "DELETE FROM consent_audit"])
def test_documented_permissions_keep_the_audit_trail(postgres_plain, open_store, a_role, statement):
    """With these permissions the product can add to the audit trail, and neither change nor delete."""
    open_documented(postgres_plain, open_store, a_role).update(enable_telemetry=True)

    with (
        psycopg.connect(postgres_plain.place, user=a_role, password=a_role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def open_documented(database, open_store, role):
    """Return a store of the role that has the documented permissions."""
    open_store(database.target).create()
    for statement in GRANT.replace("product", role).splitlines():
        database.sql(statement)
    url = make_url(database.target).set(username=role, password=role)
    return open_store(
        url.render_as_string(hide_password=False), manifests=lambda: {Kind.TELEMETRY: "a manifest"}
    )


def test_role_that_may_only_read_is_told_what_it_lacks(postgres_plain, open_store, a_role):
    """A missing permission is an error that points to the documentation."""
    open_store(postgres_plain.target).create()
    postgres_plain.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {a_role}")
    url = make_url(postgres_plain.target).set(username=a_role, password=a_role)
    store = open_store(url.render_as_string(hide_password=False))

    with pytest.raises(StoreError, match="Give this user the permissions"):
        store.update(enable_telemetry=True)

    assert not store.read().enable_telemetry
