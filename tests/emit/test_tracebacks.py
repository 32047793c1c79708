"""Exceptions as plain data."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posthog.exception_utils import exceptions_from_error_tuple
from raising import caught

from otel_posthog.emit.tracebacks import (
    MAX_EXCEPTIONS,
    MAX_FRAMES_HEAD,
    MAX_FRAMES_TAIL,
    MAX_MESSAGE_CHARS,
    describe,
    message_of,
    own_frame,
    type_of,
)


class Outer:
    """A namespace."""

    class InnerError(Exception):
        """An error with a qualified name."""


def _described(error):
    return json.loads(describe(error))


def _fail(message="plain"):
    raise ValueError(message)


def _fail_from_cause():
    try:
        _fail("inner")
    except ValueError as error:
        raise RuntimeError("outer") from error


def _fail_in_context():
    try:
        _fail("inner")
    except ValueError:
        raise RuntimeError("outer")  # noqa: B904 - the context is the point


def _fail_from_none():
    try:
        _fail("inner")
    except ValueError:
        raise RuntimeError("outer") from None


def _fail_as_group():
    raise ExceptionGroup(
        "several", [caught(_fail), caught(_fail_from_cause), Outer.InnerError("never raised")]
    )


def _fail_as_nested_group():
    raise ExceptionGroup("top", [ExceptionGroup("low", [caught(_fail)]), caught(_fail_in_context)])


def _fail_as_group_from_cause():
    try:
        _fail("inner")
    except ValueError as error:
        raise ExceptionGroup("several", [KeyError("k"), TypeError("t")]) from error


def _fail_with_own_type():
    raise Outer.InnerError("own")


def _fail_without_message():
    raise KeyError


def _fail_in_json():
    json.loads("{")


SHAPES = [
    _fail,
    _fail_from_cause,
    _fail_in_context,
    _fail_from_none,
    _fail_as_group,
    _fail_as_nested_group,
    _fail_with_own_type,
    _fail_without_message,
    _fail_in_json,
    lambda: 1 / 0,
    lambda: sys.exit(3),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_equals_what_posthogs_own_library_sees(shape):
    """Type, module, value and frames are those of posthog-python, entry by entry."""
    error = caught(shape)
    theirs = exceptions_from_error_tuple((type(error), error, error.__traceback__))

    ours = _described(error)

    assert [_comparable(entry) for entry in ours] == [
        (
            entry["type"],
            entry["module"] or "builtins",
            entry["value"],
            [
                (frame["abs_path"], frame["lineno"], frame["function"], frame["module"])
                for frame in entry.get("stacktrace", {"frames": []})["frames"]
            ],
        )
        for entry in theirs
    ]


def _comparable(entry):
    return (entry["type"], entry["module"], entry["value"], [tuple(frame) for frame in entry["frames"]])


@pytest.mark.parametrize(
    ("shape", "links"),
    [
        (_fail_from_cause, [(None, None), (0, "cause")]),
        (_fail_in_context, [(None, None), (0, "context")]),
        (_fail_from_none, [(None, None)]),
        (_fail_as_group, [(None, None), (0, "member"), (0, "member"), (2, "cause"), (0, "member")]),
        (_fail_as_group_from_cause, [(None, None), (0, "cause"), (0, "member"), (0, "member")]),
    ],
    ids=["cause", "context", "suppressed", "group", "group with cause"],
)
def test_entries_tell_where_they_belong(shape, links):
    """Each entry but the first names its parent and how it hangs on it."""
    described = _described(caught(shape))

    assert [(entry.get("parent"), entry.get("source")) for entry in described] == links


def test_groups_are_marked():
    """Groups are marked as such, their members are not."""
    described = _described(caught(_fail_as_nested_group))

    assert [entry["value"] for entry in described if entry.get("group")] == ["top", "low"]


def test_cycle_ends():
    """Exceptions that cause each other are told once each."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert [entry["value"] for entry in _described(first)] == ["first", "second"]


def test_long_chain_is_bounded():
    """Of a chain of 1000 the outermost ones are kept."""
    error = ValueError("0")
    for number in range(1, 1000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer

    assert [entry["value"] for entry in _described(error)] == [
        str(number) for number in range(999, 999 - MAX_EXCEPTIONS, -1)
    ]


def test_wide_group_is_bounded():
    """Of a group of 1000 the first members are kept."""
    group = ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)])

    described = _described(group)

    assert [entry["value"] for entry in described[1:]] == [
        str(number) for number in range(MAX_EXCEPTIONS - 1)
    ]


