"""The sink as clients and tests meet it, over real sockets, and its page in a real browser."""

import base64
import contextlib
import gzip
import json
import threading
import time

import httpx2
import pytest
import requests
from posthog import Posthog
from posthog.request import batch_post

from otel_posthog.testing import Fault, PostHogSink, serve

EVENT = {
    "event": "sync_completed",
    "distinct_id": "8d1f3b52-6c1e-4f0e-9d3a-5b7f1e2c4a60",
    "uuid": "01912d6e-5f3a-7c1e-8a77-2b1f0c9d8e7f",
    "timestamp": "2026-01-01T00:00:00Z",
    "properties": {"$ip": "0.0.0.0", "$process_person_profile": False, "files": 3},
}
BATCH = {"api_key": "phc_x", "batch": [EVENT], "sent_at": "2026-01-01T00:00:01Z"}
SINGLE = {**EVENT, "api_key": "phc_x"}
FORM_TYPE = "application/x-www-form-urlencoded"


@pytest.fixture
def sink():
    """Return a sink without a script."""
    return PostHogSink()


@pytest.fixture
def url(sink):
    """Return where the sink listens."""
    with serve(sink) as address:
        yield address


@pytest.fixture
def http():
    """Return a session that does not follow redirects on its own account."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def anyio_backend():
    """Return the event loop that uvicorn uses."""
    return "asyncio"


@pytest.mark.parametrize("path", ["/batch/", "/batch", "/i/v0/e/", "/i/v0/e", "/e/", "/capture/", "/track/"])
def test_sink_accepts_every_ingestion_path(sink, url, http, path):
    """Each path that PostHog's ingestion has takes an event and answers as PostHog does."""
    answer = http.post(url + path, json=BATCH, timeout=5)

    assert (answer.status_code, answer.json()) == (200, {"status": "Ok"})
    assert [event.path for event in sink.events] == [path]


@pytest.mark.parametrize(
    ("query", "headers", "body"),
    [
        ("", {}, json.dumps(SINGLE).encode()),
        ("", {}, json.dumps([SINGLE]).encode()),
        ("", {"content-encoding": "gzip"}, gzip.compress(json.dumps(BATCH).encode())),
        (
            "?compression=gzip-js&ver=1",
            {"content-type": "text/plain"},
            gzip.compress(json.dumps(SINGLE).encode()),
        ),
        ("", {}, gzip.compress(json.dumps(SINGLE).encode())),
        ("?compression=base64", {"content-type": FORM_TYPE}, "form"),
        ("", {"content-type": FORM_TYPE}, "gzipped form"),
        ("", {}, base64.b64encode(json.dumps(SINGLE).encode())),
    ],
    ids=["single", "array", "gzip", "gzip-js", "gzip by magic", "form", "form of gzip", "base64"],
)
def test_sink_reads_every_encoding(sink, url, query, headers, body):
    """A body in any of the encodings that clients use becomes the same event."""
    plain = json.dumps(SINGLE).encode()
    if body == "form":
        body = httpx2.QueryParams({"data": base64.b64encode(plain).decode()})
    elif body == "gzipped form":
        body = httpx2.QueryParams({"data": base64.b64encode(gzip.compress(plain)).decode()})

    answer = httpx2.post(
        f"{url}/e/{query}",
        content=bytes(str(body), "ascii") if isinstance(body, httpx2.QueryParams) else body,
        headers=headers,
    )

    assert answer.status_code == 200
    [event] = sink.events
    assert (event.name, event.properties["files"], event.api_key) == ("sync_completed", 3, "phc_x")


def test_sink_takes_an_event_from_the_query(sink, url, http):
    """Old clients send the event with GET."""
    answer = http.get(f"{url}/e/", params={"data": json.dumps(SINGLE)}, timeout=5)

    assert answer.status_code == 200
    assert len(sink.events) == 1


def test_sink_answers_a_beacon_without_content(url, http):
    """A page that goes away sends a beacon and wants no answer."""
    assert http.post(f"{url}/e/?beacon=1", json=SINGLE, timeout=5).status_code == 204


def test_events_hold_what_was_sent(sink, url, http):
    """An event is kept field by field and as a whole."""
    http.post(f"{url}/batch/", json=BATCH, timeout=5)

    [event] = sink.events

    assert event.name == EVENT["event"]
    assert event.distinct_id == EVENT["distinct_id"]
    assert event.uuid == EVENT["uuid"]
    assert event.timestamp == EVENT["timestamp"]
    assert event.sent_at == BATCH["sent_at"]
    assert event.raw == EVENT
    assert (event.issues, event.dropped) == ((), False)
    assert event.received_at.utcoffset().total_seconds() == 0


