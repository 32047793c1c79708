"""The example product's front end in a real browser, against the real server and the local PostHog."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastflow_product import WAIT_S, Person
from fastflow_visit import NOTHING_STORED, Visit
from frontends import need_frontend
from playwright.sync_api import expect
from postgres import postgres_binaries
from server.config import HERE

from otel_posthog.registry import Kind

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts" / "fastflow"
DOCS = (ROOT / "docs" / "fastflow.md").read_text()
AXE = HERE / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
SYSTEM = "/api/settings/system"
CONSENT = {"is_setup_completed": True, "enable_error_reporting": True, "enable_telemetry": True}
REFUSAL = {"is_setup_completed": True}
ERROR_PROPERTIES = {
    "source",
    "service_version",
    "$exception_list",
    "$exception_level",
    "$current_url",
    "$process_person_profile",
    "$geoip_disable",
    "$ip",
    "$lib",
    "$lib_version",
}
LOOK = """element => {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    return [style.color, style.backgroundColor, style.borderColor, style.borderWidth, style.fontSize,
            style.fontWeight, style.textDecoration, style.opacity, Math.round(box.height),
            Math.round(box.width)];
}"""


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
def decided(start):
    """Return a function that starts the product with the wizard answered by the admin ada."""

    def run(flags, **options):
        product, url = start(**options)
        admin = Person(url)
        admin.sign_in("ada")
        admin.call("PUT", SYSTEM, flags)
        return product, url, admin

    return run


def _dialog(one):
    return one.page.get_by_role("dialog")


def _values(events):
    return sorted(one["value"] for event in events for one in event.properties.get("$exception_list", ()))


def test_nothing_of_posthog_before_consent(start, sink, visit):
    """Before anybody decided no PostHog host is asked, its code is not loaded and nothing is stored (R22)."""
    _, url = start()
    one = visit(url)
    one.sign_in("ada")
    expect(_dialog(one)).to_be_visible()
    one.page.keyboard.press("Escape")
    expect(_dialog(one)).to_have_count(0)

    one.throw_in_a_handler()
    one.reject()
    one.throw_in_a_component()
    one.page.get_by_role("link", name="Settings").click()
    expect(one.page.get_by_role("switch")).to_have_count(2)
    one.page.reload()
    expect(_dialog(one)).to_be_visible()

    assert one.foreign == []
    assert [url for _, url in one.requests if "posthog" in url or "no-external" in url] == []
    assert sink.requests == []
    assert one.stored == NOTHING_STORED
    assert [cookie["name"] for cookie in one.context.cookies()] == ["fastflow_session"]
    assert one.violations == []


def test_three_kinds_of_errors_are_one_report_each(start, sink, sink_url, visit):
    """From the wizard's consent on each error is one report without address, query or identity (R22, R23)."""
    _, url = start()
    one = visit(f"{url}/runs?coupon=WINTER-4711#part")
    one.page.get_by_label("Name").fill("wilhelmina")
    one.page.get_by_role("button", name="GitHub").click()
    one.page.get_by_role("checkbox", name="Error reports").check()
    one.page.get_by_role("button", name="Send selected reports").click()
    one.wait_until_reporting()
    one.page.evaluate("history.replaceState(null, '', '/settings?coupon=WINTER-4711#part')")

    one.throw_in_a_handler(f"failed at {url}/x?coupon=WINTER-4711 for wilhelmina@example.com")
    one.reject()
    one.throw_in_a_component()
    sink.wait_for(name="$exception", count=3, timeout_s=WAIT_S)
    one.page.get_by_role("link", name="Pipelines").click()
    expect(one.page.get_by_role("heading", name="hello")).to_be_visible()

    events = sink.events
    texts = _values(events)
    assert [event.name for event in events] == ["$exception"] * 3
    assert "failed in a promise" in texts
    assert "failed at http://host.invalid/x for [scrubbed:email]" in texts
    for event in events:
        assert set(event.properties) == ERROR_PROPERTIES
        assert event.issues == ()
        assert event.properties["$current_url"] in {
            "http://host.invalid/settings",
            "http://host.invalid/runs",
        }
        assert event.properties["$process_person_profile"] is False
        frames = event.properties["$exception_list"][0].get("stacktrace", {}).get("frames", [])
        assert all(frame["filename"].startswith("http://host.invalid/") for frame in frames)
        raw = json.dumps(event.raw)
        assert [
            word
            for word in (urlsplit(url).netloc, "WINTER", "wilhelmina", "$device_id", "$referrer")
            if word in raw
        ] == []
    assert len({event.distinct_id for event in events}) == 1
    assert {(method, urlsplit(asked).path) for method, asked in one.foreign} == {("POST", "/i/v0/e/")}
    assert {request.path for request in sink.requests} == {"/i/v0/e/"}
    sent = [dict(request.headers) for request in sink.requests]
    assert [headers for headers in sent if "referer" in headers or "cookie" in headers] == []
    assert one.stored == NOTHING_STORED
    assert one.violations == []
    assert one.page.evaluate("window.violations") == []


