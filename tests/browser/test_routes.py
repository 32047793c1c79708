"""Reports of pages: whose they are, what of them is sent, and which are refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from asgi import client_of
from browser_reports import CHUNK_ID, OWN_PAGE, PATH, REPORT, report
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.testclient import TestClient
from waiting import wait_until

from otel_posthog import ScrubRule, ScrubRules, browser, settings_api
from otel_posthog.settings_api import Allowed
from otel_posthog.testing import Fault

WAIT_S = 30
VISITOR = {
    "Cookie": "session=visitor-cookie",
    "User-Agent": "visitor-agent/1.0",
    "Referer": "http://testserver/visitor-referer",
    "Accept-Language": "tlh",
    "X-Forwarded-For": "203.0.113.77",
}


def _in_the_api(telemetry, authorize=None):
    return Starlette(routes=[settings_api.mount(telemetry, authorize=authorize)])


def _alone(telemetry, authorize=None):
    return Starlette(routes=[browser.route(telemetry, authorize=authorize)])


def _in_fastapi(telemetry, authorize=None):
    return FastAPI(routes=[browser.route(telemetry, authorize=authorize)])


@pytest.fixture(params=[_in_the_api, _alone, _in_fastapi], ids=["settings-api", "alone", "fastapi"])
def host(request):
    """Return a function that makes a host application."""
    return request.param


@pytest.fixture
def reporting(make_telemetry):
    """Return a function that starts a `Telemetry` with error reports on, and returns it with a client."""

    def start(authorize=None, **options):
        telemetry = make_telemetry(**options)
        telemetry.start()
        telemetry.update_settings(enable_error_reporting=True)
        return telemetry, client_of(_in_the_api(telemetry, authorize))

    return start


def _send(client, content=REPORT, **headers):
    return client.post(PATH, json=content, headers={**OWN_PAGE, **headers})


def _arrived(sink, number=1):
    sink.wait_for(name="$exception", count=number, timeout_s=WAIT_S)
    return sink.events


def test_error_of_a_page_is_an_error_of_the_product(host, granted, sink):
    """A report is sent by the server under the installation's identity, as PostHog expects it (R33)."""
    answer = _send(client_of(host(granted)))

    [event] = _arrived(sink)
    first, cause = event.properties["$exception_list"]
    assert (answer.status_code, answer.content) == (204, b"")
    assert event.issues == ()
    assert event.distinct_id == str(granted.settings().instance_id)
    assert event.properties["source"] == "frontend"
    assert event.properties["$current_url"] == "http://host.invalid/runs/12"
    assert (event.properties["attempt"], event.properties["step"]) == (2, "render")
    assert (first["type"], first["value"]) == ("TypeError", "rows is undefined")
    assert (first["mechanism"]["type"], first["mechanism"]["handled"]) == ("generic", False)
    assert (cause["type"], cause["mechanism"]["source"]) == ("SyntaxError", "cause")
    assert first["stacktrace"]["frames"][-1] == {
        "platform": "web:javascript",
        "filename": "http://host.invalid/assets/index.js",
        "function": "Runs",
        "lineno": 12,
        "colno": 4080,
        "in_app": True,
        "chunk_id": CHUNK_ID,
    }


def test_resent_report_has_its_uuid_and_a_page_chooses_none(reporting, sink):
    """A resend is the same event, and no page can take the uuid of another event."""
    _, client = reporting()

    for _ in range(2):
        _send(client)
    _send(client, report("another"))

    uuids = {event.raw["uuid"] for event in _arrived(sink, 2)}
    assert len(uuids) == 2
    assert REPORT["uuid"] not in uuids


@pytest.mark.parametrize(
    ("headers", "message", "shown"),
    [
        (
            {"Host": "web:8000"},
            "web app failed at http://web:8000/x",
            "web app failed at http://host.invalid/x",
        ),
        ({"X-Forwarded-Host": "intranet.example"}, "no intranet.example/x", "no host.invalid/x"),
        ({"Origin": "https://intranet.example:8443"}, "at intranet.example:8443", "at host.invalid"),
    ],
    ids=["a word", "behind a proxy", "its origin"],
)
def test_names_of_the_server_are_withheld_as_names(reporting, sink, headers, message, shown):
    """A name without a dot is a word as well, and frames stay whole, whatever the server is called."""
    _, client = reporting()

    _send(client, report(message), **headers)

    [event] = _arrived(sink)
    first = event.properties["$exception_list"][0]
    assert first["value"] == shown
    assert {frame["platform"] for frame in first["stacktrace"]["frames"]} == {"web:javascript"}


def test_product_whose_pages_report_directly_takes_none(reporting, sink):
    """Where pages report to PostHog themselves, the door is closed."""
    _, client = reporting(browser_reports="direct")

    assert _send(client).status_code == 404


def test_origin_that_is_no_address_is_refused(reporting):
    """What a stranger writes there is compared as a text, and ends as a refusal."""
    _, client = reporting()

    assert client.post(PATH, json=REPORT, headers={"Origin": "http://["}).status_code == 403


