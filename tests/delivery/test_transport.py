"""One batch to PostHog over a real socket."""

from __future__ import annotations

import gzip
import inspect
import json
import logging
import socket
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from uuid import UUID

import pytest
from answering import answering
from posthog import capture_v1, request

from otel_posthog.delivery.answers import MAX_RETRY_AFTER_S, Result
from otel_posthog.delivery.connection import open_session
from otel_posthog.delivery.transport import PostHogTransport, WireBatch
from otel_posthog.testing.sink import SORTING_PATH

KEY = "phc_test_key_of_no_project"
EVENT = {"uuid": "u", "event": "something", "properties": {"text": "planted-in-body"}}
BATCH = WireBatch([json.dumps(EVENT)])


def _always():
    return True


@pytest.fixture
def posthog():
    with answering() as server:
        yield server


@pytest.fixture
def sessions():
    """Return the sessions that transports have opened, which would be closed if nothing referred to them."""
    opened = []
    yield opened
    for session in opened:
        session.close()


@pytest.fixture
def make_transport(sessions):
    made = []

    def make(host, timeout_s=5.0):
        transport = PostHogTransport(
            api_key=KEY,
            host=host,
            timeout_s=timeout_s,
            make_session=lambda: sessions.append(open_session()) or sessions[-1],
        )
        made.append(transport)
        return transport

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def transport(posthog, make_transport):
    return make_transport(posthog.url)


def test_variable_that_another_thread_removes_costs_nothing(posthog, sessions):
    """Requests reads all variables for each request, and fails if one of them has gone meanwhile."""
    session = open_session()
    sessions.append(session)
    outcomes = iter([KeyError("PYTEST_CURRENT_TEST"), KeyError("PYTEST_CURRENT_TEST"), None])
    merge = session.merge_environment_settings

    def merge_while_variables_go(*arguments):
        if (error := next(outcomes)) is not None:
            raise error
        return merge(*arguments)

    session.merge_environment_settings = merge_while_variables_go
    transport = PostHogTransport(api_key=KEY, host=posthog.url, timeout_s=5.0, make_session=lambda: session)

    assert transport.send(BATCH, _always).result is Result.ACCEPTED
    assert len(posthog.requests) == 1


def test_attempt_after_an_error_sends_the_whole_body(posthog, sessions):
    """An error that comes once the body was read costs nothing of it."""
    session = open_session()
    sessions.append(session)
    outcomes = iter([KeyError("late"), None])
    post = session.post

    def post_again(url, *, data, **options):
        if (error := next(outcomes)) is not None:
            data.read(10)
            raise error
        return post(url, data=data, **options)

    session.post = post_again
    transport = PostHogTransport(api_key=KEY, host=posthog.url, timeout_s=5.0, make_session=lambda: session)

    assert transport.send(BATCH, _always).result is Result.ACCEPTED
    [(*_, body)] = posthog.requests
    assert json.loads(gzip.decompress(body))["batch"] == [EVENT]


def test_posthogs_200_is_accepted(transport):
    """A 200 with PostHog's own body means that PostHog has taken the batch in."""
    assert transport.send(BATCH, _always).result is Result.ACCEPTED


def test_body_is_compressed_json(transport, posthog):
    """The body holds key, batch and the moment of sending, and nothing else."""
    transport.send(BATCH, _always)

    [(method, path, headers, body)] = posthog.requests
    sent = json.loads(gzip.decompress(body))
    assert (method, path, headers["content-encoding"]) == ("POST", "/batch/", "gzip")
    assert sent.keys() == {"api_key", "batch", "sent_at"}
    assert (sent["api_key"], sent["batch"]) == (KEY, [EVENT])
    assert abs(datetime.now(UTC) - datetime.fromisoformat(sent["sent_at"])) < timedelta(minutes=1)