def test_events_are_marked_with_what_posthog_would_do(sink, url, http):
    """An event that PostHog would drop is accepted, kept, and says so."""
    properties = {**EVENT["properties"], "$ip": ""}

    answer = http.post(
        f"{url}/batch/",
        json={**BATCH, "batch": [{**EVENT, "distinct_id": "system", "properties": properties}]},
        timeout=5,
    )

    [event] = sink.events
    assert answer.status_code == 200
    assert event.issues == ("distinct-id-illegal", "ip-added")
    assert event.dropped


def test_refused_requests_store_nothing(sink, url, http):
    """One bad event refuses the whole batch, and the refusal says why."""
    answer = http.post(f"{url}/batch/", json={**BATCH, "batch": [EVENT, {**EVENT, "uuid": "7"}]}, timeout=5)

    [refused] = sink.refused
    assert answer.status_code == 400
    assert sink.events == []
    assert (refused.status, refused.rule_id, refused.path) == (400, "uuid-invalid", "/batch/")
    assert refused.detail in answer.text


def test_requests_hold_the_bytes_that_came(sink, url, http):
    """A request is kept with its raw and its decoded body, its headers and the status it got."""
    raw = gzip.compress(json.dumps(BATCH).encode())

    http.post(f"{url}/batch/?a=b", data=raw, headers={"content-encoding": "gzip", "x-mine": "1"}, timeout=5)

    [request] = sink.requests
    assert (request.method, request.path, request.query, request.status) == ("POST", "/batch/", "a=b", 200)
    assert request.body == raw
    assert json.loads(request.decoded) == BATCH
    assert ("x-mine", "1") in request.headers
    assert 0 < request.arrived_at_ns <= time.monotonic_ns()


@pytest.mark.parametrize(
    "needle", ["in-body", "in-header", "in-query", "in-path", "/batch/", b"sync_completed"]
)
def test_contains_looks_everywhere(sink, url, http, needle):
    """A text is found in URL, headers and compressed bodies alike."""
    properties = {**EVENT["properties"], "note": "in-body"}
    raw = gzip.compress(json.dumps({**BATCH, "batch": [{**EVENT, "properties": properties}]}).encode())

    http.post(f"{url}/batch/?q=in-query", data=raw, headers={"x-mine": "in-header"}, timeout=5)
    http.get(f"{url}/in-path", timeout=5)

    assert sink.contains(needle)
    assert not sink.contains("nowhere")


def test_records_are_bounded(http):
    """The oldest events, requests and bodies go first."""
    sink = PostHogSink(max_events=2, max_requests=3, max_body_bytes=10_000)

    with serve(sink) as url:
        for number in range(5):
            http.post(f"{url}/batch/", json={**BATCH, "batch": [{**EVENT, "event": f"e{number}"}]}, timeout=5)
        kept = [event.name for event in sink.events], len(sink.requests)
        http.post(f"{url}/elsewhere", data=b"-" * 5_000, timeout=5)

    assert kept == (["e3", "e4"], 3)
    assert [request.path for request in sink.requests] == ["/elsewhere"]


def test_clear_forgets_everything(sink, url, http):
    """After clear there is nothing left to read."""
    http.post(f"{url}/batch/", json=BATCH, timeout=5)
    http.post(f"{url}/batch/", data=b"{", timeout=5)

    sink.clear()

    assert (sink.events, sink.requests, sink.refused) == ([], [], [])


def test_wait_for_returns_when_the_event_is_there(sink, url):
    """A waiting test goes on as soon as the event has come."""
    other = {**BATCH, "batch": [{**EVENT, "event": "other"}, EVENT]}
    sender = threading.Thread(
        target=requests.post, args=(f"{url}/batch/",), kwargs={"json": other, "timeout": 5}
    )

    sender.start()
    found = sink.wait_for(count=1, name="sync_completed", timeout_s=10)
    sender.join()

    assert [event.name for event in found] == ["sync_completed"]


def test_wait_for_tells_what_arrived_instead(sink, url, http):
    """The error of a wait in vain names events, requests and refusals."""
    http.post(f"{url}/batch/", json=BATCH, timeout=5)
    http.post(f"{url}/batch/", data=b"{", timeout=5)

    with pytest.raises(TimeoutError) as caught:
        sink.wait_for(count=2, timeout_s=0)

    message = str(caught.value)
    assert "2 events, got 1" in message
    assert "sync_completed (1)" in message
    assert "POST /batch/ 400" in message
    assert "json-invalid" in message


