"""The demonstration's page in a real browser."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from demo_process import running
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "demo"
# Fails on purpose; the browser logs such answers as errors.
PROVOKED = ("/api/fail", "/api/missing")
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener(
    "securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@pytest.fixture
def demo(tmp_path):
    with running(tmp_path) as found:
        yield found


class Visit:
    """One page with all it complained about and asked for."""

    def __init__(self, browser, demo, **options):
        self._context = browser.new_context(reduced_motion="reduce", **options)
        self._context.add_init_script(NOTE_VIOLATIONS)
        self.page = self._context.new_page()
        self.page.set_default_timeout(10_000)
        self.complaints: list[str] = []
        self.hosts: set[str | None] = set()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._context.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.goto(demo.url)
        expect(self.page.locator("#state-detail")).not_to_be_empty()

    def _note(self, message):
        is_provoked = urlsplit(message.location.get("url", "")).path in PROVOKED
        if message.type in {"error", "warning"} and not is_provoked:
            self.complaints.append(message.text)

    @property
    def violations(self):
        return self.page.evaluate("window.violations")

    @property
    def is_wider_than_the_window(self):
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")

    def act(self, name):
        with self.page.expect_response(f"**/api/{name}?*"):
            self.page.locator(f"[data-act={name}]").click()

    def close(self):
        self._context.close()


@pytest.fixture
def visit(browser, demo):
    opened = []

    def open_page(**options):
        opened.append(Visit(browser, demo, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


def _tab_to(page, element_id, presses=20):
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element_id:
            return
    pytest.fail(f"#{element_id} cannot be reached with {presses} presses of Tab")


def test_page_shows_that_nothing_leaves_before_consent(visit):
    """Three actions without consent are shown beside no request and no event."""
    one = visit()

    for name in ("fail", "missing", "track"):
        one.act(name)

    expect(one.page.locator("#actions")).to_have_text("3")
    expect(one.page.locator("#requests")).to_have_text("0")
    expect(one.page.locator("#empty-count")).to_have_text("0 requests")
    expect(one.page.locator("#empty-hint")).to_contain_text("3 actions")
    expect(one.page.locator("#state-title")).to_have_text("Undecided")
    expect(one.page.locator("article")).to_have_count(0)


def test_keyboard_alone_leads_to_an_error_report(visit):
    """Tab and Space give consent, Enter breaks something, and its report stands there with its JSON."""
    page = visit().page

    _tab_to(page, "errors")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Error reports")).to_have_attribute("aria-checked", "true")
    page.get_by_role("button", name="Break something").focus()
    page.keyboard.press("Enter")
    event = page.locator("article").first
    expect(event.get_by_role("heading")).to_have_text("$exception")
    event.get_by_text("JSON, exactly as").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#state-title")).to_have_text("Decided: error reports on")
    expect(event.locator("pre")).to_contain_text('"$exception_list"')
    expect(event.locator(".thrown")).to_contain_text("[scrubbed:email]")
    expect(page.locator("article")).to_have_count(1)


def test_reset_shows_the_undecided_state_again(visit):
    """Reset switches both off and forgets that anybody has decided."""
    page = visit().page
    for name in ("Error reports", "Usage events"):
        page.get_by_role("switch", name=name).click()
        expect(page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "true")

    page.get_by_role("button", name="Reset to undecided").click()

    expect(page.locator("#state-title")).to_have_text("Undecided")
    for name in ("Error reports", "Usage events"):
        expect(page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "false")


def test_page_has_the_words_of_the_api(visit):
    """Beside each switch stands what is sent and why, in the words of API and command line."""
    page = visit().page
    states = page.locator(".reason")
    expect(states).to_have_text(["off: undecided", "off: undecided"])

    page.get_by_role("switch", name="Error reports").click()

    expect(states).to_have_text(["sending: granted", "off: declined"])


def test_page_stays_on_this_computer_without_complaint(visit):
    """A whole visit asks no other host, breaks no policy and logs no error."""
    one = visit()
    for name in ("Error reports", "Usage events"):
        one.page.get_by_role("switch", name=name).click()
        expect(one.page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "true")

    for name in ("fail", "missing", "track", "track-secret"):
        one.act(name)
    expect(one.page.locator("article")).to_have_count(3)

    assert one.hosts == {"127.0.0.1"}
    assert one.violations == []
    assert one.complaints == []


def test_hostile_event_is_shown_as_text(visit, demo):
    """Markup in an event's name and properties is text on the page."""
    hostile = "<img src=x onerror=alert(1)>"
    event = {"event": hostile, "distinct_id": "1", "properties": {hostile: hostile}}
    demo.http.post(f"{demo.sink_url}/batch/", json={"api_key": "phc_x", "batch": [event]}, timeout=10)

    one = visit()

    expect(one.page.locator("article h3")).to_have_text(hostile)
    expect(one.page.locator("article td .value").first).to_have_text(hostile)
    expect(one.page.locator("article img")).to_have_count(0)
    assert one.violations == []


def _too_wide(one, state):
    """Return the windows in which the page scrolls sideways; a picture of each is kept."""
    found = []
    for width, height in ((360, 740), (390, 844), (1000, 800), (1280, 900)):
        one.page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            one.page.emulate_media(color_scheme=scheme)
            one.page.screenshot(path=ARTIFACTS / f"{state}-{width}-{scheme}.png", full_page=True)
            if one.is_wider_than_the_window:
                found.append((state, width, scheme))
    return found


def test_page_fits_its_window(visit):
    """From phone to desktop, light and dark, nothing scrolls sideways, neither empty nor full."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    one = visit()
    assert _too_wide(one, "empty") == []

    for name in ("Error reports", "Usage events"):
        one.page.get_by_role("switch", name=name).click()
        expect(one.page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "true")
    for count, name in enumerate(("track", "track-secret", "fail"), start=1):
        one.act(name)
        expect(one.page.locator("article")).to_have_count(count)
    for disclosure in one.page.locator("summary").all():
        disclosure.click()
    expect(one.page.locator("pre")).to_have_count(3)

    assert _too_wide(one, "full") == []
