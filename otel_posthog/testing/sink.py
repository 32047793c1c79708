"""Accept and refuse what PostHog's ingestion does, and record everything.

It is an ASGI application; `serve(sink)` puts it on a socket. It connects nowhere and writes nothing to
disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

import anyio.lowlevel
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from otel_posthog.testing import pages, records, rules
from otel_posthog.testing.decoding import decode, limit_bytes
from otel_posthog.testing.faults import PROBLEMS, Fault, FaultScript, cut_connection
from otel_posthog.testing.records import ReceivedEvent, ReceivedRequest, RecordLog, RefusedRequest
from otel_posthog.testing.submission import Submission, distinct_id, properties, singly

SORTING_PATH = "/i/v1/analytics/events"  # with a verdict for each event
INGESTION_PATHS = frozenset({"/batch", "/i/v0/e", "/e", "/capture", "/track", SORTING_PATH})
ALLOWED_METHODS = "GET, POST, OPTIONS"


class PostHogSink:
    """Accept events over HTTP like PostHog, record them, and fail on request.

    Reading is safe from any thread. At a bound the oldest records are dropped. Requests to the sink's own
    page (`/` and `/api/…`) are answered but not recorded.
    """

    def __init__(
        self,
        *,
        max_events: int = records.DEFAULT_MAX_EVENTS,
        max_requests: int = records.DEFAULT_MAX_REQUESTS,
        max_body_bytes: int = records.DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self._log = RecordLog(max_events=max_events, max_requests=max_requests, max_body_bytes=max_body_bytes)
        self._faults = FaultScript()

    @property
    def events(self) -> list[ReceivedEvent]:
        """The accepted events in order of arrival, duplicates included."""
        return self._log.events

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request, in the order of the answers."""
        return self._log.requests

    @property
    def refused(self) -> list[RefusedRequest]:
        """The requests that broke a rule, in order of arrival; scripted faults are not included."""
        return self._log.refused

    def clear(self) -> None:
        """Delete all records; scripted faults remain."""
        self._log.clear()

    def wait_for(
        self, *, count: int = 1, timeout_s: float = 5.0, name: str | None = None
    ) -> list[ReceivedEvent]:
        """Return all events (of that name) once at least `count` have arrived.

        Raises TimeoutError, whose message lists what did arrive.
        """
        return self._log.wait_for(count=count, timeout_s=timeout_s, name=name)

    def contains(self, text: str | bytes) -> bool:
        """Return whether any recorded request holds this text: URL, headers, body, raw or decoded."""
        needle = text.encode() if isinstance(text, str) else text
        return any(request.contains(needle) for request in self._log.requests)

    def script(self, faults: Iterable[Fault]) -> None:
        """Apply these faults to the next ingestion requests, in order; `[]` ends them at once."""
        self._faults.replace(faults)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; a WebSocket is an error."""
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            raise RuntimeError("The sink speaks HTTP only.")
        page = pages.answer(scope, self._log)
        if page is not None:
            return await page(scope, receive, send)
        return await self._answer_client(scope, receive, send)

    async def _answer_client(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, await _read(receive, limit_bytes(scope["path"])))
        fault = self._faults.next(exchange.payload) if exchange.is_ingestion else None
        if fault is not None and fault.delay_s:
            await anyio.sleep(fault.delay_s)
        if fault is not None and fault.cut == "before":
            self._log.add_request(exchange.record(status=None))
            return await cut_connection(receive, send)
        response = self._response(exchange, fault)
        is_cut = fault is not None and fault.cut == "after"
        self._log.add_request(exchange.record(status=None if is_cut else response.status_code))
        if is_cut:
            return await cut_connection(receive, send)
        response.headers.update(exchange.cors_headers)
        return await response(scope, receive, send)

    def _response(self, exchange: _Exchange, fault: Fault | None) -> Response:
        if exchange.is_sorted and (fault is None or fault.is_of_events or fault.answer_status is None):
            return self._sort(exchange, fault)
        if fault is not None and fault.answer_status is not None:
            return _scripted(fault)
        return self._ingest(exchange) if exchange.is_ingestion else exchange.answer_other()

    def _sort(self, exchange: _Exchange, fault: Fault | None) -> Response:
        results = {}
        for single in singly(exchange.submission, exchange.bearer, exchange.sdk):
            [raw] = single.events
            refusal = rules.refusal(single)
            is_bad = fault is not None and fault.is_of_events and fault.concerns(json.dumps(raw).encode())
            if refusal is not None or is_bad:
                results[raw["uuid"]] = {"result": "drop", "details": "rejected"}
                continue
            results[raw["uuid"]] = {"result": "ok"}
            [issues] = rules.issues(single)
            self._log.add_events([_event(raw, issues, single)])
        if not results:
            return JSONResponse({"error": "invalid_batch", "error_description": ""}, status_code=400)
        return JSONResponse({"results": results})

    def _ingest(self, exchange: _Exchange) -> Response:
        submission = exchange.submission
        refusal = rules.refusal(submission)
        if refusal is not None:
            status = refusal.rule.status or 400
            refused = RefusedRequest(
                sequence=0,  # the log gives the number
                status=status,
                rule_id=refusal.rule.id,
                detail=refusal.detail,
                path=exchange.path,
                received_at=exchange.arrived_at,
            )
            self._log.add_refused(refused)
            return PlainTextResponse(f"{PROBLEMS[status]}{refusal.rule.id}: {refusal.detail}", status)
        found = zip(submission.events, rules.issues(submission), strict=True)
        self._log.add_events([_event(raw, issues, submission) for raw, issues in found])
        if "beacon=1" in exchange.query.split("&"):
            return Response(status_code=204)
        return JSONResponse({"status": "Ok"})


class _Exchange:
    """One request of a client, decoded once."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.arrived_at = datetime.now(UTC)
        self._arrived_at_ns = time.monotonic_ns()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self._headers = Headers(scope=scope)
        self._body = body
        self.is_ingestion = self.path.rstrip("/") in INGESTION_PATHS and self.method in {"GET", "POST"}
        self.is_sorted = self.path.rstrip("/") == SORTING_PATH and self.method == "POST"
        self.sdk = self._headers.get("posthog-sdk-info", "")
        self.bearer = self._headers.get("authorization", "").removeprefix("Bearer ")
        decoded = decode(self.path, self.query, self._headers, body)
        self.payload = decoded.payload
        self.submission = Submission(
            path=self.path, root=decoded.root, problem=decoded.problem, received_at=self.arrived_at
        )

    @property
    def cors_headers(self) -> dict[str, str]:
        """Mirror the caller as PostHog's capture does (`AllowOrigin::mirror_request`)."""
        origin = self._headers.get("origin")
        if origin is None:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": ALLOWED_METHODS,
            "access-control-allow-headers": self._headers.get("access-control-request-headers", "*"),
            "vary": "origin",
        }

    def answer_other(self) -> Response:
        if self.method == "OPTIONS":
            return JSONResponse({"status": "Ok"})
        return pages.answer_start_request(self.path)

    def record(self, *, status: int | None) -> ReceivedRequest:
        return ReceivedRequest(
            method=self.method,
            path=self.path,
            query=self.query,
            headers=tuple(self._headers.items()),
            body=self._body,
            decoded=self.payload,
            status=status,
            arrived_at=self.arrived_at,
            arrived_at_ns=self._arrived_at_ns,
        )


