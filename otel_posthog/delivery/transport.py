"""Send one batch to PostHog through the function that PostHog's own client uses.

`tests/delivery/test_transport.py` fails if `posthog.request.batch_post` changes. Nothing of `posthog` is
imported before the first batch.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from otel_posthog.config.settings import POSTHOG, Config
from otel_posthog.errors import MissingExtraError
from otel_posthog.mapping import LIBRARY

from .answers import Delivery, Result, judged, lacks_verdicts, verdicts
from .causes import advice
from .connection import Connection, Exchange, WithdrawnError, attempted, compressed, naming_proxy, unanswered
from .response_body import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    import requests

    from otel_posthog.consent.state import Consent
    from otel_posthog.events import Event

WireEvent = dict[str, object]
_MAX_VERDICT_BYTES = 512  # of each event, in an answer with verdicts: a uuid, a word and a short detail
_TEXTS_AT_ONCE = 32
_EMPTY_BATCH = '"batch": []'

_is_sending: contextvars.ContextVar[bool] = contextvars.ContextVar("otel_posthog_is_sending", default=False)


class WireBatch:
    """Events as PostHog's wire objects, each parsed from the JSON that is sent."""

    def __init__(
        self, texts: Sequence[str], events: Sequence[Event] = (), consent: Consent | None = None
    ) -> None:
        """`events` are those of the texts, and `consent` allows them; a Collector gets both to read."""
        self.texts = texts
        self.events = events
        self.consent = consent

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[WireEvent]:
        return map(json.loads, self.texts)

    def as_json(self) -> Iterator[str]:
        """Yield the array in pieces: a copy of the whole costs as much as its compression."""
        yield "["
        for begin in range(0, len(self.texts), _TEXTS_AT_ONCE):
            if begin:
                yield ", "
            yield ", ".join(self.texts[begin : begin + _TEXTS_AT_ONCE])
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


class PostHogTransport(Connection):
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
        super().__init__(make_session)
        self._api_key = api_key
        self._host = host
        self._timeout_s = timeout_s
        self._user_agent = f"{LIBRARY}/{version(LIBRARY)}"
        self._sorts_events = True  # until the host has answered otherwise
        self._has_sorting_failed = False  # when it was asked last

    def __repr__(self) -> str:
        return f"PostHogTransport(host={self._host!r})"

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Try once; see `Transport`."""
        token = _is_sending.set(True)
        try:
            return attempted(lambda: self._sent(batch, may_leave), self._host)
        finally:
            _is_sending.reset(token)

    def _sent(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        with self.importing:
            from posthog import request  # noqa: PLC0415 - 130 ms, and nothing of it while consent is off

        logging.getLogger("posthog").addFilter(_prints_no_body)  # the same filter again changes nothing
        host, session = request.determine_server_host(self._host), self.session()
        delivery = self._posted(_Post(session, may_leave, batch), host, len(batch))
        if delivery.result is not Result.SPLIT or len(batch) == 1 or not self._sorts_events:
            return delivery
        # A withdrawal waits for requests in progress only for a while; none begins after it.
        if not may_leave():
            raise WithdrawnError
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
        except WithdrawnError:
            raise
        except Exception as error:  # noqa: BLE001 - batch_post raises what requests raises, and more
            if post.status in (None, 200):  # a response that breaks off has a status all the same
                return unanswered(error, advice(error, host))
        delivery = judged(post.status or 0, post.answer, events=events, retry_after_s=retry_after_s)
        return naming_proxy(delivery, host)

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
        except WithdrawnError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `_posted`
            if not post.has_begun:  # these parts of posthog are private, and may change
                return None
            if post.status in (None, 200):
                return self._unsorted(unanswered(error, advice(error, host)))
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


def transport_of(
    config: Config, make_session: Callable[[], requests.Session] | None = None
) -> Transport | None:
    """Return the transport to PostHog or to a Collector; None without a project API key for PostHog."""
    if config.send_to == POSTHOG:
        return posthog_transport(config, make_session)
    if find_spec("opentelemetry.proto") is None:
        raise MissingExtraError("opentelemetry-proto", "collector")
    from .collector_transport import CollectorTransport  # noqa: PLC0415 - only where one is named

    return CollectorTransport(config, make_session)


def posthog_transport(
    config: Config, make_session: Callable[[], requests.Session] | None = None
) -> PostHogTransport | None:
    """Return the transport to PostHog, or None without a project API key."""
    if (key := config.api_key) is None:
        return None
    timeout_s = config.http_timeout_s
    return PostHogTransport(api_key=key, host=config.host, timeout_s=timeout_s, make_session=make_session)


class _Response:
    """What posthog sees of the response: the status and headers, never the body."""

    text = ""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.headers = headers

    def json(self) -> object:
        raise ValueError("the body is not read")


class _Post(Exchange):
    """What posthog's functions see of the session."""

    def __init__(
        self,
        session: requests.Session,
        may_leave: Callable[[], bool],
        batch: WireBatch | None = None,
        **options: Any,
    ) -> None:
        """With a batch, `post` inserts it into the body of a request without events."""
        super().__init__(session, may_leave, **options)
        self._batch = batch

    def post(self, url: str, *, data: str, headers: dict[str, str], timeout: float) -> _Response:
        content = compressed(piece.encode() for piece in self._filled(data))
        self.make(url, content, headers | {"Content-Encoding": "gzip"}, timeout)
        return _Response(self.status or 0, self.headers)

    def _filled(self, data: str) -> Iterable[str]:
        if self._batch is None:
            return [data]
        # The events are written already, and posthog's encoder, which copies each value in Python, takes
        # three times as long (docs/adr/0035).
        before, placed, after = data.partition(_EMPTY_BATCH)
        if not placed:
            raise RuntimeError("posthog writes its requests in an unexpected form")
        return chain([before, '"batch": '], self._batch.as_json(), [after])


# Posthog's DEBUG lines of our own requests print whole bodies.
def _prints_no_body(record: logging.LogRecord) -> bool:
    return not (_is_sending.get() and record.levelno <= logging.DEBUG)
