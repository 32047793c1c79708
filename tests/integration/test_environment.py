"""What of the process's environment counts, and what of it never leaves."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from trackers import tracking

from otel_posthog import Telemetry, capture_exception, track

CANARY = "canary-7f3a"
VARIABLES = (
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
)
PLAIN_VARIABLES = (
    "OTEL_SERVICE_NAME",
    "POSTHOG_PERSONAL_API_KEY",
    "HOSTNAME",
    "USER",
    "LOGNAME",
    "REQUESTS_USER_AGENT",
    "DATABASE_PASSWORD",
)
SENT_HEADERS = {
    "host",
    "user-agent",
    "accept-encoding",
    "accept",
    "connection",
    "content-type",
    "content-encoding",
    "content-length",
}


@pytest.fixture
def granted_database(database_url):
    """Return the URL of a database in which product events have been granted."""
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_telemetry=True)
    telemetry.shutdown()
    return database_url


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(gzip.decompress(body))))
        self.send_response(200)
        answer = b'{"status": 1}'
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = []

    def handle_error(self, *_):
        """Say nothing of clients that do not trust it."""


@contextmanager
def _serving(authority=None):
    """Yield a server that keeps requests and answers as PostHog does, over TLS if an authority is given."""
    with _Server() as server:
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def _send_one(url, database, monkeypatch, **variables):
    """Track one event in a process with these variables; tell whether all was sent."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with tracking(url, database) as product:
        product.ask("track 1 1")
        return product.ask("flush 30")


def test_nothing_of_the_environment_leaves(granted_database, sink, sink_url, tmp_path, monkeypatch):
    """Headers, resource attributes, names and .netrc of the environment are nowhere in the requests."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {CANARY} password {CANARY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    variables = dict.fromkeys(VARIABLES, f"key={CANARY}") | dict.fromkeys(PLAIN_VARIABLES, CANARY)

    is_sent = _send_one(sink_url, granted_database, monkeypatch, HOME=str(tmp_path), **variables)

    assert is_sent
    assert [event.name for event in sink.events] == ["numbered"]
    assert not sink.contains(CANARY)
    assert {name for request in sink.requests for name, _ in request.headers} <= SENT_HEADERS


def test_baggage_and_trace_context_stay_at_home(granted, sink):
    """A product whose HTTP clients are instrumented hands PostHog neither baggage nor trace headers."""
    before = get_global_textmap()
    set_global_textmap(CompositePropagator([W3CBaggagePropagator(), TraceContextTextMapPropagator()]))
    RequestsInstrumentor().instrument()
    token = attach(baggage.set_baggage("user.name", CANARY))
    try:
        with TracerProvider(shutdown_on_exit=False).get_tracer("of the host").start_as_current_span("span"):
            track("something", {"ok": True})
            capture_exception(ValueError("something"))
            assert granted.flush(30)
    finally:
        detach(token)
        RequestsInstrumentor().uninstrument()
        set_global_textmap(before)

    assert sorted(event.name for event in sink.events) == ["$exception", "something"]
    assert not sink.contains(CANARY)
    assert {name for request in sink.requests for name, _ in request.headers} <= SENT_HEADERS


def test_proxy_of_the_environment_is_used(granted_database, monkeypatch):
    """The operator's proxy gets the request, and its credentials in the header that is for it."""
    with _serving() as proxy:
        port = proxy.server_address[1]
        variables = {"HTTP_PROXY": f"http://user:{CANARY}@127.0.0.1:{port}", "http_proxy": ""}
        variables["http_proxy"] = variables["HTTP_PROXY"]
        is_sent = _send_one("http://posthog.invalid", granted_database, monkeypatch, **variables)

    assert is_sent
    [(path, headers, body)] = proxy.requests
    assert path == "http://posthog.invalid/batch/"
    assert "Proxy-Authorization" in headers
    assert CANARY not in json.dumps(body)


def test_no_proxy_is_honoured(granted_database, sink, sink_url, monkeypatch):
    """A host that is excepted from the proxy is reached directly."""
    variables = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}

    assert _send_one(sink_url, granted_database, monkeypatch, **variables)
    assert len(sink.events) == 1


@pytest.mark.parametrize("is_trusted", [True, False])
def test_authority_of_the_environment_is_trusted(granted_database, tmp_path, monkeypatch, is_trusted):
    """A server whose certificate the operator's authority signed is trusted, and no other."""
    authority, other = trustme.CA(), trustme.CA()
    (authority if is_trusted else other).cert_pem.write_to_path(tmp_path / "ca.pem")
    with _serving(authority) as server:
        url = f"https://localhost:{server.server_address[1]}"
        bundle = str(tmp_path / "ca.pem")
        is_sent = _send_one(url, granted_database, monkeypatch, REQUESTS_CA_BUNDLE=bundle)

    assert is_sent is is_trusted
    assert len(server.requests) == is_trusted
