"""Where a text can stand in what an application hands over: each function puts it there, the real way."""

from __future__ import annotations

import json
from contextlib import suppress

from asgi import call, http_scope
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from otel_posthog import capture_exception, track
from otel_posthog.emit.tracebacks import MAX_MESSAGE_CHARS

SHORT = 190  # longer texts are no property


class Place:
    """One application with telemetry, into which texts are planted."""

    def __init__(self, make_telemetry, folder):
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.telemetry = make_telemetry(tracer_provider=self.provider, logger_provider=self.logger_provider)
        self.folder = folder
        self.count = 0

    def next_file(self):
        self.count += 1
        return self.folder / f"module_{self.count}.py"

    def run(self, source, *, name="app.module", filename=None):
        """Run a program that raises, and report what it raised."""
        path = self.next_file()
        path.write_text(source, encoding="utf-8")
        try:
            exec(compile(source, filename or str(path), "exec"), {"__name__": name})
        except Exception as error:  # noqa: BLE001 - whatever the program raises
            capture_exception(error)


def _raise(error, cause=None):
    try:
        raise error from cause  # noqa: TRY301 - to have a traceback
    except BaseException as caught:  # noqa: BLE001 - whatever was planted
        capture_exception(caught)


def message(_place, text):
    _raise(ValueError(text))


def message_repr(_place, text):
    _raise(ValueError(f"refused {text!r} here"))


def message_json(_place, text):
    _raise(ValueError(json.dumps({"detail": text})))


def message_json_in_json(_place, text):
    _raise(ValueError(json.dumps({"body": json.dumps({"detail": text})})))


def message_arguments(_place, text):
    _raise(RuntimeError("failed", text, 3))


def message_key_error(_place, text):
    _raise(KeyError(text))


def message_several_lines(_place, text):
    _raise(ValueError(f"first line\n  {text}\nlast line"))


def message_at_the_cut(_place, text):
    _raise(ValueError("x " * ((MAX_MESSAGE_CHARS - len(text) // 2) // 2) + text))


def message_behind_the_cut(_place, text):
    _raise(ValueError("y " * 3990 + text + " z" * 20))


def cause(_place, text):
    _raise(ValueError("outer"), LookupError(text))


def context(_place, text):
    try:
        {}[text]
    except KeyError:
        _raise(ValueError("outer"))


def group(_place, text):
    _raise(ExceptionGroup(text, [ValueError("inner")]))


def group_member(_place, text):
    _raise(ExceptionGroup("several", [ValueError("one"), TypeError(text)]))


def note(_place, text):
    error = ValueError("with a note")
    error.add_note(text)
    _raise(error)


def local_variable(_place, text):
    def inner(argument):
        raise ValueError("somewhere")

    try:
        inner(text)
    except ValueError as error:
        capture_exception(error)


def type_name(_place, text):
    _raise(type(text.replace("\0", ""), (Exception,), {})("typed"))


def type_module(_place, text):
    _raise(type("Odd", (Exception,), {"__module__": text})("typed"))


def module_name(place, text):
    place.run("raise ValueError('in a module')", name=text)


def file_name(place, text):
    place.run("raise ValueError('in a file')", filename=text.replace("\0", ""))


def folder_name(place, text):
    place.run("raise ValueError('in a folder')", filename=f"/srv/{text}/mod.py")


def function_name(_place, text):
    def fail():
        raise ValueError("in a function")

    fail.__code__ = fail.__code__.replace(co_name=text, co_qualname=text)
    try:
        fail()
    except ValueError as error:
        capture_exception(error)


def source_line(place, text):
    place.run(f"raise ValueError({text!r})")


def source_before(place, text):
    place.run(f"setting = {text!r}\nother = 1\nraise ValueError('below')")


def source_comment(place, text):
    comment = text if len(text.splitlines()) == 1 else repr(text)
    place.run(f"other = 1  # {comment}\nraise ValueError('below')")


def source_text_block(place, text):
    safe = text.replace("\\", "\\\\").replace('"""', "'''").removesuffix('"')
    place.run(f'BLOCK = """\n{safe}\n"""\nraise ValueError("below")')


def source_after(place, text):
    place.run(f"def fail():\n    raise ValueError('above')\n    return {text!r}\nfail()")


def exception_property(_place, text):
    capture_exception(ValueError("p"), properties={"detail": text[:SHORT] if len(text) <= SHORT else "long"})


def exception_property_key(_place, text):
    capture_exception(ValueError("p"), properties={text: 1})


def event_property(_place, text):
    track("happened", {"detail": text})


def event_property_key(_place, text):
    track("happened", {text: True})


def event_name(_place, text):
    track(text, {})


def _request(place, scope):
    async def app(_scope, _receive, _send):
        raise ValueError("in a request")

    with suppress(ValueError):
        call(place.telemetry.wrap(app), scope)


def request_path(place, text):
    _request(place, http_scope(path=f"/{text}"))


def request_path_segment(place, text):
    _request(place, http_scope(path=f"/api/v1/{text}/edit"))


def request_query(place, text):
    _request(place, http_scope(path="/fine", query=text.encode()))


def request_header(place, text):
    _request(
        place, http_scope(path="/fine", headers=[(b"authorization", text.encode()), (b"host", text.encode())])
    )


def request_method(place, text):
    _request(place, http_scope(path="/fine", method=text))


def request_scheme(place, text):
    _request(place, {**http_scope(path="/fine"), "scheme": text})


def span_exception(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.record_exception(ValueError(text))
        span.set_status(_error())


def span_stack_text(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        stack = f'  File "{text}", line 3, in {text}\n    {text}\nValueError: {text}'
        span.add_event("exception", {"exception.type": "ValueError", "exception.stacktrace": stack})
        span.set_status(_error())


def span_exception_type(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.add_event("exception", {"exception.type": text, "exception.message": "m"})
        span.set_status(_error())


def span_name(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span(text) as span:
        span.record_exception(ValueError("named"))
        span.set_status(_error())


def span_event_name(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.set_attribute("posthog.event", text)


def span_property(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.set_attribute("posthog.event", "worked")
        span.set_attribute("posthog.property.detail", text)
        span.set_attribute("foreign.attribute", text)


def span_url_path(place, text):
    with place.provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.set_attribute("url.path", f"/{text}")
        span.record_exception(ValueError("routed"))
        span.set_status(_error())


def log_exception(place, text):
    _emit(place, {"exception.type": "ValueError", "exception.message": text})


def log_stack_text(place, text):
    _emit(
        place,
        {
            "exception.type": "V",
            "exception.message": "m",
            "exception.stacktrace": f'  File "{text}", line 1, in x\n',
        },
    )


def log_chain(place, text):
    chain = [{"type": text, "module": text, "value": text, "frames": [[text, 3, text, text]]}]
    _emit(place, {"exception.type": "V", "posthog.exception_chain": json.dumps(chain)})


def _emit(place, attributes):
    place.logger_provider.get_logger("foreign").emit(attributes=attributes, body="b")


def _error():
    return Status(StatusCode.ERROR)


POSITIONS = {
    name: function
    for name, function in list(globals().items())
    if callable(function)
    and not name.startswith("_")
    and getattr(function, "__module__", "") == __name__
    and name not in ("Place", "Status", "StatusCode")
}
