"""Exactly one report of each exception, whatever its class does; random uuids without a system call."""

from __future__ import annotations

import logging
import os
import pickle
import random
import subprocess
import sys
import threading
from uuid import UUID

import pytest
from asgi import http_scope
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from raising import caught

from otel_posthog import capture_exception, track
from otel_posthog.emit import capture, emitters
from otel_posthog.emit.capture import random_uuid
from otel_posthog.emit.failures import was_reported
from otel_posthog.emit.hooks import LogHandler
from otel_posthog.mapping.records import uuid_of


def test_uuids_are_of_version_4_and_differ():
    """Each is a uuid as the standard library makes them."""
    made = [random_uuid() for _ in range(10_000)]

    assert len(set(made)) == len(made)
    assert {(UUID(text).version, UUID(text).variant) for text in made} == {
        (4, UUID(int=0, version=4).variant)
    }


def test_uuids_do_not_follow_the_hosts_seed():
    """A product that seeds Python's own generator, as tests do, does not get the same ones again."""
    state = random.getstate()
    try:
        random.seed(1)
        first = random_uuid()
        random.seed(1)
        assert random_uuid() != first
    finally:
        random.setstate(state)


def test_uuid_of_a_number_is_the_standard_librarys():
    """It is equal to one that the constructor made, and lives like it."""
    number = 2**128 - 5

    made = uuid_of(number)

    assert (made, str(made), made.is_safe, hash(made)) == (
        UUID(int=number),
        str(UUID(int=number)),
        UUID(int=number).is_safe,
        hash(UUID(int=number)),
    )
    assert pickle.loads(pickle.dumps(made)) == made


FORKS = """
import os
from otel_posthog.emit.capture import random_uuid
reading, writing = os.pipe()
if not os.fork():
    os.write(writing, random_uuid().encode())
    os._exit(0)
os.wait()
print(os.read(reading, 100).decode(), random_uuid())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_uuids_of_a_child_are_its_own():
    """After a fork parent and child do not make the same ones."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )

    of_child, of_parent = ran.stdout.split()
    assert of_child != of_parent


def _raise(*_arguments):
    raise LookupError("of a hostile class")


class _HostileMeta(type):
    """A class of classes that answers nothing."""

    __getattribute__ = _raise


class _Text(str):
    """A text whose methods fail."""

    __slots__ = ()
    __len__ = __getitem__ = __iter__ = __eq__ = __format__ = encode = isascii = _raise
    __hash__ = str.__hash__


class _Mapping(dict):
    """A mapping whose methods fail."""

    get = items = keys = __getitem__ = __setitem__ = __contains__ = __iter__ = _raise


class _List(list):
    """A list whose methods fail."""

    __bool__ = __len__ = __getitem__ = __iter__ = _raise