def test_withdrawal_stops_every_open_page(decided, sink, visit):
    """Pages that are open when the admin switches off send nothing more, without a reload (R4, R22)."""
    _, url, ada = decided(CONSENT)
    admin, user = visit(url), visit(url)
    admin.sign_in("ada")
    user.sign_in("bob", "Google")
    for one in (admin, user):
        one.wait_until_reporting()
        one.throw_in_a_handler()
    sink.wait_for(name="$exception", count=2, timeout_s=WAIT_S)
    admin.page.get_by_role("link", name="Settings").click()
    with admin.page.expect_response(lambda answer: answer.request.method == "PUT"):
        admin.page.get_by_role("switch", name="Error reports").click()
    sink.clear()

    with user.page.expect_response("**/telemetry-status"):
        user.throw_in_a_handler("withdrawn")
    user.throw_in_a_component()
    with admin.page.expect_event("pageerror"):
        admin.throw_in_a_handler("withdrawn")
    ada.call("PUT", SYSTEM, CONSENT)
    later = visit(url)
    later.sign_in("bob", "Google")
    later.wait_until_reporting()
    later.throw_in_a_handler("granted anew")
    sink.wait_for(name="$exception", timeout_s=WAIT_S)

    assert _values(sink.events) == ["granted anew"]
    assert user.violations == admin.violations == later.violations == []


def test_wizard_begins_with_nothing_selected(start, visit):
    """Nothing is ticked, the focus is inside, and both answers look and weigh the same."""
    _, url = start()
    one = visit(url)
    one.sign_in("ada")

    expect(one.page.get_by_role("checkbox")).to_have_count(2)
    for box in one.page.get_by_role("checkbox").all():
        expect(box).not_to_be_checked()
    expect(_dialog(one).get_by_role("heading")).to_be_focused()
    looks = [
        one.page.get_by_role("button", name=name).evaluate(LOOK) for name in ("Send selected", "Don’t send")
    ]
    assert looks[0] == looks[1]
    expect(_dialog(one)).to_have_accessible_name("Help improve Fast-Flow?")
    expect(_dialog(one)).to_contain_text("Refusing changes nothing")


@pytest.mark.parametrize("way", ["escape", "later", "reload"])
def test_closing_the_wizard_decides_nothing(start, visit, way):
    """Esc, “Decide later” and a reload leave the question open, and it is asked at the next visit (R5)."""
    product, url = start()
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("checkbox", name="Error reports").check()  # waits until it is there

    if way == "escape":
        one.page.keyboard.press("Escape")
    elif way == "later":
        one.page.get_by_role("button", name="Decide later").click()
    if way != "reload":
        expect(_dialog(one)).to_have_count(0)
    one.page.reload()

    expect(_dialog(one)).to_be_visible()
    expect(one.page.get_by_role("checkbox", name="Error reports")).not_to_be_checked()
    settings = product.telemetry.settings()
    assert (settings.is_setup_completed, settings.enable_error_reporting) == (False, False)
    assert one.stored == NOTHING_STORED


def test_sending_nothing_selected_is_no_answer(start, visit):
    """“Send selected” without a tick explains itself and decides nothing."""
    product, url = start()
    one = visit(url)
    one.sign_in("ada")

    one.page.get_by_role("button", name="Send selected reports").click()

    expect(one.page.get_by_role("alert")).to_contain_text("Nothing is selected")
    assert not product.telemetry.settings().is_setup_completed


