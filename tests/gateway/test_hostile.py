"""A gateway that is attacked by somebody who has the token: right answers, bounded memory, and it goes on."""

from __future__ import annotations

import gzip
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache

import psutil
import pytest
from gateways import TOKEN, WAIT_S, client_of, consent, manifest_at, running_gateway, tracked

MAX_GROWTH_MB = 1_100
SLOW_CLIENTS = 50
PAUSE_S = 0.1
JSON = "application/json"


def _wrapped(content, *tags):
    """Return the bytes as a field within a field, the innermost tag first."""
    for tag in tags:
        length, encoded = len(content), bytearray()
        while length > 0x7F:
            encoded.append(length & 0x7F | 0x80)
            length >>= 7
        content = bytes([tag, *encoded, length]) + content
    return content


LIMIT = 8_000_000


@cache
def _attacks():
    """Return headers, body and expected status of each; 300 MB are packed only where this file is run."""
    spans = _wrapped(b"\x12\x00" * (LIMIT // 2 - 20), 0x12, 0x0A)  # millions of empty ones
    values = _wrapped(b"\x0a\x00" * (LIMIT // 2 - 40), 0x2A, 0x12, 0x4A, 0x12, 0x12, 0x0A)
    return {
        "malformed": ({}, b"\xff" * 1000, 400),
        "truncated": ({"content-encoding": "gzip"}, gzip.compress(b"a" * 1000)[:50], 400),
        "bomb of zeros": ({"content-encoding": "gzip"}, gzip.compress(bytes(300_000_000)), 413),
        "millions of spans": ({"content-encoding": "gzip"}, gzip.compress(spans), 200),
        "millions of values": ({"content-encoding": "gzip"}, gzip.compress(values), 200),
        "many objects": ({"content-type": JSON}, b'{"resourceSpans": [' + b"{}," * 300_000 + b"{}]}", 200),
        "too much JSON": ({"content-type": JSON}, b'{"resourceSpans": [' + b"{}," * 400_000 + b"{}]}", 413),
        "nested JSON": ({"content-type": JSON}, b'{"a":' * 100_000, 400),
        "nested protobuf": ({}, _wrapped(b"", *([0x0A, 0x2A] * 500), 0x12, 0x0A, 0x0A, 0x0A), 400),
        "100 MB": ({}, bytes(100_000_000), 413),
        "wrong content type": ({"content-type": "text/html"}, b"<p>", 415),
        "wrong encoding": ({"content-encoding": "br"}, b"x", 415),
        "wrong token": ({"authorization": "Bearer wrong"}, b"", 401),
    }


@pytest.fixture
def attacked(sink_url, tmp_path):
    """Return the address of a gateway with one worker, and its process."""
    manifest_at(tmp_path)
    short = {"OTEL_POSTHOG_GATEWAY_READ_TIMEOUT_S": "2"}
    with running_gateway(sink_url, tmp_path, **short) as (url, process):
        yield url, process


def _answer(url, name):
    headers, body, _ = _attacks()[name]
    with client_of(url) as client:
        while True:
            answer = client.post("/v1/traces", content=body, headers=headers)
            if answer.status_code != 503:
                return answer.status_code
            time.sleep(PAUSE_S)  # all places are taken; asking without end would take the gateway's time


def _peak_mb(process):
    with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123 - no file, a view of the process
        [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_attacks_meet_their_answer_within_bounded_memory(attacked, sink, capsys):
    """All attacks at once, beside clients that dribble, cost bounded memory and no request of others."""
    url, process = attacked
    host, port = url.removeprefix("http://").split(":")
    before_mb = psutil.Process(process.pid).memory_info().rss / 1024**2
    with ExitStack() as stack, ThreadPoolExecutor(len(_attacks())) as pool:
        for number in range(SLOW_CLIENTS):
            slow = stack.enter_context(closing(socket.create_connection((host, int(port)), WAIT_S)))
            slow.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: g\r\n" + (_BODY if number % 2 else b""))
        answers = dict(zip(_attacks(), pool.map(lambda name: _answer(url, name), _attacks()), strict=True))

    growth_mb = _peak_mb(process) - before_mb
    assert answers == {name: status for name, (_, _, status) in _attacks().items()}
    with capsys.disabled():  # the figure stands in the log of each run
        sys.stdout.write(f"\n{len(_attacks())} attacks at once: {growth_mb:.0f} MB more at the peak\n")
    assert growth_mb < MAX_GROWTH_MB
    with client_of(url) as client:
        request = tracked("some_event", consent()).SerializeToString()
        assert client.post("/v1/logs", content=request).status_code == 200
    assert len(sink.events) == 1


_BODY = f"authorization: Bearer {TOKEN}\r\ncontent-type: {JSON}\r\ncontent-length: 1000\r\n\r\n{{".encode()
