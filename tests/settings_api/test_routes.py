"""The settings API under Starlette, under FastAPI and alone."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import httpx2
import pytest
from asgi import client_of
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import Response
from starlette.routing import Mount
from waiting import wait_until

from otel_posthog import settings_api, track
from otel_posthog.errors import ConfigError
from otel_posthog.testing import serve

SYSTEM = "/api/settings/system"
STATUS = "/api/settings/telemetry-status"
TRIGGER = "/api/settings/trigger-test-exception"


PROTECTED = [("GET", SYSTEM), ("PUT", SYSTEM), ("POST", TRIGGER)]
CHANGING = [("PUT", SYSTEM), ("PUT", "/api/settings/consent"), ("POST", TRIGGER)]


def _everybody(_connection, _need):
    return True


def _starlette(telemetry, authorize):
    return Starlette(routes=[settings_api.mount(telemetry, authorize=authorize)])


def _fastapi(telemetry, authorize):
    return FastAPI(routes=[settings_api.mount(telemetry, authorize=authorize)])


def _alone(telemetry, authorize):
    return Starlette(routes=[Mount("/api/settings", app=settings_api.app(telemetry, authorize=authorize))])


@pytest.fixture(params=[_starlette, _fastapi, _alone], ids=["starlette", "fastapi", "alone"])
def host(request):
    """Return a function that makes a host application."""
    return request.param


@pytest.fixture
def client(host, telemetry):
    """Return a client whom the host takes for an admin."""
    return client_of(host(telemetry, _everybody))


def test_page_may_report_errors_while_they_are_on(make_telemetry):
    """A page is told yes exactly while error reports are on and there is a key to send them with."""
    telemetry, keyless = make_telemetry(), make_telemetry(api_key=None)
    answers = []
    for flag in (False, True, False):
        for one in (telemetry, keyless):
            one.update_settings(enable_error_reporting=flag)
            answers.append(asyncio.run(settings_api.may_report_errors(one)))

    assert answers == [False, False, True, False, False, False]


def test_flags_are_false_at_first(client):
    """A new installation has granted nothing (R1, R8)."""
    answer = client.get(SYSTEM)

    assert answer.status_code == 200
    assert answer.json() == {
        "is_setup_completed": False,
        "enable_error_reporting": False,
        "enable_telemetry": False,
    }


def test_put_changes_what_it_names(client):
    """PUT changes the named flags, keeps the others and returns the new state (R9)."""
    client.put(SYSTEM, json={"enable_telemetry": True})

    answer = client.put(SYSTEM, json={"is_setup_completed": True})

    assert answer.json() == {
        "is_setup_completed": True,
        "enable_error_reporting": False,
        "enable_telemetry": True,
    }
    assert client.get(SYSTEM).json() == answer.json()


def test_put_that_withdraws_discards_what_waits(host, make_telemetry, sink):
    """What was queued before a PUT switched a flag off never arrives, even if it is on again at once (R4)."""
    telemetry = make_telemetry(batch_delay_s=60)
    telemetry.start()
    client = client_of(host(telemetry, _everybody))
    client.put(SYSTEM, json={"enable_telemetry": True})
    track("queued")

    client.put(SYSTEM, json={"enable_telemetry": False})
    client.put(SYSTEM, json={"enable_telemetry": True})

    assert telemetry.flush()
    assert sink.requests == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"enable_telemetry": True, "enable_replay": True}, "enable_replay"),
        ({"enable_telemetry": "yes"}, "enable_telemetry must be true or false"),
        ({"enable_telemetry": 1}, "must be true or false, not int"),
        ({"enable_telemetry": None}, "must be true or false"),
        ([True], "Send an object"),
    ],
)
def test_put_refuses_what_it_does_not_know(client, body, told):
    """Unknown fields and wrong types are 422 with a clear message and change nothing (R9)."""
    answer = client.put(SYSTEM, json=body)

    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert client.get(SYSTEM).json()["enable_telemetry"] is False


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"\xff", "application/json", 422),
        (b"[" * 4000, "application/json", 422),
        (b"{}" + b" " * 5000, "application/json", 413),
        (b"enable_telemetry=true", "application/x-www-form-urlencoded", 415),
    ],
)
def test_put_refuses_other_bodies(client, content, kind, status):
    """A body that is no JSON, too large or declared as something else is refused with a reason."""
    answer = client.put(SYSTEM, content=content, headers={"content-type": kind})

    assert answer.status_code == status
    assert answer.json()["detail"]


def test_status_hands_out_the_key_only_while_errors_are_on(client, sink_url):
    """Without login one learns whether errors may be reported, and the key only if so (R7)."""
    before = client.get(STATUS).json()
    client.put(SYSTEM, json={"enable_error_reporting": True})

    after = client.get(STATUS).json()

    assert before == {
        "enable_error_reporting": False,
        "posthog_api_key": None,
        "posthog_host": sink_url,
        "browser_reports": "server",
    }
    assert after["enable_error_reporting"] is True
    assert after["posthog_api_key"].startswith("phc_")


def test_status_is_off_when_the_database_fails(host, make_telemetry, tmp_path):
    """Database trouble answers `false`, never a 500 (R7)."""
    sqlite3.connect(tmp_path / "empty.db").close()
    telemetry = make_telemetry(database=f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")
    client = client_of(host(telemetry, None))

    answer = client.get(STATUS)

    assert answer.status_code == 200
    assert answer.json()["enable_error_reporting"] is False


def test_status_of_a_worker_whose_last_read_is_stale(make_telemetry):
    """A worker that has not read the row for long asks again before it says yes (R7)."""
    max_age_s = 0.1
    idle, other = (make_telemetry(consent_max_age_s=max_age_s) for _ in range(2))
    client = client_of(_starlette(idle, None))
    idle.update_settings(enable_error_reporting=True)
    granted_at_s = time.monotonic()
    other.update_settings(enable_error_reporting=False)
    wait_until(lambda: time.monotonic() - granted_at_s > max_age_s)

    answer = client.get(STATUS)

    assert answer.json()["enable_error_reporting"] is False


def test_status_needs_no_thread_for_each_caller(make_telemetry, tmp_path):
    """While the database hangs, many callers are answered without a thread for each (R7)."""
    telemetry = make_telemetry(database_timeout_s=0.3, consent_max_age_s=0.1)
    telemetry.settings()
    app = settings_api.app(telemetry)

    async def ask_often():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://host") as client:
            answers = await asyncio.gather(*[client.get("/telemetry-status") for _ in range(50)])
        return {answer.json()["enable_error_reporting"] for answer in answers}, set(threading.enumerate())

    before = set(threading.enumerate())
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        answers, threads = asyncio.run(ask_often())

    assert answers == {False}
    assert len(threads - before) <= 1


def test_system_says_what_to_do_when_the_database_fails(host, make_telemetry, tmp_path):
    """An admin whose database fails gets a 503 that says so."""
    sqlite3.connect(tmp_path / "empty.db").close()
    telemetry = make_telemetry(database=f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")
    client = client_of(host(telemetry, _everybody))

    answer = client.put(SYSTEM, json={"enable_telemetry": True})

    assert answer.status_code == 503
    assert "The change is not confirmed" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_without_a_hook_everybody_is_refused(host, make_telemetry, method, path):
    """Without hooks the protected endpoints refuse everybody (R11)."""
    client = client_of(host(make_telemetry(environment="development", environ={"DO_NOT_TRACK": "1"}), None))

    answer = client.request(method, path, json={} if method == "PUT" else None)

    assert answer.status_code == 403


async def _async_no(_connection, _need):
    return False


def _raises(_connection, _need):
    raise KeyError("planted-in-the-hook")


def _truthy_but_not_true(_connection, _need):
    return "admin"


@pytest.mark.parametrize("hook", [lambda _c, _n: False, _async_no, _raises, _truthy_but_not_true])
def test_everything_but_yes_is_no(host, telemetry, hook):
    """A hook that says no, fails or answers something else refuses (R11)."""
    client = client_of(host(telemetry, hook))

    answer = client.put(SYSTEM, json={"enable_telemetry": True})

    assert answer.status_code == 403
    assert "planted" not in answer.text
    assert telemetry.settings().enable_telemetry is False


async def _async_nobody(_connection, _need):
    return None


@pytest.mark.parametrize("hook", [lambda _connection: None, _async_nobody])
@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_nobody_signed_in_is_401(host, make_telemetry, hook, method, path):
    """A hook that returns None says that nobody is signed in, which is 401 and changes nothing."""
    telemetry = make_telemetry(environment="development", environ={"DO_NOT_TRACK": "1"})
    client = client_of(host(telemetry, hook))

    answer = client.request(method, path, json={"enable_telemetry": True} if method == "PUT" else None)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"]
    assert telemetry.settings().enable_telemetry is False


async def _async_yes(_connection, _need):
    return True


@pytest.mark.parametrize("hook", [_everybody, _async_yes, lambda _connection: True, lambda *_both: True])
def test_hooks_may_be_sync_async_and_short(host, telemetry, hook):
    """A hook may be async or sync, with or without the need as second argument."""
    client = client_of(host(telemetry, hook))

    assert client.get(SYSTEM).status_code == 200


def test_hook_may_answer_with_the_frameworks_exception(host, telemetry):
    """A hook that raises HTTPException decides status and headers itself."""

    def hook(_connection, _need):
        raise HTTPException(401, "Log in first", {"WWW-Authenticate": "Bearer"})

    answer = client_of(host(telemetry, hook)).get(SYSTEM)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_hook_sees_the_hosts_session(telemetry):
    """The hook gets the connection as the host's own middleware has prepared it."""
    seen = []

    def hook(connection, need):
        seen.append((connection.session, need))
        return True

    routes = [settings_api.mount(telemetry, authorize=hook)]
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="not-a-secret")])

    client_of(app).get(SYSTEM)

    assert seen == [({}, "admin")]


