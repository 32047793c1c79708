"""Record the requests that would be made, without a connection.

The transport is that of the settings with another adapter under its session: address, headers, compression
and body are those that would be sent, and nothing below could open a connection.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.checks import headers_of
from otel_posthog.config.settings import COLLECTOR, SETTINGS, Config
from otel_posthog.consent.state import Settings
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.registry import Registry
from otel_posthog.scrubbing import BeforeSend, Scrubber

from .connection import open_session
from .gate import Gate
from .prepare import Preparation
from .spool import make_spool
from .transport import RecordingTransport as RecordingTransport  # noqa: PLC0414 - for `cli.telemetry`
from .transport import Transport, transport_of

if TYPE_CHECKING:
    import requests


NO_KEY = "(no project API key is set)"
_API_KEY = next(row for row in SETTINGS if row.name == "api_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request as it would be sent; secrets are masked."""

    method: str
    url: str
    headers: dict[str, str]
    body: dict[str, object]
    batch: list[dict[str, object]]
    json_bytes: int  # of the body before compression
    sent_bytes: int  # of the body after compression

    def to_json(self) -> dict[str, object]:
        """Return the request as data."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": self.headers,
            "json_bytes": self.json_bytes,
            "sent_bytes": self.sent_bytes,
            "body": {**self.body, "batch": self.batch},
        }


class RequestRecorder:
    """Make each request as the configured transport would, keep it in `recorded`, and accept it."""

    def __init__(self, config: Config) -> None:
        self._shown_key = _API_KEY.show(config.api_key) if config.api_key else NO_KEY
        self._hidden = headers_of(config.collector_headers or "")
        self._is_otlp = config.send_to == COLLECTOR
        self.recorded: list[RecordedRequest] = []
        config = replace(config, api_key=config.api_key or NO_KEY)
        self.transport = transport_of(config, self._recording_session)

    def _recording_session(self) -> requests.Session:
        from requests import Response  # noqa: PLC0415 - comes with posthog, so as late
        from requests.adapters import BaseAdapter  # noqa: PLC0415
        from urllib3 import HTTPResponse  # noqa: PLC0415

        recorder = self

        class Recorder(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Response:
                recorder.recorded.append(recorder._as_recorded(request))
                response = Response()
                response.status_code = 200
                response.request = request
                response.headers["Content-Type"] = request.headers["Content-Type"]
                answer = b"" if recorder._is_otlp else b'{"status": "Ok"}'
                response.raw = HTTPResponse(BytesIO(answer), preload_content=False)
                return response

            def close(self) -> None:
                """Do nothing: no connection is open."""

        session = open_session()
        # Afterwards there is none that could open a connection.
        session.adapters.clear()
        session.mount("http://", Recorder())
        session.mount("https://", Recorder())
        return session

    def _as_recorded(self, request: requests.PreparedRequest) -> RecordedRequest:
        sent: bytes = request.body.read()  # type: ignore[union-attr]  # our own body, see `connection`
        text = gzip.decompress(sent) if request.headers.get("Content-Encoding") == "gzip" else sent
        body, batch = self._read(text)
        headers = {str(name): str(value) for name, value in request.headers.items()}
        return RecordedRequest(
            method=request.method or "",
            url=request.url or "",
            headers={name: "…" if name in self._hidden else value for name, value in headers.items()},
            body=body,
            batch=batch,
            json_bytes=len(text),
            sent_bytes=len(sent),
        )

    def _read(self, text: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if self._is_otlp:
            from .collector_transport import decoded  # noqa: PLC0415 - only where one is named

            return decoded(text)
        body = json.loads(text)
        batch = body.pop("batch")
        return {**body, "api_key": self._shown_key}, batch


def assumed(row: Settings | None) -> Settings:
    """Return the row with both kinds granted; a missing instance id is made up."""
    granted: dict[str, Any] = {
        "enable_error_reporting": True,
        "enable_telemetry": True,
        "instance_id": (row and row.instance_id) or uuid4(),
        "errors_generation": 0,  # nothing that is shown was withdrawn
        "telemetry_generation": 0,
        **dict.fromkeys(("errors_granted_ms", "telemetry_granted_ms")),
    }
    return Settings(is_setup_completed=True, **granted) if row is None else replace(row, **granted)


def gate_granting(
    row: Settings,
    *,
    registry: Registry,
    config: Config,
    transport: Transport | None,
    scrubber: Scrubber | None = None,
    before_send: BeforeSend | None = None,
) -> Gate:
    """Return a gate like that of real events, with this consent, over the given transport."""
    counts, log_limiter = Counts(), LogLimiter()  # of its own, so that nothing is counted or logged twice
    watch = ConsentWatch(
        lambda: row,
        max_age_s=config.consent_max_age_s,
        is_disabled=False,
        log_limiter=log_limiter,
        on_change=lambda _consent: None,
    )
    preparation = Preparation(
        config,
        registry=registry,
        scrubber=scrubber or Scrubber(),
        counts=counts,
        log_limiter=log_limiter,
        before_send=before_send,
    )
    spool = make_spool(None, config, counts=counts, log_limiter=log_limiter)
    return Gate(preparation, watch=watch, transport=transport, spool=spool)
