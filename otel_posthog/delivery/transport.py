"""Send one batch to PostHog through the function that PostHog's own client uses.

`tests/delivery/test_transport.py` fails if `posthog.request.batch_post` changes. Nothing of `posthog` is
imported before the first batch.
"""

from __future__ import annotations

import contextvars
import io
import json
import logging
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from otel_posthog._runtime.process import follow_forks
from otel_posthog.config.settings import Config
from otel_posthog.mapping import LIBRARY
from otel_posthog.otel.api import suppressed_instrumentation

if TYPE_CHECKING:
    import requests


WireEvent = dict[str, object]
FINAL_STATUSES = frozenset({401, 403})
SPLIT_STATUSES = frozenset({400, 413})
MAX_RETRY_AFTER_S = 86_400.0
# A fifth of the time of level 9, which posthog uses, for a quarter more bytes of product events.
GZIP_LEVEL = 3
_GZIP_WBITS = zlib.MAX_WBITS + 16  # zlib's request for a gzip header
MAX_ANSWER_BYTES = 65_536  # PostHog's has a few; a wrong host's page may be of any size
_TEXTS_AT_ONCE = 32
_EMPTY_BATCH = '"batch": []'
_LOOKS_AT_ENVIRONMENT = 3
_IMPORT_TIMEOUT_S = 10.0  # an import ends; on a busy machine it takes more than a second

_is_sending: contextvars.ContextVar[bool] = contextvars.ContextVar("otel_posthog_is_sending", default=False)


class Result(Enum):
    """What became of a batch."""

    ACCEPTED = "accepted"  # 200, which does not mean stored
    RETRY = "retry"  # no connection, a redirect, 408, 429 or 5xx
    SPLIT = "split"  # 400 or 413: one bad event makes PostHog reject all, so smaller batches find it
    WITHDRAWN = "withdrawn"  # while the connection was opened; no byte of the events was sent
    REFUSED = "refused"  # a wrong key or address: never try again


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The result of one attempt, a reason for people, and the pause that PostHog asked for."""

    result: Result
    reason: str = ""
    retry_after_s: float = 0.0


class WireBatch:
    """Events as PostHog's wire objects, each parsed from the JSON that is sent."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[WireEvent]:
        return map(json.loads, self._texts)

    def as_json(self) -> Iterator[str]:
        """Yield the array in pieces: a copy of the whole costs as much as its compression."""
        yield "["
        for begin in range(0, len(self._texts), _TEXTS_AT_ONCE):
            if begin:
                yield ", "
            yield ", ".join(self._texts[begin : begin + _TEXTS_AT_ONCE])
        yield "]"


class Transport(Protocol):
    """Where batches go; one method makes real, printing and in-memory ones exchangeable."""

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Try once to deliver the events. Never raises.

        `may_leave` is called right before the first byte of the events; if it returns False, none is sent.
        """

    def close(self) -> None:
        """Close the connection; the next `send` opens it again."""


class RecordingTransport:
    """Keep the events in `events` instead of sending them. Safe in threads."""

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self._lock = threading.Lock()

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Keep the events as PostHog would receive them."""
        if not may_leave():
            return Delivery(result=Result.WITHDRAWN)
        with self._lock:
            self.events += batch
        return Delivery(result=Result.ACCEPTED)

    def close(self) -> None:
        """Do nothing: no connection is open."""