def test_cors_mirrors_the_caller(url, http):
    """A browser on any origin may send, also where the answer is an error."""
    asked = {"origin": "https://a.example", "access-control-request-headers": "content-type,x-b"}

    preflight = http.options(f"{url}/e/", headers=asked, timeout=5)
    refused = http.post(f"{url}/e/", data=b"{", headers={"origin": "https://a.example"}, timeout=5)

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    assert preflight.headers["access-control-allow-headers"] == "content-type,x-b"
    assert preflight.headers["access-control-allow-credentials"] == "true"
    assert refused.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/array/phc_x/config", 200),
        ("/flags/?v=2", 200),
        ("/decide/?v=3", 200),
        ("/array/phc_x/config.js", 404),
        ("/static/recorder.js", 404),
        ("/s/", 404),
        ("/i/v1/analytics/recordings", 404),
    ],
)
def test_start_requests_are_answered_and_recorded(sink, url, http, path, status):
    """What posthog-js asks for besides sending events is harmless, and seen."""
    answer = http.post(url + path, data=b"", timeout=5)

    assert answer.status_code == status
    assert [request.path for request in sink.requests] == [path.partition("?")[0]]
    if status == 200:
        assert answer.json()["sessionRecording"] is False
        assert answer.json()["hasFeatureFlags"] is False


