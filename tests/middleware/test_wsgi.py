"""WSGI by hand: what the server and the application get, byte for byte, and what is reported."""

from __future__ import annotations

import io
import sys
import time
from contextvars import copy_context
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
import wsgi
from waiting import wait_until

from otel_posthog import SecurityHeaders, Telemetry, capture_exception, csp_nonce, track
from otel_posthog.emit.request_context import current_owner, current_request

POLICY = "Content-Security-Policy"
ROUNDED_S = 0.01  # a grant is dated to the millisecond
TEXT = [("Content-Type", "text/plain")]


def _reports(telemetry, sink):
    assert telemetry.flush(60)
    return [
        event.properties["$exception_list"][0]["value"] for event in sink.events if event.name == "$exception"
    ]


class Body:
    """A response that does what its test wants, when it is iterated and closed."""

    def __init__(self, *, parts=(), fails=None, closing=None):
        self._parts, self._fails, self._closing = parts, fails, closing
        self.closed = 0

    def __iter__(self):
        """Yield the parts, and fail where that is wanted."""
        yield from self._parts
        if self._fails:
            raise LookupError(self._fails)

    def close(self):
        """Count the call, and fail where that is wanted."""
        self.closed += 1
        if self._closing:
            raise ValueError(self._closing)


def answering(body, status="200 OK"):
    """Return an application with that response."""

    def app(_environ, start_response):
        start_response(status, list(TEXT))
        return body

    return app


def test_code_that_outlives_a_failed_request_is_no_part_of_it(granted):
    """Once the application has raised, a context that it left behind holds no request."""
    left = []

    def app(_environ, _start_response):
        left.append(copy_context())
        raise LookupError("before any body")

    with pytest.raises(LookupError):
        granted.wrap_wsgi(app)({}, print)

    assert left[0].run(current_request) is None
    assert left[0].run(current_owner) is granted.lifecycle.owner


def test_both_sides_keep_to_the_specification(granted, sink):
    """Neither the server's side nor the application's breaks a rule of `wsgiref.validate`."""
    body = Body(parts=[b"one", b"two"])

    answer = wsgi.get(validator(granted.wrap_wsgi(validator(answering(body)))), "/")

    assert answer.raised is None
    assert answer.body == [b"one", b"two"]
    assert body.closed == 1
    assert _reports(granted, sink) == []


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        (Body(fails="first"), ["first"]),
        (Body(parts=[b"one"], fails="later"), ["later"]),
        (Body(parts=[b"one"], closing="at the end"), ["at the end"]),
        (Body(fails="both", closing="at the end"), ["both"]),
    ],
    ids=["at once", "later", "in close", "in close as well"],
)
def test_failing_body_is_one_report(granted, sink, body, reported):
    """What fails while the server iterates or closes the response is reported once."""
    answer = wsgi.get(granted.wrap_wsgi(answering(body)), "/")

    assert answer.raised is not None
    assert body.closed == 1
    assert _reports(granted, sink) == reported


@pytest.mark.parametrize("body", [[b"one"], (b"one", b"two"), b""], ids=["list", "tuple", "bytes"])
def test_body_with_a_length_stays_what_it_is(granted, body):
    """A server that asks a response for its length, as wsgiref does, gets the same answer."""
    answer = wsgi.get(granted.wrap_wsgi(answering(body)), "/")

    assert answer.returned is body


def test_file_wrapper_passes_through(granted):
    """A file that the server sends itself, by the wrapper that it offers, reaches it as it is."""
    wrapped = FileWrapper(io.BytesIO(b"a file"))

    answer = wsgi.get(granted.wrap_wsgi(answering(wrapped)), "/", **{"wsgi.file_wrapper": FileWrapper})

    assert answer.returned is wrapped
    assert answer.body == [b"a file"]


def test_write_is_the_servers(granted):
    """An application that uses `write` gets the server's own."""
    functions = []

    def app(_environ, start_response):
        functions.append(start_response("200 OK", list(TEXT)))
        functions[0](b"written")
        return []

    answer = wsgi.get(granted.wrap_wsgi(app), "/")

    assert functions[0].__module__ == "wsgi"
    assert answer.body == [b"written"]


def test_client_that_leaves_while_it_is_written_to_is_no_error(granted, sink):
    """The `OSError` of the server's `write` is not reported, and reaches the server (R12)."""

    def app(_environ, start_response):
        start_response("200 OK", list(TEXT))(b"written")
        return []

    answer = wsgi.get(granted.wrap_wsgi(granted.wrap_wsgi(app)), "/", writable=0)

    assert isinstance(answer.raised, wsgi.ClientGone)
    assert _reports(granted, sink) == []


