"""What a Collector is answered, and when."""

from __future__ import annotations

import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from gateways import TOKEN, WAIT_S, client_of, consent, served_gateway, tracked
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from waiting import wait_until

from otel_posthog.testing import Fault


def _post(client, request, path="/v1/logs", **headers):
    return client.post(path, content=request.SerializeToString(), headers=headers)


def _is_taken(client, request):
    return _post(client, request).status_code == 200


def test_event_arrives_under_the_installations_identity(gateway, sink):
    """A tracked event with consent becomes one event of the installation that it names."""
    stamped = consent()
    request = tracked("some_event", {"number": 7, **stamped})

    answer = _post(gateway, request)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert not ExportLogsServiceResponse.FromString(answer.content).HasField("partial_success")
    [event] = sink.events
    assert (event.name, event.distinct_id) == ("some_event", stamped["posthog.instance_id"])
    assert event.properties["number"] == 7
    assert [key for key in event.properties if key.startswith("posthog.")] == []


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_json_arrives_like_protobuf(gateway, sink, encoding):
    """The same request as JSON gives the same event, and is answered in JSON."""
    content = json_format.MessageToJson(tracked("some_event", consent())).encode()
    headers = {"content-type": "application/json; charset=utf-8"}
    if encoding is not None:
        content, headers = gzip.compress(content), {**headers, "content-encoding": encoding}

    answer = gateway.post("/v1/logs", content=content, headers=headers)

    assert (answer.status_code, answer.json()) == (200, {})
    assert [event.name for event in sink.events] == ["some_event"]


def test_metrics_are_taken_and_become_nothing(gateway, sink):
    """Metrics are acknowledged, and no event comes of them."""
    assert gateway.post("/v1/metrics", content=b"").status_code == 200
    assert sink.requests == []


def test_version_and_environment_are_the_senders(gateway, sink):
    """Version and environment of an event are those of its resource."""
    request = tracked("some_event", consent())
    for key, value in {"service.version": "4.2", "deployment.environment.name": "staging"}.items():
        request.resource_logs[0].resource.attributes.add(key=key).value.string_value = value

    _post(gateway, request)

    [event] = sink.events
    assert (event.properties["service_version"], event.properties["environment"]) == ("4.2", "staging")


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], f"{TOKEN}x"])
def test_wrong_token(config, sink, token):
    """Without the right token nothing is taken, and nothing is told."""
    with served_gateway(config()) as known, client_of(str(known.base_url), token) as stranger:
        answers = [_post(stranger, tracked("some_event", consent())), stranger.get("/counts")]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert sink.requests == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": ""}, 415),
        ({"content-encoding": "br"}, 415),
        ({"content-encoding": "gzip"}, 400),
        ({"content-type": "application/json"}, 400),
    ],
)
def test_body_that_is_not_what_it_says(gateway, sink, headers, status):
    """A wrong content type or encoding is final, and the service goes on."""
    refused = _post(gateway, tracked("some_event", consent()), **headers)

    assert (refused.status_code, "retry-after" in refused.headers) == (status, False)
    assert _post(gateway, tracked("some_event", consent())).status_code == 200


@pytest.mark.parametrize("is_announced", [True, False])
def test_body_above_the_limit(config, sink, is_announced):
    """A body above the limit is refused, by its announced length before a byte is read."""
    content = bytes(100_001)
    with served_gateway(config(gateway_body_max_bytes=100_000)) as client:
        refused = client.post("/v1/logs", content=content if is_announced else iter([content]))
        taken = _post(client, tracked("some_event", consent()))

    assert (refused.status_code, taken.status_code) == (413, 200)


def test_event_that_posthog_refuses_is_a_partial_success(gateway, sink):
    """What PostHog refuses for good is told as rejected; the rest of the request arrives."""
    request = tracked("some_event", {"number": 11111, **consent()})
    request.MergeFrom(tracked("some_event", {"number": 2, **consent()}))
    sink.script([Fault(status=400, holding="11111", times=None)])

    answer = _post(gateway, request)

    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_log_records) == (200, 1)
    assert [event.properties["number"] for event in sink.events] == [2]


@pytest.mark.parametrize("status", [429, 500, 503, 401, 302])
def test_outage_is_turned_back_and_the_resend_is_taken(gateway, sink, status):
    """What PostHog does not take now is not acknowledged, and the same request later arrives once."""
    sink.script([Fault(status=status, times=1)])
    request = tracked("some_event", consent())

    first = _post(gateway, request)
    wait_until(lambda: _is_taken(gateway, request), timeout_s=WAIT_S)
    again = _post(gateway, request)

    assert (first.status_code, int(first.headers["retry-after"]) >= 1, again.status_code) == (503, True, 200)
    assert len(sink.events) == 1


