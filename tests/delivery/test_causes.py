"""What the log says if no answer comes because of a proxy or a certificate, and which authorities count."""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme
from ports import free_port

from otel_posthog.delivery.answers import Result
from otel_posthog.delivery.causes import advice, authorities, proxy_variable
from otel_posthog.delivery.transport import PostHogTransport, WireBatch

BATCH = WireBatch([json.dumps({"event": "something"})])
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove what the machine of this test says about proxies and authorities; return the patch."""
    for name in (*AUTHORITIES, *PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


class _PostHog(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = b'{"status": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def tls_url(authority):
    """Serve PostHog's answer over TLS with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer(("127.0.0.1", 0), _PostHog) as server:
        server.handle_error = lambda *_: None  # clients that do not trust it go away
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join(5)


def _sent_to(host):
    transport = PostHogTransport(api_key="phc_test", host=host, timeout_s=5.0)
    try:
        return transport.send(BATCH, lambda: True)
    finally:
        transport.close()


@pytest.mark.parametrize("name", AUTHORITIES[:3])
def test_authority_of_the_machine_is_trusted(tls_url, authority, environment, tmp_path, name):
    """A certificate of an authority that any of the usual variables names is accepted."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    environment.setenv(name, str(path))

    assert _sent_to(tls_url).result is Result.ACCEPTED


def test_unknown_authority_is_named(tls_url):
    """Without such a variable the log says why the certificate is not accepted, and what to set."""
    delivery = _sent_to(tls_url)

    assert delivery.result is Result.RETRY
    assert "certificate is not accepted (" in delivery.advice
    assert "self" in delivery.advice or "issuer" in delivery.advice
    assert "SSL_CERT_FILE or REQUESTS_CA_BUNDLE" in delivery.advice


def test_variable_with_the_wrong_authority_is_named(tls_url, environment, tmp_path):
    """If a variable names other authorities the log names that variable."""
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(path)
    environment.setenv("SSL_CERT_FILE", str(path))

    assert "authorities that SSL_CERT_FILE names" in _sent_to(tls_url).advice


def test_authorities_that_do_not_exist(tls_url, environment, tmp_path):
    """A path without a file is named, as requests knows it; OpenSSL's variables are passed over."""
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert authorities() is None

    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert "cannot be read. Check the authorities that REQUESTS_CA_BUNDLE" in _sent_to(tls_url).advice


def test_variables_of_requests_come_first(environment, tmp_path):
    """OpenSSL's variables count only if those of requests are not set."""
    (tmp_path / "authority.pem").touch()
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    environment.setenv("SSL_CERT_DIR", str(tmp_path))
    assert authorities() == str(tmp_path / "authority.pem")

    environment.setenv("CURL_CA_BUNDLE", str(tmp_path / "other.pem"))
    assert authorities() is None


def test_socks_proxy_without_pysocks(environment):
    """A SOCKS proxy for which a package is missing is named, with what to install."""
    environment.setenv("ALL_PROXY", "socks5h://user:planted@127.0.0.1:9")

    delivery = _sent_to("http://posthog.invalid")

    assert delivery.result is Result.RETRY
    assert "ALL_PROXY names a SOCKS proxy" in delivery.advice
    assert "pip install 'requests[socks]'" in delivery.advice
    assert "planted" not in delivery.advice + delivery.reason


def test_proxy_that_does_not_answer(environment):
    """A proxy that cannot be reached is named by its variable, not by its address."""
    environment.setenv("http_proxy", f"http://user:planted@127.0.0.1:{free_port()}")

    delivery = _sent_to("http://posthog.invalid")

    assert "proxy that http_proxy names" in delivery.advice
    assert "planted" not in delivery.advice + delivery.reason


@pytest.mark.parametrize("value", ["socks9://127.0.0.1:9", "http://", "//", "http://[:9"])
def test_proxy_that_is_none(environment, value):
    """A value that is no proxy is an error like another, and its variable is named."""
    environment.setenv("HTTP_PROXY", value)

    assert "HTTP_PROXY" in _sent_to("http://posthog.invalid").advice


@pytest.mark.parametrize(
    ("variables", "url", "name"),
    [
        ({}, "https://posthog.invalid", None),
        ({"HTTPS_PROXY": "http://p"}, "https://posthog.invalid", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://p"}, "http://posthog.invalid", None),
        ({"ALL_PROXY": "http://p", "HTTPS_PROXY": "http://p"}, "https://posthog.invalid", "HTTPS_PROXY"),
        ({"all_proxy": "http://p"}, "https://posthog.invalid", "all_proxy"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "posthog.invalid"}, "https://posthog.invalid", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, "https://posthog.invalid", None),
    ],
)
def test_variable_of_the_proxy(environment, variables, url, name):
    """The variable is found whose proxy would be used."""
    for each, value in variables.items():
        environment.setenv(each, value)

    assert proxy_variable(url) == name


def test_host_is_named_if_nothing_better_is_known():
    """An error that says nothing leads to the host setting and the network."""
    assert advice(TimeoutError(), "https://posthog.invalid") == "Check the host setting and the network."
    assert "host setting" in _sent_to(f"http://127.0.0.1:{free_port()}").advice


class _UnreadableError(Exception):
    def __str__(self):
        raise KeyError("A_PROXY")  # as the environment does while another thread removes a variable


def test_cause_that_cannot_be_found_is_none(environment):
    """An error while the cause is looked for leads to the host setting and the network."""
    environment.setenv("HTTP_PROXY", "http://p")

    assert proxy_variable("http://[not-an-address") is None
    assert advice(_UnreadableError(), "http://[not-an-address") == "Check the host setting and the network."


def test_tls_with_a_host_that_speaks_none(sink_url):
    """If the host does not speak TLS the log says so."""
    assert "https or http" in _sent_to(sink_url.replace("http:", "https:")).advice