def test_refusal_is_one_click_and_final(start, sink, visit):
    """“Don’t send” ends the wizard for good, whatever was ticked, and nothing is sent."""
    product, url = start()
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("checkbox", name="Usage statistics").check()

    one.page.get_by_role("button", name="Don’t send").click()
    expect(_dialog(one)).to_have_count(0)
    one.page.reload()

    expect(one.page.get_by_role("heading", name="hello")).to_be_visible()
    expect(_dialog(one)).to_have_count(0)
    settings = product.telemetry.settings()
    assert (settings.is_setup_completed, settings.enable_telemetry) == (True, False)
    assert sink.requests == []


def test_keyboard_alone_decides(start, visit):
    """Tab, Space and Enter are enough, and the focus never leaves the wizard for the page behind it."""
    product, url = start()
    one = visit(url)
    one.page.get_by_label("Name").focus()
    one.page.keyboard.type("ada")
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    expect(_dialog(one)).to_be_visible()

    visited = []
    for _ in range(14):
        one.page.keyboard.press("Tab")
        visited.append(
            one.page.evaluate(
                "[document.activeElement.closest('dialog') !== null, document.activeElement.tagName]"
            )
        )
    one.page.get_by_role("heading", name="Help improve").focus()
    _tab_to(one.page, "Usage statistics")
    one.page.keyboard.press("Space")
    _tab_to(one.page, "Send selected reports")
    one.page.keyboard.press("Enter")

    expect(_dialog(one)).to_have_count(0)
    settings = product.telemetry.settings()
    assert (settings.enable_telemetry, settings.enable_error_reporting) == (True, False)
    assert [tag for is_inside, tag in visited if not is_inside and tag != "BODY"] == []


def _tab_to(page, name, presses=12):
    for _ in range(presses):
        page.keyboard.press("Tab")
        label = page.evaluate(
            "document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent"
        )
        if label == name:
            return
    pytest.fail(f"{name} cannot be reached with {presses} presses of Tab")


def test_wizard_shows_the_exact_preview(start, sink, visit):
    """Before deciding one can read each event that would leave, and reading it sends nothing."""
    product, url = start()
    one = visit(url)
    one.sign_in("ada")

    one.page.get_by_role("button", name="Show exactly what would be sent").click()
    expect(_dialog(one).locator("details")).not_to_have_count(0)

    declared = {name for kind in Kind for name in product.telemetry.registry.manifest(kind).events}
    assert set(_dialog(one).locator("summary").all_text_contents()) == declared
    assert sink.requests == []
    assert not product.telemetry.settings().is_setup_completed


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_anonymous_stands_beside_its_meaning(start, visit, language):
    """The word “anonymous” is used, if at all, only in a sentence that says what it means."""
    _, url = start()
    one = visit(url, locale=language)
    one.page.get_by_label("Name").fill("ada")
    one.page.get_by_role("button", name="GitHub").click()
    expect(_dialog(one)).to_be_visible()

    sentences = re.split(r"(?<=[.?!])\s", _dialog(one).inner_text())

    meanings = ("random number", "Zufallszahl")
    assert any(meaning in text for meaning in meanings for text in sentences)
    assert [t for t in sentences if "anonym" in t.lower() and not any(m in t for m in meanings)] == []


def test_user_never_sees_the_decision(decided, visit):
    """Who is no admin sees neither wizard nor switches, even while nobody has decided, nor asks for them."""
    _, url, _ = decided({"enable_telemetry": True})
    one = visit(url)
    one.sign_in("bob", "Google")

    expect(one.page.get_by_role("heading", name="hello")).to_be_visible()
    expect(_dialog(one)).to_have_count(0)
    one.page.get_by_role("link", name="Settings").click()
    expect(one.page.get_by_role("heading", name="Language")).to_be_visible()

    expect(one.page.get_by_role("switch")).to_have_count(0)
    expect(one.page.get_by_text("Privacy")).to_have_count(0)
    asked = {urlsplit(url).path for _, url in one.requests if "/api/settings/" in url}
    assert asked == {"/api/settings/telemetry-status"}


