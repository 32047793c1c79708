"""Clients that leave and calls that are cancelled, in applications that make something else of it."""

from __future__ import annotations

import asyncio

import pytest
from frameworks import client

START = {"type": "http.response.start", "status": 200, "headers": []}


def _errors(reports):
    return [report.error for report in reports.all()]


async def sends_in_a_group(_scope, _receive, send):
    """Let tasks of a group send, so that the server's `OSError` comes in an `ExceptionGroup`."""
    async with asyncio.TaskGroup() as group:
        group.create_task(send(START))
        group.create_task(asyncio.Event().wait())


async def raises_from_it(_scope, _receive, send):
    """Name the server's `OSError` as the cause."""
    try:
        await send(START)
    except OSError as error:
        raise RuntimeError("could not answer") from error


async def fails_cleaning_up(_scope, _receive, send):
    """Fail in another way meanwhile."""
    try:
        await send(START)
    finally:
        int("not a number")


async def fails_besides(_scope, _receive, send):
    """Fail in a task beside the one that sends."""

    async def fail():
        raise LookupError("besides")

    async with asyncio.TaskGroup() as group:
        group.create_task(send(START))
        group.create_task(fail())


async def connects_in_vain(_scope, _receive, _send):
    """Fail with an `OSError` of another connection."""
    raise ConnectionResetError("by the database")


async def runs_out_of_time(_scope, _receive, _send):
    """Cancel its own work, which Python tells as a `TimeoutError` from a `CancelledError`."""
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


async def answers_with_500(_scope, _receive, send):
    """Answer whatever goes wrong with 500, as error handlers by hand do."""
    try:
        await send(START)
    except Exception:  # noqa: BLE001 - as the subject
        await send({**START, "status": 500})


@pytest.mark.parametrize("app", [answers_with_500, raises_from_it, sends_in_a_group])
def test_consequence_of_a_leaving_client_is_no_error(reports, app):
    """What is raised from the server's `OSError` is not reported, whatever its shape (R12)."""
    client.get(reports.wrap(reports.wrap(app)), "/", sendable=0)

    assert _errors(reports) == []


@pytest.mark.parametrize("app", [fails_cleaning_up, fails_besides])
def test_failure_besides_a_leaving_client_is_one_report(reports, app):
    """What fails for its own reasons while a client leaves is reported."""
    client.get(reports.wrap(app), "/", sendable=0)

    assert len(_errors(reports)) == 1


def test_broken_connection_of_the_application_is_one_report(reports):
    """An `OSError` that is not of the server's `send` is an error like any other."""
    client.get(reports.wrap(connects_in_vain), "/")

    assert _errors(reports) == [("ConnectionResetError", "by the database")]


def test_timeout_is_one_report(reports):
    """A `TimeoutError` is an error although a cancellation is its cause."""
    client.get(reports.wrap(runs_out_of_time), "/")

    assert [kind for kind, _ in _errors(reports)] == ["TimeoutError"]
