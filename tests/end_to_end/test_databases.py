"""Consent in each database, from the grant to the wire and back."""

from __future__ import annotations

import asyncio

import pytest
from databases import KINDS, new_database

from otel_posthog import track


@pytest.mark.parametrize("kind", KINDS)
def test_consent_works_in_every_database(kind, make_telemetry, sink, tmp_path, request):
    """A grant lets events leave and a withdrawal stops them, whatever holds the row (R1, R2)."""
    with new_database(kind, request) as database:
        telemetry = make_telemetry(database=database.target, batch_delay_s=60)
        telemetry.start()
        telemetry.update_settings(enable_telemetry=True)
        track("while_granted")
        assert telemetry.flush()

        telemetry.update_settings(enable_telemetry=False)
        track("after_the_withdrawal")
        telemetry.flush()
        telemetry.shutdown()

    assert [event.name for event in sink.events] == ["while_granted"]


@pytest.mark.parametrize("kind", ["aiosqlite-url", "asyncpg-url"])
def test_async_url_works_inside_a_running_loop(kind, make_telemetry, sink, tmp_path, request):
    """With an async URL everything can be called from a coroutine of the host."""

    async def product(target):
        async with make_telemetry(database=target) as telemetry:
            telemetry.update_settings(enable_telemetry=True)
            track("from_a_coroutine")

    with new_database(kind, request) as database:
        asyncio.run(product(database.target))

    assert [event.name for event in sink.events] == ["from_a_coroutine"]