def test_switches_say_what_happens_and_why(decided, visit):
    """Each switch shows beside its position whether something is sent, and for which reason (R24)."""
    product, url, _ = decided(REFUSAL)
    one = visit(f"{url}/settings")
    one.sign_in("ada")
    one.page.get_by_role("link", name="Settings").click()
    state = one.page.locator("[data-kind=telemetry]")
    expect(state).to_have_text("Not sent: an administrator has declined")

    one.page.get_by_role("switch", name="Usage statistics").click()
    expect(state).to_have_text("Being sent: an administrator has agreed")
    expect(one.page.locator("[data-kind=errors]")).to_have_text("Not sent: an administrator has declined")
    expect(one.page.get_by_role("heading", name="Development")).to_have_count(0)

    assert product.telemetry.settings().enable_telemetry
    one.page.get_by_role("switch", name="Usage statistics").click()
    expect(state).to_have_text("Not sent: an administrator has declined")
    assert not product.telemetry.settings().enable_telemetry


def test_switched_off_from_outside_is_said(decided, visit, sink):
    """A switch that is on while the environment forbids it says so, instead of promising anything."""
    _, url, _ = decided(CONSENT, telemetry={"environ": {"DO_NOT_TRACK": "1"}})
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("link", name="Settings").click()

    expect(one.page.get_by_role("switch", name="Error reports")).to_have_attribute("aria-checked", "true")
    expect(one.page.locator("[data-kind=errors]")).to_contain_text("Not sent: a variable of the server")
    assert sink.requests == []


def test_buttons_of_development_send_marked_errors(decided, sink, visit):
    """In development one button each sends a marked error of server and page (R24, R10, R19)."""
    product, url, _ = decided(CONSENT, environment="development")
    one = visit(url)
    one.sign_in("ada")
    one.wait_until_reporting()
    one.page.get_by_role("link", name="Settings").click()

    for name in ("Send a test error of the server", "Send a test error of this page"):
        one.page.get_by_role("button", name=name).click()
        expect(one.page.get_by_text("Sent.", exact=True)).to_be_visible()
    sink.wait_for(name="$exception", count=3, timeout_s=WAIT_S)
    assert product.telemetry.flush(WAIT_S)

    markers = [name for event in sink.events for name in event.properties if name.endswith("_test")]
    assert sorted(markers) == ["$fastflow_backend_test", "$fastflow_frontend_test", "$fastflow_startup_test"]
    assert all(event.issues == () for event in sink.events)


def test_buttons_of_development_obey_consent(decided, sink, visit):
    """Without consent the buttons say that nothing is sent, and nothing is."""
    product, url, _ = decided(REFUSAL, environment="development")
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("link", name="Settings").click()

    for name in ("Send a test error of the server", "Send a test error of this page"):
        one.page.get_by_role("button", name=name).click()
        expect(one.page.get_by_text("Not sent: error reports are off.")).to_be_visible()

    assert product.telemetry.flush(WAIT_S)
    markers = [name for event in sink.events for name in event.properties if name.endswith("_test")]
    assert markers == ["$fastflow_startup_test"]


def test_failed_page_can_be_tried_again(decided, visit):
    """The fallback leaves the rest of the product alive, and shows the page again once it works (R23)."""
    _, url, _ = decided(REFUSAL)
    one = visit(url)
    one.sign_in("ada")
    one.throw_in_a_component()
    one.page.unroute_all()

    one.page.get_by_role("button", name="Try again").click()

    expect(one.page.get_by_text("Nothing has run yet")).to_be_visible()