def test_trigger_exists_in_development_only(client):
    """Outside development there is no test exception (R10)."""
    assert client.post(TRIGGER).status_code == 404


def test_trigger_sends_a_marked_exception(host, make_telemetry, sink):
    """In development a logged-in user gets a marked exception through the normal path (R10)."""
    needs = []

    def hook(_connection, need):
        needs.append(need)
        return True

    telemetry = make_telemetry(environment="development", marker_prefix="acme")
    telemetry.start()
    sink.wait_for(count=1)
    telemetry.update_settings(enable_error_reporting=True)

    answer = client_of(host(telemetry, hook)).post(TRIGGER)

    assert answer.json() == {"is_reported": True}
    assert needs == ["user"]
    assert telemetry.flush()
    assert sink.events[-1].properties["$acme_backend_test"] is True


def test_trigger_obeys_consent(host, make_telemetry, sink):
    """Without consent the test exception stays, and the answer says so (R10)."""
    telemetry = make_telemetry(environment="development")
    telemetry.start()
    sink.wait_for(count=1)

    answer = client_of(host(telemetry, _everybody)).post(TRIGGER)

    assert answer.json() == {"is_reported": False}
    assert telemetry.flush()
    assert len(sink.events) == 1


def test_delivery_shows_what_became_of_what_was_accepted(host, make_telemetry, sink):
    """An admin reads for each kind what was accepted, sent and dropped, and others do not."""
    telemetry = make_telemetry()
    telemetry.update_settings(enable_telemetry=True)
    with telemetry:
        track("sync_completed")
        sink.wait_for(count=1)
        wait_until(lambda: telemetry.delivery().get("sent") == 1)

        answer = client_of(host(telemetry, _everybody)).get("/api/settings/delivery")
        refused = client_of(host(telemetry, None)).get("/api/settings/delivery")

    counted = {name: answer.json()["telemetry"][name] for name in ("accepted", "sent", "waiting", "dropped")}
    assert counted == {"accepted": 1, "sent": 1, "waiting": 0, "dropped": {}}
    assert (answer.headers["cache-control"], refused.status_code) == ("no-store", 403)


