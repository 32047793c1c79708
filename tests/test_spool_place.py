"""Where the spool lies if nobody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_posthog.spool_place import spool_folder

SQLITE = {"database_file": Path("/srv/app/data/app.db"), "database_name": "sqlite:///srv/app/data/app.db"}
POSTGRESQL = {"database_file": None, "database_name": "postgresql://db:5432/app"}
HOME = {"HOME": "/home/app"}


def test_beside_the_sqlite_file():
    """The volume that keeps the consent keeps the events."""
    assert spool_folder(None, environ=HOME, **SQLITE) == Path("/srv/app/data/app.db-spool")


@pytest.mark.parametrize(
    ("environ", "parent"),
    [
        (HOME, "/home/app/.local/state/otel-posthog"),
        ({**HOME, "XDG_STATE_HOME": "/state"}, "/state/otel-posthog"),
        ({**HOME, "STATE_DIRECTORY": "/var/lib/app:/var/lib/other"}, "/var/lib/app/otel-posthog"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, "/home/app/.local/state/otel-posthog"),
    ],
)
def test_in_the_state_folder_for_postgresql(environ, parent):
    """With a database elsewhere the user's folder for state is taken."""
    assert spool_folder(None, environ=environ, **POSTGRESQL).parent == Path(parent)


def test_two_databases_never_share_a_folder():
    """Two products of one user keep apart what waits."""
    other = {"database_file": None, "database_name": "postgresql://db:5432/other"}

    assert spool_folder(None, environ=HOME, **POSTGRESQL) != spool_folder(None, environ=HOME, **other)


@pytest.mark.parametrize(
    ("spool_dir", "database", "environ"),
    [
        (":memory:", SQLITE, HOME),
        (None, {"database_file": None, "database_name": None}, HOME),
        (None, POSTGRESQL, {}),
    ],
    ids=["wished", "database in memory", "no home"],
)
def test_memory_has_to_do(spool_dir, database, environ):
    """Where nothing durable is wanted or known, there is no folder."""
    assert spool_folder(spool_dir, environ=environ, **database) is None


def test_given_folder_counts():
    """The setting wins."""
    assert spool_folder("/given", environ=HOME, **SQLITE) == Path("/given")
