"""A transport that takes down what would be sent, instead of sending it.

It is the real one with another adapter under its session: address, headers, compression and body are
those that would go out, and there is nothing below that could open a connection.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .transport import PostHogTransport, open_session

if TYPE_CHECKING:
    import requests


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRequest:
    """One request as it would go out; the API key is masked."""

    method: str
    url: str
    headers: dict[str, str]
    body: dict[str, object]
    batch: list[dict[str, object]]
    json_bytes: int
    sent_bytes: int
    """Size of the body after compression."""

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


class PrintingTransport(PostHogTransport):
    """Keep each request in `printed`, and accept it as PostHog would."""

    def __init__(self, *, api_key: str, shown_key: str, host: str, timeout_s: float, user_agent: str) -> None:
        super().__init__(
            api_key=api_key, host=host, timeout_s=timeout_s, user_agent=user_agent, session=self._session_here
        )
        self._shown_key = shown_key
        self.printed: list[PrintedRequest] = []

    def _session_here(self) -> requests.Session:
        from requests import Response  # noqa: PLC0415 - comes with posthog, so as late
        from requests.adapters import BaseAdapter  # noqa: PLC0415

        transport = self

        class Printer(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Response:
                transport.printed.append(transport._printed(request))
                answer = Response()
                answer.status_code = 200
                answer.request = request
                return answer

            def close(self) -> None:
                """Do nothing: there is nothing open."""

        session = open_session()
        session.adapters.clear()
        session.mount("http://", Printer())
        session.mount("https://", Printer())
        return session

    def _printed(self, request: requests.PreparedRequest) -> PrintedRequest:
        sent: bytes = request.body.read()  # type: ignore[union-attr]  # our own body, see transport._Post
        text = gzip.decompress(sent) if request.headers.get("Content-Encoding") == "gzip" else sent
        body: dict[str, Any] = json.loads(text)
        batch = body.pop("batch")
        return PrintedRequest(
            method=request.method or "",
            url=request.url or "",
            headers={str(name): str(value) for name, value in request.headers.items()},
            body={**body, "api_key": self._shown_key},
            batch=batch,
            json_bytes=len(text),
            sent_bytes=len(sent),
        )
