"""Security headers on an application's answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from waiting import wait_until

from otel_posthog import ConfigError, OtelPosthogError, SecurityHeaders, csp_nonce
from otel_posthog.middleware.security import DEFAULT_POLICY

EU = "https://eu.posthog.com"
ASSETS = "https://eu-assets.i.posthog.com"
CONNECT = f"https://eu.i.posthog.com https://eu.posthog.com {ASSETS}"
POLICY = "content-security-policy"


def _app(*headers, status=200, body="fine"):
    """Return an application whose answers carry these headers."""

    async def answer(_request):
        response = PlainTextResponse(body, status)
        response.raw_headers += [(name.encode(), value.encode()) for name, value in headers]
        return response

    return Starlette(routes=[Route("/", answer)])


@pytest.fixture
def secured(make_telemetry):
    """Return a function that serves an application with security headers, and says by which telemetry."""

    def secure(app, headers=None, *, base_url="http://testserver", **options):
        given = {"host": EU, "browser_reports": "direct", "security_headers": headers or SecurityHeaders()}
        telemetry = make_telemetry(**given, **options)
        telemetry.start()
        return TestClient(telemetry.wrap(app), base_url=base_url, raise_server_exceptions=False), telemetry

    return secure


def test_defaults_are_safe(secured):
    """By default a page loads from its own origin, runs no inline script, and is framed by nobody."""
    client, _ = secured(_app(), base_url="https://testserver")

    headers = client.get("/").headers

    assert headers[POLICY] == DEFAULT_POLICY
    assert "script-src 'self';" in DEFAULT_POLICY
    assert "frame-ancestors 'none'" in DEFAULT_POLICY
    assert "unsafe-eval" not in DEFAULT_POLICY
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_strict_transport_security_needs_https(secured):
    """Over plain http the header is not sent (RFC 6797, section 7.2)."""
    client, _ = secured(_app())

    assert "strict-transport-security" not in client.get("/").headers


def test_headers_are_the_products_choice(make_telemetry):
    """Without `security_headers` no answer changes, whatever is granted."""
    telemetry = make_telemetry(host=EU)
    telemetry.update_settings(enable_error_reporting=True)
    app = _app((POLICY, "connect-src 'none'"))

    answer = TestClient(telemetry.wrap(app)).get("/")

    assert answer.headers.raw == TestClient(app).get("/").headers.raw


def test_headers_do_not_depend_on_consent(secured):
    """With both kinds denied the headers are sent all the same, without PostHog's hosts."""
    client, telemetry = secured(_app())
    telemetry.update_settings(is_setup_completed=True)

    assert client.get("/").headers[POLICY] == DEFAULT_POLICY


def test_posthogs_hosts_come_with_error_reporting(secured):
    """While error reports are on the policy lets PostHog's hosts in (R25)."""
    client, telemetry = secured(_app())
    telemetry.update_settings(enable_error_reporting=True)

    policy = client.get("/").headers[POLICY]

    assert f"script-src 'self' {ASSETS};" in policy
    assert f"connect-src 'self' {CONNECT};" in policy


def test_posthogs_hosts_do_not_come_with_telemetry(secured):
    """Product events are sent by the server, so they open no policy (R25)."""
    client, telemetry = secured(_app())
    telemetry.update_settings(enable_telemetry=True)

    assert client.get("/").headers[POLICY] == DEFAULT_POLICY


def test_posthogs_hosts_go_with_the_withdrawal(secured):
    """The first answer after the withdrawal is closed again (R25)."""
    client, telemetry = secured(_app())
    telemetry.update_settings(enable_error_reporting=True)
    assert ASSETS in client.get("/").headers[POLICY]

    telemetry.update_settings(enable_error_reporting=False)

    assert client.get("/").headers[POLICY] == DEFAULT_POLICY


def test_posthogs_hosts_go_within_a_second_of_a_withdrawal_by_sql(secured, database_url):
    """A flag changed in the database closes the policy within a second, also after an idle time (R25)."""
    client, telemetry = secured(_app())
    telemetry.update_settings(enable_error_reporting=True)

    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE system_settings SET enable_error_reporting = 0 WHERE id = 1")
    withdrawn_s = time.monotonic()
    wait_until(lambda: time.monotonic() - withdrawn_s > telemetry.config.consent_max_age_s)

    assert client.get("/").headers[POLICY] == DEFAULT_POLICY


def test_posthogs_hosts_stay_while_nothing_changes(secured):
    """While error reports are on no answer is closed because a look at the database is due."""
    client, telemetry = secured(_app())
    telemetry.update_settings(enable_error_reporting=True)
    began_s = time.monotonic()
    closed = []

    while time.monotonic() - began_s < 3 * telemetry.config.consent_max_age_s:
        closed += [answer for answer in (client.get("/"),) if ASSETS not in answer.headers[POLICY]]

    assert closed == []


def test_applications_own_header_stays(secured):
    """A header that the application sends is not replaced, whatever its case."""
    client, _ = secured(_app(("Referrer-Policy", "no-referrer"), ("X-CONTENT-TYPE-OPTIONS", "nosniff")))

    headers = client.get("/").headers

    assert headers.get_list("referrer-policy") == ["no-referrer"]
    assert headers.get_list("x-content-type-options") == ["nosniff"]


