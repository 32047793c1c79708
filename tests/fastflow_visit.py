"""A real browser on the example product, with all that it asked for and complained about."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Error, expect
from waiting import wait_until

WAIT_MS = 30_000
IS_REPORTING = """window.onerror?.__POSTHOG_INSTRUMENTED__ === true
    || performance.getEntriesByName("otel-posthog-reporting").length > 0"""
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener(
    "securitypolicyviolation",
    (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
STORED = """async () => ({
    cookies: document.cookie,
    local: Object.keys(localStorage),
    session: Object.keys(sessionStorage),
    databases: (await indexedDB.databases()).map(one => one.name),
    caches: await caches.keys(),
})"""
NOTHING_STORED = {"cookies": "", "local": [], "session": [], "databases": [], "caches": []}


class Visit:
    """One browser profile with one page."""

    def __init__(self, browser, url, **options):
        self.url = url
        self.context = browser.new_context(reduced_motion="reduce", **{"locale": "en-GB", **options})
        self.context.set_default_timeout(WAIT_MS)
        self.context.add_init_script(NOTE_VIOLATIONS)
        self.requests = []
        self.complaints = []
        self.violations = []
        self.context.on("request", lambda request: self.requests.append((request.method, request.url)))
        self.page = self.open_page()

    def open_page(self):
        page = self.context.new_page()
        page.on("console", self._note)
        page.goto(self.url)
        return page

    def _note(self, message):
        if "Content Security Policy" in message.text:
            self.violations.append(message.text)
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def asked(self, address):
        """Return the requests to this server, such as the local PostHog."""
        return [(method, url) for method, url in self.requests if url.startswith(address)]

    @property
    def foreign(self):
        """Return what was asked of anybody but the product itself."""
        own = urlsplit(self.url).netloc
        return [(method, url) for method, url in self.requests if urlsplit(url).netloc not in {own, ""}]

    @property
    def stored(self):
        return self.page.evaluate(STORED)

    @property
    def is_wider_than_the_window(self):
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")

    def sign_in(self, name, provider="GitHub"):
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_role("button", name=provider).click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_attached()

    def wait_until_reporting(self):
        """Return once errors are listened for; a page's policy forbids Playwright's own way to wait."""
        wait_until(self._is_reporting, timeout_s=WAIT_MS / 1000)

    def _is_reporting(self):
        try:
            return self.page.evaluate(IS_REPORTING)
        except Error:  # the page is being loaded anew
            return False

    def throw_in_a_component(self):
        """Answer the page of runs with what no version of the server would."""
        self.page.route("**/api/runs", lambda route: route.fulfill(json={"unexpected": "shape"}))
        self.page.get_by_role("link", name="Runs").click()
        expect(self.page.get_by_role("heading", name="This page has failed")).to_be_visible()

    def throw_in_a_handler(self, message="failed in a handler"):
        """Throw where nothing catches it."""
        self.page.evaluate("message => void setTimeout(() => { throw new RangeError(message); })", message)

    def reject(self):
        """Reject a promise that nothing awaits."""
        self.page.evaluate("() => void Promise.reject(new TypeError('failed in a promise'))")

    def close(self):
        self.context.close()
