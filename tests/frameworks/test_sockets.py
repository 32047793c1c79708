"""WebSockets of the same product in five frameworks: what is reported, and what the server gets."""

from __future__ import annotations

import pytest
from frameworks import client, faults
from frameworks.behaviours import SOCKETS, Behaviour
from frameworks.products import each

DENIAL = {"websocket.http.response": {}}
LEAVING = (client.CONNECT, {"type": "websocket.disconnect", "code": 1001})


@each(SOCKETS)
def test_failed_socket_is_one_report(reports, product, behaviour):
    """Each WebSocket that fails is one event with its exception and path; others are none (R12)."""
    answer = client.websocket(reports.wrap(product.app), behaviour.path)

    found = [(report.error, report.method, report.path) for report in reports.all()]
    expected = product.REPORTED_AS.get(behaviour.path, behaviour.reported)
    assert found == ([(expected, "WEBSOCKET", behaviour.path)] if expected else [])
    assert behaviour.status in {None, answer.close_code}


@each(SOCKETS)
@pytest.mark.parametrize("extensions", [{}, DENIAL], ids=["plain", "denial"])
def test_server_gets_what_it_would_get_without_us(reports, product, behaviour, extensions):
    """Messages are the same, and what is raised is the application's very object where it was before."""
    with reports.closed():
        bare = _outcome(product.app, behaviour.path, extensions)

    wrapped = _outcome(reports.wrap(product.app), behaviour.path, extensions)

    assert wrapped == bare


@each([behaviour for behaviour in SOCKETS if behaviour.path == "/socket/before_accept"])
def test_refusal_with_500_is_reported(reports, product, behaviour):
    """A handshake that fails is one event too where the server lets it be answered with 500 (R12)."""
    client.websocket(reports.wrap(product.app), behaviour.path, extensions=DENIAL)

    assert [report.error for report in reports.all()] == [behaviour.reported]


@each([Behaviour(path="/socket/left")])
def test_client_that_leaves_a_socket_is_no_error(reports, product, behaviour):
    """A client that leaves while the application waits for it is not reported (R12)."""
    with reports.closed():
        bare = client.websocket(product.app, behaviour.path, incoming=LEAVING)

    answer = client.websocket(reports.wrap(product.app), behaviour.path, incoming=LEAVING)

    assert reports.all() == []
    assert answer.messages == bare.messages


@each([Behaviour(path="/socket/fine")])
@pytest.mark.parametrize("sendable", [0, 1])
def test_socket_that_breaks_while_sending_is_no_error(reports, product, behaviour, sendable):
    """The `OSError` of the server's `send` is not reported (R12)."""
    client.websocket(reports.wrap(product.app), behaviour.path, sendable=sendable)

    assert reports.all() == []


def _outcome(app, path, extensions):
    faults.made.clear()
    answer = client.websocket(app, path, extensions=extensions)
    is_own = any(answer.raised is error for error in faults.made)
    return answer.messages, type(answer.raised), str(answer.raised), is_own