def _scripted(fault: Fault) -> Response:
    status, headers, body = fault.answer_status or 200, fault.answer_headers, fault.answer_body
    kind = {"<": "text/html", "{": "application/json"}.get(body[:1], "text/plain")
    if fault.is_endless:
        return StreamingResponse(_endless(body), status, headers, media_type=kind)
    return Response(body, status, headers, media_type=kind)


async def _endless(body: str) -> AsyncIterator[str]:
    while True:
        yield body
        await anyio.lowlevel.checkpoint()  # lets the server notice that the client has gone


def _event(raw: dict[str, object], issues: tuple[str, ...], submission: Submission) -> ReceivedEvent:
    timestamp, uuid = raw.get("timestamp"), raw.get("uuid")
    return ReceivedEvent(
        sequence=0,  # the log gives the number
        name=str(raw["event"]),
        distinct_id=str(distinct_id(raw)),
        properties=properties(raw),
        timestamp=timestamp if isinstance(timestamp, str) else None,
        uuid=uuid if isinstance(uuid, str) and uuid else None,
        received_at=submission.received_at,
        sent_at=submission.sent_at,
        path=submission.path,
        api_key=submission.token,
        raw=raw,
        issues=issues,
        dropped=rules.drops(issues),
    )


async def _read(receive: Receive, limit: int) -> bytes:
    # One byte above the limit is kept, so that the rule sees the excess; the rest is read and dropped.
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")[: limit + 1 - len(body)]
        if not message.get("more_body", False):
            return bytes(body)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
