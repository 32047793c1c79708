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
from starlette.routing import Mount
from waiting import wait_until

from otel_posthog import settings_api, track
from otel_posthog.testing import serve

SYSTEM = "/api/settings/system"
STATUS = "/api/settings/telemetry-status"
TRIGGER = "/api/settings/trigger-test-exception"


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

    assert before == {"enable_error_reporting": False, "posthog_api_key": None, "posthog_host": sink_url}
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
    assert "Nothing was changed" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [("GET", SYSTEM), ("PUT", SYSTEM), ("POST", TRIGGER)])
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


@pytest.mark.parametrize(
    "hook", [lambda _c, _n: False, _async_no, _raises, _truthy_but_not_true, lambda _c: None]
)
def test_everything_but_yes_is_no(host, telemetry, hook):
    """A hook that says no, fails or answers something else refuses (R11)."""
    client = client_of(host(telemetry, hook))

    answer = client.put(SYSTEM, json={"enable_telemetry": True})

    assert answer.status_code == 403
    assert "planted" not in answer.text
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


def test_answers_are_never_cached(client):
    """Settings are not kept by proxies or browsers."""
    assert client.get(SYSTEM).headers["cache-control"] == "no-store"


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
