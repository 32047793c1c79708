"""Deliver one batch to PostHog, over the function that posthog's own client uses.

`posthog.request.batch_post` and not the client: that would add properties behind the gate and put
a second queue and thread behind OpenTelemetry's. `tests/test_transport.py` fails when it moves.
Nothing of posthog is imported before the first batch.
"""

from __future__ import annotations

import contextvars
import io
import logging
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from http.cookiejar import DefaultCookiePolicy
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ._otel import suppressed_instrumentation
from .outgoing import Outgoing

if TYPE_CHECKING:
    import requests

FINAL_STATUSES = frozenset({401, 403})
SPLIT_STATUSES = frozenset({400, 413})
MAX_RETRY_AFTER_S = 86_400.0
GZIP_LEVEL = (
    3  # a fifth of the time of level 9, which posthog uses, for a quarter more bytes of product events
)
_GZIP_WBITS = zlib.MAX_WBITS + 16  # zlib's way to ask for a frame of gzip
MAX_ANSWER_BYTES = 65_536  # PostHog's has a few; a page of somebody else's may be of any size
_EMPTY_BATCH = '"batch": []'
_IMPORT_TIMEOUT_S = 10.0  # an import ends; on a machine in trouble it takes more than a second

_is_sending: contextvars.ContextVar[bool] = contextvars.ContextVar("otel_posthog_is_sending", default=False)


class Result(Enum):
    """What became of a batch."""

    ACCEPTED = "accepted"
    """PostHog answered 200: taken in, not yet stored."""
    RETRY = "retry"
    """Try again later: no connection, a redirect, 408, 429 or 5xx."""
    SPLIT = "split"
    """400 or 413: one bad event makes PostHog refuse all, so smaller batches find it."""
    WITHDRAWN = "withdrawn"
    """Consent went while the connection was made, so that no byte of the events left."""
    REFUSED = "refused"
    """Never try again: wrong key, wrong address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Result of one attempt, with the reason for people and the pause PostHog asked for."""

    result: Result
    reason: str = ""
    retry_after_s: float = 0.0


class Transport(Protocol):
    """Where batches go; one method makes real, printing and in-memory ones exchangeable."""

    def send(self, batch: Outgoing, may_leave: Callable[[], bool]) -> Delivery:
        """Try once to deliver the events. Never raises.

        `may_leave` is asked right before the first byte of the events goes out; on no, none does.
        """

    def close(self) -> None:
        """Give up sockets; the next `send` opens them again."""


