"""`otel-posthog gateway` as a process: what it asks for, its workers, and clients that take their time."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys

import httpx2
import pytest
import trustme
from gateways import PROTOBUF, TOKEN, client_of, consent, manifest_at, running_gateway, tracked
from servers import WAIT_S

from otel_posthog.cli import main
from otel_posthog.gateway import server


@pytest.fixture(autouse=True)
def _manifest(tmp_path):
    manifest_at(tmp_path)


def test_several_workers_take_requests(sink, sink_url, tmp_path):
    """Two workers behind one port take what comes and end when they are told."""
    with running_gateway(sink_url, tmp_path, "--workers", "2") as (url, _process):
        for number in range(20):
            with client_of(url) as client:
                request = tracked("some_event", {"number": number, **consent()})
                assert client.post("/v1/logs", content=request.SerializeToString()).status_code == 200

    assert {event.properties["number"] for event in sink.events} == set(range(20))


def test_slow_headers_are_cut_off(sink_url, tmp_path):
    """A client that does not say what it wants is cut off, on a new connection and on a used one."""
    timeout = {"OTEL_POSTHOG_GATEWAY_READ_TIMEOUT_S": "0.5"}
    with running_gateway(sink_url, tmp_path, **timeout) as (url, _process):
        silent, dribbling, used = (_connected(url) for _ in range(3))
        with silent, dribbling, used:
            used.sendall(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n")
            assert used.recv(1000).startswith(b"HTTP/1.1 204")
            used.sendall(b"GET /hea")
            dribbling.sendall(b"POST /v1/logs HTTP/1.1\r\nhost: gate")

            assert [_read_to_the_end(each) for each in (silent, dribbling, used)] == [b"", b"", b""]
        assert httpx2.get(f"{url}/health", timeout=WAIT_S).status_code == 204


def _connected(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), WAIT_S)


def _read_to_the_end(connection):
    found = b""
    while part := connection.recv(1000):
        found += part
    return found


def test_tls_and_client_certificates_by_file(sink, sink_url, tmp_path):
    """With files the gateway speaks TLS, and clients without a certificate of the authority are refused."""
    authority = trustme.CA()
    files = {name: str(tmp_path / name) for name in ("ca.pem", "gateway.pem", "client.pem")}
    authority.cert_pem.write_to_path(files["ca.pem"])
    for name, host in (("gateway.pem", "localhost"), ("client.pem", "collector.example")):
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(files[name])
    trusting = ssl.create_default_context(cafile=files["ca.pem"])
    showing = ssl.create_default_context(cafile=files["ca.pem"])
    showing.load_cert_chain(files["client.pem"])
    settings = {
        "OTEL_POSTHOG_GATEWAY_CERTIFICATE": files["gateway.pem"],
        "OTEL_POSTHOG_GATEWAY_CLIENT_CA": files["ca.pem"],
        "OTEL_POSTHOG_GATEWAY_TOKEN": "",
    }
    content = tracked("some_event", consent()).SerializeToString()
    headers = {"content-type": PROTOBUF}
    with running_gateway(sink_url, tmp_path, "--host", "0.0.0.0", verify=showing, **settings) as (url, _):
        answer = httpx2.post(f"{url}/v1/logs", content=content, headers=headers, verify=showing)
        with pytest.raises(httpx2.TransportError):
            httpx2.post(f"{url}/v1/logs", content=content, headers=headers, verify=trusting)

    assert (answer.status_code, len(sink.events)) == (200, 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"KEY": "{ca}"}, "gateway_key needs gateway_certificate"),
        ({"CLIENT_CA": "{ca}"}, "gateway_client_ca needs gateway_certificate"),
        ({"CERTIFICATE": "/none.pem"}, "gateway_certificate: /none.pem cannot be read."),
        ({"SCRUB_RULES": "{ca}"}, "holds no scrub rules in JSON"),
        ({"SCRUB_RULES": "/none.json"}, "/none.json cannot be read (FileNotFoundError)."),
        ({"BEFORE_SEND": "json:__name__"}, "gateway_before_send: json:__name__ is no function."),
        ({"BEFORE_SEND": "no_such_module:x"}, "there is no module 'no_such_module'"),
    ],
)
def test_wrong_file_is_one_clear_line(tmp_path, settings, told):
    """A file or hook that cannot be used ends the command with code 2 before anything listens."""
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    named = {f"OTEL_POSTHOG_GATEWAY_{name}": text.format(ca=authority) for name, text in settings.items()}
    given = {"PATH": os.environ["PATH"], "POSTHOG_API_KEY": "phc_test", **named}
    command = [sys.executable, "-m", "otel_posthog.cli", "gateway"]

    run = subprocess.run(
        command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert run.returncode == 2
    assert told in run.stderr


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("POSTHOG_API_KEY", "The gateway needs the project API key: set POSTHOG_API_KEY."),
        ("OTEL_POSTHOG_GATEWAY_MANIFESTS", "telemetry-manifest.json cannot be read (FileNotFoundError)."),
        (
            "OTEL_POSTHOG_GATEWAY_TOKEN",
            "Without OTEL_POSTHOG_GATEWAY_TOKEN the gateway listens on a",
        ),
    ],
)
def test_what_is_missing_is_one_clear_line(sink_url, tmp_path, missing, told):
    """Without key, manifest or, beyond loopback, a token the command ends with code 2 and says so."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    manifest_at(elsewhere, name="manifest.json")
    given = {
        "PATH": os.environ["PATH"],
        "POSTHOG_API_KEY": "phc_test",
        "OTEL_POSTHOG_GATEWAY_TOKEN": TOKEN,
        "OTEL_POSTHOG_GATEWAY_MANIFESTS": "manifest.json",
    }
    del given[missing]
    command = [sys.executable, "-m", "otel_posthog.cli", "gateway", "--host", "0.0.0.0"]

    run = subprocess.run(
        command, cwd=elsewhere, env=given, capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert run.returncode == 2
    assert run.stderr.startswith(f"otel-posthog: {told}")


def test_missing_package_is_one_clear_line():
    """Without the extra the command names what is missing and how to install it."""
    without = "import sys; sys.modules['uvicorn'] = None"
    code = f"{without}; from otel_posthog.cli import main; sys.exit(main(['gateway']))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert run.returncode == 2
    assert "pip install 'otel-posthog[gateway]'" in run.stderr


def test_port_is_beside_the_collectors(capsys):
    """The help names the defaults."""
    with pytest.raises(SystemExit):
        main(["gateway", "--help"])

    assert "4320" in capsys.readouterr().out


def test_protocol_of_uvicorn_has_what_ours_needs():
    """Uvicorn's protocol still has the parts that our limit for slow clients uses."""
    assert {"connection_made", "data_received", "connection_lost"} <= vars(server.H11Protocol).keys()
    assert "response_complete" in server.RequestResponseCycle.__init__.__code__.co_names