def test_long_run_shows_its_progress(tmp_path, decided, visit):
    """A run under way shows how far it is, and can be cancelled."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "waits.py").write_text("import time\nprint('progress 40', flush=True)\ntime.sleep(600)\n")
    _, url, _ = decided(REFUSAL, pipelines_dir=folder)
    one = visit(url)
    one.sign_in("ada")

    one.page.get_by_role("button", name="Run waits").click()
    expect(one.page.get_by_role("progressbar")).to_have_attribute("value", "40")
    one.page.get_by_role("button", name="Cancel run").click()

    expect(one.page.get_by_text("cancelled")).to_be_visible()
    expect(one.page.get_by_role("progressbar")).to_have_count(0)


def test_invitation_leads_to_an_account(decided, visit):
    """The link that an admin makes lets somebody in as a user."""
    product, url, _ = decided(REFUSAL)
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("link", name="Settings").click()
    one.page.get_by_role("button", name="Make an invitation").click()
    link = one.page.get_by_label("Hand on this link").input_value()

    other = visit(link)
    expect(other.page.get_by_text("You have been invited")).to_be_visible()
    other.sign_in("bob", "Google")

    assert product.accounts.count() == 2
    assert "invitation" not in other.page.url


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_documented_sql_shows_the_wizard_again(tmp_path, start, visit, request, kind):
    """After the documented statement and a reload the wizard is there again, on both databases (R5)."""
    place = request.getfixturevalue("postgres_database") if kind == "postgresql" else None
    _, url = start(**({"database_url": place} if place else {}))
    one = visit(url)
    one.sign_in("ada")
    one.page.get_by_role("button", name="Don’t send").click()
    expect(_dialog(one)).to_have_count(0)
    one.page.reload()
    expect(one.page.get_by_role("heading", name="hello")).to_be_visible()
    expect(_dialog(one)).to_have_count(0)

    _reset_as_documented(tmp_path, place)
    one.page.reload()

    expect(_dialog(one)).to_be_visible()


def _reset_as_documented(folder, place):
    sqlite, postgresql = re.findall(r"^((?:sqlite3|psql) .*)$", DOCS, re.MULTILINE)
    if place is None:
        program, file, statement = shlex.split(sqlite)
        assert (program, file) == ("sqlite3", "data/fastflow.db")
        with closing(sqlite3.connect(folder / file)) as connection:
            connection.executescript(statement)
        return
    environment = {"DATABASE_URL": place, "PATH": f"{postgres_binaries()}:/usr/bin:/bin"}
    subprocess.run(
        ["sh", "-c", postgresql], check=True, env=environment, stdout=subprocess.DEVNULL, timeout=WAIT_S
    )


def _pages(one, url, run_id):
    """Yield each page by name, once it is there."""
    for name, path, mark in (
        ("pipelines", "/", "h2"),
        ("runs", "/runs", "table"),
        ("run", f"/runs/{run_id}", "pre"),
        ("settings", "/settings", "[role=switch]"),
    ):
        one.page.goto(f"{url}{path}")
        expect(one.page.locator(mark).first).to_be_visible()
        yield name


def _axe(page):
    """Return the violations that axe-core finds in what is shown."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [
        ("en-GB", 1280, "light"),
        ("en-GB", 1280, "dark"),
        ("de-DE", 390, "dark"),
        ("de-DE", 320, "light"),
    ],
)
def test_pages_are_accessible_and_fit(start, visit, language, width, scheme):
    """In both colours and languages, from 320 px on, axe finds nothing and no page scrolls sideways."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    _, url = start(environment="development")
    one = visit(url, viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language)
    found, too_wide = {}, []

    def look(name):
        one.page.screenshot(path=ARTIFACTS / f"{name}-{width}-{scheme}.png", full_page=name != "wizard")
        found[name] = _axe(one.page)
        if one.is_wider_than_the_window:
            too_wide.append(name)

    expect(one.page.get_by_label("Name")).to_be_visible()
    look("sign-in")
    one.page.get_by_label("Name").fill("ada")
    one.page.get_by_role("button", name="GitHub").click()
    expect(_dialog(one)).to_be_visible()
    look("wizard")
    _dialog(one).get_by_role("button").first.click()
    expect(_dialog(one).locator("details")).not_to_have_count(0)
    _dialog(one).locator("summary").first.click()
    look("wizard-preview")
    one.page.get_by_role("button", name=re.compile("Don’t send|Nicht senden")).click()
    expect(_dialog(one)).to_have_count(0)
    admin = Person(url)
    admin.sign_in("ada")
    run_id = admin.run("nightly_check")["id"]
    for name in _pages(one, url, run_id):
        look(name)
    _throw_in_a_page(one, url)
    look("failed")

    assert {name: violations for name, violations in found.items() if violations} == {}
    assert too_wide == []
    assert one.page.evaluate("document.documentElement.lang") == language[:2]


def _throw_in_a_page(one, url):
    one.page.route("**/api/runs", lambda route: route.fulfill(json={}))
    one.page.goto(f"{url}/runs")
    expect(one.page.get_by_role("alert").get_by_role("heading")).to_be_visible()
