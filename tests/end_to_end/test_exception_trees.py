"""Any exception a program can raise becomes an event that PostHog takes as it is."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thoroughness import IS_FULL

from otel_posthog import Registry
from otel_posthog.delivery.prepare import truncated
from otel_posthog.emit.tracebacks import MAX_EXCEPTIONS, describe, message_of, raised_in, type_of
from otel_posthog.events import Event, time_from_ns
from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.otel import attributes
from otel_posthog.scrubbing import Machine, Scrubber
from otel_posthog.testing import rules
from otel_posthog.testing.decoding import decode
from otel_posthog.testing.submission import Submission

EXAMPLES = 2_000 if IS_FULL else 40
EVENT_MAX_BYTES = 900_000
SCRUBBER = Scrubber(machine=Machine())
BASE = BaseProperties(environment="production", roots=frozenset({"acme"}), scrubber=SCRUBBER)


class RaisingError(Exception):
    """An error whose text cannot be had."""

    def __str__(self):
        raise RuntimeError("planted")


class WordlessError(Exception):
    """An error whose text is none."""

    def __str__(self):
        return None  # noqa: PLE0307 - the fault is the point


class HidingError(Exception):
    """An error that hides what every exception has."""

    def __getattribute__(self, name):
        raise RuntimeError("planted")


class OddModuleError(Exception):
    """An error of a class without a module."""

    __module__ = 5


LONG_NAME = type("X" * 400, (ValueError,), {"__module__": "m." * 200})
KINDS = [
    ValueError,
    KeyError,
    RaisingError,
    WordlessError,
    HidingError,
    OddModuleError,
    LONG_NAME,
    KeyboardInterrupt,
]

texts = (
    st.text(max_size=40)
    | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lo"]), max_size=20)
    | st.sampled_from(["x" * 30_000, "é" * 15_000, "\ud83e", "\x00", "a\nb" * 2_000, "password=planted"])
)
filenames = st.sampled_from(
    [
        "/srv/acme/acme/run.py",
        "<string>",
        "C:\\acme\\run.py",
        "",
        "/" + "d" * 5_000 + "/x.py",
        "/\ud83e.py",
        __file__,
    ]
)
modules = st.sampled_from(["acme.run", "__main__", "", "queue", None, 5, "m" * 2_000])


def _raised(error, filename, module, depth):
    """Return the exception, raised at that depth of a program of that name."""
    source = "def call(left):\n    if left:\n        call(left - 1)\n    raise error\n"
    names = {"__name__": module, "error": error}
    tracer = sys.gettrace()
    sys.settrace(None)  # coverage's fails on file names that no file system has
    try:
        exec(compile(source, filename.replace("\x00", "") or "-", "exec"), names)
        names["call"](depth)
    except BaseException as caught:  # noqa: BLE001 - every kind
        return caught
    finally:
        sys.settrace(tracer)
    raise AssertionError("nothing was raised")


@st.composite
def singles(draw):
    """Return one exception: never raised, or raised at some depth, with notes."""
    error = draw(st.sampled_from(KINDS))(draw(texts))
    if draw(st.booleans()):
        notes = draw(st.lists(texts, max_size=3) | st.none() | st.just("x"))
        BaseException.__setattr__(error, "__notes__", notes)
    if draw(st.booleans()):
        depth = draw(st.sampled_from([0, 3, 60, 400]))
        error = _raised(error, draw(filenames), draw(modules), depth)
    return error


def _linked(error, cause, context, *, is_suppressed):
    for name, value in (
        ("__cause__", cause),
        ("__context__", context),
        ("__suppress_context__", is_suppressed),
    ):
        BaseException.__setattr__(error, name, value)
    return error


def _grouped(message, members, is_raised):
    group = BaseExceptionGroup(message, members)
    return _raised(group, "/srv/acme/acme/run.py", "acme.run", 2) if is_raised else group


trees = st.recursive(
    singles(),
    lambda inner: (
        st.builds(_linked, singles(), st.none() | inner, st.none() | inner, is_suppressed=st.booleans())
        | st.builds(_grouped, texts, st.lists(inner, min_size=1, max_size=5), st.booleans())
    ),
    max_leaves=20,
)
foreign_texts = st.text(max_size=200) | st.builds(
    lambda name, lines: f"Traceback (most recent call last):\n{lines}\n{name}: x", texts, texts
)


def _judged(recorded):
    """Return the event as it stands in the body of a request, and the rules that it breaks."""
    properties = exception_properties(recorded, BASE, trace_id=1, span_id=2)
    event = Event(
        name="$exception",
        properties=properties,
        timestamp=time_from_ns(1_000_000_000),
        uuid=UUID(int=1),
        accepted_ns=1,
        distinct_id=str(UUID(int=2)),
    )
    admission = Registry().examine("$exception", SCRUBBER.scrub(event).properties)
    assert admission.outside == ()
    whole = truncated(event.with_properties(admission.properties), EVENT_MAX_BYTES)
    body = f'{{"api_key": "phc_x", "batch": [{whole.written()}]}}'.encode()
    decoded = decode("/batch/", "", {"content-type": "application/json"}, body)
    submission = Submission(
        path="/batch/", root=decoded.root, problem=decoded.problem, received_at=datetime.now(UTC)
    )
    return decoded.root["batch"][0], rules.refusal(submission), rules.issues(submission)


def _recorded(error):
    return {
        attributes.EXCEPTION_TYPE: type_of(error),
        attributes.EXCEPTION_MESSAGE: message_of(error),
        attributes.EXCEPTION_CHAIN: describe(error),
    }


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(trees)
def test_any_tree_passes_posthogs_rules(error):
    """Whatever was raised, caused by whatever: PostHog refuses, drops and alters nothing of it."""
    event, refusal, issues = _judged(_recorded(error))

    assert (refusal, issues) == (None, [()])
    listed = event["properties"]["$exception_list"]
    assert 1 <= len(listed) <= MAX_EXCEPTIONS
    assert all(entry["mechanism"]["exception_id"] == index for index, entry in enumerate(listed))
    assert all(entry["mechanism"]["parent_id"] < index for index, entry in enumerate(listed) if index)
    assert "planted" not in json.dumps(event)
    assert len(raised_in(error)) == 4


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(texts, texts, foreign_texts)
def test_any_foreign_record_passes_posthogs_rules(name, message, stack):
    """Whatever others record: PostHog refuses, drops and alters nothing of it."""
    recorded = {
        attributes.EXCEPTION_TYPE: name,
        attributes.EXCEPTION_MESSAGE: message,
        attributes.EXCEPTION_STACKTRACE: stack,
    }

    _, refusal, issues = _judged(recorded)

    assert (refusal, issues) == (None, [()])
