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
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from otel_posthog._runtime.process import follow_forks
from otel_posthog.config.settings import Config
from otel_posthog.mapping import LIBRARY
from otel_posthog.otel.api import suppressed_instrumentation

from .answers import Delivery, Result, judged, lacks_verdicts, verdicts
from .causes import advice, authorities, proxy_variable
from .response_body import MAX_ANSWER_BYTES, read_body

if TYPE_CHECKING:
    import requests


WireEvent = dict[str, object]
# A fifth of the time of level 9, which posthog uses, for a quarter more bytes of product events.
GZIP_LEVEL = 3
_GZIP_WBITS = zlib.MAX_WBITS + 16  # zlib's request for a gzip header
_MAX_VERDICT_BYTES = 512  # of each event, in an answer with verdicts: a uuid, a word and a short detail
_TEXTS_AT_ONCE = 32
_EMPTY_BATCH = '"batch": []'
_LOOKS_AT_ENVIRONMENT = 3
_IMPORT_TIMEOUT_S = 10.0  # an import ends; on a busy machine it takes more than a second

_is_sending: contextvars.ContextVar[bool] = contextvars.ContextVar("otel_posthog_is_sending", default=False)


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
        """Try once to deliver the events, in one request or two. Never raises.

        `may_leave` is called before each piece of a request's events, and before a second request begins;
        once it returns False, no further byte is sent, so that no request becomes complete.
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
    """One POST a batch to PostHog's `/batch/` endpoint, without redirects, retries or `.netrc`.

    If PostHog rejects a batch as a whole, a second POST asks its newer endpoint about each event.
    """

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
        self._sorts_events = True  # until the host has answered otherwise
        self._has_sorting_failed = False  # when it was asked last
        self._is_held_for_fork = False
        self._importing = threading.Lock()
        self._lock = threading.Lock()
        follow_forks(self)

    def __repr__(self) -> str:
        return f"PostHogTransport(host={self._host!r})"

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Try once; see `Transport`."""
        token = _is_sending.set(True)
        try:
            with suppressed_instrumentation():
                return self._sent(batch, may_leave)
        except _WithdrawnError:
            return Delivery(result=Result.WITHDRAWN)
        except Exception as error:  # noqa: BLE001 - of an import, a session, or a batch that is not JSON
            return _unanswered(error, self._host)
        finally:
            _is_sending.reset(token)

    def _sent(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        with self._importing:  # a fork waits for it: a half-imported module would stay locked
            from posthog import request  # noqa: PLC0415 - 130 ms, and nothing of it while consent is off

        logging.getLogger("posthog").addFilter(_prints_no_body)  # the same filter again changes nothing
        host, session = request.determine_server_host(self._host), self._open_session()
        delivery = self._posted(_Post(session, may_leave, batch), host, len(batch))
        if delivery.result is not Result.SPLIT or len(batch) == 1 or not self._sorts_events:
            return delivery
        # A withdrawal waits for requests in progress only for a while; none begins after it.
        if not may_leave():
            raise _WithdrawnError
        max_bytes = MAX_ANSWER_BYTES + len(batch) * _MAX_VERDICT_BYTES
        return self._sorted(_Post(session, may_leave, max_bytes=max_bytes), batch, host) or delivery

    def _posted(self, post: _Post, host: str, events: int) -> Delivery:
        from posthog import request  # noqa: PLC0415 - see `_sent`

        retry_after_s = None
        try:
            # Not the client, which would add properties behind the gate, and a second queue and thread.
            request.batch_post(
                self._api_key,
                host=host,
                gzip=False,  # `_Post` compresses
                timeout=self._timeout_s,
                session=post,
                batch=[],  # `_Post` inserts it
                _user_agent=self._user_agent,
            )
        except request.APIError as error:
            retry_after_s = error.retry_after
        except _WithdrawnError:
            raise
        except Exception as error:  # noqa: BLE001 - batch_post raises what requests raises, and more
            if post.status in (None, 200):  # a response that breaks off has a status all the same
                return _unanswered(error, host)
        delivery = judged(post.status or 0, post.answer, events=events, retry_after_s=retry_after_s)
        proxy = proxy_variable(host) if delivery.result is Result.DOUBTFUL else None
        return delivery if proxy is None else replace(delivery, advice=f"{delivery.advice} Proxy: {proxy}.")

    def _sorted(self, post: _Post, batch: WireBatch, host: str) -> Delivery | None:
        """Ask the endpoint that judges each event, or return None if the batch is to be halved instead."""
        retry_after_s = None
        try:
            from posthog import capture_v1  # noqa: PLC0415 - see `_sent`

            answer = capture_v1._post_v1(  # noqa: SLF001
                self._api_key,
                host,
                capture_v1._build_v1_batch_body([*map(capture_v1._to_v1_event, batch)]),  # noqa: SLF001
                attempt=1,
                request_id=str(uuid4()),
                timeout=self._timeout_s,
                sdk_info=self._user_agent,
                session=post,  # type: ignore[arg-type]  # of which it calls `post` alone
            )
            retry_after_s = capture_v1._parse_retry_after(answer.headers.get("Retry-After"))  # noqa: SLF001
        except _WithdrawnError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `_posted`
            if not post.has_begun:  # these parts of posthog are private, and may change
                return None
            if post.status in (None, 200):
                return self._unsorted(_unanswered(error, host))
        status = post.status or 0
        found = verdicts(status, post.answer)
        if found is not None:
            self._has_sorting_failed = False
            return Delivery(result=Result.SORTED, reason="its verdict", verdicts=found)
        if lacks_verdicts(status):
            self._sorts_events = False
        return self._unsorted(judged(status, post.answer, events=len(batch), retry_after_s=retry_after_s))

    def _unsorted(self, delivery: Delivery) -> Delivery | None:
        """Return the delivery if the whole batch is to be tried again, None if it is to be halved."""
        # Not twice in a row: an endpoint that is always down would keep back whatever waits behind the batch.
        if delivery.result is not Result.RETRY or not self._sorts_events or self._has_sorting_failed:
            return None
        self._has_sorting_failed = True
        return delivery

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
        self._length = len(content)
        self._may_leave = may_leave

    def read(self, size: int | None = -1, /) -> bytes:
        # Once the last byte has left, the answer decides: a retry would send the events twice.
        if self.tell() < self._length and not self._may_leave():
            raise _WithdrawnError
        return super().read(size)


class _Response:
    """What posthog sees of the response: the status and headers, never the body."""

    text = ""

    def __init__(self, response: requests.Response) -> None:
        self.status_code = response.status_code
        self.headers = response.headers

    def json(self) -> object:
        raise ValueError("the body is not read")


class _Post:
    """What posthog's functions see of the session; it keeps the last status and a bounded body."""

    def __init__(
        self,
        session: requests.Session,
        may_leave: Callable[[], bool],
        batch: WireBatch | None = None,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """With a batch, `post` inserts it into the body of a request without events."""
        self._batch = batch
        self._session = session
        self._may_leave = may_leave
        self._max_bytes = max_bytes
        self.has_begun = False
        self.status: int | None = None
        self.answer = b""

    def post(self, url: str, *, data: str, headers: dict[str, str], timeout: float) -> _Response:
        self.has_begun = True
        body = _Body(_compressed(self._filled(data)), self._may_leave)
        # Of what `requests` could unpack, gzip alone is unpacked here, within bounds.
        headers = headers | {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        with self._answer(url, body, headers, timeout) as response:
            self.status, self.answer = response.status_code, b""
            encoding = response.headers.get("Content-Encoding", "")
            self.answer = read_body(response.raw, encoding, timeout_s=timeout, max_bytes=self._max_bytes)
            return _Response(response)

    def _filled(self, data: str) -> Iterable[str]:
        if self._batch is None:
            return [data]
        # The events are written already, and posthog's encoder, which copies each value in Python, takes
        # three times as long (docs/adr/0035).
        before, placed, after = data.partition(_EMPTY_BATCH)
        if not placed:
            raise RuntimeError("posthog writes its requests in an unexpected form")
        return chain([before, '"batch": '], self._batch.as_json(), [after])

    def _answer(self, url: str, body: _Body, headers: dict[str, str], timeout: float) -> requests.Response:
        for _ in range(_LOOKS_AT_ENVIRONMENT):
            # requests looks for proxies among all variables, and fails if another thread removes one.
            with suppress(KeyError):
                body.seek(0)  # whatever the error was, no attempt sends a part
                # Without redirects: requests would turn a 302 into GET and lose the batch.
                return self._session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                    verify=authorities(),
                )
        raise RuntimeError("the environment changes all the time")


def _compressed(pieces: Iterable[str]) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
    return b"".join([*(packer.compress(piece.encode()) for piece in pieces), packer.flush()])


def _unanswered(error: Exception, host: str) -> Delivery:
    reason = f"no answer ({type(error).__name__})"
    return Delivery(result=Result.RETRY, reason=reason, advice=advice(error, host))


# Posthog's DEBUG lines of our own requests print whole bodies.
def _prints_no_body(record: logging.LogRecord) -> bool:
    return not (_is_sending.get() and record.levelno <= logging.DEBUG)