def test_client_that_leaves_while_it_is_read_from_is_no_error(granted, sink):
    """Neither is that of reading the request, while another one is reported (R12)."""

    def reads(environ, _start_response):
        return [environ["wsgi.input"].read()]

    def connects(_environ, _start_response):
        raise ConnectionResetError("by the database")

    wsgi.get(granted.wrap_wsgi(reads), "/", leaves=True)
    wsgi.get(granted.wrap_wsgi(connects), "/")

    assert _reports(granted, sink) == ["by the database"]


def _fail(text):
    raise LookupError(text)


def _with_exc_info(status, part):
    def app(_environ, start_response):
        write = start_response("200 OK", list(TEXT))
        if part:
            write(part)
        try:
            _fail("while answering")
        except LookupError:
            start_response(status, list(TEXT), sys.exc_info())
        return [b"never mind"]

    return app


@pytest.mark.parametrize(
    ("status", "part", "reported"),
    [
        ("500 Internal Server Error", b"", ["while answering"]),
        ("500 Internal Server Error", b"begun", ["while answering"]),
        ("503 Service Unavailable", b"", []),
        ("503 Service Unavailable", b"begun", ["while answering"]),
    ],
)
def test_exc_info_reaches_the_server(granted, sink, status, part, reported):
    """Once a part was sent the server raises the exception, as PEP 3333 has it; a failure is one report."""
    answer = wsgi.get(granted.wrap_wsgi(_with_exc_info(status, part)), "/")

    assert (type(answer.raised) is LookupError) is bool(part)
    assert answer.statuses[-1] == ("200 OK" if part else status)
    assert _reports(granted, sink) == reported


class Refusal(Exception):  # noqa: N818 - as Werkzeug and WebOb name theirs
    """An HTTP error that is an application."""

    code = 500

    def __call__(self, _environ, start_response):
        """Answer."""
        start_response("500 Internal Server Error", list(TEXT))
        return []


@pytest.mark.parametrize(("error", "reported"), [(Refusal("r"), []), (LookupError("own"), ["own"])])
def test_deliberate_failure_is_no_report(granted, sink, error, reported):
    """An exception that answers for itself is deliberate; another one that is being handled is not."""

    def app(environ, start_response):
        try:
            raise error
        except LookupError:
            return Refusal("r")(environ, start_response)
        except Refusal as refusal:
            return refusal(environ, start_response)

    wsgi.get(granted.wrap_wsgi(app), "/")

    assert _reports(granted, sink) == reported


@pytest.mark.parametrize("layers", [1, 2])
def test_failure_in_the_second_after_a_no_is_reported_once_granted(telemetry, make_telemetry, sink, layers):
    """What leaves the application while nothing is watched waits for a new answer, once if wrapped twice."""
    telemetry.flush()  # so that the next read is due a second later
    make_telemetry(spool_dir=":memory:").update_settings(enable_error_reporting=True)
    granted_s = time.monotonic()
    wait_until(lambda: time.monotonic() > granted_s + ROUNDED_S)

    def app(_environ, _start_response):
        raise LookupError("after the grant")

    wrapped = app
    for _ in range(layers):
        wrapped = telemetry.wrap_wsgi(wrapped)
    with pytest.raises(LookupError):
        wrapped({}, print)

    assert _reports(telemetry, sink) == ["after the grant"]


def test_denied_reports_cost_nothing(telemetry):
    """While error reports are denied the application gets the server's own `start_response`."""
    given = []

    def app(_environ, start_response):
        given.append(start_response)
        return answering([])(_environ, start_response)

    telemetry.update_settings(enable_telemetry=True)
    telemetry.wrap_wsgi(app)({}, server := (lambda *_arguments: None))
    telemetry.update_settings(enable_error_reporting=True)
    telemetry.wrap_wsgi(app)({}, server)

    assert [each is server for each in given] == [True, False]


def test_first_request_starts_it(make_telemetry, sink):
    """Without a lifespan the first request starts the telemetry, without a wait, and fails into it."""
    telemetry = make_telemetry()
    telemetry.update_settings(enable_error_reporting=True)

    wsgi.get(telemetry.wrap_wsgi(answering(Body(fails="the first"))), "/")

    assert _reports(telemetry, sink) == ["the first"]