class PostHogTransport:
    """One POST a batch to PostHog's `/batch/` endpoint, without redirects, retries or `.netrc`."""

    def __init__(
        self,
        *,
        api_key: str,
        host: str,
        timeout_s: float,
        user_agent: str,
        session: Callable[[], requests.Session] | None = None,
    ) -> None:
        self._make_session = session or open_session
        self._api_key = api_key
        self._host = host
        self._timeout_s = timeout_s
        self._user_agent = user_agent
        self._session: requests.Session | None = None
        self._is_held_for_fork = False
        self._importing = threading.Lock()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PostHogTransport(host={self._host!r})"

    def send(self, batch: Outgoing, may_leave: Callable[[], bool]) -> Delivery:
        """Try once; see `Transport`."""
        with self._importing:  # before a fork this is waited for: a half-imported module would stay locked
            from posthog import request  # noqa: PLC0415 - 130 ms, and nothing of it while consent is off

        _silence_bodies()
        token = _is_sending.set(True)
        post = _Post(self._open_session(), may_leave, batch)
        try:
            with suppressed_instrumentation():
                request.batch_post(
                    self._api_key,
                    host=request.determine_server_host(self._host),
                    gzip=False,  # `_Post` compresses
                    timeout=self._timeout_s,
                    session=post,
                    batch=[],  # `_Post` puts it in
                    _user_agent=self._user_agent,
                )
        except request.APIError as error:
            return _from_status(error.status, error.retry_after)
        except _WithdrawnError:
            return Delivery(result=Result.WITHDRAWN)
        except Exception as error:  # noqa: BLE001 - batch_post raises what requests raises, and more
            if post.status is not None:  # an answer that breaks off is one all the same
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
        """Wait for an import under way, but not for long."""
        self._is_held_for_fork = self._importing.acquire(timeout=_IMPORT_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_for_fork:
            self._importing.release()

    def after_fork(self) -> None:
        """Forget the parent's connection without closing it."""
        self._importing = threading.Lock()
        self._lock = threading.Lock()
        self._session = None

    def _open_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = self._make_session()
            return self._session


def open_session() -> requests.Session:
    """Return a session that sends nothing of the environment: no `.netrc`, no cookies."""
    import requests  # noqa: PLC0415 - comes with posthog, so as late

    session = requests.Session()
    session.auth = _no_auth  # with any auth set, requests does not look into .netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a cookie could tell us apart
    return session


class _WithdrawnError(Exception):
    """Consent went while the connection was made."""


class _Body(io.BytesIO):
    """A request body that is asked for only when the connection stands, which can take seconds."""

    def __init__(self, content: bytes, may_leave: Callable[[], bool]) -> None:
        super().__init__(content)
        self._may_leave = may_leave

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._may_leave():
            raise _WithdrawnError
        return super().read(size)


class _Answer:
    """What `batch_post` sees of the answer: never its body, of which nothing is wanted."""

    text = ""

    def __init__(self, response: requests.Response) -> None:
        self.status_code = response.status_code
        self.headers = response.headers

    def json(self) -> object:
        raise ValueError("the body is not read")


class _Post:
    """What `batch_post` sees of the session.

    It follows no redirect, since requests would turn a 302 into GET and lose the batch, asks for leave
    once the connection stands, and reads no more of the answer than a connection that is used again needs.
    It puts the batch in and compresses itself: the events are written already, and posthog's encoder would
    copy each value in Python first.
    """

    def __init__(self, session: requests.Session, may_leave: Callable[[], bool], batch: Outgoing) -> None:
        self._batch = batch
        self._session = session
        self._may_leave = may_leave
        self.status: int | None = None

    def post(self, url: str, *, data: str, headers: dict[str, str], timeout: float) -> _Answer:
        before, placed, after = data.partition(_EMPTY_BATCH)
        if not placed:
            raise RuntimeError("posthog writes its requests otherwise than expected")
        pieces = chain([before, '"batch": '], self._batch.as_json(), [after])
        body = _Body(_compressed(pieces), self._may_leave)
        headers = headers | {"Content-Encoding": "gzip"}
        with self._session.post(
            url, data=body, headers=headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            self.status = response.status_code
            response.raw.read(MAX_ANSWER_BYTES, decode_content=False)  # could unpack to gigabytes
            return _Answer(response)


def _compressed(pieces: Iterable[str]) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
    return b"".join([*(packer.compress(piece.encode()) for piece in pieces), packer.flush()])


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _from_status(status: object, retry_after: float | None) -> Delivery:
    code = status if isinstance(status, int) else 0
    reason = f"status {status}"
    if code == 200:  # noqa: PLR2004 - taken in, whatever the body says
        return Delivery(result=Result.ACCEPTED)
    if code in SPLIT_STATUSES:
        return Delivery(result=Result.SPLIT, reason=reason)
    if code in FINAL_STATUSES:
        return Delivery(result=Result.REFUSED, reason=f"{reason}: check the project API key")
    if 300 <= code < 400:  # noqa: PLR2004 - the redirect class of statuses: a captive portal, a moved host
        return Delivery(result=Result.RETRY, reason=f"{reason}: a redirect, which is not followed")
    if code in (408, 429) or code >= 500:  # noqa: PLR2004 - the server's fault or its wish to wait
        pause = min(max(0.0, retry_after or 0.0), MAX_RETRY_AFTER_S)
        return Delivery(result=Result.RETRY, reason=reason, retry_after_s=pause)
    return Delivery(result=Result.REFUSED, reason=f"{reason}: check the host setting")


class _NoBodies(logging.Filter):
    """Keep posthog's DEBUG lines of our own requests away: they print whole bodies."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (_is_sending.get() and record.levelno <= logging.DEBUG)


_no_bodies = _NoBodies()


def _silence_bodies() -> None:
    logging.getLogger("posthog").addFilter(_no_bodies)  # adding the same filter again does nothing