def test_spool_is_acknowledged_and_outlives_the_gateway(config, sink, tmp_path):
    """With a folder for the spool an outage is acknowledged, and the next gateway delivers."""
    sink.script([Fault(status=503, times=None)])
    spooling = config(spool_dir=str(tmp_path / "spool"))
    with served_gateway(spooling) as client:
        assert _post(client, tracked("some_event", consent())).status_code == 200
    assert sink.events == []
    sink.script([])

    with served_gateway(spooling):
        sink.wait_for(count=1, timeout_s=WAIT_S)

    assert [event.name for event in sink.events] == ["some_event"]


def test_full_spool_turns_back_and_keeps_what_it_has(config, sink, tmp_path):
    """Where the spool has no room, new events are not acknowledged and all acknowledged ones arrive."""
    sink.script([Fault(status=503, times=None)])
    acknowledged, number = set(), 0
    with served_gateway(config(spool_dir=str(tmp_path / "spool"), spool_max_bytes=100_000)) as client:
        while True:
            text = "".join(chr(0x4E00 + (number * 7919 + at * 104729) % 20000) for at in range(40))
            request = tracked("some_event", {"number": number, "note": text, **consent()})
            if _post(client, request).status_code != 200:
                break
            acknowledged.add(number)
            number += 1
        sink.script([])
        wait_until(
            lambda: acknowledged <= {event.properties["number"] for event in sink.events}, timeout_s=WAIT_S
        )

    assert len(acknowledged) > 3


def test_more_requests_than_places(config, sink):
    """A request beyond the places is turned back at once, and its resend is taken."""
    sink.script([Fault(delay_s=1.0, times=1)])
    with (
        served_gateway(config(gateway_max_requests=1, http_timeout_s=30.0)) as client,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(_post, client, tracked("some_event", consent()))
        wait_until(lambda: client.get("/counts").json().get("requests") == 1, timeout_s=WAIT_S)
        second = _post(client, tracked("some_event", consent()))

        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert first.result(WAIT_S).status_code == 200


def test_same_event_under_way_twice_is_acknowledged_once(config, sink):
    """While an event is being sent, its resend is turned back: the first attempt may still fail."""
    sink.script([Fault(delay_s=1.0, times=1)])
    request = tracked("some_event", consent())
    with served_gateway(config(http_timeout_s=30.0)) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(_post, client, request)
        wait_until(lambda: client.get("/counts").json().get("requests") == 1, timeout_s=WAIT_S)
        second = _post(client, request)

        assert (second.status_code, first.result(WAIT_S).status_code) == (503, 200)
        assert _post(client, request).status_code == 200
    assert len(sink.events) == 1


def test_slow_body_gives_its_place_back(config, sink):
    """A client that dribbles its body is turned back after a while, and others are served."""
    settings = config(gateway_max_requests=1, gateway_read_timeout_s=0.3)
    with served_gateway(settings) as client, _connection(client) as slow:
        slow.sendall(_head(100_000) + b"x")
        wait_until(lambda: _is_taken(client, tracked("some_event", consent())), timeout_s=WAIT_S)

        assert slow.recv(1000).startswith(b"HTTP/1.1 503")


def test_client_that_leaves_gives_its_place_back(config, sink):
    """A client that goes in the middle of its body costs nothing."""
    with served_gateway(config(gateway_max_requests=1)) as client:
        with _connection(client) as leaving:
            leaving.sendall(_head(100_000) + b"x")
        wait_until(lambda: _is_taken(client, tracked("some_event", consent())), timeout_s=WAIT_S)


def _connection(client):
    return closing(socket.create_connection((client.base_url.host, client.base_url.port), WAIT_S))


def _head(length):
    lines = ["POST /v1/logs HTTP/1.1", "host: gateway", f"authorization: Bearer {TOKEN}"]
    lines += ["content-type: application/x-protobuf", f"content-length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def test_health_and_readiness(gateway, sink):
    """Alive at any time; ready unless what came now would be turned back."""
    assert [gateway.get(path).status_code for path in ("/health", "/ready")] == [204, 204]

    sink.script([Fault(status=503, retry_after="30", times=1)])
    _post(gateway, tracked("some_event", consent()))

    assert [gateway.get(path).status_code for path in ("/health", "/ready")] == [204, 503]


def test_counts_tell_what_became_of_requests(gateway, sink):
    """The counters say how many requests came, and what was sent, refused or without consent."""
    _post(gateway, tracked("some_event", consent()))
    _post(gateway, tracked("some_event", {}))
    _post(gateway, tracked("some_event", {}), **{"content-type": "text/plain"})

    assert gateway.get("/counts").json() == {"no_consent": 1, "refused_415": 1, "requests": 2, "sent": 1}


def test_threads_end_with_the_gateway(config, sink, tmp_path):
    """A gateway that was stopped leaves no thread of ours behind."""
    with served_gateway(config(spool_dir=str(tmp_path / "spool"))) as client:
        _post(client, tracked("some_event", consent()))

    assert [
        thread.name for thread in threading.enumerate() if thread.name.startswith("otel-posthog-drain")
    ] == []
