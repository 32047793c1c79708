"""What the preview shows is what is sent, and showing it sends nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from contextlib import closing
from typing import Annotated, Literal

import pytest
from asgi import client_of
from starlette.applications import Starlette
from waiting import wait_until

from otel_posthog import Buckets, MaxChars, Range, Version, capture_exception, event, settings_api, track
from otel_posthog.config.settings import Config
from otel_posthog.delivery.dry_run import assumed, gate_granting
from otel_posthog.delivery.gate import Outcome
from otel_posthog.delivery.transport import PostHogTransport
from otel_posthog.registry.domains import canonical_json
from otel_posthog.testing import Fault

PREVIEW = "/api/settings/telemetry-preview"


@event("run_finished", why="to know", since="1.0")
class RunFinished:
    """A run ended."""

    success: bool
    trigger: Literal["manual", "webhook"]
    steps: Annotated[int, Range(0, 100)]
    seconds: Annotated[float, Buckets(0, 1, 60)]
    python: Version
    label: Annotated[str, MaxChars(30)]


def _hash(batch):
    return hashlib.sha256(canonical_json(batch).encode()).hexdigest()


def _received(sink):
    return [_hash(json.loads(request.decoded)["batch"]) for request in sink.requests if request.status == 200]


def _fail_and_track():
    track(
        RunFinished(
            success=True, trigger="manual", steps=3, seconds=7, python="3.11.4", label="alice@example.com"
        )
    )
    try:
        {}["password=planted"]
    except KeyError as error:
        capture_exception(error, properties={"step": "sync"})


def test_preview_of_what_waits_is_what_arrives(make_telemetry, sink):
    """The batches previewed during an outage have the SHA-256 of those the sink receives after it."""
    telemetry = make_telemetry(registry=[RunFinished], retry_initial_s=0.3)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    sink.script([Fault(status=503, times=None)])
    _fail_and_track()
    wait_until(lambda: len(telemetry.preview().waiting.events) == 2)

    shown = [_hash(request.batch) for request in telemetry.preview().waiting.requests]
    sink.script([])

    wait_until(lambda: len(_received(sink)) == 2)
    assert sorted(_received(sink)) == sorted(shown)
    assert not sink.contains("planted")


def test_preview_of_what_is_held_is_what_arrives(make_telemetry, sink, tmp_path):
    """The same holds for errors and events held while the database does not answer."""
    telemetry = make_telemetry(registry=[RunFinished], database_timeout_s=0.1, consent_max_age_s=0.2)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        _fail_and_track()
        wait_until(lambda: len(telemetry.preview().waiting.events) == 2)
        preview = telemetry.preview()

    shown = [_hash(request.batch) for request in preview.waiting.requests]
    wait_until(lambda: len(_received(sink)) == 2)
    assert sorted(_received(sink)) == sorted(shown)
    assert {state.reason for state in preview.status.values()} == {"store_unreadable"}


def test_samples_sent_are_the_samples_shown(make_telemetry, sink, sink_url):
    """The sample of each event, sent through the real transport, arrives with the same SHA-256."""
    telemetry = make_telemetry(registry=[RunFinished])
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    preview, row = telemetry.preview(), telemetry.settings()

    outcome = _gate(telemetry, row, sink_url).send(preview.samples.events)

    assert outcome is Outcome.SENT
    assert _received(sink) == [_hash(request.batch) for request in preview.samples.requests]
    assert [event.name for event in sink.events] == ["$exception", "exceptions_suppressed", "run_finished"]
    assert {event.distinct_id for event in sink.events} == {str(row.instance_id)}
    assert all(event.issues == () for event in sink.events)


def _gate(telemetry, row, sink_url):
    transport = PostHogTransport(api_key="phc_test_key_of_no_project", host=sink_url, timeout_s=5)
    return gate_granting(row, registry=telemetry.registry, config=Config.resolve({}, {}), transport=transport)


def test_request_shown_is_the_one_that_is_made(make_telemetry, sink):
    """Address, method, headers and size are those of the request that arrives."""
    telemetry = make_telemetry(registry=[RunFinished], retry_initial_s=0.3)
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    sink.script([Fault(status=503, times=None)])
    track(RunFinished(success=True, trigger="manual", steps=3, seconds=7, python="3.11", label="x"))
    previews = []

    def is_shown():
        previews.append(telemetry.preview())
        return previews[-1].waiting.events

    wait_until(is_shown)
    [shown] = previews[-1].waiting.requests
    sink.script([])

    wait_until(lambda: len(sink.events) == 1)
    made = sink.requests[-1]
    own = {name.lower(): value for name, value in shown.headers.items() if name != "Content-Length"}
    assert own.items() <= dict(made.headers).items()
    assert shown.url.endswith(made.path)
    assert shown.json_bytes == pytest.approx(len(made.decoded), abs=10)  # sent_at differs in length


def test_preview_while_undecided(make_telemetry, sink, tmp_path):
    """Before anybody has decided the preview shows a sample of each event, and writes and sends nothing."""
    telemetry = make_telemetry(registry=[RunFinished])
    reached = _connections_during(telemetry.preview)

    preview = telemetry.preview()

    names = [event["event"] for request in preview.samples.requests for event in request.batch]
    assert names == ["$exception", "exceptions_suppressed", "run_finished"]
    assert {state.reason for state in preview.status.values()} == {"undecided"}
    assert reached == []
    assert sink.requests == []
    assert list(tmp_path.iterdir()) == []


_recording: list[list[str]] = []


def _notice(event, arguments):
    if _recording and event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        _recording[-1].append(f"{event} {arguments!r}")


sys.addaudithook(_notice)


def _connections_during(call):
    """Return every connection and look-up of a name that the whole process makes meanwhile."""
    _recording.append([])
    call()
    return _recording.pop()


def test_preview_masks_the_key(make_telemetry):
    """The key is in neither headers nor body of what is shown."""
    preview = make_telemetry(api_key="phc_planted_planted_planted").preview()

    assert "planted" not in json.dumps(preview.to_json())


def test_preview_says_what_the_receiver_adds(make_telemetry):
    """Address, arrival time and what the project decides stand beside what is sent."""
    data = make_telemetry().preview().to_json()

    assert set(data["added_by_receiver"]) == {"address", "arrival time", "project settings"}
    assert data["next"] == {"events": "at most 0.02 s after each happened", "heartbeat": None}


def test_preview_is_for_admins(make_telemetry):
    """The endpoint asks the hook, and answers what `Telemetry.preview` returns."""
    telemetry = make_telemetry(registry=[RunFinished])

    def client(verdict):
        routes = [
            settings_api.mount(telemetry, authorize=lambda _connection, need: verdict and need == "admin")
        ]
        return client_of(Starlette(routes=routes))

    answer = client(True).get(PREVIEW)

    assert client(False).get(PREVIEW).status_code == 403
    assert [event["event"] for request in answer.json()["samples"] for event in request["body"]["batch"]] == [
        "$exception",
        "exceptions_suppressed",
        "run_finished",
    ]


def test_preview_keeps_to_what_was_agreed_to(make_telemetry):
    """With consent to less than the present version declares, the preview shows what leaves now."""
    small, large = make_telemetry(registry=[_Small]), make_telemetry(registry=[_Small, RunFinished])
    small.update_settings(enable_telemetry=True)

    names = [event["event"] for request in large.preview().samples.requests for event in request.batch]

    assert names == ["$exception", "exceptions_suppressed", "small"]


@event("small", why="to know", since="1.0")
class _Small:
    """Something small."""


def test_assumed_row_grants_both():
    """Where nobody has decided, consent is assumed, with a UUID that is kept nowhere."""
    first, second = assumed(None), assumed(None)

    assert (first.enable_error_reporting, first.enable_telemetry) == (True, True)
    assert first.instance_id != second.instance_id


def test_preview_for_a_collector_hides_tokens_and_names_who_sees_what(make_telemetry):
    """Address and headers are shown without the token, and the records with their consent."""
    telemetry = make_telemetry(
        registry=[RunFinished], send_to="collector", collector_headers="authorization=Bearer%20planted"
    )
    telemetry.update_settings(enable_telemetry=True)

    shown = telemetry.preview().to_json()

    [request, *_] = shown["samples"]
    assert (request["url"], request["headers"]["authorization"]) == ("http://localhost:4318/v1/logs", "…")
    [record, *_] = request["body"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert "posthog.instance_id" in {pair["key"] for pair in record["attributes"]}
    assert {event["event"] for event in request["body"]["batch"]} <= {"$exception", "exceptions_suppressed"}
    assert shown["added_by_receiver"]["address"].startswith("The Collector sees")
    assert "planted" not in json.dumps(shown)
