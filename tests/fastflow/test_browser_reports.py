"""The example product whose pages report to its own server, in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from fastflow_product import WAIT_S, Person
from fastflow_visit import NOTHING_STORED, Visit
from frontends import need_frontend
from playwright.sync_api import expect
from programs import ROOT
from server.config import HERE

pytestmark = pytest.mark.browser

SYSTEM = "/api/settings/system"
CONSENT = {"is_setup_completed": True, "enable_error_reporting": True, "enable_telemetry": True}
REPORT = ("POST", "/api/settings/browser-report")
MAPS = HERE / "frontend" / "node_modules" / ".cache" / "source-maps"
RULES = HERE / "frontend" / "consent" / "make_rules.py"


@pytest.fixture(scope="module", autouse=True)
def _frontend():
    """Build the front end once."""
    need_frontend()


@pytest.fixture
def visit(browser):
    """Return a function that opens the product in a browser profile of its own."""
    opened = []

    def open_profile(url, **options):
        opened.append(Visit(browser, url, **options))
        return opened[-1]

    yield open_profile
    for one in opened:
        one.close()


@pytest.fixture
def consented(start):
    """Return a function that starts the product whose admin has agreed; pages report to the server."""

    def run(**options):
        product, url = start(browser_reports="server", **options)
        admin = Person(url)
        admin.sign_in("ada")
        admin.call("PUT", SYSTEM, CONSENT)
        return product, url, admin

    return run


def _paths(one):
    return [(method, urlsplit(url).path) for method, url in one.requests]


def _values(events):
    return sorted(one["value"] for event in events for one in event.properties.get("$exception_list", ()))


def test_errors_of_a_page_leave_by_the_server(start, sink, visit):
    """From the wizard's consent on each error is one report of the server, without a reload (R23, R33)."""
    product, url = start(browser_reports="server")
    one = visit(f"{url}/?coupon=WINTER-4711#part")
    one.sign_in("ada")
    expect(one.page.get_by_role("dialog")).to_contain_text("PostHog sees nothing of the visitor")
    one.page.get_by_role("checkbox", name="Error reports").check()
    one.page.get_by_role("button", name="Send selected reports").click()
    one.wait_until_reporting()

    one.throw_in_a_handler(f"failed at {url}/x?coupon=WINTER-4711 for wilhelmina@example.com")
    one.reject()
    one.throw_in_a_component()
    sink.wait_for(name="$exception", count=3, timeout_s=WAIT_S)

    assert product.telemetry.flush(WAIT_S)
    events = sink.events
    assert len(events) == 3
    assert "failed in a promise" in _values(events)
    for event in events:
        assert event.issues == ()
        assert event.properties["source"] == "frontend"
        frames = event.properties["$exception_list"][0].get("stacktrace", {}).get("frames", [])
        assert {frame["platform"] for frame in frames} <= {"web:javascript"}
        assert all(frame["filename"].startswith("http://host.invalid/") for frame in frames)
        raw = json.dumps(event.raw)
        secrets = (urlsplit(url).netloc, "WINTER", "wilhelmina", "Chrome")
        assert [word for word in secrets if word in raw] == []
    assert {event.distinct_id for event in events} == {str(product.telemetry.settings().instance_id)}
    assert {request.path for request in sink.requests} == {"/batch/"}
    assert one.foreign == []
    assert one.stored == NOTHING_STORED
    assert one.violations == []


def test_policy_of_the_page_names_no_other_host(consented, visit):
    """The page's policy is the product's own, also while error reports are on (R33)."""
    _, url, admin = consented()

    policy = admin.call("GET", "/").headers["content-security-policy"]
    one = visit(url)
    one.sign_in("bob", "Google")
    one.wait_until_reporting()

    assert "posthog" not in policy
    assert "http" not in policy
    assert [url for _, url in one.requests if "no-external" in url] == []


def test_nobody_reports_before_they_are_signed_in(consented, sink, visit):
    """The page starts the client for people who are signed in, and stops it when they leave."""
    product, url, _ = consented()
    one = visit(url)
    expect(one.page.get_by_label("Name")).to_be_visible()
    with one.page.expect_event("pageerror"):
        one.throw_in_a_handler("not signed in")
    one.sign_in("bob", "Google")
    one.wait_until_reporting()
    with one.page.expect_response(f"**{REPORT[1]}"):
        one.throw_in_a_handler("signed in")
    one.page.get_by_role("button", name="Sign out").click()
    expect(one.page.get_by_label("Name")).to_be_visible()
    with one.page.expect_event("pageerror"):
        one.throw_in_a_handler("signed out")

    sink.wait_for(name="$exception", timeout_s=WAIT_S)
    assert product.telemetry.flush(WAIT_S)
    assert _values(event for event in sink.events if event.name == "$exception") == ["signed in"]