def test_applications_own_policies_are_opened(secured):
    """Each policy of the application, enforced or report-only, lets PostHog in, and ours is not added."""
    client, telemetry = secured(
        _app(
            ("Content-Security-Policy", "default-src 'none'"),
            (POLICY, "connect-src 'self'"),
            (f"{POLICY}-report-only", "connect-src 'none'"),
        )
    )
    telemetry.update_settings(enable_error_reporting=True)

    headers = client.get("/").headers

    assert headers.get_list(POLICY) == [
        f"default-src 'none'; script-src {ASSETS}; connect-src {CONNECT}",
        f"connect-src 'self' {CONNECT}",
    ]
    assert headers.get_list(f"{POLICY}-report-only") == [f"connect-src {CONNECT}"]


def test_applications_own_policy_is_as_it_was_while_off(secured):
    """Without error reports the application's policy passes byte for byte."""
    client, _ = secured(_app((POLICY, " Default-Src  'self' ;; ")))

    assert client.get("/").headers.raw.count((POLICY.encode(), b" Default-Src  'self' ;; ")) == 1


def test_policy_can_be_left_to_the_application(secured):
    """Without a policy of ours the application's own is still opened, and none is made up."""
    headers = SecurityHeaders(content_security_policy=None)
    silent, _ = secured(_app(), headers)
    client, telemetry = secured(_app((POLICY, "connect-src 'self'")), headers)
    telemetry.update_settings(enable_error_reporting=True)

    assert POLICY not in silent.get("/").headers
    assert client.get("/").headers[POLICY] == f"connect-src 'self' {CONNECT}"


def test_report_only_blocks_nothing(secured):
    """In report-only mode the policy goes under the other name, and PostHog's hosts are in it."""
    client, telemetry = secured(_app(), SecurityHeaders(is_report_only=True))
    telemetry.update_settings(enable_error_reporting=True)

    headers = client.get("/").headers

    assert POLICY not in headers
    assert ASSETS in headers[f"{POLICY}-report-only"]


def test_report_only_policy_of_the_application_does_not_replace_ours(secured):
    """A trial of the application does not take the enforced policy away."""
    client, _ = secured(_app((f"{POLICY}-report-only", "default-src *")))

    assert client.get("/").headers[POLICY] == DEFAULT_POLICY


def test_nonce_is_in_the_policy_of_its_answer(secured):
    """A page that asks for a nonce may run the scripts that carry it; each answer has its own."""
    page = Starlette(routes=[Route("/", lambda _request: HTMLResponse(csp_nonce() + csp_nonce()))])
    client, telemetry = secured(page)
    telemetry.update_settings(enable_error_reporting=True)

    answers = [client.get("/"), client.get("/")]

    nonces = []
    for answer in answers:
        nonce = answer.text[: len(answer.text) // 2]
        assert answer.text == nonce * 2
        assert f"script-src 'self' {ASSETS} 'nonce-{nonce}';" in answer.headers[POLICY]
        nonces.append(nonce)
    assert len(set(nonces)) == len(answers)


def test_answer_without_a_nonce_has_none_in_its_policy(secured):
    """A page that asks for no nonce is not given one."""
    client, _ = secured(_app())

    assert "nonce" not in client.get("/").headers[POLICY]


def test_nonce_outside_of_a_request_says_what_to_do(granted):
    """The helper says how it is used, also in an application without security headers."""
    bare = TestClient(granted.wrap(Starlette(routes=[Route("/", lambda _request: Response(csp_nonce()))])))

    with pytest.raises(OtelPosthogError, match="security_headers"):
        csp_nonce()
    with pytest.raises(OtelPosthogError, match="security_headers"):
        bare.get("/")


def test_wrapping_twice_sets_each_header_once(make_telemetry):
    """Headers are not doubled where two wraps of one application set them."""
    telemetry = make_telemetry(host=EU, browser_reports="direct", security_headers=SecurityHeaders())
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    client = TestClient(telemetry.wrap(telemetry.wrap(_app())))
    wait_until(lambda: ASSETS in client.get("/").headers[POLICY])

    headers = client.get("/").headers

    assert len(headers.raw) == len(dict(headers.raw))
    assert headers[POLICY].count(ASSETS) == 2  # in script-src and connect-src


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_every_final_answer_is_secured(secured, status):
    """Headers are set whatever the status."""
    client, _ = secured(_app(status=status, body=""))

    assert client.get("/").headers["x-content-type-options"] == "nosniff"


def test_streaming_is_not_held_back(secured):
    """Headers are set and each part of a stream passes when it is sent."""
    sent = []

    async def parts():
        for number in range(3):
            sent.append(number)
            yield str(number)

    app = Starlette(routes=[Route("/", lambda _request: StreamingResponse(parts()))])
    _, telemetry = secured(app)
    seen = []

    async def send(message):
        seen.append((message["type"], len(sent)))

    async def receive():
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(telemetry.wrap(app)(scope, receive, send))

    assert seen[:4] == [
        ("http.response.start", 0),
        ("http.response.body", 1),
        ("http.response.body", 2),
        ("http.response.body", 3),
    ]


def test_informational_answers_pass(secured):
    """An answer below 200 is followed by the real one, and stays as it is."""
    early = {"type": "http.response.start", "status": 103, "headers": [(b"link", b"</a.css>")]}

    async def app(_scope, _receive, send):
        await send(early)

    _, telemetry = secured(app)
    seen = []

    async def send(message):
        seen.append(message)

    asyncio.run(telemetry.wrap(app)({"type": "http"}, None, send))

    assert seen == [early]


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "ünicode", "", "  ", "tab\t"])
def test_value_that_no_header_can_hold_is_refused(value):
    """A bad value is an error that names it, when the product is put together."""
    with pytest.raises(ConfigError, match="referrer_policy"):
        SecurityHeaders(referrer_policy=value)