def test_user_agent_is_ours(transport, posthog):
    """The request says who sends it, and not which Python or requests does."""
    transport.send(BATCH, _always)

    assert posthog.requests[0][2]["user-agent"] == f"otel-posthog/{version('otel-posthog')}"


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b"<html>Please log in</html>", Result.DOUBTFUL),
        (204, b"", Result.DOUBTFUL),
        (400, b"failed to parse request: no", Result.SPLIT),
        (400, b"no", Result.DOUBTFUL),
        (404, b"", Result.DOUBTFUL),
        (503, b'{"status": 1}', Result.RETRY),
    ],
)
def test_status_and_body_decide(transport, posthog, status, body, result):
    """An answer is judged by its status and its body together."""
    posthog.status, posthog.body = status, body

    delivery = transport.send(BATCH, _always)

    assert delivery.result is result
    assert f"status {status}" in delivery.reason


@pytest.mark.parametrize(
    ("header", "low_s", "high_s"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("-5", 0, 0),
        ("nan", 0, 0),
        ("soon", 0, 0),
        ("inf", MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
        ("99999999", MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_pause_in_seconds_is_passed_on(transport, posthog, header, low_s, high_s, status):
    """`Retry-After` counts as seconds, within bounds."""
    posthog.status, posthog.headers = status, {"Retry-After": header}

    assert low_s <= transport.send(BATCH, _always).retry_after_s <= high_s


@pytest.mark.parametrize(("hours", "low_s", "high_s"), [(1, 3000, 3600), (-1, 0, 0)])
@pytest.mark.parametrize("status", [429, 503])
def test_pause_until_a_date_is_passed_on(transport, posthog, hours, low_s, high_s, status):
    """`Retry-After` counts as a date, also one that has passed."""
    until = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    posthog.status, posthog.headers = status, {"Retry-After": until}

    assert low_s <= transport.send(BATCH, _always).retry_after_s <= high_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(transport, posthog, status):
    """A redirect is not followed, since the batch would be lost or go elsewhere, and is tried again."""
    posthog.status, posthog.headers = status, {"Location": f"{posthog.url}/elsewhere"}

    delivery = transport.send(BATCH, _always)

    assert delivery.result is Result.DOUBTFUL
    assert "redirect" in delivery.reason
    assert [path for _, path, _, _ in posthog.requests] == ["/batch/"]


def test_refused_connection_is_tried_again(make_transport):
    """Where nobody listens, the batch is kept for later."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    delivery = make_transport(f"http://127.0.0.1:{port}").send(BATCH, _always)

    assert (delivery.result, delivery.reason) == (Result.RETRY, "no answer (ConnectionError)")


def test_silence_is_tried_again(posthog, make_transport):
    """A server that does not answer in time keeps nobody waiting."""
    posthog.may_answer.clear()

    delivery = make_transport(posthog.url, timeout_s=0.1).send(BATCH, _always)

    assert (delivery.result, delivery.reason) == (Result.RETRY, "no answer (ReadTimeout)")


def test_connection_opens_again_after_closing(transport, posthog, sessions):
    """`close` closes the connection, and the next batch opens another one."""
    transport.send(BATCH, _always)
    transport.close()

    assert transport.send(BATCH, _always).result is Result.ACCEPTED
    assert (len(posthog.requests), posthog.connections, len(sessions)) == (2, 2, 2)
    sessions[0].get(posthog.url)
    assert posthog.connections == 3  # the first session has none left


def test_connection_is_used_again(transport, posthog):
    """One connection carries batch after batch, whatever the answers are."""
    for status in (200, 503, 404, 200):
        posthog.status = status
        transport.send(BATCH, _always)

    assert (len(posthog.requests), posthog.connections) == (4, 1)


@pytest.mark.parametrize(("status", "result"), [(200, Result.DOUBTFUL), (503, Result.RETRY)])
def test_endless_answer_is_not_read(transport, posthog, status, result):
    """An answer without an end, as of a wrong host, neither fills memory nor keeps the thread."""
    posthog.status, posthog.is_endless = status, True

    assert transport.send(BATCH, _always).result is result


def test_answer_that_drips_is_not_awaited(posthog, make_transport):
    """A body that comes byte by byte ends with the timeout, and confirms nothing."""
    posthog.headers, posthog.body, posthog.dripped = {"Content-Length": "250"}, b"", 250

    delivery = make_transport(posthog.url, timeout_s=0.2).send(BATCH, _always)

    assert (delivery.result, delivery.reason) == (Result.RETRY, "no answer (TimeoutError)")


def test_session_that_cannot_be_opened_raises_nothing(posthog, caplog):
    """An error before the request lets the batch wait, and the host's own requests are logged as before."""

    def fail():
        raise OSError("too many open files")

    transport = PostHogTransport(api_key=KEY, host=posthog.url, timeout_s=5.0, make_session=fail)

    delivery = transport.send(BATCH, _always)

    assert (delivery.result, delivery.reason) == (Result.RETRY, "no answer (OSError)")
    with caplog.at_level(logging.DEBUG, logger="posthog"), request._build_session() as session:
        request.batch_post(KEY, host=posthog.url, session=session, batch=[{"event": "of-the-host"}])
    assert "of-the-host" in caplog.text


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_answer_is_read(transport, posthog, compress):
    """PostHog's answer counts also if a proxy has compressed it."""
    posthog.headers = {"Content-Encoding": "gzip" if compress is gzip.compress else "deflate"}
    posthog.body = compress(posthog.body)

    assert transport.send(BATCH, _always).result is Result.ACCEPTED


def test_answer_that_unpacks_to_gigabytes_is_not_unpacked(transport, posthog):
    """A compressed response is unpacked within bounds, and the connection is used again."""
    posthog.headers = {"Content-Encoding": "gzip"}
    posthog.body = gzip.compress(bytes(20 * 1024**2))
    transport.send(BATCH, _always)
    tracemalloc.start()

    delivery = transport.send(BATCH, _always)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert delivery.result is Result.DOUBTFUL
    assert peak_bytes < 5 * 1024**2
    assert (len(posthog.requests), posthog.connections) == (2, 1)


@pytest.mark.parametrize("status", [200, 503])
def test_answer_that_breaks_off_confirms_nothing(transport, posthog, status):
    """If the connection ends within the answer's body the batch is tried again, as without an answer."""
    posthog.status, posthog.headers = status, {"Content-Length": "1000", "Connection": "close"}

    assert transport.send(BATCH, _always).result is Result.RETRY


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b'["no"]', {}), (b"no gzip at all", {"Content-Encoding": "gzip"})],
    ids=["no object", "cannot be unpacked"],
)
def test_pause_is_asked_for_whatever_the_body(transport, posthog, body, headers):
    """`Retry-After` counts even if the body is no JSON object, or not what its encoding says."""
    posthog.status, posthog.headers, posthog.body = 503, {"Retry-After": "7"} | headers, body

    assert transport.send(BATCH, _always).retry_after_s == 7


def test_child_process_opens_its_own_connection(transport, posthog, sessions):
    """After a fork the parent's connection is neither used nor closed."""
    transport.send(BATCH, _always)
    transport.after_fork()

    assert transport.send(BATCH, _always).result is Result.ACCEPTED
    assert posthog.connections == 2
    assert sessions[0].get(posthog.url).status_code == 200  # over the parent's
    assert posthog.connections == 2


def test_netrc_stays_at_home(transport, posthog, tmp_path, monkeypatch):
    """Credentials that the operator keeps for that host are not sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login planted password planted\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    transport.send(BATCH, _always)

    assert "authorization" not in posthog.requests[0][2]


def test_cookies_are_not_sent_back(transport, posthog):
    """A cookie that the server sets cannot tell installations apart."""
    posthog.headers = {"Set-Cookie": "id=planted; Path=/"}
    transport.send(BATCH, _always)

    transport.send(BATCH, _always)

    assert "cookie" not in posthog.requests[1][2]


def test_posthogs_debug_log_shows_no_body(transport, caplog):
    """Posthog's DEBUG lines print whole bodies, with the API key, so there are none for our requests."""
    with caplog.at_level(logging.DEBUG, logger="posthog"):
        transport.send(BATCH, _always)

    assert [record for record in caplog.records if record.name.startswith("posthog")] == []
    assert KEY not in caplog.text


def test_posthogs_debug_log_speaks_for_others(transport, posthog, caplog):
    """A host application that uses posthog itself keeps its DEBUG lines."""
    transport.send(BATCH, _always)

    with caplog.at_level(logging.DEBUG, logger="posthog"), request._build_session() as session:
        request.batch_post(KEY, host=posthog.url, session=session, batch=[{"event": "of-the-host"}])

    assert "of-the-host" in caplog.text


def test_repr_shows_no_key(transport):
    """The API key is not in the repr."""
    assert KEY not in repr(transport)


@pytest.mark.parametrize(
    ("host", "ingestion"),
    [
        ("https://eu.posthog.com", "https://eu.i.posthog.com"),
        ("https://us.posthog.com", "https://us.i.posthog.com"),
        ("https://posthog.example.org", "https://posthog.example.org"),
    ],
)
def test_app_address_leads_to_the_ingestion_host(host, ingestion):
    """Posthog's own function knows which host takes events in."""
    assert request.determine_server_host(host) == ingestion


def test_batch_post_takes_what_we_hand_it():
    """`posthog.request.batch_post` and what it calls have the parameters that we use."""
    assert list(inspect.signature(request.batch_post).parameters) == [
        "api_key",
        "host",
        "gzip",
        "timeout",
        "path",
        "kwargs",
    ]
    assert {"session", "kwargs"} <= inspect.signature(request.post).parameters.keys()
    assert list(inspect.signature(request.APIError).parameters) == ["status", "message", "retry_after"]


def test_no_byte_of_the_events_leaves_once_consent_is_gone(transport, posthog):
    """Where consent goes while the connection is made, the connection ends without a body (R4)."""
    delivery = transport.send(BATCH, lambda: False)

    assert delivery.result is Result.WITHDRAWN
    assert transport.send(BATCH, _always).result is Result.ACCEPTED
    assert len([body for *_request, body in posthog.requests if body]) == 1


def test_withdrawal_after_the_last_byte_is_too_late(transport, posthog):
    """Once the whole body has left, the answer decides: tried again, the events would arrive twice."""
    asked = []

    def once():
        asked.append("asked")
        return len(asked) == 1

    assert transport.send(BATCH, once).result is Result.ACCEPTED
    assert len(posthog.requests) == 1


UUIDS = [str(UUID(int=number)) for number in range(3)]
SEVERAL = WireBatch(
    [
        json.dumps(
            {
                "uuid": uuid,
                "event": "something",
                "distinct_id": "someone",
                "timestamp": "2026-01-02T03:04:05+00:00",
                "properties": {"$process_person_profile": False, "$lib": "otel-posthog", "number": 1},
            }
        )
        for uuid in UUIDS
    ]
)
REJECTION = (400, b"failed to parse request: no")


def test_rejected_batch_is_judged_event_by_event(transport, posthog):
    """If PostHog rejects a batch, its endpoint with a verdict for each event is asked about all of them."""
    results = {uuid: {"result": word} for uuid, word in zip(UUIDS, ("ok", "drop", "retry"), strict=True)}
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: (200, json.dumps({"results": results}).encode())}

    delivery = transport.send(SEVERAL, _always)

    assert delivery.result is Result.SORTED
    assert [*delivery.verdicts.values()] == [Result.ACCEPTED, Result.REFUSED, Result.RETRY]
    _, (_, path, headers, body) = posthog.requests
    sent = json.loads(gzip.decompress(body))
    assert (path, headers["authorization"]) == (SORTING_PATH, f"Bearer {KEY}")
    assert headers["posthog-sdk-info"] == f"otel-posthog/{version('otel-posthog')}"
    assert [event["uuid"] for event in sent["batch"]] == UUIDS
    assert sent["batch"][0]["options"] == {"process_person_profile": False}