def test_marker_of_a_test_error_is_sent(reporting, sink):
    """A test error of a page carries its marker, and no other property with `$` is accepted (R24)."""
    _, client = reporting()

    _send(client, report(properties={"$fastflow_frontend_test": True}))

    [event] = _arrived(sink)
    assert event.properties["$fastflow_frontend_test"] is True


def test_nothing_of_the_visitor_is_sent(reporting, sink):
    """Address, user agent, cookies, language, referrer, query and host name stay on the server (R33)."""
    telemetry, _ = reporting()
    client = TestClient(_in_the_api(telemetry), client=("198.51.100.42", 4711))

    _send(client, report("failed at http://testserver/x?coupon=WINTER-4711 for a@b.example"), **VISITOR)

    [event] = _arrived(sink)
    secrets = ("visitor", "tlh", "203.0.113", "198.51.100", "WINTER", "testserver", "a@b.example")
    assert [word for word in secrets if word in json.dumps(event.raw)] == []
    assert event.properties["$ip"] == "0.0.0.0"


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("https://cdn.example.com/lib/react.js?token=s3cret", "http://host.invalid/lib/react.js"),
        ("https://user:secret@testserver/a.js#x", "http://host.invalid/a.js"),
        ("chrome-extension://abcdefghijklmnop/content.js", "http://host.invalid/"),
        ("file:///home/wilhelmina/app/index.html", "http://host.invalid/"),
        ("http://[broken", "http://host.invalid/"),
        ("<anonymous>", "http://host.invalid/<anonymous>"),
    ],
)
def test_frames_name_no_other_origin(reporting, sink, filename, shown):
    """Of a file's address only the path remains, and of an extension's or a folder's not even that."""
    _, client = reporting()
    content = report()
    content["$exception_list"][0]["stacktrace"]["frames"][-1]["filename"] = filename

    _send(client, content)

    [event] = _arrived(sink)
    assert event.properties["$exception_list"][0]["stacktrace"]["frames"][-1]["filename"] == shown


def test_rules_hook_and_preview_are_those_of_the_server(reporting, sink):
    """The product's rules and its hook see a report, and the preview shows what waits (R33)."""
    seen = []

    def veto(event):
        seen.append(event.properties["$exception_list"][0]["value"])
        return None if "veto" in seen[-1] else event

    rules = ScrubRules(add=(ScrubRule("customer", r"Kunde-\d+"),))
    telemetry, client = reporting(scrub_rules=rules, before_send=veto)
    sink.script([Fault(status=503)])

    _send(client, report("veto Kunde-4711"))
    _send(client, report("kept of Kunde-4711"))

    wait_until(lambda: telemetry.preview().waiting.events, timeout_s=WAIT_S)
    [waiting] = telemetry.preview().waiting.events
    [event] = _arrived(sink)
    assert "Kunde-" not in "".join(seen)
    assert event.properties["$exception_list"][0]["value"] == "kept of [scrubbed:customer]"
    assert waiting.properties == event.properties


@pytest.mark.parametrize("flags", [{"enable_error_reporting": False}, {"enable_telemetry": True}])
def test_nothing_is_kept_while_error_reports_are_off(make_telemetry, sink, flags):
    """While error reports are off the answer is the same and nothing is kept, whatever comes later (R2)."""
    telemetry = make_telemetry()
    telemetry.start()
    telemetry.update_settings(**flags)
    client = client_of(_in_the_api(telemetry))

    off = _send(client, report("while off"))
    telemetry.update_settings(enable_error_reporting=True)
    on = _send(client, report("while on"))

    [event] = _arrived(sink)
    assert event.properties["$exception_list"][0]["value"] == "while on"
    assert (off.status_code, off.content, off.headers) == (on.status_code, on.content, on.headers)


def test_withdrawal_discards_reports_that_wait(reporting, sink):
    """A report that waits when consent is withdrawn is never sent, even if consent returns (R4)."""
    telemetry, client = reporting(batch_delay_s=60)
    _send(client, report("withdrawn"))

    telemetry.update_settings(enable_error_reporting=False)
    telemetry.update_settings(enable_error_reporting=True)
    _send(client, report("granted again"))

    assert telemetry.flush(WAIT_S)
    assert [event.properties["$exception_list"][0]["value"] for event in sink.events] == ["granted again"]


def test_report_is_accepted_while_consent_is_unknown(reporting, tmp_path, sink):
    """While the database is locked a report is held, and sent once the answer is yes again."""
    telemetry, client = reporting(database_timeout_s=0.3, consent_max_age_s=0.1)
    database = tmp_path / "data" / "app.db"

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        wait_until(lambda: telemetry.recent_consent() is None, timeout_s=WAIT_S)
        answer = _send(client)

    assert answer.status_code == 204
    assert len(_arrived(sink)) == 1


