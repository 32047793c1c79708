"""A PostgreSQL server that is a replica, ends its connections, or is replaced by another."""

from __future__ import annotations

import psycopg
import pytest
from asgi import client_of
from databases import POSTGRESQL_KINDS, some_database
from postgres import control
from sqlalchemy import make_url
from starlette.applications import Starlette
from waiting import wait_until

from otel_posthog import settings_api
from otel_posthog.consent.state import Answer
from otel_posthog.errors import StoreError
from otel_posthog.registry import Kind

WAIT_S = 60


def both(first, second):
    """Return the URL that names two servers."""
    addresses = [make_url(url) for url in (first, second)]
    hosts = "&".join(f"host={address.host}:{address.port}" for address in addresses)
    return addresses[0].set(host=None, port=None).render_as_string(hide_password=False) + f"?{hosts}"


def test_fail_over_to_a_replica(postgres_primary, postgres_replica, open_store, make_telemetry):
    """A replica may miss a withdrawal, so its answer is unknown; once promoted, it is the database."""
    (primary_url, primary), (replica_url, replica) = postgres_primary, postgres_replica
    store = open_store(both(primary_url, replica_url))
    store.update(enable_telemetry=True)
    with psycopg.connect(replica_url, autocommit=True) as connection:  # a transaction may hold replay up
        wait_until(
            lambda: connection.execute("SELECT to_regclass('system_settings')").fetchone()[0],
            timeout_s=WAIT_S,
        )
    on_replica = make_telemetry(database=replica_url)
    with pytest.raises(StoreError, match=r"is a replica.*primary's address"):
        on_replica.settings()
    app = Starlette(routes=[settings_api.mount(on_replica, authorize=lambda _connection: True)])
    answer = client_of(app).put("/api/settings/system", json={"enable_telemetry": False})
    assert answer.status_code == 503
    assert "The change is not confirmed" in answer.json()["detail"]
    on_replica.start()
    assert on_replica.recent_consent().kinds[Kind.TELEMETRY].answer is Answer.UNKNOWN

    control(primary, "stop", "-m", "immediate")
    with pytest.raises(StoreError, match="is a replica"):
        store.read()
    control(replica, "promote")

    assert store.read().enable_telemetry
    assert store.update(enable_telemetry=False).enable_telemetry is False


@pytest.mark.parametrize("kind", POSTGRESQL_KINDS)
def test_connections_that_the_server_has_ended_are_replaced(postgres_database, open_store, kind):
    """After a server has ended all connections, the next call succeeds, also on the product's engine."""
    with some_database(kind, postgres_database) as database:
        store = open_store(database.target)
        store.update(enable_telemetry=True)
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        assert store.update(enable_telemetry=False).telemetry_generation == 1
        assert len(store.audit()) == 2
