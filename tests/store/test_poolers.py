"""PostgreSQL behind a pooler that gives each transaction another connection."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from databases import POSTGRESQL_KINDS
from pooled_worker import work
from programs import run_python
from sqlalchemy import create_engine

WORKER = Path(__file__).with_name("pooled_worker.py")
TIMEOUT_S = 120


@pytest.mark.parametrize("kind", POSTGRESQL_KINDS)
def test_workers_share_the_connections_of_a_pooler(pooled_database, kind):
    """Workers behind PgBouncer in transaction mode meet no prepared statement of each other."""
    other = run_python(
        "import sys, pooled_worker; print(pooled_worker.work(*sys.argv[1:]))", kind, pooled_database
    )
    failures = work(kind, pooled_database)

    assert [other.stdout.strip(), failures] == ["[]", []]
    with closing(psycopg.connect(pooled_database)) as connection:
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []


def test_engine_of_the_product_prepares_its_own_statements_as_before(postgres_plain, open_store):
    """The product's connections keep their setting for prepared statements."""
    engine = create_engine(
        postgres_plain.target.replace("postgresql:", "postgresql+psycopg:"),
        connect_args={"prepare_threshold": 3},
    )

    open_store(engine).create()

    with engine.connect() as connection:
        assert connection.connection.dbapi_connection.prepare_threshold == 3
    engine.dispose()
