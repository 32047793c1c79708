"""Speak ASGI with an application in this process, as a server would, and keep what it answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

TIMEOUT_S = 5
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
CONNECT = {"type": "websocket.connect"}
LAST_MESSAGES = frozenset({"websocket.close", "lifespan.startup.failed", "lifespan.shutdown.failed"})


class ServerGone(OSError):  # noqa: N818 - servers name theirs in such a way
    """What `send` raises once the client has left, as ASGI's HTTP specification 2.4 has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What an application sent, and what it raised to the server."""

    messages: list[dict[str, object]]
    raised: BaseException | None

    @property
    def status(self):
        """Return the status of the answer, None where there was none."""
        starts = (each["status"] for each in self.messages if each["type"].endswith("response.start"))
        return next(starts, None)

    @property
    def close_code(self):
        """Return the code with which the application closed the WebSocket."""
        codes = (each.get("code") for each in self.messages if each["type"] == "websocket.close")
        return next(codes, None)


class Connection:
    """One connection: gives the application its messages, and `http.disconnect` once it has answered.

    `sendable` is how many messages can be sent before the client is gone; `has_begun` tells that a
    part of the answer's body has come.
    """

    def __init__(self, incoming, *, leaves_with, sendable):
        self._incoming = list(incoming)
        self._leaves_with = leaves_with
        self._sendable = sendable
        self._is_over = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.messages = []

    async def receive(self):
        """Return the next message."""
        if self._incoming:
            await asyncio.sleep(0)
            return self._incoming.pop(0)
        await self._is_over.wait()
        return self._leaves_with

    async def send(self, message):
        """Take a message of the application."""
        if self._sendable is not None and len(self.messages) >= self._sendable:
            raise ServerGone("the client has left")
        self.messages.append(dict(message))
        if message["type"].endswith("response.body"):
            self.has_begun.set()
        ends_body = message["type"].endswith("response.body") and not message.get("more_body", False)
        if ends_body or message["type"] in LAST_MESSAGES:
            self._is_over.set()


def get(app, path, *, root_path="", **changes):
    """Run one GET request and what the application leaves behind."""
    scope = http_scope(root_path + path) | {"root_path": root_path}
    return asyncio.run(_alone(exchange(app, scope, **changes)))


def websocket(app, path, *, incoming=(CONNECT,), extensions=None, sendable=None):
    """Run one WebSocket connection and what the application leaves behind."""
    return asyncio.run(
        _alone(
            exchange(
                app,
                websocket_scope(path, extensions or {}),
                incoming,
                leaves_with={"type": "websocket.disconnect", "code": 1005},
                sendable=sendable,
            )
        )
    )


def lifespan(app):
    """Start the application and stop it."""
    events = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    return asyncio.run(_alone(exchange(app, {"type": "lifespan", "asgi": _ASGI, "state": {}}, events)))


def get_all(app, paths):
    """Run all requests at once; each is within the application before the first one goes on."""

    async def run_all():
        everybody = asyncio.Barrier(len(paths))

        async def one(path):
            connection = Connection([REQUEST], leaves_with=_LEFT, sendable=None)

            async def receive():
                if path in waiting:
                    waiting.discard(path)
                    await everybody.wait()
                return await connection.receive()

            return await _run(app, http_scope(path), receive, connection)

        waiting = set(paths)
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.gather(*map(one, paths))

    return asyncio.run(run_all())


def get_and_cancel(app, path):
    """Run one request and cancel it once a part of the answer's body has come."""

    async def run():
        connection = Connection([REQUEST], leaves_with=_LEFT, sendable=None)
        task = asyncio.create_task(_run(app, http_scope(path), connection.receive, connection))
        async with asyncio.timeout(TIMEOUT_S):
            await connection.has_begun.wait()
            task.cancel()
            return await task

    return asyncio.run(run())


async def exchange(app, scope, incoming=(REQUEST,), *, leaves_with=None, sendable=None):
    """Run one connection."""
    connection = Connection(incoming, leaves_with=leaves_with or _LEFT, sendable=sendable)
    async with asyncio.timeout(TIMEOUT_S) as bound:
        result = await _run(app, scope, connection.receive, connection)
    assert not bound.expired(), "the application did not end"
    return result


async def _run(app, scope, receive, connection):
    try:
        await app(scope, receive, connection.send)
    except BaseException as error:  # noqa: BLE001 - a server survives everything
        return Exchange(messages=connection.messages, raised=error)
    return Exchange(messages=connection.messages, raised=None)


async def _alone(running):
    """Wait for the connection, then for the tasks that the application left behind."""
    result = await running
    left_behind = asyncio.all_tasks() - {asyncio.current_task()}
    if left_behind:
        await asyncio.wait(left_behind, timeout=TIMEOUT_S)
    return result


_ASGI = {"version": "3.0", "spec_version": "2.4"}
_LEFT = {"type": "http.disconnect"}


def http_scope(path):
    """Return the scope of a GET request."""
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        **_common(path, "2.4"),
    }


def websocket_scope(path, extensions):
    """Return the scope of a WebSocket."""
    return {
        "type": "websocket",
        "scheme": "ws",
        "http_version": "1.1",
        "subprotocols": [],
        "extensions": extensions,
        **_common(path, "2.4"),
    }


def _common(path, spec_version):
    return {
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"installation.example")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }
