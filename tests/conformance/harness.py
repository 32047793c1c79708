"""Play odd applications to a pedantic server, and note all that either side can tell.

A case is a coroutine function that builds an application, has it wrapped by `stage.wrap`, plays server
and client, and notes facts. Whatever wraps it must not change one of them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import GeneratorType

from otel_posthog import SecurityHeaders

OWN_HEADERS = frozenset(
    name for is_secure in (False, True) for name, _ in SecurityHeaders().as_headers(is_secure=is_secure)
)
WAIT_S = 10.0
"""After so long a case hangs."""
_WRAPPERS = ("otel_posthog", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One odd application with its client, and how many error reports it is worth."""

    name: str
    play: Callable[[Stage], Awaitable[None]]
    reports: int


CASES: list[Case] = []


def odd(*, reports: int = 0):
    """Register a case; `reports` is how many `$exception` events it makes while reports are on."""

    def register(play):
        CASES.append(Case(name=play.__name__, play=play, reports=reports))
        return play

    return register


class Stage:
    """Where one case is played: how it is wrapped, and what was noted."""

    def __init__(self, wrap, *, adds_headers: bool = False) -> None:
        self.wrap = wrap
        self.facts: list[object] = []
        self._adds_headers = adds_headers

    def note(self, *fact: object) -> None:
        """Note something that must be the same however the application is wrapped."""
        self.facts.append(tuple(self._plain(each) for each in fact))

    def note_message_identity(self, what: str, is_same: object) -> None:
        """Note whether a message is the app's own object, which it is unless headers are added."""
        if not self._adds_headers:
            self.facts.append((what, bool(is_same)))

    def note_error(self, error: BaseException, expected: BaseException | None = None) -> None:
        """Note all that an exception carries, and whether it is the very object."""
        self.note("raised", type(error).__qualname__, error is expected)
        self.note("attributes", BaseException.__dict__["__dict__"].__get__(error))
        self.note("arguments", BaseException.__dict__["args"].__get__(error))
        self.note("suppresses context", BaseException.__dict__["__suppress_context__"].__get__(error))
        for name in ("__cause__", "__context__"):
            related = BaseException.__dict__[name].__get__(error)
            self.note(name, type(related).__qualname__)
        self.note("frames", *_frames(error))

    async def play(self, app, scope, *, incoming=(), send=None, expected=None) -> Wire:
        """Call the wrapped application once, and note each message and how it ended."""
        wire = Wire(self, incoming)
        try:
            returned = await self.wrap(app)(scope, wire.receive, send or wire.send)
        except BaseException as error:  # noqa: BLE001 - whatever an application raises is a fact
            self.note_error(error, expected)
        else:
            self.note("returned", returned)
        self.note("not received", *wire.incoming)
        return wire

    def _plain(self, value: object) -> object:
        if isinstance(value, (bytearray, memoryview)):
            return type(value).__name__, bytes(value)
        if isinstance(value, Mapping):
            return self._plain_mapping(value)
        if isinstance(value, (GeneratorType, Iterator)):
            return "iterator", [self._plain(each) for each in value]
        if isinstance(value, (list, tuple)):
            return type(value).__name__, [self._plain(each) for each in value]
        if isinstance(value, BaseException):
            return type(value).__qualname__
        return value if isinstance(value, (str, bytes, int, float, type(None))) else type(value).__qualname__

    def _plain_mapping(self, value: Mapping[object, object]) -> object:
        items = {key: self._plain(value[key]) for key in value}
        if self._adds_headers and items.get("type") == "http.response.start":
            return self._without_own_headers(items)
        return type(value).__name__, list(items.items())

    def _without_own_headers(self, items: dict[object, object]) -> object:
        """Return the message as the app sent it; that it became a dict with a list is allowed."""
        headers = items.pop("headers", ("list", []))
        if isinstance(headers, tuple) and isinstance(headers[1], list):
            headers = [each for each in headers[1] if not _is_own(each)]
        return "start", list(items.items()), headers


def facts(case: Case, wrap, *, adds_headers: bool, make_runner=asyncio.Runner) -> list[object]:
    """Play the case on an event loop of its own and return what it noted."""
    stage = Stage(wrap, adds_headers=adds_headers)

    async def play():
        async with asyncio.timeout(WAIT_S):
            await case.play(stage)

    with make_runner() as runner:
        runner.run(play())
    return stage.facts


class Wire:
    """The server's side of one connection."""

    def __init__(self, stage: Stage, incoming) -> None:
        self.incoming = deque(incoming)
        self.sent: list[object] = []
        self._stage = stage

    async def receive(self):
        """Return what the client sent, in order; then that it has left."""
        await asyncio.sleep(0)
        return self.incoming.popleft() if self.incoming else {"type": "http.disconnect"}

    async def send(self, message):
        """Take a message of the application, after a turn of the event loop."""
        await asyncio.sleep(0)
        self.sent.append(message)
        self._stage.note("sent", message)


def _is_own(header: object) -> bool:
    match header:
        case (_, [bytes() as name, _]):
            return name.lower() in OWN_HEADERS
    return False


def _frames(error: BaseException) -> list[str]:
    found = []
    for frame, _ in traceback.walk_tb(BaseException.__dict__["__traceback__"].__get__(error)):
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(_WRAPPERS):
            found.append(frame.f_code.co_name)
    return found


def http_scope(**more):
    """Return the scope of an HTTP request as a server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/odd",
        "raw_path": b"/odd",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"product.example")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


def websocket_scope(**more):
    """Return the scope of a WebSocket as a server makes it."""
    scope = http_scope(type="websocket", scheme="ws", subprotocols=["chat", "superchat"])
    del scope["method"]
    return {**scope, **more}


def lifespan_scope(**more):
    """Return the scope of a lifespan as a server makes it."""
    return {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}, **more}


def start(status: object = 200, headers: object = ((b"content-type", b"text/plain"),), **more):
    """Return the message that begins an answer."""
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(content: object = b"", **more):
    """Return a message with a part of an answer."""
    return {"type": "http.response.body", "body": content, **more}


class Noop:
    """A middleware that does nothing: it has to pass each case, else the case is unfair."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send):
        """Pass everything on."""
        return await self.app(scope, receive, send)
