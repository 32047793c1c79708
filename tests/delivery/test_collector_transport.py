"""One batch to a Collector over a real socket: what arrives, and what each answer means."""

from __future__ import annotations

import gzip
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version

import pytest
import trustme
from answering import answering
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from programs import run_python
from samples import some_event

from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Answer, Consent, Grant, KindConsent
from otel_posthog.delivery.answers import Result
from otel_posthog.delivery.collector_transport import CollectorTransport
from otel_posthog.delivery.transport import WireBatch
from otel_posthog.events import Stamp
from otel_posthog.registry import Kind

ID = "11111111-2222-4333-8444-555555555555"
GRANTED = KindConsent(
    answer=Answer.GRANTED, stamp=Stamp(generation=3, instance_id=ID), grant=Grant(manifest="m")
)
DENIED = KindConsent(answer=Answer.DENIED, stamp=Stamp(generation=4, instance_id=ID))
CONSENT = Consent(kinds={Kind.ERRORS: DENIED, Kind.TELEMETRY: GRANTED}, instance_id=ID)
PROTOBUF = "application/x-protobuf"
EVENTS = [some_event({"number": number}, accepted_ns=number) for number in (1, 2)]
BATCH = WireBatch([event.address(ID) for event in EVENTS], EVENTS, CONSENT)
ONE = WireBatch(BATCH.texts[:1], EVENTS[:1], CONSENT)


def _always():
    return True


def _answer(rejected=0):
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = rejected
    return response.SerializeToString() if rejected else b""


@pytest.fixture
def collector():
    with answering() as server:
        server.headers, server.body = {"Content-Type": PROTOBUF}, b""
        yield server


@pytest.fixture
def make_transport():
    made = []

    def make(url, **settings):
        given = {"send_to": "collector", "collector_endpoint": f"{url}/v1/logs", "http_timeout_s": 5.0}
        made.append(CollectorTransport(Config.resolve({**given, **settings}, {})))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def transport(collector, make_transport):
    return make_transport(collector.url)


def _request(server, *, unpack=gzip.decompress):
    return ExportLogsServiceRequest.FromString(unpack(server.requests[-1][3]))


def _values(record):
    values = {pair.key: pair.value for pair in record.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def test_each_event_is_a_log_record_with_its_consent(transport, collector):
    """A record holds the finished event word for word, and what the installation granted beside it."""
    delivery = transport.send(BATCH, _always)

    assert (delivery.result, delivery.receiver) == (Result.HANDED_OVER, "The Collector")
    [resource] = _request(collector).resource_logs
    [scope] = resource.scope_logs
    assert [pair.key for pair in resource.resource.attributes] == ["service.name"]
    assert (scope.scope.name, scope.scope.version) == ("otel_posthog", version("otel-posthog"))
    assert [record.event_name for record in scope.log_records] == ["something", "something"]
    assert [record.observed_time_unix_nano for record in scope.log_records] == [1, 2]
    at_ns = int(EVENTS[0].timestamp.timestamp() * 1000) * 1_000_000
    assert {record.time_unix_nano for record in scope.log_records} == {at_ns}
    assert [_values(record) for record in scope.log_records] == [
        {
            "posthog.finished_event": text,
            "posthog.instance_id": ID,
            "posthog.consent.telemetry": True,
            "posthog.consent.telemetry_generation": 3,
            "posthog.consent.telemetry_manifest": "m",
        }
        for text in BATCH.texts
    ]
    assert json.loads(BATCH.texts[0])["distinct_id"] == ID


def test_request_is_plain_otlp(transport, collector):
    """Address, method and headers are those of OTLP over HTTP, and nothing of the environment is in them."""
    transport.send(BATCH, _always)

    [(method, path, headers, _)] = collector.requests
    assert (method, path) == ("POST", "/v1/logs")
    assert headers["content-type"] == PROTOBUF
    assert headers["content-encoding"] == "gzip"
    assert set(headers) == {
        *("accept", "accept-encoding", "connection", "content-encoding"),
        *("content-length", "content-type", "host", "user-agent"),
    }


def test_headers_and_compression_are_settings(collector, make_transport):
    """A token goes along, and without compression the body is the message itself."""
    own = "Authorization=Bearer%20abc,content-type=text/plain"
    transport = make_transport(collector.url, collector_headers=own, collector_compression="none")

    transport.send(BATCH, _always)

    headers = collector.requests[0][2]
    assert (headers["authorization"], headers["content-type"]) == ("Bearer abc", PROTOBUF)
    assert "content-encoding" not in headers
    assert len(_request(collector, unpack=bytes).resource_logs) == 1
    assert "abc" not in repr(transport)


@pytest.mark.parametrize("rejected", [0, 1, 2, 7])
@pytest.mark.parametrize("media_type", [PROTOBUF, "application/json; charset=utf-8"])
def test_accepted_batch_is_handed_over(transport, collector, media_type, rejected):
    """An answer of OTLP confirms the batch, less what it says is rejected; it names none of these."""
    json_text = json.dumps({"partialSuccess": {"rejectedLogRecords": str(rejected)}} if rejected else {})
    collector.body = _answer(rejected) if media_type == PROTOBUF else json_text.encode()
    collector.headers = {"Content-Type": media_type}

    delivery = transport.send(BATCH, _always)

    assert (delivery.result, delivery.refused) == (Result.HANDED_OVER, rejected)
    assert len(collector.requests) == 1


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", b"<html>please log in</html>"),
        ("text/plain", b""),
        (PROTOBUF, b"<html>"),
        ("application/json", b'{"status": 1}'),
        ("application/json", b"[]"),
        ("application/json", b""),
        ("application/json", b"\xff"),
    ],
)
def test_page_of_others_confirms_nothing(transport, collector, media_type, body):
    """A 200 that is no answer of OTLP, as of a captive portal, leaves the batch in doubt."""
    collector.headers, collector.body = {"Content-Type": media_type}, body

    delivery = transport.send(BATCH, _always)

    assert delivery.result is Result.DOUBTFUL
    assert "collector_endpoint" in delivery.advice