class PostHogTransport:
    """One POST a batch to PostHog's `/batch/` endpoint, without redirects, retries or `.netrc`."""

    def __init__(
        self,
        *,
        api_key: str,
        host: str,
        timeout_s: float,
        make_session: Callable[[], requests.Session] | None = None,
    ) -> None:
        self._make_session = make_session or open_session
        self._api_key = api_key
        self._host = host
        self._timeout_s = timeout_s
        self._user_agent = f"{LIBRARY}/{version(LIBRARY)}"
        self._session: requests.Session | None = None
        self._is_held_for_fork = False
        self._importing = threading.Lock()
        self._lock = threading.Lock()
        follow_forks(self)

    def __repr__(self) -> str:
        return f"PostHogTransport(host={self._host!r})"

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Try once; see `Transport`."""
        with self._importing:  # a fork waits for it: a half-imported module would stay locked
            from posthog import request  # noqa: PLC0415 - 130 ms, and nothing of it while consent is off

        logging.getLogger("posthog").addFilter(_prints_no_body)  # the same filter again changes nothing
        token = _is_sending.set(True)
        post = _Post(self._open_session(), may_leave, batch)
        try:
            with suppressed_instrumentation():
                # Not the client, which would add properties behind the gate, and a second queue and thread.
                request.batch_post(
                    self._api_key,
                    host=request.determine_server_host(self._host),
                    gzip=False,  # `_Post` compresses
                    timeout=self._timeout_s,
                    session=post,
                    batch=[],  # `_Post` inserts it
                    _user_agent=self._user_agent,
                )
        except request.APIError as error:
            return _from_status(error.status, error.retry_after)
        except _WithdrawnError:
            return Delivery(result=Result.WITHDRAWN)
        except Exception as error:  # noqa: BLE001 - batch_post raises what requests raises, and more
            if post.status is not None:  # a response that breaks off has a status all the same
                return _from_status(post.status, None)
            return Delivery(result=Result.RETRY, reason=f"no answer ({type(error).__name__})")
        finally:
            _is_sending.reset(token)
        return Delivery(result=Result.ACCEPTED)

    def close(self) -> None:
        """Close the connection, if one is open."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def before_fork(self) -> None:
        """Wait for an import in progress, for 10 seconds at most."""
        self._is_held_for_fork = self._importing.acquire(timeout=_IMPORT_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_for_fork:
            self._importing.release()

    def after_fork(self) -> None:
        """Forget the parent's connection; closing it would end it for the parent."""
        self._importing = threading.Lock()
        self._lock = threading.Lock()
        self._session = None

    def _open_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = self._make_session()
            return self._session


def posthog_transport(config: Config) -> PostHogTransport | None:
    """Return the configured transport, or None without a project API key."""
    if config.api_key is None:
        return None
    return PostHogTransport(api_key=config.api_key, host=config.host, timeout_s=config.http_timeout_s)


def open_session() -> requests.Session:
    """Return a session that sends nothing of the environment: no `.netrc`, no cookies."""
    import requests  # noqa: PLC0415 - comes with posthog, so as late

    session = requests.Session()
    session.auth = lambda prepared: prepared  # with any auth set, requests does not read .netrc
    # A cookie could identify the installation.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


class _WithdrawnError(Exception):
    """Consent was withdrawn while the connection was opened."""


class _Body(io.BytesIO):
    """A request body that is read only once the connection is open, which can take seconds."""

    def __init__(self, content: bytes, may_leave: Callable[[], bool]) -> None:
        super().__init__(content)
        self._may_leave = may_leave

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._may_leave():
            raise _WithdrawnError
        return super().read(size)


class _Response:
    """What `batch_post` sees of the response: the status and headers, never the body."""

    text = ""

    def __init__(self, response: requests.Response) -> None:
        self.status_code = response.status_code
        self.headers = response.headers

    def json(self) -> object:
        raise ValueError("the body is not read")


class _Post:
    """What `batch_post` sees of the session."""

    def __init__(self, session: requests.Session, may_leave: Callable[[], bool], batch: WireBatch) -> None:
        self._batch = batch
        self._session = session
        self._may_leave = may_leave
        self.status: int | None = None

    def post(self, url: str, *, data: str, headers: dict[str, str], timeout: float) -> _Response:
        # The events are written already, and posthog's encoder, which copies each value in Python, takes
        # three times as long (docs/adr/0035).
        before, placed, after = data.partition(_EMPTY_BATCH)
        if not placed:
            raise RuntimeError("posthog writes its requests in an unexpected form")
        pieces = chain([before, '"batch": '], self._batch.as_json(), [after])
        body = _Body(_compressed(pieces), self._may_leave)
        headers = headers | {"Content-Encoding": "gzip"}
        with self._answer(url, body, headers, timeout) as response:
            self.status = response.status_code
            # Enough for the connection to be used again. Not decoded: it could unpack to gigabytes.
            response.raw.read(MAX_ANSWER_BYTES, decode_content=False)
            return _Response(response)

    def _answer(self, url: str, body: _Body, headers: dict[str, str], timeout: float) -> requests.Response:
        for _ in range(_LOOKS_AT_ENVIRONMENT):
            # requests looks for proxies among all variables, and fails if another thread removes one.
            with suppress(KeyError):
                body.seek(0)  # whatever the error was, no attempt sends a part
                # Without redirects: requests would turn a 302 into GET and lose the batch.
                return self._session.post(
                    url, data=body, headers=headers, timeout=timeout, allow_redirects=False, stream=True
                )
        raise RuntimeError("the environment changes all the time")


def _compressed(pieces: Iterable[str]) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
    return b"".join([*(packer.compress(piece.encode()) for piece in pieces), packer.flush()])


def _from_status(status: object, retry_after: float | None) -> Delivery:
    code = status if isinstance(status, int) else 0
    reason = f"status {status}"
    if code == 200:  # noqa: PLR2004 - accepted, whatever the body says
        return Delivery(result=Result.ACCEPTED)
    if code in SPLIT_STATUSES:
        return Delivery(result=Result.SPLIT, reason=reason)
    if code in FINAL_STATUSES:
        return Delivery(result=Result.REFUSED, reason=f"{reason}: check the project API key")
    if 300 <= code < 400:  # noqa: PLR2004 - the redirect class of statuses: a captive portal, a moved host
        return Delivery(result=Result.RETRY, reason=f"{reason}: a redirect, which is not followed")
    if code in (408, 429) or code >= 500:  # noqa: PLR2004 - a server error, or a request to wait
        pause = min(max(0.0, retry_after or 0.0), MAX_RETRY_AFTER_S)
        return Delivery(result=Result.RETRY, reason=reason, retry_after_s=pause)
    return Delivery(result=Result.REFUSED, reason=f"{reason}: check the host setting")


# Posthog's DEBUG lines of our own requests print whole bodies.
def _prints_no_body(record: logging.LogRecord) -> bool:
    return not (_is_sending.get() and record.levelno <= logging.DEBUG)
