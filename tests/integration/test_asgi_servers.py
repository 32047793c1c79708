"""Real servers, each with an application bare and wrapped: a client on a raw socket sees no difference."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port
from trackers import PATIENT
from waiting import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from otel_posthog import Telemetry
from otel_posthog.testing import PostHogSink, serve

HERE = Path(__file__).parent
TIMEOUT_S = 30
PATIENCE_S = 3.0
"""Daphne leaves the connection of a request that failed half-way open, and so a client waiting."""
STOP_TIMEOUT_S = 90
"""Telemetry's own `shutdown_timeout_s` is 60 s here, so that all is sent on a busy machine too."""
SERVERS = {
    "uvicorn": ["uvicorn", "{app}", "--port", "{port}", "--timeout-graceful-shutdown", "5"],
    "hypercorn": ["hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "5"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "{app}"],
    "daphne": ["daphne", "--bind", "127.0.0.1", "--port", "{port}", "{app}"],
}
_VARYING = re.compile(rb"(?im)^(date: ).*\r$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def talk(self, request: bytes, *, patience_s: float = TIMEOUT_S) -> bytes:
        """Send the bytes, and return all that comes back until the server closes, but for the date."""
        answer = b""
        with self.dial() as connection:
            connection.sendall(request)
            connection.settimeout(patience_s)
            with suppress(TimeoutError):
                while piece := connection.recv(65_536):
                    answer += piece
        return _VARYING.sub(rb"\1", answer)

    def get(self, path: str, *, method: str = "GET") -> bytes:
        """Return the answer to one request on a connection of its own."""
        return self.talk(request(path, method=method, closes=True))

    def dial(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One kind of server with the application bare and wrapped."""

    bare: Server
    wrapped: Server

    def both(self, play):
        """Return what a client sees of either."""
        return play(self.bare), play(self.wrapped)


def request(path, *, method="GET", headers=(), content=b"", closes=False):
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: product.example", *headers]
    lines += ["Connection: close"] if closes else []
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextmanager
def serving(name, app, environment, folder):
    """Run a server, and stop it after use."""
    port = free_port()
    command = [part.format(app=f"odd_product:{app}", port=port) for part in SERVERS[name]]
    log = folder / f"{name}-{app}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=output, stderr=output
        )
    try:
        yield Server(port=port, process=process, log=log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_serves(server):
    """Return when the server answers; fail with its log when it does not in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            assert b"fine" in server.get("/fine")
        except ConnectionError:
            assert server.process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.02)  # between two attempts, bounded by the deadline
        else:
            return


def _granted(url, folder):
    """Return the environment of a product whose admin has granted error reports."""
    database = f"sqlite:///{folder}/app.db"
    telemetry = Telemetry(api_key="phc_test", host=url, database=database, environ={})
    telemetry.update_settings(enable_error_reporting=True)
    telemetry.shutdown()
    return {**os.environ, "SINK_URL": url, "DATABASE_URL": database, "PYTHONPATH": str(HERE)}


@pytest.fixture(scope="module")
def _served_sink():
    """Serve one PostHog for the servers of this file."""
    sink = PostHogSink()
    with serve(sink) as url:
        yield sink, url


@contextmanager
def _serving_both(name, sink_url, folder):
    """Run one kind of server, twice."""
    environment = _granted(sink_url, folder)
    with ExitStack() as stack:
        bare, wrapped = (
            stack.enter_context(serving(name, app, environment, folder)) for app in ("bare", "app")
        )
        wait_until_it_serves(bare)
        wait_until_it_serves(wrapped)
        yield Pair(bare=bare, wrapped=wrapped)


@pytest.fixture(scope="module", params=SERVERS)
def pair(request, _served_sink, tmp_path_factory):
    """Return each kind of server, twice."""
    with _serving_both(request.param, _served_sink[1], tmp_path_factory.mktemp(request.param)) as both:
        yield both


def _errors(sink):
    return [event.properties["$exception_list"][0]["value"] for event in sink.events]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/fine", "/headers", "/no-content", "/not-modified", "/unknown-length", "/large", "/state"]
)
def test_answers(pair, path, method):
    """Status line, headers with duplicates and order, chunks and body are the same bytes (R27)."""
    bare, wrapped = pair.both(lambda server: server.get(path, method=method))

    assert wrapped == bare
    assert bare.startswith(b"HTTP/1.1 ")


def test_pipelined_requests(pair):
    """Several requests in one packet are answered in order on one connection."""
    packet = request("/fine") + request("/headers", method="HEAD") + request("/no-content")
    packet += request("/unknown-length", closes=True)

    bare, wrapped = pair.both(lambda server: server.talk(packet))

    assert wrapped == bare


def test_chunked_upload(pair):
    """An upload in chunks comes back as it was sent."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, b"u" * size) for size in (1, 70_000, 5)) + b"0\r\n\r\n"
    packet = request(
        "/echo", method="POST", headers=["Transfer-Encoding: chunked"], content=chunks, closes=True
    )

    bare, wrapped = pair.both(lambda server: server.talk(packet))

    assert wrapped == bare
    assert bare.endswith(b"u" * 70_006)


def test_malformed_request(pair):
    """What the server refuses, it refuses alike."""
    bare, wrapped = pair.both(lambda server: server.talk(b"\x00 odd\r\n\r\n"))

    assert wrapped == bare


def test_stream_is_not_buffered(pair):
    """The first chunk is at the client before the application makes the second one."""

    def play(server):
        with server.dial() as connection:
            connection.sendall(request("/held", closes=True))
            seen = b""
            while b"first" not in seen:
                seen += connection.recv(4_096)
            assert b"second" not in seen
            server.get("/release")
            while piece := connection.recv(4_096):
                seen += piece
        return _VARYING.sub(rb"\1", seen)

    bare, wrapped = pair.both(play)

    assert wrapped == bare
    assert b"second" in bare


def test_client_that_leaves_a_stream(pair, sink):
    """A client that leaves in the middle of a stream ends it, and is no error (R12)."""

    def play(server):
        with server.dial() as connection:
            connection.sendall(request("/endless"))
            assert connection.recv(4_096)
        wait_until(lambda: b"yes" in server.get("/has-left"), timeout_s=TIMEOUT_S)

    pair.both(play)
    pair.wrapped.get("/fail")  # its report comes after any that the client's leaving had made

    wait_until(lambda: _errors(sink), timeout_s=TIMEOUT_S)
    assert _errors(sink) == ["failure before the start"]


def test_failure(pair, sink):
    """An exception gives the server's own 500, and one report (R12)."""
    bare, wrapped = pair.both(lambda server: server.get("/fail"))

    assert wrapped == bare
    assert b" 500 " in bare.splitlines()[0]
    wait_until(lambda: _errors(sink), timeout_s=TIMEOUT_S)
    assert _errors(sink) == ["failure before the start"]


def _socket_session(*messages):
    """Return what sends the messages and tells what came back for each."""

    def play(server):
        seen = []
        with connect(f"ws://127.0.0.1:{server.port}/echo", subprotocols=["chat"]) as client:
            headers = client.response.headers
            seen.append((client.subprotocol, headers.get_all("x-odd")))
            try:
                for message in messages:
                    client.send(message)
                    seen.append(client.recv(PATIENCE_S))
            except TimeoutError:
                seen.append("left open")
            except ConnectionClosed as closed:
                seen.append((closed.rcvd and closed.rcvd.code, closed.rcvd and closed.rcvd.reason))
        return seen

    return play


def test_websocket_echo(pair):
    """Texts and bytes come back as they were sent; close code and reason are the application's."""
    bare, wrapped = pair.both(_socket_session("odd ✓", b"\x00\xff", "x" * 70_000, "close"))

    assert wrapped == bare
    assert bare[-1][0] == 4321


def test_websocket_refused(pair):
    """A socket that is closed before it is accepted is refused with the server's own answer."""

    def play(server):
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{server.port}/refuse"):
            pass
        return refused.value.response.status_code, refused.value.response.body

    bare, wrapped = pair.both(play)

    assert wrapped == bare


def test_websocket_failure(pair, sink):
    """An exception on a socket closes it as the server does, and gives one report (R12)."""
    bare, wrapped = pair.both(_socket_session("fail"))

    assert wrapped == bare
    wait_until(lambda: _errors(sink), timeout_s=TIMEOUT_S)
    assert _errors(sink) == ["failure on a socket"]


@pytest.mark.parametrize("name", SERVERS)
def test_failure_after_the_start(name, sink, sink_url, tmp_path):
    """An exception in the middle of an answer cuts it off at the same byte, and gives one report (R12)."""
    packet = request("/fail-late", closes=True)

    # Servers of its own: after this, Daphne shows no other client an exception.
    with _serving_both(name, sink_url, tmp_path) as pair:
        bare, wrapped = pair.both(lambda server: server.talk(packet, patience_s=PATIENCE_S))

        assert wrapped == bare
        wait_until(lambda: _errors(sink), timeout_s=TIMEOUT_S)
        assert _errors(sink) == ["failure after the start"]


@pytest.mark.parametrize("name", SERVERS)
def test_graceful_stop(name, sink, sink_url, tmp_path):
    """SIGTERM sends what waits, and ends the process in time (R4)."""
    environment = {**_granted(sink_url, tmp_path), **PATIENT, "BATCH_DELAY_S": "60"}

    with serving(name, "app", environment, tmp_path) as server:
        wait_until_it_serves(server)
        server.get("/fail")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(STOP_TIMEOUT_S)

    assert _errors(sink) == ["failure before the start"]