@pytest.mark.parametrize("answer", [(404, b""), (405, b""), (501, b""), (200, b"<html>")], ids=repr)
def test_host_without_verdicts_is_asked_once(transport, posthog, answer):
    """Where that endpoint does not exist the batch is halved, and it is not asked for again."""
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: answer}

    deliveries = [transport.send(SEVERAL, _always) for _ in range(2)]

    assert [delivery.result for delivery in deliveries] == [Result.SPLIT, Result.SPLIT]
    assert [path for _, path, _, _ in posthog.requests] == ["/batch/", SORTING_PATH, "/batch/"]


VERDICTS = json.dumps({"results": {uuid: {"result": "ok"} for uuid in UUIDS}}).encode()


@pytest.mark.parametrize("status", [408, 429, 503])
def test_endpoint_that_fails_is_asked_again(transport, posthog, status):
    """If that endpoint fails once, the batch is tried again after the pause that it asks for."""
    posthog.headers = {"Retry-After": "7"}
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: (status, b"")}
    failed = transport.send(SEVERAL, _always)
    posthog.answers[SORTING_PATH] = (200, VERDICTS)

    sorted_now = transport.send(SEVERAL, _always)

    assert (failed.result, failed.retry_after_s) == (Result.RETRY, 7)
    assert sorted_now.result is Result.SORTED


