"""Post bodies by HTTP: no redirects, no retries, and of the environment only proxies and authorities.

A body ends once consent is withdrawn, and of a response a bounded beginning is read.
"""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from otel_posthog._runtime.process import follow_forks
from otel_posthog.otel.api import suppressed_instrumentation

from .answers import Delivery, Result
from .causes import advice, authorities, proxy_variable
from .response_body import MAX_ANSWER_BYTES, read_body

if TYPE_CHECKING:
    import requests

# A fifth of the time of level 9, which posthog uses, for a quarter more bytes of product events.
GZIP_LEVEL = 3
_GZIP_WBITS = zlib.MAX_WBITS + 16  # zlib's request for a gzip header
_LOOKS_AT_ENVIRONMENT = 3
_NO_PROXIES: dict[str, Any] = dict.fromkeys(("http", "https", "all"))  # in place of the environment's
_IMPORT_TIMEOUT_S = 10.0  # an import ends; on a busy machine it takes more than a second


class WithdrawnError(Exception):
    """Consent was withdrawn while the connection was opened."""


class Connection:
    """A session that is opened late and closed with consent, and a lock for what is imported as late.

    The base of transports that send by HTTP.
    """

    def __init__(self, make_session: Callable[[], requests.Session] | None = None) -> None:
        self._make_session = make_session or open_session
        self._session: requests.Session | None = None
        self._is_held_for_fork = False
        self.importing = threading.Lock()  # a fork waits for it: a half-imported module would stay locked
        self._lock = threading.Lock()
        follow_forks(self)

    def session(self) -> requests.Session:
        """Return the session, opened if necessary."""
        with self._lock:
            if self._session is None:
                self._session = self._make_session()
            return self._session

    def close(self) -> None:
        """Close the connection, if one is open."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def before_fork(self) -> None:
        """Wait for an import in progress, for 10 seconds at most."""
        self._is_held_for_fork = self.importing.acquire(timeout=_IMPORT_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_for_fork:
            self.importing.release()

    def after_fork(self) -> None:
        """Forget the parent's connection; closing it would end it for the parent."""
        self.importing = threading.Lock()
        self._lock = threading.Lock()
        self._session = None


class Exchange:
    """One request, its last status and a bounded body; a response that breaks off has a status as well."""

    def __init__(
        self,
        session: requests.Session,
        may_leave: Callable[[], bool],
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
        **tls: Any,
    ) -> None:
        """`tls` holds `verify` and `cert`, as `requests` names them."""
        self._session = session
        self._may_leave = may_leave
        self._max_bytes = max_bytes
        self._tls = tls
        self.has_begun = False
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.answer = b""

    def make(self, url: str, content: bytes, headers: Mapping[str, str], timeout_s: float) -> None:
        """Post the content; raise `WithdrawnError` if it may not leave, and what `requests` raises."""
        self.has_begun = True
        body = _Body(content, self._may_leave)
        # Of what `requests` could unpack, gzip alone is unpacked here, within bounds.
        with self._response(url, body, {**headers, "Accept-Encoding": "gzip"}, timeout_s) as response:
            self.status, self.headers, self.answer = response.status_code, response.headers, b""
            encoding = response.headers.get("Content-Encoding", "")
            self.answer = read_body(response.raw, encoding, timeout_s=timeout_s, max_bytes=self._max_bytes)

    def _response(
        self, url: str, body: _Body, headers: Mapping[str, str], timeout_s: float
    ) -> requests.Response:
        for _ in range(_LOOKS_AT_ENVIRONMENT):
            # requests looks for proxies among all variables, and fails if another thread removes one.
            with suppress(KeyError):
                body.seek(0)  # whatever the error was, no attempt sends a part
                # Without redirects: requests would turn a 302 into GET and lose the batch.
                return self._session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=timeout_s,
                    allow_redirects=False,
                    stream=True,
                    proxies=_NO_PROXIES if _is_on_this_machine(url) else None,
                    **{"verify": authorities(), **self._tls},
                )
        raise RuntimeError("the environment changes all the time")


def _is_on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _Body(io.BytesIO):
    """A request body that is read only once the connection is open, which can take seconds."""

    def __init__(self, content: bytes, may_leave: Callable[[], bool]) -> None:
        super().__init__(content)
        self._length = len(content)
        self._may_leave = may_leave

    def read(self, size: int | None = -1, /) -> bytes:
        # Once the last byte has left, the answer decides: a retry would send the events twice.
        if self.tell() < self._length and not self._may_leave():
            raise WithdrawnError
        return super().read(size)


def attempted(
    attempt: Callable[[], Delivery], address: str, advise: Callable[[Exception, str], str] = advice
) -> Delivery:
    """Return the result of an attempt that the host's instrumentation does not see. Never raises."""
    try:
        with suppressed_instrumentation():
            return attempt()
    except WithdrawnError:
        return Delivery(result=Result.WITHDRAWN)
    except Exception as error:  # noqa: BLE001 - of an import, a session, or a batch that is not JSON
        return unanswered(error, advise(error, address))


def unanswered(error: Exception, advised: str) -> Delivery:
    """Return the result of an attempt that ended with this error."""
    reason = f"no answer ({type(error).__name__})"
    return Delivery(result=Result.RETRY, reason=reason, advice=advised)


def naming_proxy(delivery: Delivery, address: str) -> Delivery:
    """Return the delivery; if its answer is in doubt, it names the proxy that may have given it."""
    proxy = proxy_variable(address) if delivery.result is Result.DOUBTFUL else None
    return delivery if proxy is None else replace(delivery, advice=f"{delivery.advice} Proxy: {proxy}.")


def compressed(pieces: Iterable[bytes]) -> bytes:
    """Return the pieces as one gzip body."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def open_session() -> requests.Session:
    """Return a session that sends nothing of the environment: no `.netrc`, no cookies."""
    import requests  # noqa: PLC0415 - comes with posthog, so as late

    session = requests.Session()
    session.auth = lambda prepared: prepared  # with any auth set, requests does not read .netrc
    # A cookie could identify the installation.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session