@pytest.mark.parametrize(
    ("status", "media_type", "expected"),
    [
        (400, PROTOBUF, Result.SPLIT),
        (413, PROTOBUF, Result.SPLIT),
        (413, "text/html", Result.SPLIT),
        (400, "text/html", Result.DOUBTFUL),
        (408, "text/html", Result.RETRY),
        (429, PROTOBUF, Result.RETRY),
        (502, "text/html", Result.RETRY),
        (503, PROTOBUF, Result.RETRY),
        (504, "text/html", Result.RETRY),
        (500, PROTOBUF, Result.DOUBTFUL),
        (401, PROTOBUF, Result.DOUBTFUL),
        (403, "text/html", Result.DOUBTFUL),
        (404, "text/html", Result.DOUBTFUL),
        (202, PROTOBUF, Result.DOUBTFUL),
        (204, PROTOBUF, Result.DOUBTFUL),
        (302, "text/html", Result.DOUBTFUL),
    ],
)
def test_status_decides_as_otlp_has_it(transport, collector, status, media_type, expected):
    """What OTLP lets a sender repeat is repeated, what a receiver calls bad is halved, the rest waits."""
    collector.status, collector.headers = status, {"Content-Type": media_type, "Location": "/elsewhere"}

    delivery = transport.send(BATCH, _always)

    assert delivery.result is expected
    assert str(status) in delivery.reason
    assert len(collector.requests) == 1


def test_one_event_that_a_proxy_finds_too_large_waits(transport, collector):
    """A page with 413 for a single event may be about the proxy, so nothing is thrown away for it."""
    collector.status, collector.headers = 413, {"Content-Type": "text/html"}

    assert transport.send(ONE, _always).result is Result.DOUBTFUL


