"""What each kind of answer means for the events of a batch."""

from __future__ import annotations

import json

import pytest

from otel_posthog.delivery.answers import MAX_RETRY_AFTER_S, Result, judged, verdicts

LOGIN = b"<!doctype html><title>Please log in</title>"
BAD_EVENTS = [
    b'failed to parse request: invalid type: string "planted"',
    b"failed to hydrate events from request: no",
    b"event submitted with an empty event name",
    b"event submitted without a distinct_id",
    b"maximum event size exceeded",
    b"maximum event size exceeded: too many bytes",
    b"invalid event could not be processed",
    b'{"type": "validation_error", "code": "invalid_payload", "detail": "planted", "attr": null}',
]
FOREIGN_BODIES = [
    b"",
    b"no",
    LOGIN,
    b'{"detail": "no"}',
    b'["no"]',
    b"null",
    b"[" * 100_000,
    b"\xff\xfe",
    b"failed to decode request: invalid GZIP data",  # which something on the way has changed
    LOGIN + BAD_EVENTS[0],
]
# All but 200, 400, 408, 413, 429 and 5xx.
ANYBODYS = [0, 100, 201, 202, 204, 302, 304, 308, *range(401, 408), 409, 410, 415, 421, 422, 425, 451, 499]


@pytest.mark.parametrize(
    "body", [b'{"status": 1}', b'{"status":"Ok"}', b'{"status": 1, "quota_limited": []}']
)
def test_posthogs_confirmation(body):
    """Both forms in which PostHog accepts a batch count as sent."""
    assert judged(200, body, events=2).result is Result.ACCEPTED


@pytest.mark.parametrize(
    "body",
    [
        *FOREIGN_BODIES,
        *BAD_EVENTS,
        b'{"status": 0}',
        b'{"status": "0"}',
        b'{"status": true}',
        b'{"status": 1.5}',
        b'{"status": ["Ok"]}',
        b'{"results": {}}',
        b"{}",
    ],
)
def test_any_other_200_confirms_nothing(body):
    """A 200 without PostHog's confirmation lets the events wait."""
    assert judged(200, body, events=2).result is Result.DOUBTFUL


def test_login_page_is_named():
    """The reason says that a web page came in place of PostHog's answer, and what to check."""
    delivery = judged(200, LOGIN, events=1)

    assert "web page" in delivery.reason
    assert "proxy" in delivery.advice


@pytest.mark.parametrize("events", [1, 2])
def test_quota(events):
    """A 200 that says that the project has reached its quota is no confirmation."""
    assert judged(200, b'{"status": 1, "quota_limited": ["events"]}', events=events).result is Result.QUOTA


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("body", BAD_EVENTS)
def test_posthogs_rejection(status, body):
    """PostHog's own word on a bad event is believed, and nothing that may quote the event is repeated."""
    delivery = judged(status, body, events=1)

    assert delivery.result is Result.SPLIT
    assert f"status {status}, " in delivery.reason
    assert "planted" not in delivery.reason


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("body", FOREIGN_BODIES)
def test_rejection_by_something_else(status, body):
    """Without PostHog's body a rejection of one event lets it wait."""
    assert judged(status, body, events=1).result is Result.DOUBTFUL


def test_limit_of_a_proxy():
    """A proxy that limits the size of requests gets smaller ones, down to a single event."""
    assert judged(413, LOGIN, events=2).result is Result.SPLIT
    assert judged(400, LOGIN, events=2).result is Result.DOUBTFUL


@pytest.mark.parametrize("status", ANYBODYS)
@pytest.mark.parametrize("body", [b'{"status": 1}', LOGIN, b"API key is not valid: no"])
def test_answers_that_anything_may_give(status, body):
    """Every other status lets the events wait, whatever its body is."""
    delivery = judged(status, body, events=1)

    assert delivery.result is Result.DOUBTFUL
    assert f"status {status}" in delivery.reason
    assert delivery.advice


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "POSTHOG_API_KEY"), (403, "firewall"), (404, "host setting"), (407, "proxy"), (302, "proxy")],
)
def test_advice_names_the_likely_cause(status, word):
    """The advice names what is most likely wrong."""
    assert word in judged(status, b"", events=1).advice


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 511, 599])
def test_trouble_of_a_server(status):
    """A server's own trouble is tried again after the pause that it asks for."""
    delivery = judged(status, b"", events=1, retry_after_s=7)

    assert (delivery.result, delivery.retry_after_s) == (Result.RETRY, 7)


@pytest.mark.parametrize(("asked_s", "pause_s"), [(None, 0), (-5, 0), (10**9, MAX_RETRY_AFTER_S)])
def test_pause_has_bounds(asked_s, pause_s):
    """A pause is neither negative nor longer than a day."""
    assert judged(503, b"", events=1, retry_after_s=asked_s).retry_after_s == pause_s


def test_verdicts():
    """Each verdict of the newer endpoint is read; an unknown one means that the event is sent again."""
    given = {
        "a": {"result": "ok"},
        "b": {"result": "warning", "details": "person_processing_disabled"},
        "c": {"result": "drop", "details": "event_too_big"},
        "d": {"result": "drop", "details": "billing_limit_exceeded"},
        "e": {"result": "retry", "details": "not_persisted"},
        "f": {"result": "later"},
        "g": {},
        "h": "ok",
    }

    assert verdicts(200, json.dumps({"results": given}).encode()) == {
        "a": Result.ACCEPTED,
        "b": Result.ACCEPTED,
        "c": Result.REFUSED,
        "d": Result.QUOTA,
        "e": Result.RETRY,
        "f": Result.RETRY,
        "g": Result.RETRY,
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [*((200, body) for body in FOREIGN_BODIES), (200, b'{"results": []}'), (201, b'{"results": {}}')],
)
def test_answer_without_verdicts(status, body):
    """Any other answer has no verdicts."""
    assert verdicts(status, body) is None
