"""Bodies of OTLP/HTTP requests to messages and back, within bounds whatever the sender does.

Protobuf and JSON both become the messages of `opentelemetry-proto`, so that the rest sees one shape.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF, JSON = "application/x-protobuf", "application/json"
JSON_SHARE = 8  # of the limit for protobuf: it is parsed in Python, at some 10 µs for each object
MAX_JSON_DEPTH = 100  # as protobuf's own limit for its binary form
_MAX_ZSTD_WINDOW_LOG = 23  # 8 MB, the most that RFC 8878 asks a decoder to give
_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_MAX_STATUS_CHARS = 100  # one length byte in protobuf
_M = TypeVar("_M", bound=Message)


class RefusedError(Exception):
    """The request cannot be taken, now or ever; `status` is what HTTP says of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One of OTLP's three kinds of data."""

    path: str
    request: type[Message]
    response: type[Message]
    rejected: str
    """Name of the counter in the response's `partial_success`."""


TRACES = Signal(
    path="/v1/traces",
    request=ExportTraceServiceRequest,
    response=ExportTraceServiceResponse,
    rejected="rejected_spans",
)
LOGS = Signal(
    path="/v1/logs",
    request=ExportLogsServiceRequest,
    response=ExportLogsServiceResponse,
    rejected="rejected_log_records",
)
METRICS = Signal(
    path="/v1/metrics",
    request=ExportMetricsServiceRequest,
    response=ExportMetricsServiceResponse,
    rejected="rejected_data_points",
)
SIGNALS = (TRACES, LOGS, METRICS)


def plain(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the body without its compression; raise `RefusedError` for more than `max_bytes`."""
    unpack = _ENCODINGS.get(encoding)
    if unpack is None:
        raise RefusedError(415, f"content encoding is not one of {', '.join(filter(None, _ENCODINGS))}")
    content = unpack(body, max_bytes + 1)
    if len(content) > max_bytes:
        raise RefusedError(413, "the body is too large once it is decompressed")
    return content


def message(content: bytes, media_type: str, kind: type[_M]) -> _M:
    """Return the message; raise `RefusedError` for what is none."""
    try:
        if media_type == PROTOBUF:
            return kind.FromString(content)
        found = json.loads(content)
        if not isinstance(found, dict):
            raise RefusedError(400, "the body is not a JSON object")
        _translate_ids(found, MAX_JSON_DEPTH)
        return json_format.ParseDict(
            found, kind(), ignore_unknown_fields=True, max_recursion_depth=MAX_JSON_DEPTH
        )
    except (DecodeError, json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError):
        raise RefusedError(400, "the body is not an OTLP message") from None


def success(signal: Signal, media_type: str, rejected: int) -> bytes:
    """Return the body of a 200; with `rejected`, that so many records will never be taken."""
    response = signal.response()
    if rejected:
        partial = {signal.rejected: rejected, "error_message": "some records can never become events"}
        json_format.ParseDict({"partial_success": partial}, response)
    if media_type == JSON:
        return json_format.MessageToJson(response, indent=None).encode()
    return response.SerializeToString()


def failure(media_type: str, reason: str) -> bytes:
    """Return the body of a refusal: `google.rpc.Status` with a message."""
    text = reason[:_MAX_STATUS_CHARS]
    if media_type == JSON:
        return json.dumps({"message": text}).encode()
    encoded = text.encode("ascii", "replace")
    return bytes([0x12, len(encoded)]) + encoded  # field 2, a text


def _identity(body: bytes, _max_bytes: int) -> bytes:
    return body


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacking.decompress(body, max_bytes)
    except zlib.error:
        raise RefusedError(400, "the body is not gzip") from None
    return _whole(content, is_whole=unpacking.eof and not unpacking.unused_data, max_bytes=max_bytes)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG}
    unpacking = zstd.ZstdDecompressor(options=options)
    try:
        content = unpacking.decompress(body, max_bytes)
    except zstd.ZstdError:
        raise RefusedError(400, "the body is not zstd") from None
    return _whole(content, is_whole=unpacking.eof and not unpacking.unused_data, max_bytes=max_bytes)


def _whole(content: bytes, *, is_whole: bool, max_bytes: int) -> bytes:
    """Return it, unless the stream was cut: half a message may by chance be a whole one."""
    if not is_whole and len(content) < max_bytes:
        raise RefusedError(400, "the compressed body is not whole")
    return content


_ENCODINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gunzipped,
    "zstd": _unzstd,
}


def _translate_ids(value: Any, depth: int) -> None:
    """Write ids in base64, as protobuf's JSON has them, where OTLP's has hex; in place, to bound memory."""
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _IDS and isinstance(item, str):
                value[key] = base64.b64encode(bytes.fromhex(item)).decode()
            else:
                _translate_ids(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _translate_ids(item, depth - 1)
