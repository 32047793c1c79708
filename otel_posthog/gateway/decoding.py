"""Decode bodies of OTLP/HTTP requests, within bounds that no sender can exceed, and encode responses.

Protobuf and JSON both become messages of `opentelemetry-proto`.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from typing import Any, NamedTuple, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF, JSON = "application/x-protobuf", "application/json"
JSON_SHARE = 8  # of the limit for protobuf: Python parses it, at some 10 µs for each object
MAX_JSON_DEPTH = 100  # protobuf's own limit for its binary form
# A body may consist of several (RFC 1952, RFC 8878). Each one costs a copy of what follows it.
_MAX_MEMBERS = 256
_MAX_ZSTD_WINDOW_LOG = 23  # 8 MB, the most that RFC 8878 requires of a decoder
_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_MAX_STATUS_CHARS = 100  # one length byte in protobuf
_M = TypeVar("_M", bound=Message)


class RefusedError(Exception):
    """Raised for a request that can never be accepted; `status` is the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Signal(NamedTuple):
    """One of OTLP's three kinds of data."""

    path: str
    request: type[Message]
    response: type[Message]
    rejected: str  # name of the counter in the response's `partial_success`


TRACES = Signal(
    "/v1/traces", trace.ExportTraceServiceRequest, trace.ExportTraceServiceResponse, "rejected_spans"
)
LOGS = Signal(
    "/v1/logs", logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse, "rejected_log_records"
)
METRICS = Signal(
    "/v1/metrics",
    metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse,
    "rejected_data_points",
)
SIGNALS = (TRACES, LOGS, METRICS)


def plain(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the decompressed body; raise `RefusedError` for more than `max_bytes`."""
    content = body if encoding in ("", "identity") else _unpacked(body, encoding, max_bytes)
    if len(content) > max_bytes:
        raise RefusedError(413, "the body is too large once it is decompressed")
    return content


def message(content: bytes, media_type: str, kind: type[_M]) -> _M:
    """Return the message in the content; raise `RefusedError` if there is none."""
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
    """Return the body of a 200, with the number of records that will never be accepted."""
    response = signal.response()
    if rejected:
        partial = {signal.rejected: rejected, "error_message": "some records can never become events"}
        json_format.ParseDict({"partial_success": partial}, response)
    if media_type == JSON:
        return json_format.MessageToJson(response, indent=None).encode()
    return response.SerializeToString()


def failure(media_type: str, reason: str) -> bytes:
    """Return the body of an error: `google.rpc.Status` with a message."""
    text = reason[:_MAX_STATUS_CHARS]
    if media_type == JSON:
        return json.dumps({"message": text}).encode()
    # By hand: the message's class is in googleapis-common-protos, which the gateway does not need.
    encoded = text.encode("ascii", "replace")
    return bytes([0x12, len(encoded)]) + encoded  # field 2, a text


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return at most one byte more than `max_bytes`: that shows that there is more."""
    content, rest = bytearray(), body
    for _ in range(_MAX_MEMBERS):
        unpacking = _unpacking(encoding)
        try:
            content += unpacking.decompress(rest, max_bytes + 1 - len(content))
        except (zlib.error, zstd.ZstdError):
            raise RefusedError(400, f"the body is not {encoding}") from None
        rest = unpacking.unused_data
        if len(content) > max_bytes or (unpacking.eof and not rest):
            return bytes(content)
        if not unpacking.eof:  # half a message may by chance be a valid one
            raise RefusedError(400, "the compressed body is not whole")
    raise RefusedError(400, "the compressed body has too many members")


def _unpacking(encoding: str) -> Any:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    if encoding == "zstd":
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG}
        return zstd.ZstdDecompressor(options=options)
    raise RefusedError(415, "content encoding is not one of identity, gzip, zstd")


def _translate_ids(value: Any, depth: int) -> None:
    """Replace hex ids (OTLP) by base64 (protobuf's JSON), in place to bound memory."""
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