def test_deep_recursion_keeps_both_ends():
    """Of 5000 frames head and tail are kept, and the number of those left out."""
    depth = 5000

    def recurse(left):
        if not left:
            raise ValueError("bottom")
        recurse(left - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 1000)
    try:
        error = caught(lambda: recurse(depth))
    finally:
        sys.setrecursionlimit(limit)

    [entry] = _described(error)

    assert len(entry["frames"]) == MAX_FRAMES_HEAD + MAX_FRAMES_TAIL
    assert entry["omitted"] == depth + 3 - MAX_FRAMES_HEAD - MAX_FRAMES_TAIL
    assert [frame[2] for frame in entry["frames"][:3]] == ["caught", "<lambda>", "recurse"]
    assert entry["frames"][-1][1] == entry["frames"][-2][1] - 1


def test_short_traceback_is_whole():
    """Where all frames are kept, none is said to be left out."""
    [entry] = _described(caught(_fail))

    assert "omitted" not in entry


class HostileError(Exception):
    """An error whose text is computed."""

    def __init__(self, text):
        super().__init__()
        self._text = text

    def __str__(self):
        return self._text()


class HostileText(str):
    """A text that objects to being handled."""

    __slots__ = ()

    def __getitem__(self, index):
        raise RuntimeError("planted")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (lambda: 1 / 0, "<unprintable HostileError>"),
        (lambda: 42, "<unprintable HostileError>"),
        (lambda: None, "<unprintable HostileError>"),
        (lambda: "\ud800 lone", "\ud800 lone"),
        (lambda: "x" * 1_000_000, "x" * MAX_MESSAGE_CHARS),
        (lambda: HostileText("fine"), "fine"),
        (lambda: "", ""),
    ],
    ids=["raises", "number", "none", "surrogate", "1 MB", "subclass", "empty"],
)
def test_hostile_text_is_survived(text, shown):
    """Whatever `__str__` does, there is a bounded text, and the JSON can be read."""
    [entry] = _described(HostileError(text))

    assert entry["value"] == shown


def test_output_is_ascii():
    """Lone surrogates do not reach whoever encodes the text."""
    assert describe(ValueError("\ud800 ü")).isascii()


def test_hostile_module_name_is_survived():
    """A class whose module is no text is described without one."""
    cls = type("Odd", (Exception,), {"__module__": object()})

    assert _described(cls("x"))[0]["module"] is None


def test_local_variables_stay_behind():
    """No value of a local variable is anywhere in the output."""

    def fail():
        password = "planted-in-local"  # noqa: F841 - it only has to be there
        _fail()

    assert "planted-in-local" not in describe(caught(fail))


def test_own_frames_at_the_top_are_left_out():
    """Frames of functions of ours that call the application are not part of its traceback."""

    @own_frame
    def call():
        _fail()

    error = caught(call)
    error.__traceback__ = error.__traceback__.tb_next  # as where the package itself has caught it

    assert [frame[2] for frame in _described(error)[0]["frames"]] == ["_fail"]


def test_own_frames_below_the_application_stay():
    """A frame of ours that the application called is part of its traceback."""

    @own_frame
    def call():
        _fail()

    assert [frame[2] for frame in _described(caught(call))[0]["frames"]] == [
        "caught",
        "call",
        "_fail",
    ]


@pytest.mark.parametrize(
    ("error", "name"),
    [(ValueError(), "ValueError"), (Outer.InnerError(), f"{__name__}.Outer.InnerError")],
    ids=["built in", "own"],
)
def test_type_is_written_as_opentelemetry_does(error, name):
    """The type's name is qualified unless it is built in."""
    assert type_of(error) == name


def test_message_is_bounded():
    """A message is cut at its limit."""
    assert len(message_of(ValueError("x" * 20_000))) == MAX_MESSAGE_CHARS


def _link(error, cause, context, *, is_suppressed):
    error.__cause__, error.__context__, error.__suppress_context__ = cause, context, is_suppressed
    return error


_errors = st.recursive(
    st.builds(ValueError, st.text()),
    lambda inner: st.one_of(
        st.builds(
            _link,
            st.builds(KeyError, st.text()),
            st.none() | inner,
            st.none() | inner,
            is_suppressed=st.booleans(),
        ),
        st.builds(ExceptionGroup, st.text(), st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=80,
)


@given(_errors)
def test_any_tree_gives_bounded_json(error):
    """Whatever hangs on an exception, the output is JSON of a bounded number of entries in order."""
    described = _described(error)

    assert 1 <= len(described) <= MAX_EXCEPTIONS
    assert all(entry["parent"] < index for index, entry in enumerate(described) if index)