@pytest.mark.parametrize(
    ("text", "least_s", "most_s"),
    [("7", 7, 7), ("", 0, 0), ("soon", 0, 0), ("-3", 0, 0), ("date", 50, 60), ("99999999", 86_400, 86_400)],
)
def test_pause_is_the_collectors(transport, collector, text, least_s, most_s):
    """`Retry-After` counts as seconds or as a date, for a day at most."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    collector.status = 503
    collector.headers = {"Content-Type": PROTOBUF, "Retry-After": soon if text == "date" else text}

    delivery = transport.send(BATCH, _always)

    assert delivery.result is Result.RETRY
    assert least_s <= delivery.retry_after_s <= most_s


def test_answer_that_breaks_off_confirms_nothing(transport, collector):
    """A 200 whose body ends early is no answer; the batch is sent again."""
    collector.headers = {"Content-Type": PROTOBUF, "Content-Length": "50"}

    assert transport.send(BATCH, _always).result is Result.RETRY


def test_answer_without_end_is_read_within_bounds(transport, collector):
    """A page of any length fills no memory."""
    collector.headers, collector.is_endless = {"Content-Type": "text/html"}, True

    assert transport.send(BATCH, _always).result is Result.DOUBTFUL


def test_nothing_is_sent_once_consent_is_withdrawn(transport, collector):
    """Consent is asked after the connection is open, and without it no request becomes complete."""
    delivery = transport.send(BATCH, lambda: False)

    assert delivery.result is Result.WITHDRAWN
    assert [body for *_, body in collector.requests if body] == []


def test_address_where_nobody_listens(make_transport):
    """Without an answer the batch waits, and the advice names the setting."""
    delivery = make_transport("http://localhost:1").send(BATCH, _always)

    assert delivery.result is Result.RETRY
    assert "collector_endpoint" in delivery.advice


@pytest.fixture
def authority(tmp_path):
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def tls_collector(authority):
    """Return a server that accepts only clients with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with answering(context) as server:
        server.headers, server.body = {"Content-Type": PROTOBUF}, b""
        yield server


def test_both_sides_show_certificates(tls_collector, authority, make_transport, tmp_path):
    """With files for authority, certificate and key, a receiver that demands a certificate is reached."""
    shown = authority.issue_cert("product.example")
    shown.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    shown.private_key_pem.write_to_path(tmp_path / "client.key")
    trusting = {"collector_certificate": str(tmp_path / "ca.pem")}
    showing = {
        "collector_client_certificate": str(tmp_path / "client.pem"),
        "collector_client_key": str(tmp_path / "client.key"),
    }

    results = [
        make_transport(tls_collector.url, **settings).send(BATCH, _always).result
        for settings in ({}, trusting, trusting | showing)
    ]

    assert results == [Result.RETRY, Result.RETRY, Result.HANDED_OVER]
    assert len(tls_collector.requests) == 1


def test_missing_certificate_is_named(tls_collector, make_transport, tmp_path):
    """A file that does not exist is a matter of our settings, not of the machine's variables."""
    transport = make_transport(tls_collector.url, collector_certificate=str(tmp_path / "none.pem"))

    assert "collector_certificate" in transport.send(BATCH, _always).advice


def test_child_process_opens_its_own_connection(transport, collector):
    """After a fork the parent's connection is neither used nor closed."""
    transport.send(BATCH, _always)
    pid = os.fork()
    if pid == 0:
        is_sent = transport.send(BATCH, _always).result is Result.HANDED_OVER
        os._exit(0 if is_sent else 1)
    _, ended = os.waitpid(pid, 0)
    transport.send(BATCH, _always)

    assert ended == 0
    assert (len(collector.requests), collector.connections) == (3, 2)


WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry.proto"] = None
from otel_posthog import Telemetry
from otel_posthog.errors import MissingExtraError

Telemetry(send_to="posthog", database=sys.argv[1], environ={})
try:
    Telemetry(send_to="collector", database=sys.argv[1], environ={})
except MissingExtraError as error:
    print(error)
"""


def test_missing_package_is_named(database_url):
    """Without the extra a Telemetry for a Collector says what to install; one for PostHog needs nothing."""
    assert "pip install 'otel-posthog[collector]'" in run_python(WITHOUT_EXTRA, database_url).stdout


LOADED_LATE = """
import sys
from otel_posthog import Telemetry, track

with Telemetry(send_to="collector", database=sys.argv[1], environ={}) as telemetry:
    track("some_event")
    telemetry.flush()
late = ("google.protobuf", "opentelemetry.proto", "requests")
print([name for name in sys.modules if name.startswith(late)])
"""


def test_nothing_is_loaded_while_consent_is_off(database_url):
    """Neither protobuf nor an HTTP client is imported before there is something to send."""
    assert run_python(LOADED_LATE, database_url).stdout.strip() == "[]"