def test_endpoint_that_does_not_answer_is_asked_again(transport, posthog):
    """If no answer comes from that endpoint once, the batch is tried again."""
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: (None, b"")}
    failed = transport.send(SEVERAL, _always)
    posthog.answers[SORTING_PATH] = (200, VERDICTS)

    assert (failed.result, failed.reason) == (Result.RETRY, "no answer (ConnectionError)")
    assert transport.send(SEVERAL, _always).result is Result.SORTED


def test_endpoint_that_keeps_failing_blocks_no_batch(transport, posthog):
    """If that endpoint fails again, batches are halved until it returns verdicts."""
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: (503, b"")}
    failed = [transport.send(SEVERAL, _always).result for _ in range(3)]
    posthog.answers[SORTING_PATH] = (200, VERDICTS)
    sorted_then = transport.send(SEVERAL, _always).result
    posthog.answers[SORTING_PATH] = (503, b"")

    assert failed == [Result.RETRY, Result.SPLIT, Result.SPLIT]
    assert sorted_then is Result.SORTED
    assert transport.send(SEVERAL, _always).result is Result.RETRY


@pytest.mark.parametrize("answer", [(400, b"no"), (401, b""), (413, b""), (302, b"")], ids=repr)
def test_endpoint_that_refuses_the_batch_is_asked_about_the_next(transport, posthog, answer):
    """Any other answer without verdicts halves the batch, and the next one may get verdicts."""
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: answer}
    refused = transport.send(SEVERAL, _always)
    posthog.answers[SORTING_PATH] = (200, VERDICTS)

    assert refused.result is Result.SPLIT
    assert transport.send(SEVERAL, _always).result is Result.SORTED