def test_delivery_that_cannot_be_read_is_no_zero(host, make_telemetry, tmp_path):
    """Without its file the balance is not known, and the answer says so."""
    telemetry = make_telemetry(spool_dir=str(tmp_path / "spool"))
    telemetry.update_settings(enable_telemetry=True)
    with telemetry:
        track("sync_completed")
    with closing(sqlite3.connect(tmp_path / "spool" / "spool.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")

        answer = client_of(host(telemetry, _everybody)).get("/api/settings/delivery")

    assert answer.status_code == 503
    assert "spool_dir" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SYSTEM, 200),
        ("GET", STATUS, 200),
        ("GET", "/api/settings/openapi.json", 200),
        ("GET", "/api/settings/system/", 307),
        ("GET", "/api/settings/nothing", 404),
        ("POST", TRIGGER, 404),
        ("DELETE", SYSTEM, 405),
        ("PUT", SYSTEM, 415),
        ("GET", "/api/settings/consent-audit?after=x", 422),
        ("GET", f"/api/settings/consent-audit?after={'9' * 5_000}", 422),
    ],
)
def test_answers_are_never_cached(client, method, path, status):
    """No answer is kept by proxies or browsers, and each refusal is JSON with a reason."""
    answer = client.request(method, path, follow_redirects=False)

    assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")
    if status >= 400:
        assert answer.json()["detail"]


