"""Send one batch to an OpenTelemetry Collector: one log record an event, by OTLP over HTTP (docs/adr/0071).

Nothing of `opentelemetry-proto` is imported before the first batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from otel_posthog.config.checks import headers_of
from otel_posthog.config.settings import Config
from otel_posthog.consent.stamps import AttributeValue, stamps
from otel_posthog.mapping import LIBRARY
from otel_posthog.otel import attributes
from otel_posthog.registry import Kind

from .answers import Delivery, Result, unconfirmed
from .causes import advice
from .connection import (
    Connection,
    Exchange,
    WithdrawnError,
    attempted,
    compressed,
    naming_proxy,
    unanswered,
)

if TYPE_CHECKING:
    import requests
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    from .transport import WireBatch

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_OK, _BAD_REQUEST, _TOO_LARGE = 200, 400, 413
_TEMPORARY = frozenset({408, 429, 502, 503, 504})  # OTLP names all but the first; others are for good
_SEVERITIES = {Kind.ERRORS: 17, Kind.TELEMETRY: 9}  # ERROR and INFO
_NS_PER_MS = 1_000_000
_CHECK_ADDRESS = "Check collector_endpoint: no OTLP receiver accepts logs at that address."
_ADVICE = {
    401: "Check collector_headers: the Collector asks for a token.",
    403: "Check collector_headers, and any firewall or proxy on the way.",
    404: _CHECK_ADDRESS,
    405: _CHECK_ADDRESS,
    407: "Check the user and password in the proxy variable.",
    415: _CHECK_ADDRESS,
}


class CollectorTransport(Connection):
    """One POST a batch to an OTLP receiver for logs, without redirects or retries."""

    def __init__(self, config: Config, make_session: Callable[[], requests.Session] | None = None) -> None:
        super().__init__(make_session)
        self._endpoint = config.collector_endpoint
        self._timeout_s = config.http_timeout_s
        self._is_compressed = config.collector_compression == "gzip"
        own = {"user-agent": f"{LIBRARY}/{version(LIBRARY)}", "content-type": PROTOBUF}
        encoding = {"content-encoding": "gzip"} if self._is_compressed else {}
        self._headers = headers_of(config.collector_headers or "") | own | encoding
        self._tls: dict[str, Any] = {}
        if config.collector_certificate:
            self._tls["verify"] = config.collector_certificate
        if config.collector_client_certificate:
            shown = config.collector_client_certificate
            self._tls["cert"] = (shown, config.collector_client_key or shown)

    def __repr__(self) -> str:
        return f"CollectorTransport(endpoint={self._endpoint!r})"

    def send(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        """Try once; see `Transport`."""
        delivery = attempted(lambda: self._sent(batch, may_leave), self._endpoint, self._advise)
        advised = delivery.advice.replace("the host setting", "collector_endpoint")
        return replace(delivery, receiver="The Collector", advice=advised)

    def _sent(self, batch: WireBatch, may_leave: Callable[[], bool]) -> Delivery:
        with self.importing:
            content = encoded(batch)
        if self._is_compressed:
            content = compressed([content])
        exchange = Exchange(self.session(), may_leave, **self._tls)
        try:
            exchange.make(self._endpoint, content, self._headers, self._timeout_s)
        except WithdrawnError:
            raise
        except Exception as error:  # noqa: BLE001 - of requests and urllib3
            if exchange.status in (None, _OK):
                return unanswered(error, self._advise(error, self._endpoint))
        return naming_proxy(_judged(exchange, len(batch)), self._endpoint)

    def _advise(self, error: Exception, address: str) -> str:
        advised = advice(error, address)
        if self._tls and ("certificate" in advised or "TLS" in advised or "TLS" in str(error)):
            return f"{advised} Check the files of the collector_certificate and collector_client settings."
        return advised


def encoded(batch: WireBatch) -> bytes:
    """Return the request: each event as JSON, with the consent of its installation beside it."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: PLC0415
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue  # noqa: PLC0415

    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = LIBRARY
    scope_logs = resource_logs.scope_logs.add(schema_url=attributes.SCHEMA_URL)
    scope_logs.scope.name, scope_logs.scope.version = attributes.SCOPE, version(LIBRARY)
    beside: dict[tuple[tuple[str, AttributeValue], ...], list[KeyValue]] = {}
    for text, event in zip(batch.texts, batch.events, strict=True):
        record = scope_logs.log_records.add(
            event_name=event.name,
            time_unix_nano=round(event.timestamp.timestamp() * 1000) * _NS_PER_MS,  # as the event has it
            observed_time_unix_nano=event.accepted_ns,
            severity_number=_SEVERITIES[event.kind],
        )
        record.attributes.add(key=attributes.FINISHED_EVENT).value.string_value = text
        stamped = {} if batch.consent is None else stamps(batch.consent, event.accepted_ns)
        key = tuple(stamped.items())
        if key not in beside:  # the same for nearly all, and slow to build
            beside[key] = [KeyValue(key=name, value=_any(value)) for name, value in key]
        record.attributes.extend(beside[key])
    return request.SerializeToString()


def decoded(content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a request as data without its events, and these."""
    from google.protobuf import json_format  # noqa: PLC0415 - with the first batch
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: PLC0415

    request = ExportLogsServiceRequest.FromString(content)
    records = request.resource_logs[0].scope_logs[0].log_records
    events = [json.loads(record.attributes.pop(0).value.string_value) for record in records]
    return json_format.MessageToDict(request), events


def _any(value: AttributeValue) -> AnyValue:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue  # noqa: PLC0415

    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
    return AnyValue(string_value=value)


def _judged(exchange: Exchange, events: int) -> Delivery:
    """Return what an answer means for so many events, as OTLP has it."""
    status = exchange.status or 0
    media_type = exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if status == _OK and (refused := _rejected(exchange.answer, media_type)) is not None:
        return Delivery(result=Result.HANDED_OVER, refused=refused)
    # Errors in the request's own encoding are the receiver's word; a proxy answers with a page.
    if status in (_BAD_REQUEST, _TOO_LARGE) and media_type == PROTOBUF:
        return Delivery(result=Result.SPLIT, reason=f"status {status}")
    if status == _TOO_LARGE and events > 1:
        return Delivery(result=Result.SPLIT, reason="status 413, not of a Collector")
    pause_s = _retry_after_s(exchange.headers.get("Retry-After", ""))
    if status == _OK:
        reason = "status 200 with a body that is not OTLP"
        return Delivery(result=Result.DOUBTFUL, reason=reason, advice=_CHECK_ADDRESS)
    return unconfirmed(status, _ADVICE, is_temporary=status in _TEMPORARY, retry_after_s=pause_s)


def _rejected(body: bytes, media_type: str) -> int | None:
    """Return how many records the receiver rejects; None if the body is no answer of OTLP."""
    from google.protobuf import json_format  # noqa: PLC0415 - with the first batch
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse  # noqa: PLC0415

    answer = ExportLogsServiceResponse()
    try:
        if media_type == PROTOBUF:
            answer.ParseFromString(body)
        elif media_type == JSON:  # some answer so, whatever was asked; a page of others has more in it
            found = json.loads(body)
            if not isinstance(found, dict):
                return None
            json_format.ParseDict(found, answer)
        else:
            return None
    except (DecodeError, json_format.ParseError, ValueError, RecursionError):
        return None
    return max(0, answer.partial_success.rejected_log_records)


def _retry_after_s(text: str) -> float:
    """Return the seconds that a `Retry-After` asks for, 0 for none."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0
