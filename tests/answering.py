"""A server on a real socket that keeps requests, and answers as it is told."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AnsweringServer(ThreadingHTTPServer):
    """A server that keeps requests and answers as it is told."""

    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.requests = []
        self.status = 200
        self.headers = {}
        self.body = b'{"status": 1}'
        self.judge = lambda _body: None  # a status for a body, in place of the status
        self.answers = {}  # status and body by path, in place of these; the status None for no answer
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.connections = 0
        self.is_endless = False
        self.dripped = 0  # bytes that follow the body one by one
        self.url = f"{'http' if tls is None else 'https'}://localhost:{self.server_address[1]}"

    def handle_error(self, *_):
        """Say nothing of clients that went away: some tests are about them."""


class Handler(BaseHTTPRequestHandler):
    """Keep the request, then answer."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        )
        self.server.may_answer.wait(5)
        judged = self.server.judge(body) or self.server.status
        status, answer = self.server.answers.get(self.path, (judged, self.server.body))
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if not (self.server.is_endless or "Content-Length" in self.server.headers):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        while self.server.is_endless:
            self.wfile.write(b"x" * 65_536)  # until the client closes the connection
        for _ in range(self.server.dripped):
            time.sleep(0.02)
            self.wfile.write(b"x")

    do_GET = do_POST = _answer  # noqa: N815 - names that http.server looks for

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def answering(tls=None):
    """Yield a running server; with an `ssl.SSLContext` it speaks TLS."""
    with AnsweringServer(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join(5)