def test_script_is_met_in_order_and_ends(sink, url, http):
    """Faults come in the order of the script, each as often as it says; then all is well."""
    sink.script([Fault(status=503, times=2, retry_after="2"), Fault(delay_s=0.001), Fault(status=429)])

    answers = [http.post(f"{url}/batch/", json=BATCH, timeout=5) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [503, 503, 200, 429, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert len(sink.events) == 2
    assert len(sink.requests) == 5


def test_script_meets_ingestion_only(sink, url, http):
    """The page and other requests do not use up the script."""
    sink.script([Fault(status=503)])

    others = [http.get(url + path, timeout=5).status_code for path in ("/", "/api/events", "/flags/")]

    assert others == [200, 200, 200]
    assert http.post(f"{url}/batch/", json=BATCH, timeout=5).status_code == 503


def test_fault_for_a_text_lets_others_pass(sink, url, http):
    """A fault with `holding` waits for a request that holds the text, compressed or not."""
    sink.script([Fault(status=400, holding="poison"), Fault(status=503)])
    poisoned = {**BATCH, "batch": [{**EVENT, "event": "poison"}]}
    bodies = (BATCH, poisoned, BATCH)

    answers = [http.post(f"{url}/batch/", json=body, timeout=5).status_code for body in bodies]

    assert answers == [503, 400, 200]


def test_script_without_end_lasts_until_replaced(sink, url, http):
    """An outage lasts until an empty script ends it."""
    sink.script([Fault(status=503, times=None)])
    during = [http.post(f"{url}/batch/", json=BATCH, timeout=5).status_code for _ in range(4)]

    sink.script([])

    assert during == [503] * 4
    assert http.post(f"{url}/batch/", json=BATCH, timeout=5).status_code == 200


@pytest.mark.parametrize(("cut", "stored"), [("before", 0), ("after", 1)])
def test_cut_connections_give_no_answer(sink, url, http, cut, stored):
    """A client sees its connection die, whether the event was stored or not."""
    http.post(f"{url}/elsewhere", timeout=5)  # the cut shall hit a connection in use, too
    sink.script([Fault(cut=cut)])

    with pytest.raises(requests.ConnectionError):
        http.post(f"{url}/batch/", json=BATCH, timeout=5)

    assert len(sink.events) == stored
    assert [request.status for request in sink.requests] == [404, None]
    assert http.post(f"{url}/batch/", json=BATCH, timeout=5).status_code == 200


def test_redirect_goes_where_the_script_says(sink, url, http):
    """A scripted redirect is a 302 to the given place, and nothing is stored."""
    sink.script([Fault(redirect="http://127.0.0.1:9/"), Fault(redirect="/login", status=307)])

    answers = [http.post(f"{url}/batch/", json=BATCH, timeout=5, allow_redirects=False) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 307]
    assert [answer.headers["location"] for answer in answers] == ["http://127.0.0.1:9/", "/login"]
    assert sink.events == []


@pytest.mark.anyio
async def test_sink_works_without_a_server(sink):
    """In process, a cut connection is an exception and all else an answer."""
    sink.script([Fault(cut="before")])

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(sink), base_url="http://sink") as client:
        with pytest.raises(ConnectionAbortedError):
            await client.post("/batch/", json=BATCH)
        answer = await client.post("/batch/", json=BATCH)

    assert answer.status_code == 200


def test_read_api_gives_the_newest_first(sink, url, http):
    """Any local page may read what is new since a sequence number."""
    names = ["a", "b", "c"]
    http.post(
        f"{url}/batch/", json={**BATCH, "batch": [{**EVENT, "event": name} for name in names]}, timeout=5
    )
    http.post(f"{url}/batch/", data=b"{", timeout=5)

    answer = http.get(f"{url}/api/events", params={"after": 1}, timeout=5)

    content = answer.json()
    assert [(event["sequence"], event["name"]) for event in content["events"]] == [(3, "c"), (2, "b")]
    assert [request["rule_id"] for request in content["refused"]] == ["json-invalid"]
    assert (content["last"], content["oldest"]) == (4, 1)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_read_api_explains_a_bad_number(url, http):
    """A sequence number that is none is answered with a hint."""
    answer = http.get(f"{url}/api/events?after=x", timeout=5)

    assert answer.status_code == 422
    assert "/api/events?after=17" in answer.json()["detail"]


def test_delete_clears_but_not_from_elsewhere(sink, url, http):
    """DELETE clears; a page of another origin gets no leave to send it."""
    http.post(f"{url}/batch/", json=BATCH, timeout=5)

    preflight = http.options(f"{url}/api/events", headers={"origin": "https://a.example"}, timeout=5)
    answer = http.delete(f"{url}/api/events", timeout=5)

    assert preflight.headers["access-control-allow-methods"] == "GET"
    assert answer.status_code == 204
    assert sink.events == []


def test_read_api_lists_the_rules(url, http):
    """The rules can be read with verdict and source."""
    listed = http.get(f"{url}/api/rules", timeout=5).json()["rules"]

    by_id = {rule["id"]: rule for rule in listed}
    assert by_id["token-invalid"]["verdict"] == "refuse"
    assert by_id["token-invalid"]["source"] == "rust/capture/src/token.rs"


def test_own_page_is_not_recorded(sink, url, http):
    """Looking at the page leaves no trace among the requests."""
    for path in ("/", "/api/events", "/api/rules", "/api/nothing"):
        http.get(url + path, timeout=5)

    assert sink.requests == []


def test_real_batch_post_is_accepted(sink, url, http):
    """What posthog-python puts on the wire passes every rule."""
    batch_post("phc_x", host=url, gzip=True, batch=[EVENT], session=http)

    [event] = sink.events
    assert event.issues == ()
    assert sink.requests[0].decoded != sink.requests[0].body


def test_real_exceptions_pass_every_rule(sink, url):
    """The exceptions of a real PostHog client would neither be refused nor dropped."""
    client = Posthog("phc_x", host=url, disable_geoip=True, in_app_modules=[], sync_mode=True)
    try:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no such number") from error
    except LookupError as error:
        client.capture_exception(error, properties={"$ip": "0.0.0.0", "$process_person_profile": False})
    client.shutdown()

    [event] = sink.events
    assert [entry["type"] for entry in event.properties["$exception_list"]] == ["LookupError", "ValueError"]
    assert sink.refused == []
    assert event.issues == ("exception-list-reversed",)


@contextlib.contextmanager
def _page(browser, url, **context):
    opened = browser.new_context(**context)
    page = opened.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on(
        "request",
        lambda asked: problems.append(asked.url) if not asked.url.startswith((url, "data:")) else None,
    )
    page.goto(url)
    yield page
    opened.close()
    assert problems == []


def test_page_says_so_when_nothing_has_arrived(browser, url):
    """An empty sink says so, and where to send to."""
    with _page(browser, url) as page:
        page.get_by_role("heading", name="Nothing has arrived.").wait_for()

        assert page.get_by_text(f"{url}/batch/").count() == 1


def test_page_shows_hostile_events_as_text(browser, sink, url, http):
    """Markup in names, keys and values is shown, never run."""
    markup = "<img src=x onerror=\"document.title='run'\">"
    with _page(browser, url) as page:
        http.post(
            f"{url}/batch/",
            json={**BATCH, "batch": [{**EVENT, "event": markup, "properties": {markup: markup}}]},
            timeout=5,
        )
        page.get_by_role("heading", name=markup).wait_for()

        assert page.locator("article img, article script").count() == 0
        assert page.get_by_role("rowheader", name=markup).count() == 1
        assert page.title() == "Local PostHog sink"


def test_page_explains_errors_and_rules(browser, sink, url, http):
    """An error shows type, value and own frames; a broken rule is told in words."""
    frames = [
        {"platform": "python", "filename": "lib.py", "function": "call", "lineno": 1, "in_app": False},
        {"platform": "cpython", "filename": "mine.py", "function": "work", "lineno": 7, "in_app": True},
    ]
    thrown = {"type": "ValueError", "value": "no number", "stacktrace": {"type": "raw", "frames": frames}}
    properties = {**EVENT["properties"], "$exception_list": [thrown]}
    http.post(
        f"{url}/batch/",
        json={**BATCH, "batch": [{**EVENT, "event": "$exception", "properties": properties}]},
        timeout=5,
    )

    with _page(browser, url) as page:
        page.get_by_text("ValueError: no number").wait_for()
        page.get_by_text("2 frames, 1 in your code").focus()
        page.keyboard.press("Enter")
        page.get_by_text("mine.py:7").wait_for()

        assert page.get_by_text("PostHog would drop this:").count() == 1
        assert page.locator("li.own").all_inner_texts() == ["work mine.py:7 your code"]


def test_page_filters_and_clears(browser, sink, url, http):
    """The filter narrows the list by text and by kind; Clear empties it."""
    http.post(f"{url}/batch/", json={**BATCH, "batch": [EVENT, {**EVENT, "event": "other"}]}, timeout=5)
    http.post(f"{url}/batch/", data=b"{", timeout=5)

    with _page(browser, url) as page:
        page.get_by_text("3 received. Updates").wait_for()
        page.get_by_label("Filter").fill("OTHER")
        page.get_by_text("3 received, 1 shown").wait_for()
        page.get_by_label("Filter").fill("")
        page.get_by_label("Kind").select_option("Refused requests")
        page.get_by_text("PostHog would refuse this with 400:").wait_for()
        page.get_by_role("button", name="Clear").click()
        page.get_by_text("Nothing has arrived.").wait_for()

    assert sink.events == []


@pytest.mark.parametrize("width", [360, 1280])
def test_page_needs_no_sideways_scrolling(browser, url, http, width):
    """However long a word, the page stays within its width."""
    long = "x" * 400
    http.post(
        f"{url}/batch/",
        json={**BATCH, "batch": [{**EVENT, "event": long, "properties": {long: long}}]},
        timeout=5,
    )

    with _page(browser, url, viewport={"width": width, "height": 740}) as page:
        page.locator("article").wait_for()
        page.get_by_text("Raw JSON").click()

        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_endpoint_with_verdicts_judges_each_event(sink, url, http):
    """Of a batch with a bad event the others are accepted, in the form in which `/batch/` has them."""
    sink.script([Fault(status=400, holding="planted", times=None)])
    batch = [
        {
            "event": "happened",
            "uuid": f"00000000-0000-4000-8000-00000000000{number}",
            "distinct_id": "someone",
            "timestamp": "2026-01-02T03:04:05+00:00",
            "options": {"process_person_profile": False},
            "properties": {"text": text},
        }
        for number, text in enumerate(("good", "planted"))
    ]
    headers = {"authorization": "Bearer phc_x", "posthog-sdk-info": "otel-posthog/1.0"}

    answer = http.post(
        f"{url}/i/v1/analytics/events",
        json={"created_at": "2026-01-02T03:04:05+00:00", "batch": batch},
        headers=headers,
        timeout=5,
    )

    results = answer.json()["results"]
    assert [results[event["uuid"]]["result"] for event in batch] == ["ok", "drop"]
    [event] = sink.events
    assert event.properties["$process_person_profile"] is False
    assert (event.properties["$lib"], event.api_key) == ("otel-posthog", "phc_x")


def test_answer_of_something_else(sink, url, http):
    """A scripted body is answered with 200, and nothing is stored."""
    sink.script([Fault(body="<html>Please log in</html>")])

    answer = http.post(f"{url}/batch/", json={"api_key": "phc_x", "batch": [{}]}, timeout=5)

    assert (answer.status_code, answer.text) == (200, "<html>Please log in</html>")
    assert answer.headers["content-type"].startswith("text/html")
    assert sink.events == []