def _log(error):
    """Hand our handler a record of it; handlers of the tests would describe it, too."""
    record = logging.makeLogRecord({"name": "product", "levelno": logging.ERROR, "msg": "failed"})
    record.exc_info = (type(error), error, None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.handle(record)


class _ReportingError(Exception):
    """It reports itself, in each way that there is, while it is described."""

    def __str__(self):
        capture_exception(self)
        _log(self)
        return "chatty"


class _BreedingError(Exception):
    """Describing one raises and reports another."""

    def __str__(self):
        try:
            _throw(_BreedingError())
        except _BreedingError as another:
            capture_exception(another)
        return "another"


def _class(name="HostileError", bases=(Exception,), /, **members):
    return type(name, bases, members)


def _with_state(**state):
    error = Exception("stateful")
    for name, value in state.items():
        setattr(error, name, value)
    return error


HOSTILE = {
    "str raises": lambda: _class(__str__=_raise)("x"),
    "str is no text": lambda: _class(__str__=lambda _self: 17)("x"),
    "str is a hostile text": lambda: _class(__str__=lambda _self: _Text("x"))("x"),
    "str recurses": lambda: _class(__str__=str)("x"),
    "str reports itself": _ReportingError,
    "repr raises": lambda: Exception(_class("Part", (), __repr__=_raise)()),
    "class raises": lambda: _class(__class__=property(_raise))("x"),
    "every attribute raises": lambda: _class(__getattribute__=_raise)("x"),
    "no attribute can be set": lambda: _class(__setattr__=_raise)("x"),
    "causes raise": lambda: _class(__cause__=property(_raise), __context__=property(_raise))("x"),
    "traceback raises": lambda: _class(__traceback__=property(_raise))("x"),
    "comparison raises": lambda: _class(__eq__=_raise, __hash__=None, __bool__=_raise)("x"),
    "metaclass raises": lambda: _HostileMeta("HostileError", (Exception,), {})("x"),
    "module is no text": lambda: _class(__module__=_class("Part", (), __eq__=_raise, __format__=_raise)())(
        "x"
    ),
    "name is a hostile text": lambda: _class(__qualname__=_Text("Hostile"))("x"),
    "notes are hostile": lambda: _with_state(__notes__=_List(["a", _Text("b"), 3])),
    "notes are no list": lambda: _with_state(__notes__=_class("Part", (), __bool__=_raise)()),
    "dict is hostile": lambda: _with_state(__dict__=_Mapping()),
    "status raises": lambda: _class(status_code=property(_raise), code=property(_raise))("x"),
    "group of hostile ones": lambda: ExceptionGroup(
        _Text("many"), [_class(__str__=_raise)(), _class(__class__=property(_raise))()]
    ),
    "surrogates": lambda: OSError(2, "no such file", os.fsdecode(b"/data/\xff")),
}


def _reports(sink):
    return [event for event in sink.events if event.name == "$exception"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_exception_is_one_report(make_telemetry, sink, name):
    """An exception whose class misbehaves is reported once, and nothing of that reaches the application."""
    telemetry = make_telemetry(capture_logged=True)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    error = caught(lambda: _throw(HOSTILE[name]()))

    capture_exception(error)
    capture_exception(error)
    _log(error)

    assert telemetry.flush(60)
    [event] = _reports(sink)
    assert event.issues == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_exception_of_a_request_is_one_report(granted, sink, name):
    """The same holds for an exception that ends a request, and the server gets it."""
    made = HOSTILE[name]()

    async def app(_scope, _receive, _send):
        raise made

    # Without an event loop, which asks some of these for their class.
    assert caught(lambda: granted.wrap(app)(http_scope(), None, None).send(None)) is made

    assert granted.flush(60)
    assert len(_reports(sink)) == 1


def test_descriptions_that_report_others_end(granted, sink):
    """A description that raises and reports another exception, without end, makes a few reports."""
    capture_exception(_BreedingError())

    assert granted.flush(60)
    assert 1 <= len(_reports(sink)) <= 2 * capture.MAX_NESTED


def _throw(error):
    raise error


@given(depth=st.integers(0, 120))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_limit_of_recursion_costs_a_count_and_no_report(granted, sink, depth):
    """However little room is left, nothing is raised but the limit itself, and the next one reports it."""
    sink.clear()
    error = ValueError("seen near the limit")
    before = granted.delivery()

    outcome = _at_the_limit(depth, lambda: capture_exception(error))
    is_reported = was_reported(error, None)
    capture_exception(error)

    assert granted.flush(60)
    assert outcome in ("returned", "no room for the call")
    assert len(_reports(sink)) == 1
    lost = granted.delivery().get("unqueued", 0) - before.get("unqueued", 0)
    assert lost == (0 if is_reported or outcome == "no room for the call" else 1)


def _at_the_limit(room, act):
    """Call with so many frames left; return what became of the call."""
    entered = []

    def descend(left):
        if left:
            return descend(left - 1)
        entered.append(True)
        act()
        return "returned"

    depth = 0
    frame = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    try:
        return descend(sys.getrecursionlimit() - depth - room)
    except RecursionError:
        return "no room for the call"


@pytest.fixture
def no_threads(monkeypatch):
    """Let no thread start, as in a container at its limit or while the interpreter ends."""
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"

    def refuse(*_arguments, **_options):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading, name, refuse)
        yield patch


def test_what_cannot_be_queued_is_counted_and_reported_by_the_next(granted, sink, no_threads):
    """Without a thread nothing is queued: it is counted, and the exception stays unmarked."""
    error = ValueError("while no thread can start")
    capture_exception(error)
    track("lost", {"n": 1})

    assert granted.flush() is False
    assert granted.delivery() == {"unqueued": 2}
    no_threads.undo()
    capture_exception(error)
    capture_exception(error)

    assert granted.flush(60)
    assert len(_reports(sink)) == 1


def test_record_of_another_instrumentation_marks_what_is_queued(granted, sink, no_threads):
    """A third party's record that could not be queued leaves the exception to the next report."""
    error = ValueError("recorded by another library")
    provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(granted._pipeline.logs)

    provider.get_logger("other").emit(exception=error)
    no_threads.undo()
    provider.get_logger("other").emit(exception=error)
    capture_exception(error)

    assert granted.flush(60)
    assert len(_reports(sink)) == 1


def test_full_queue_leaves_the_exception_to_the_next(make_telemetry, sink):
    """An exception that finds no place in the queue is reported once there is one."""
    telemetry = make_telemetry(queue_max_records=1, batch_delay_s=3600)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    first, second = ValueError("first"), TypeError("second")
    capture_exception(first)
    capture_exception(second)
    assert telemetry.delivery() == {"queue_full": 1}
    assert telemetry.flush(60)

    capture_exception(second)

    assert telemetry.flush(60)
    assert [each.properties["$exception_list"][0]["value"] for each in _reports(sink)] == ["first", "second"]


def test_exception_is_not_marked_where_nobody_listens(granted, sink):
    """A logger that passes nothing on leaves the exception unmarked."""
    error = ValueError("for nobody")
    silent = emitters.Emitter(
        LoggerProvider(shutdown_on_exit=False).get_logger("x"), granted.log_limiter, notes_queued=True
    )
    with emitters.diverted(silent):
        capture_exception(error)

    capture_exception(error)

    assert granted.flush(60)
    assert len(_reports(sink)) == 1


class _NeedsArgumentsError(Exception):
    def __init__(self, code, /):
        super().__init__(code)


TAKEN = {
    "text": ("payment failed", "Exception", "payment failed"),
    "hostile text": (_Text("payment failed"), "Exception", "payment failed"),
    "class": (LookupError, "LookupError", ""),
    "class with arguments": (_NeedsArgumentsError, "Exception", "_NeedsArgumentsError"),
    "type and text": ((ValueError, "payment failed", None), "Exception", "payment failed"),
    "type alone": ((ValueError, None, None), "ValueError", ""),
    "exc_info": ((ValueError, ValueError("raised"), None), "ValueError", "raised"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_takes_what_other_sdks_take(granted, sink, name):
    """A text, a class and `sys.exc_info()` are reports, with the calls that led there."""
    given_, kind, value = TAKEN[name]

    capture_exception(given_)

    assert granted.flush(60)
    [event] = _reports(sink)
    [entry] = event.properties["$exception_list"]
    assert (entry["type"], entry["value"]) == (kind, value)
    assert entry["stacktrace"]["frames"][-1]["function"] == "test_takes_what_other_sdks_take"


def test_text_keeps_what_is_being_handled(granted, sink):
    """A text within an `except` is a report with the handled exception as its context."""
    try:
        _throw(KeyError("id"))
    except KeyError:
        capture_exception("payment failed")

    assert granted.flush(60)
    [event] = _reports(sink)
    assert [entry["type"] for entry in event.properties["$exception_list"]] == ["Exception", "KeyError"]


def _kind(value):
    """Return an id that is the same in each process."""
    return f"{type(value).__name__}-{value}" if isinstance(value, (bool, int, type)) else type(value).__name__


@pytest.mark.parametrize("given_", [True, 17, object(), KeyError, (KeyError, None, None), ()], ids=_kind)
def test_anything_else_means_what_is_being_handled(granted, sink, given_):
    """The class of the handled exception, or a wrong object, reports the handled exception."""
    try:
        _throw(KeyError("id"))
    except KeyError:
        capture_exception(given_)

    assert granted.flush(60)
    [event] = _reports(sink)
    assert event.properties["$exception_list"][0]["value"] == "'id'"


@pytest.mark.parametrize("nothing", [None, sys.exc_info(), object(), True], ids=_kind)
def test_nothing_is_reported_without_an_exception(granted, sink, nothing):
    """Outside of an `except` there is nothing to report, and nothing is raised."""
    capture_exception(nothing)

    assert granted.flush(60)
    assert _reports(sink) == []


@pytest.mark.parametrize("wrong", ["text", 17, _Mapping(a=1)], ids=["text", "number", "hostile"])
def test_wrong_properties_cost_no_report(granted, sink, wrong):
    """Properties that cannot be read are left out of the report."""
    capture_exception(ValueError("kept"), properties=wrong)

    assert granted.flush(60)
    assert len(_reports(sink)) == 1


def test_objects_of_the_product_are_not_called(granted, sink):
    """A property of the product's own class becomes the name of that class, in both calls."""

    class Customer:
        """An object that counts how often it is asked for its text."""

        asked = 0

        def __str__(self):
            Customer.asked += 1
            return "Erika Mustermann"

        __repr__ = __str__

    capture_exception(ValueError("x"), properties={"owner": Customer(), "more": [{"of": Customer()}]})
    track("seen", {"owner": Customer(), Customer(): 1})

    assert granted.flush(60)
    assert Customer.asked == 0
    [report] = _reports(sink)
    assert report.properties["owner"].startswith("[scrubbed:type ")
    # The source lines around the call are this test's.
    assert "Erika" not in str([report.properties.get("owner"), report.properties.get("more")])
    assert "Erika" not in str([event.properties for event in sink.events if event.name == "seen"])