def test_failure_of_the_database_is_never_cached(host, make_telemetry, tmp_path):
    """A 503 is not kept either."""
    sqlite3.connect(tmp_path / "empty.db").close()
    telemetry = make_telemetry(database=f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")

    answer = client_of(host(telemetry, _everybody)).get(SYSTEM)

    assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")


CROSS = [
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "made-up")],
    [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://testserver")],
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    [("Origin", "http://evil.example")],
    [("Origin", "https://testserver")],
    [("Origin", "http://testserver:8000")],
    [("Origin", "http://testserver.evil.example")],
    [("Origin", "null")],
    [("Origin", "")],
    [("Origin", "http://testserver"), ("Origin", "http://evil.example")],
]
OWN = [
    [],
    [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://outside-of-the-proxy.example")],
    [("Sec-Fetch-Site", "none")],
    [("Origin", "http://testserver")],
    [("Origin", "http://testserver"), ("Host", "TestServer:80")],
]


@pytest.mark.parametrize("headers", CROSS)
def test_page_of_another_site_changes_nothing(make_telemetry, headers):
    """A browser that sends a page's request from another origin gets a 403, before the hook is asked."""
    asked = []
    telemetry = make_telemetry(environment="development", environ={"DO_NOT_TRACK": "1"})
    client = client_of(_starlette(telemetry, lambda _connection: asked.append(1) or True))

    sent = {"headers": [*headers, ("Content-Type", "application/json")], "content": b"{}"}
    answers = [client.request(method, path, **sent) for method, path in CHANGING]

    assert [answer.status_code for answer in answers] == [403] * len(CHANGING)
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    assert all("another site" in answer.json()["detail"] for answer in answers)
    assert asked == []


@pytest.mark.parametrize("headers", OWN)
def test_own_page_and_programs_may_change(client, headers):
    """The server's own page, a user's own doing and programs without these headers pass."""
    answer = client.put(
        SYSTEM,
        headers=[*headers, ("Content-Type", "application/json")],
        content=b'{"enable_telemetry": true}',
    )

    assert answer.json()["enable_telemetry"] is True


def test_other_sites_may_read_what_the_hook_allows(client):
    """Reading is the affair of the hook and of the browser's own rules."""
    assert client.get(SYSTEM, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_listed_origin_may_change(telemetry):
    """A front end on an origin that the product lists changes settings, and no other does."""
    page = "https://admin.example.com"
    routes = [settings_api.mount(telemetry, authorize=_everybody, origins=[page])]
    client = client_of(Starlette(routes=routes))

    statuses = [
        client.put(SYSTEM, json={}, headers={"Sec-Fetch-Site": "same-site", "Origin": origin}).status_code
        for origin in (page, "https://other.example.com")
    ]

    assert statuses == [200, 403]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SYSTEM, b'{"enable_telemetry": false, "enable_telemetry": true}'),
        (SYSTEM, b'{"enable_telemetry": true, "enable_telemetr\\u0079": true}'),
        ("/api/settings/consent", b'{"errors": {"answer": "decline", "answer": "agree", "manifest": "x"}}'),
    ],
)
def test_repeated_key_is_refused(client, path, body):
    """A key that is given twice is refused by name, since parsers disagree on which one counts."""
    answer = client.put(path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert "twice" in answer.json()["detail"]
    assert client.get(SYSTEM).json()["enable_telemetry"] is False


def test_handler_of_the_host_does_not_format_refusals(telemetry):
    """Refusals look the same under a host with handlers of its own; the hook sees the host's application."""
    seen = []

    def hook(connection):
        seen.append(connection.app)
        return False

    routes = [settings_api.mount(telemetry, authorize=hook)]
    app = Starlette(routes=routes, exception_handlers={403: _answer_teapot, 404: _answer_teapot})
    client = client_of(app)

    statuses = [client.get(path).status_code for path in (SYSTEM, "/api/settings/nothing", "/nothing")]

    assert statuses == [403, 404, 418]
    assert seen == [app]


async def _answer_teapot(_request, _error):
    return Response(status_code=418)


def test_openapi_document_says_where_it_is_mounted(client):
    """The document names the path under which the API stands."""
    document = client.get("/api/settings/openapi.json").json()

    assert document["servers"] == [{"url": "/api/settings"}]


def test_api_is_what_its_document_says(make_telemetry, tmp_path):
    """Generated requests, valid and not, get only answers that the OpenAPI document describes."""
    app = settings_api.app(make_telemetry(environment="development"), authorize=_everybody)
    program = [sys.executable, "-m", "schemathesis.cli", "run", "--max-examples=30", "--no-color", "--seed=1"]

    with serve(app) as url:
        run = subprocess.run(
            [*program, f"{url}/openapi.json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )

    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    "origins", [["https://admin.example.com/"], ["https://Admin.example.com"], "https://admin.example.com"]
)
def test_origin_that_no_browser_sends_is_an_error(telemetry, origins):
    """What could never match is refused at the start, and not with each request."""
    with pytest.raises(ConfigError, match="as a browser does"):
        settings_api.mount(telemetry, origins=origins)
