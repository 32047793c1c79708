"""Bodies to messages: what is taken, what is refused, and that nothing else comes of any input."""

from __future__ import annotations

import gzip
import json
import sys

import pytest
from gateways import spans, tracked
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_posthog.gateway.decoding import (
    JSON,
    LOGS,
    PROTOBUF,
    SIGNALS,
    TRACES,
    RefusedError,
    failure,
    message,
    plain,
    success,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = b"0123456789" * 1000
PACKED = {"gzip": gzip.compress(CONTENT, mtime=0), "zstd": zstd.compress(CONTENT)}


def _refusal(call, *arguments):
    with pytest.raises(RefusedError) as refused:
        call(*arguments)
    return refused.value.status


@pytest.mark.parametrize(("encoding", "body"), [("", CONTENT), ("identity", CONTENT), *PACKED.items()])
def test_each_encoding_is_undone(encoding, body):
    """What was compressed comes back as it was."""
    assert plain(body, encoding, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_unknown_encoding_is_final(encoding):
    """An encoding that is not known is answered with 415."""
    assert _refusal(plain, CONTENT, encoding, 10**6) == 415


@pytest.mark.parametrize("encoding", PACKED)
def test_bomb_is_refused_at_the_limit(encoding):
    """What would become larger than allowed is refused, and no more than the limit is unpacked."""
    packed = COMPRESS[encoding](bytes(50_000_000))

    assert _refusal(plain, packed, encoding, 1_000_000) == 413


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("keep", [0, 1, 10, -1])
def test_truncated_body_is_refused(encoding, keep):
    """A compressed body that was cut is no message, not even where its beginning could be one."""
    assert _refusal(plain, PACKED[encoding][:keep], encoding, 10**6) == 400


COMPRESS = {"gzip": gzip.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("pieces", [[CONTENT[:5], CONTENT[5:]], [b"", CONTENT, b""], [b""]], ids=len)
def test_body_of_several_members(encoding, pieces):
    """Several members or frames are their concatenation."""
    body = b"".join(map(COMPRESS[encoding], pieces))

    assert plain(body, encoding, len(CONTENT)) == b"".join(pieces)


@pytest.mark.parametrize("encoding", PACKED)
def test_members_share_one_limit(encoding):
    """Neither the size of all members together nor their number has no limit."""
    packed = COMPRESS[encoding]

    assert _refusal(plain, 3 * packed(bytes(500_000)), encoding, 1_000_000) == 413
    assert _refusal(plain, 300 * packed(b""), encoding, 1_000_000) == 400
    assert _refusal(plain, packed(CONTENT) + packed(CONTENT)[:-1], encoding, 10**6) == 400


@pytest.mark.parametrize("encoding", PACKED)
def test_body_with_something_behind_it_is_refused(encoding):
    """What follows the compressed data is not passed over."""
    assert _refusal(plain, PACKED[encoding] + b"more", encoding, 10**6) == 400


def test_json_says_the_same_as_protobuf():
    """OTLP's JSON, with ids in hex, gives the message that protobuf gives."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("some").start_span("span", attributes={"a": 1, "b": [1.5, 2.5], "c": "text"}).end()
    request = encode_spans(exporter.get_finished_spans())
    written = json_format.MessageToDict(request, use_integers_for_enums=True)
    span = written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    sent = request.resource_spans[0].scope_spans[0].spans[0]
    span |= {"traceId": sent.trace_id.hex(), "spanId": sent.span_id.hex().upper(), "unknownField": {"a": 1}}

    read = message(json.dumps(written).encode(), JSON, TRACES.request)

    assert read == request


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [1]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": {}}]}]}]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceSpans": [{"resource": {"attributes": [{"value": '
        + b'{"arrayValue": {"values": [' * 1000
        + b"]}}" * 1000
        + b"}]}}]}",
    ],
    ids=range(12),
)
def test_json_that_is_no_message(body):
    """JSON of another shape, nested too deeply or none at all is answered with 400."""
    assert _refusal(message, body, JSON, TRACES.request) == 400


def test_protobuf_that_is_nested_too_deeply():
    """Values within values beyond protobuf's limit are answered with 400."""
    content = b""
    for _ in range(300):  # AnyValue.array_value.values, each with its length
        for tag in (b"\x0a", b"\x2a"):
            content = tag + _varint(len(content)) + content
    for tag in (b"\x12", b"\x0a", b"\x0a", b"\x0a"):  # KeyValue.value, Resource.attributes, and on outwards
        content = tag + _varint(len(content)) + content

    assert _refusal(message, content, PROTOBUF, TRACES.request) == 400


def _varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.path)
@pytest.mark.parametrize("media_type", [PROTOBUF, JSON])
def test_partial_success_counts_what_was_rejected(signal, media_type):
    """The answer names how many records will never be taken, and says nothing where all were."""
    whole, partial = (success(signal, media_type, rejected) for rejected in (0, 3))

    response = message(partial, media_type, signal.response)
    assert getattr(response.partial_success, signal.rejected) == 3
    assert not message(whole, media_type, signal.response).HasField("partial_success")


def test_refusal_is_a_status_message():
    """A refusal's body is what OTLP asks for: google.rpc.Status."""
    assert Status.FromString(failure(PROTOBUF, "too large")).message == "too large"
    assert json.loads(failure(JSON, "too large")) == {"message": "too large"}


_MESSAGES = {LOGS: tracked("some_event", {"a": 1, "b": "text"}), TRACES: spans(3, {"a": 1, "b": "text"})}
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceSpans",
                    "resource_spans",
                    "scopeSpans",
                    "spans",
                    "traceId",
                    "attributes",
                    "key",
                    "value",
                    "stringValue",
                    "intValue",
                    "kvlistValue",
                    "values",
                    "events",
                    "status",
                    "code",
                    "kind",
                    "other",
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


def _message_or_refusal(content, media_type, signal):
    try:
        return isinstance(message(content, media_type, signal.request), signal.request)
    except RefusedError as refused:
        return refused.status == 400


@given(content=st.binary(max_size=500))
def test_any_bytes_are_a_message_or_refused(content):
    """Whatever comes as protobuf is a message or a 400, and nothing else."""
    assert all(_message_or_refusal(content, PROTOBUF, signal) for signal in SIGNALS)


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_messages_are_messages_or_refused(at, byte, cut):
    """A real message with a byte changed and an end cut off is a message or a 400."""
    for signal, sent in _MESSAGES.items():
        content = bytearray(sent.SerializeToString())
        content[at % len(content)] = byte
        assert _message_or_refusal(bytes(content[: cut % (len(content) + 1)]), PROTOBUF, signal)


@given(content=_JSON)
def test_any_json_is_a_message_or_refused(content):
    """Whatever comes as JSON is a message or a 400, and nothing else."""
    assert all(_message_or_refusal(json.dumps(content).encode(), JSON, signal) for signal in SIGNALS)


@given(body=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "zstd"]))
def test_any_compressed_bytes_are_content_or_refused(body, encoding):
    """Whatever comes as compressed is unpacked or a 400."""
    magic = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}[encoding]
    assert all(_is_bounded_or_refused(attempt, encoding) for attempt in (body, magic + body))


def _is_bounded_or_refused(body, encoding):
    try:
        return len(plain(body, encoding, 1000)) <= 1000
    except RefusedError as refused:
        return refused.status in (400, 413)
