"""Who may do what in the example product, and what another site's page cannot do."""

from __future__ import annotations

import httpx2
import pytest
from fastflow_product import WEBHOOK_SECRET, Person
from server.accounts import INVITATION_S, SIGN_IN_S
from starlette.testclient import TestClient

pytestmark = pytest.mark.example

SYSTEM = "/api/settings/system"
SETTINGS = (SYSTEM, *(f"/api/settings/{name}" for name in ("consent", "consent-audit", "telemetry-preview")))
FOR_ADMINS = (("POST", "/api/sync"), ("POST", "/api/invitations"), ("PUT", "/api/schedules"))
FOR_USERS = (
    ("GET", "/api/pipelines"),
    ("GET", "/api/runs"),
    ("GET", "/api/runs/1"),
    ("POST", "/api/runs"),
    ("POST", "/api/runs/1/cancel"),
    ("PUT", "/api/session/language"),
    *FOR_ADMINS,
)


def test_first_to_come_is_admin(url):
    """The first account administers the installation, the second does not."""
    first, second = Person(url), Person(url)

    roles = [one.sign_in(name).json()["user"]["role"] for one, name in ((first, "ada"), (second, "bob"))]

    assert roles == ["admin", "user"]


def test_same_name_at_another_provider_is_somebody_else(url, admin):
    """Who is ada at GitHub is not ada at Google."""
    other = Person(url)

    assert other.sign_in("ada", "google").json()["user"]["role"] == "user"


def test_strange_sign_in_is_refused(visitor):
    """A provider that does not exist, or no name, is a 422."""
    bodies = ({"provider": "gitlab", "name": "x"}, {"provider": "github", "name": "  "}, {})

    assert [visitor.call("POST", "/api/session", body).status_code for body in bodies] == [422] * 3


def test_visitor_is_refused(visitor):
    """Without a sign-in no endpoint of the product answers."""
    body = {"pipeline": "hello", "language": "de"}

    statuses = {(method, path): visitor.call(method, path, body).status_code for method, path in FOR_USERS}

    assert set(statuses.values()) == {401}, statuses


def test_user_cannot_administer(user):
    """What changes the installation is for admins."""
    body = {"pipeline": "hello"}

    statuses = {(method, path): user.call(method, path, body).status_code for method, path in FOR_ADMINS}

    assert set(statuses.values()) == {403}, statuses


def test_only_admins_see_telemetry_settings(user, visitor, admin):
    """Neither a user nor a visitor sees the settings, the preview or the audit trail (R8, R11)."""
    statuses = [[one.call("GET", path).status_code for path in SETTINGS] for one in (admin, user, visitor)]

    assert statuses == [[200] * len(SETTINGS), [403] * len(SETTINGS), [401] * len(SETTINGS)]


def test_user_cannot_change_telemetry_settings(fastflow, user):
    """A user who asks for it changes nothing (R9)."""
    answer = user.call("PUT", SYSTEM, {"enable_telemetry": True, "is_setup_completed": True})

    settings = fastflow[0].telemetry.settings()
    assert answer.status_code == 403
    assert (settings.enable_telemetry, settings.is_setup_completed) == (False, False)


def test_audit_trail_names_the_admin(admin):
    """The audit trail says which account decided."""
    admin.call("PUT", SYSTEM, {"enable_telemetry": True})

    [entry] = admin.call("GET", "/api/settings/consent-audit").json()["entries"]

    assert entry["who"] == "user 1"


def test_unsafe_request_needs_the_token(fastflow, admin, user):
    """A cookie alone changes nothing in product and settings, nor do a guessed token and a user's own."""
    statuses = []
    for token in (None, "", "guessed", user.csrf_token):
        admin.csrf_token = token
        statuses.append(admin.call("POST", "/api/runs", {"pipeline": "hello"}).status_code)
        statuses.append(admin.call("PUT", SYSTEM, {"enable_telemetry": True}).status_code)

    assert statuses == [403] * 8
    assert not fastflow[0].telemetry.settings().enable_telemetry