def test_broken_telemetry_breaks_nothing(tmp_path):
    """One that cannot start leaves the application as it is."""
    (tmp_path / "file").touch()
    telemetry = Telemetry(database=f"sqlite:///{tmp_path}/file/app.db", environ={})

    answer = wsgi.get(telemetry.wrap_wsgi(answering([b"fine"])), "/")
    telemetry.shutdown(timeout_s=1)

    assert (answer.status, answer.body) == (200, [b"fine"])


@pytest.mark.parametrize("errors", [True, False], ids=["granted", "denied"])
def test_security_headers_are_those_of_asgi(make_telemetry, errors):
    """The product's headers are set on each response, PostHog's hosts with error reports, and a nonce."""
    telemetry = make_telemetry(security_headers=SecurityHeaders(), host="https://eu.i.posthog.com")
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=errors)
    nonces = []

    def app(_environ, start_response):
        nonces.append(csp_nonce())
        start_response("200 OK", [*TEXT, ("Referrer-Policy", "no-referrer")])
        return []

    answer = wsgi.get(validator(telemetry.wrap_wsgi(app)), "/", **{"wsgi.url_scheme": "https"})

    [policy] = answer.header(POLICY)
    assert f"'nonce-{nonces[0]}'" in policy
    assert ("posthog.com" in policy) is errors
    assert answer.header("Referrer-Policy") == ["no-referrer"]
    assert answer.header("Strict-Transport-Security") == ["max-age=31536000"]


def test_malformed_start_is_the_servers_business(make_telemetry):
    """A status or headers that are none reach the server unchanged."""
    telemetry = make_telemetry(security_headers=SecurityHeaders())
    telemetry.start()
    given = []

    def app(_environ, start_response):
        start_response(200, None)
        return []

    telemetry.wrap_wsgi(app)({}, lambda *arguments: given.append(arguments))

    assert given == [(200, None)]


def test_labels_are_those_of_asgi(granted, sink):
    """Method, scheme, path and host are as the client named them; a text of UTF-8 is quoted once."""
    raw = "/grün/é".encode().decode("latin-1")

    wsgi.get(granted.wrap_wsgi(answering(Body(fails="x"))), raw, REQUEST_METHOD="POST", SCRIPT_NAME="/app")

    assert _reports(granted, sink) == ["x"]
    [event] = sink.events
    assert event.properties["$request_method"] == "POST"
    assert event.properties["$request_path"] == "/app/gr%C3%BCn/%C3%A9"


def test_body_runs_within_its_request(granted):
    """While the response is iterated its request is current, and in between and afterwards it is not."""
    seen = []

    def app(_environ, start_response):
        start_response("200 OK", list(TEXT))
        seen.append(current_request())
        yield b"one"
        seen.append(current_request())

    wrapped = granted.wrap_wsgi(app)
    body = wrapped({}, lambda *_arguments: None)
    for _part in body:
        assert current_request() is None
    body.close()

    assert len(set(map(id, seen))) == 1
    assert seen[0] is not None
    assert (current_owner(), current_request()) == (None, None)


def test_handled_exception_and_event_are_steps_of_the_request(granted, sink):
    """What the application emits belongs to the request: it is among the breadcrumbs of its failure."""

    def app(_environ, _start_response):
        track("opened")
        capture_exception(LookupError("handled"))
        raise ValueError("unhandled")

    wsgi.get(granted.wrap_wsgi(app), "/here")

    assert _reports(granted, sink) == ["handled", "unhandled"]
    [failure] = [event for event in sink.events if event.properties.get("$request_path")]
    assert [step["$message"] for step in failure.properties["$exception_steps"]] == ["opened"]


def test_each_product_gets_its_own(make_telemetry, sink, tmp_path):
    """Of two products in a process each gets the failures and the events of its application."""
    places = {f"phc_key_of_{name}": f"sqlite:///{tmp_path}/{name}.db" for name in "ab"}
    telemetries = [make_telemetry(api_key=key, database=database) for key, database in places.items()]
    for telemetry in telemetries:
        telemetry.start()
        telemetry.update_settings(enable_telemetry=True)

    def app(_environ, start_response):
        start_response("200 OK", list(TEXT))
        yield b"one"
        track("streamed")

    for telemetry in telemetries:
        wsgi.get(telemetry.wrap_wsgi(app), "/")
        assert telemetry.flush(60)

    assert [event.api_key for event in sink.events] == ["phc_key_of_a", "phc_key_of_b"]