@pytest.mark.parametrize("headers", [{"Sec-GPC": "1"}, {"DNT": "1"}])
def test_wish_of_the_browser_is_honoured(reporting, sink, headers):
    """A browser that asks not to be tracked gets the same answer, and nothing of its report is kept."""
    telemetry, client = reporting()

    wished = _send(client, report("wished"), **headers)
    _send(client, report("other"), **dict.fromkeys(headers, "0"))

    [event] = _arrived(sink)
    assert telemetry.flush(WAIT_S)
    assert event.properties["$exception_list"][0]["value"] == "other"
    assert wished.status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://testserver.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    ],
)
def test_other_pages_are_refused(host, granted, sink, headers):
    """Only a page of this origin may report, even where changes of settings are open to programs."""
    answer = client_of(host(granted)).post(PATH, json=REPORT, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["detail"] == "Only pages of this site report errors here."
    assert granted.flush(WAIT_S)
    assert sink.events == []


@pytest.mark.parametrize("origin", ["http://testserver", "https://testserver"])
def test_own_page_without_fetch_metadata_is_accepted(reporting, sink, origin):
    """Over plain http a browser names only its origin; behind a proxy that is https."""
    _, client = reporting()

    answer = client.post(PATH, json=REPORT, headers={"Origin": origin})

    assert answer.status_code == 204
    assert len(_arrived(sink)) == 1


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 422),
        (b"{", "application/json", 422),
        (b'{"$exception_list": [], "$exception_list": []}', "application/json", 422),
        (b"[" * 40_000, "application/json", 422),
        (b" " * 65_537, "application/json", 413),
        (json.dumps(REPORT).encode(), "text/plain", 415),
        (json.dumps(REPORT).encode(), "application/x-www-form-urlencoded", 415),
    ],
)
def test_other_bodies_are_refused(host, granted, sink, content, kind, status):
    """A body that is no report, too large, or declared as something else is refused with a reason."""
    answer = client_of(host(granted)).post(PATH, content=content, headers={**OWN_PAGE, "Content-Type": kind})

    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    assert granted.flush(WAIT_S)
    assert sink.events == []


def test_body_without_a_length_is_read_up_to_the_limit(granted):
    """A body of unknown length is refused as soon as it is too large."""
    sent = []

    def endless():
        while len(sent) < 1_000:
            sent.append(1)
            yield b" " * 10_000

    answer = client_of(_alone(granted)).post(
        PATH, content=endless(), headers={**OWN_PAGE, "Content-Type": "application/json"}
    )

    assert answer.status_code == 413


def test_client_that_floods_takes_nothing_from_others(reporting, sink):
    """Each client has its own limit, an IPv6 network counts as one, and others are still heard (R16)."""
    telemetry, _ = reporting(browser_client_per_minute=2)
    app = _in_the_api(telemetry)

    def send_from(address):
        return _send(TestClient(app, client=(address, 4711))).status_code

    flood = [send_from("198.51.100.1") for _ in range(3)]
    network = [send_from(f"2001:db8::{number}") for number in range(3)]
    mapped = [send_from(f"::ffff:198.51.100.{number}") for number in (1, 3, 4, 5)]
    other = send_from("198.51.100.2")

    assert flood == network == [204, 204, 429]
    assert mapped == [429, 204, 204, 204]  # as they are known to a socket for both
    assert other == 204


def test_all_clients_together_have_a_limit(reporting):
    """However many clients there are, one worker takes only so many reports at once."""
    telemetry, _ = reporting(browser_per_minute=3)
    app = _in_the_api(telemetry)

    answers = [_send(TestClient(app, client=(f"198.51.100.{number}", 1))) for number in range(5)]

    assert [answer.status_code for answer in answers] == [204, 204, 204, 429, 429]
    assert answers[-1].headers["retry-after"] == "60"


def test_failure_that_repeats_is_counted(reporting, sink):
    """The same failure is reported only so often, as errors of the server are (R16)."""
    telemetry, client = reporting(error_burst=2)

    for _ in range(5):
        _send(client, report("again"))

    assert telemetry.flush(WAIT_S)
    assert len([event for event in sink.events if event.name == "$exception"]) == 2


@pytest.mark.parametrize(
    ("verdict", "status"), [(True, 204), (Allowed("user 7"), 204), (None, 401), (False, 403)]
)
def test_login_may_be_demanded(host, make_telemetry, verdict, status):
    """With `browser_reports_need` the hook of the host decides, and is asked for a user."""
    asked = []

    def authorize(_connection, need):
        asked.append(need)
        return verdict

    client = client_of(host(make_telemetry(browser_reports_need="user"), authorize))

    assert _send(client).status_code == status
    assert asked == ["user"]


def test_report_is_outside_of_the_requests_trace(reporting, sink):
    """The request that brings a report has not failed, so its trace is not named."""
    _, client = reporting()

    with TracerProvider().get_tracer("host").start_as_current_span("POST"):
        _send(client)

    [event] = _arrived(sink)
    assert "$trace_id" not in event.properties


def test_repeated_report_is_one_event(reporting, sink):
    """A report that the page sends again, since the answer was lost, is sent once."""
    telemetry, client = reporting()

    _send(client)
    _send(client)

    assert telemetry.flush(WAIT_S)
    assert len(sink.events) == 1