def test_another_sites_page_is_refused(admin, visitor):
    """A page of another origin can neither change settings nor sign its victim in as somebody else."""
    statuses = []
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        admin.origin = visitor.origin = origin
        statuses.append(admin.call("PUT", SYSTEM, {"enable_telemetry": True}).status_code)
        statuses.append(visitor.sign_in("mallory").status_code)

    assert statuses == [403] * 6


def test_sign_out_ends_the_session_itself(admin):
    """A copy of the cookie is worth nothing after signing out."""
    copy = Person(admin.url)
    copy.cookies = httpx2.Cookies(admin.cookies)

    answer = admin.call("DELETE", "/api/session")

    assert answer.status_code == 204
    assert "fastflow_session=" in answer.headers["set-cookie"]
    assert copy.call("GET", "/api/runs").status_code == 401


def test_each_sign_in_has_a_token_of_its_own(url):
    """Signing in again gives a new cookie, so that one planted before is worth nothing."""
    person = Person(url)
    person.sign_in("ada")
    first = person.cookies["fastflow_session"]
    person.sign_in("ada")

    assert person.cookies["fastflow_session"] != first


def test_session_ends_by_itself(start):
    """After twelve hours one has to sign in again."""
    now = [1_800_000_000.0]
    _, url = start(clock=lambda: now[0])
    person = Person(url)
    person.sign_in("ada")

    now[0] += SIGN_IN_S - 1
    before = person.call("GET", "/api/runs").status_code
    now[0] += 2

    assert (before, person.call("GET", "/api/runs").status_code) == (200, 401)


def test_cookie_is_for_https_only_beyond_this_computer(start):
    """The cookie is out of reach of scripts and other sites, and of plain HTTP on any network."""
    product, _ = start(hosts=("127.0.0.1", "localhost", "flow.example"))
    body = {"provider": "github", "name": "ada"}

    def cookie(base_url):
        client = TestClient(product.app, base_url=base_url)
        return client.post("/api/session", json=body).headers["set-cookie"]

    plain = [cookie(url) for url in ("http://127.0.0.1", "http://localhost")]
    elsewhere = [cookie(url) for url in ("https://127.0.0.1", "http://flow.example", "https://flow.example")]

    assert all("HttpOnly" in one and "SameSite=lax" in one for one in plain + elsewhere)
    assert ["Secure" in one for one in plain + elsewhere] == [False, False, True, True, True]


def test_foreign_host_name_is_refused(visitor):
    """A name that somebody points at this computer gets nothing."""
    assert visitor.call("GET", "/", Host="evil.example").status_code == 400


def test_invitation_lets_one_person_in(admin, url):
    """A code works once, and a made-up one never."""
    code = admin.call("POST", "/api/invitations").json()["code"]

    answers = [Person(url).sign_in(name, invitation=code).status_code for name in ("bob", "eve")]

    assert answers == [200, 403]
    assert Person(url).sign_in("eve", invitation="made up").status_code == 403


def test_invitation_ends_by_itself(start):
    """After a week a code is worth nothing."""
    now = [1_800_000_000.0]
    product, url = start(clock=lambda: now[0])
    code = product.accounts.invite()
    now[0] += INVITATION_S + 1

    assert Person(url).sign_in("bob", invitation=code).status_code == 403


def test_language_is_kept_with_the_account(admin, url):
    """The language is remembered by the server, so that the browser has to store nothing."""
    admin.call("PUT", "/api/session/language", {"language": "de"})
    again = Person(url)

    assert again.sign_in("ada").json()["user"]["language"] == "de"


def test_webhook_needs_the_secret(start):
    """From outside a pipeline starts with the secret only, and a cookie does not replace it."""
    _, url = start(webhook_secret=WEBHOOK_SECRET)
    person = Person(url)
    person.sign_in("ada")
    body = {"pipeline": "hello"}

    statuses = [
        person.call("POST", "/api/hooks/runs", body, Authorization=value).status_code
        for value in ("", "Bearer", "Bearer wrong", f"Bearer {WEBHOOK_SECRET}")
    ]

    assert statuses == [403, 403, 403, 201]


def test_without_a_secret_there_are_no_webhooks(visitor):
    """A server that was given no secret starts nothing from outside."""
    answer = visitor.call("POST", "/api/hooks/runs", {"pipeline": "hello"}, Authorization="Bearer None")

    assert answer.status_code == 403