def test_withdrawal_reaches_pages_that_are_open(consented, sink, visit):
    """What an open page reports after a withdrawal is kept nowhere (R4)."""
    product, url, admin = consented()
    one = visit(url)
    one.sign_in("bob", "Google")
    one.wait_until_reporting()
    admin.call("PUT", SYSTEM, {"enable_error_reporting": False})

    with one.page.expect_response(f"**{REPORT[1]}") as answer:
        one.throw_in_a_handler("withdrawn")
    admin.call("PUT", SYSTEM, CONSENT)
    with one.page.expect_response(f"**{REPORT[1]}"):
        one.throw_in_a_handler("granted again")

    sink.wait_for(name="$exception", timeout_s=WAIT_S)
    assert product.telemetry.flush(WAIT_S)
    assert answer.value.status == 204
    assert _values(event for event in sink.events if event.name == "$exception") == ["granted again"]


def test_browser_that_objects_reports_nothing(consented, visit):
    """With Global Privacy Control the client does not start, and nothing that describes errors is loaded."""
    _, url, _ = consented()
    one = visit(url)
    one.context.add_init_script(
        "Object.defineProperty(navigator, 'globalPrivacyControl', { get: () => true });"
    )
    one.page.reload()
    one.sign_in("bob", "Google")
    expect(one.page.get_by_role("heading", name="hello")).to_be_visible()
    one.throw_in_a_component()

    assert REPORT not in _paths(one)
    assert [path for _, path in _paths(one) if "describe" in path] == []


def test_test_errors_arrive_marked(consented, sink, visit):
    """In development the button sends a marked error of the page by the server (R24)."""
    product, url, _ = consented(environment="development")
    one = visit(url)
    one.sign_in("ada")
    one.wait_until_reporting()
    one.page.get_by_role("link", name="Settings").click()

    one.page.get_by_role("button", name="Send a test error of this page").click()
    expect(one.page.get_by_text("Sent.", exact=True)).to_be_visible()

    sink.wait_for(name="$exception", count=2, timeout_s=WAIT_S)
    assert product.telemetry.flush(WAIT_S)
    marked = [event for event in sink.events if event.properties.get("$fastflow_frontend_test")]
    assert [event.properties["source"] for event in marked] == ["frontend"]


@pytest.mark.parametrize("way", ["server", "direct"])
def test_minified_stack_carries_the_id_of_its_source_map(start, sink, visit, way):
    """Each frame of a built file has the id under which its map is uploaded; no visitor gets a map."""
    _, url = start(browser_reports=way)
    admin = Person(url)
    admin.sign_in("ada")
    admin.call("PUT", SYSTEM, {**CONSENT, "enable_telemetry": False})
    one = visit(url)
    one.sign_in("bob", "Google")
    one.wait_until_reporting()

    one.throw_in_a_component()

    sink.wait_for(name="$exception", timeout_s=WAIT_S)
    [event] = sink.events
    frames = event.properties["$exception_list"][0]["stacktrace"]["frames"]
    built = {
        path.name: path.read_text() for path in (HERE / "frontend" / "dist").rglob("*") if path.is_file()
    }
    ids = {found[1] for text in built.values() if (found := re.search(r"\n//# chunkId=(\S+)\n\Z", text))}
    maps = {path.name: json.loads(path.read_text()) for path in MAPS.glob("*.map")}
    assert frames
    assert {frame["chunk_id"] for frame in frames} <= ids
    assert [name for name, text in built.items() if name.endswith(".map") or "sourceMappingURL" in text] == []
    assert {f"{name}.map" for name in built if name.endswith(".js")} <= maps.keys()
    assert any("pages/Runs.tsx" in source for one in maps.values() for source in one["sources"])


def test_rules_of_the_page_are_those_of_the_server():
    """The page's file of rules is what `make_rules.py --write` makes of the server's."""
    program = f"import runpy, sys; sys.stdout.write(runpy.run_path({str(RULES)!r})['text']())"

    made = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert made.stdout == (RULES.parent / "src" / "rules.ts").read_text()