def test_verdicts_of_a_large_batch_are_read(transport, posthog):
    """An answer with as many verdicts as a batch may have events is read to its end."""
    uuids = [str(UUID(int=number)) for number in range(1000)]
    [event] = list(WireBatch(SEVERAL.texts[:1]))
    batch = WireBatch([json.dumps(event | {"uuid": uuid}) for uuid in uuids])
    results = {uuid: {"result": "warning", "details": "person_processing_disabled"} for uuid in uuids}
    posthog.answers = {"/batch/": REJECTION, SORTING_PATH: (200, json.dumps({"results": results}).encode())}

    assert len(transport.send(batch, _always).verdicts) == 1000


def test_single_event_needs_no_verdict(transport, posthog):
    """A rejection of one event is its verdict."""
    posthog.status, posthog.body = REJECTION

    assert transport.send(BATCH, _always).result is Result.SPLIT
    assert len(posthog.requests) == 1


def test_no_event_is_judged_after_a_withdrawal(transport, posthog):
    """If consent goes between both requests there is no second one."""
    posthog.status, posthog.body = REJECTION
    asked = []

    def until_answered():
        asked.append("asked")
        return len(posthog.requests) == 0

    assert transport.send(SEVERAL, until_answered).result is Result.WITHDRAWN
    assert len(posthog.requests) == 1


def test_parts_of_posthogs_client_that_ask_for_verdicts():
    """The private functions of `posthog.capture_v1` have the parameters that we use."""
    assert {"attempt", "request_id", "timeout", "sdk_info", "session"} <= inspect.signature(
        capture_v1._post_v1
    ).parameters.keys()
    assert [*inspect.signature(capture_v1._to_v1_event).parameters] == ["msg"]
    assert next(iter(inspect.signature(capture_v1._build_v1_batch_body).parameters)) == "events"
    assert capture_v1._parse_retry_after("7") == 7
    assert capture_v1._CAPTURE_V1_PATH == SORTING_PATH
