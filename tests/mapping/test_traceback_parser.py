"""Stacks that others wrote as text, read back."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import caught

from otel_posthog.emit.tracebacks import MAX_EXCEPTIONS, describe, type_of
from otel_posthog.mapping.traceback_parser import MAX_STACK_CHARS, read, split_type


class Outer:
    """A namespace."""

    class InnerError(Exception):
        """An error with a qualified name."""


def _fail(message="plain"):
    raise ValueError(message)


def _fail_from_cause():
    try:
        _fail("inner")
    except ValueError as error:
        raise RuntimeError("outer") from error


def _fail_in_context():
    try:
        _fail_from_cause()
    except RuntimeError:
        raise KeyError("outermost")  # noqa: B904 - the context is the point


def _fail_from_none():
    try:
        _fail("inner")
    except ValueError:
        raise RuntimeError("outer") from None


def _fail_as_group():
    raise ExceptionGroup("several", [caught(_fail), caught(_fail_from_cause), TypeError("never raised")])


def _fail_as_nested_group():
    group = ExceptionGroup("low", [caught(_fail), caught(_fail_in_context)])
    raise BaseExceptionGroup("top", [group, caught(_fail_as_group), KeyboardInterrupt()])


def _fail_as_group_from_cause():
    try:
        _fail("inner")
    except ValueError as error:
        raise ExceptionGroup("several", [caught(_fail), TypeError("t")]) from error


def _fail_from_group():
    try:
        _fail_as_group()
    except ExceptionGroup as error:
        raise RuntimeError("outer") from error


def _fail_with_notes():
    error = Outer.InnerError("own")
    error.add_note("first note")
    error.add_note("second note\nwith two lines")
    raise error


def _fail_recursively(left=200):
    if not left:
        _fail("bottom")
    _fail_recursively(left - 1)


def _fail_with_stack_in_message():
    raise ValueError(
        'planted\nTraceback (most recent call last):\n  File "/etc/hostname", line 1, in planted\nX'
    )


def _fail_to_compile():
    compile("a b", "somewhere.py", "exec")


SHAPES = [
    _fail,
    lambda: _fail(""),
    lambda: _fail("first\n\nthird: with colon\n  and indented"),
    _fail_from_cause,
    _fail_in_context,
    _fail_from_none,
    _fail_as_group,
    _fail_as_nested_group,
    _fail_as_group_from_cause,
    _fail_from_group,
    _fail_with_notes,
    _fail_recursively,
    _fail_with_stack_in_message,
    _fail_to_compile,
    lambda: 1 / 0,
    lambda: {}["k"],
    lambda: open("/nowhere/at/all"),  # noqa: PTH123, SIM115 - raises
]


def _text(error):
    return "".join(traceback.format_exception(error))


def _comparable(entries):
    return [
        (
            entry["type"],
            None if entry["module"] == "builtins" else entry["module"],
            "\n".join([entry["value"], *entry.get("notes", ())]),
            [tuple(frame[:3]) for frame in entry["frames"]],
            entry.get("parent"),
            entry.get("source"),
            entry.get("group", False),
        )
        for entry in entries
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_text_tells_the_same_as_the_exception_itself(shape):
    """Type, message, notes, frames and the whole tree of causes and members come back from the text."""
    error = caught(shape)

    told = read(_text(error), type_of(error), str(error))

    assert _comparable(told) == _comparable(json.loads(describe(error)))


@pytest.mark.parametrize("shape", [_fail, lambda: {}["k"], lambda: open("/nowhere/at/all")])  # noqa: PTH123, SIM115
def test_bare_name_and_first_argument_are_completed(shape):
    """OpenTelemetry's logging handler records no more than these; the text says the rest."""
    error = caught(shape)

    [told] = read(_text(error), type(error).__name__, str(error.args[0]))

    assert told["value"] == str(error)


def test_bare_name_of_a_class_of_the_product_is_completed():
    """A recorded name without module is the last part of what the text names."""
    error = caught(_fail_with_notes)

    [told] = read(_text(error), "InnerError", None)

    assert (told["type"], told["module"]) == ("Outer.InnerError", __name__)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ValueError", ("ValueError", None)),
        ("sqlalchemy.exc.OperationalError", ("OperationalError", "sqlalchemy.exc")),
        ("app.errors.Outer.InnerError", ("Outer.InnerError", "app.errors")),
        ("app.run.<locals>.Failed", ("run.<locals>.Failed", "app")),
        ("app.Job.run.<locals>.Failed", ("Job.run.<locals>.Failed", "app")),
        ("app.errors.failure", ("failure", "app.errors")),
        ("<locals>.X", ("<locals>.X", None)),
        ("", ("", None)),
    ],
)
def test_type_is_split_from_its_module(name, expected):
    """A class within a class belongs to the type, not to the module."""
    assert split_type(name) == expected


def test_text_that_was_cut_keeps_what_is_recorded_beside_it():
    """A length limit takes the end of the text; type and message stand in attributes of their own."""
    error = caught(_fail)

    [told] = read(_text(error)[:-25], "ValueError", "plain")

    assert (told["type"], told["value"], told["frames"][0][2]) == ("ValueError", "plain", "caught")


@pytest.mark.parametrize("text", ["", "ValueError: never raised\n", "anything", "\n\n", "  | \n  +-+\n"])
def test_text_without_a_stack_tells_nothing(text):
    """There is nothing to read then, and what is recorded beside it counts."""
    assert read(text, "ValueError", "m") == []


@pytest.mark.parametrize(
    "line",
    [
        "  + Exception Group Traceback (most recent call last):\n",
        "  | " * 500 + "\n",
        "  +-+---------------- 1 ----------------\n",
    ],
    ids=["header", "margins", "members"],
)
def test_endless_text_is_bounded(line):
    """A text made to keep the reader busy gives a bounded number of exceptions."""
    stack = "Traceback (most recent call last):\n" + line * (2 * MAX_STACK_CHARS // len(line))

    assert len(read(stack, "ValueError", "m")) <= MAX_EXCEPTIONS


def test_very_long_text_is_read_from_a_stack_on():
    """Of a text that is too long the end counts, and no message of which the beginning is lost."""
    text = f"ValueError: {'x' * MAX_STACK_CHARS} planted end\n\n{_text(caught(_fail))}"

    [told] = read(text, "ValueError", "plain")

    assert (told["value"], told["frames"][-1][2]) == ("plain", "_fail")


_lines = st.sampled_from(
    [
        "Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):",
        "  | Exception Group Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        '  |   File "a.py", line 1, in f',
        "    | ValueError: x",
        "  | ExceptionGroup: x (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
        "    +---------------- 2 ----------------",
        "    +------------------------------------",
        "The above exception was the direct cause of the following exception:",
        "  [Previous line repeated 999999999 more times]",
        "ValueError: x",
        "",
    ]
)


@given(
    st.lists(_lines | st.text(max_size=20), max_size=60).map("\n".join),
    st.text(max_size=9),
    st.text(max_size=9),
)
def test_any_text_is_survived(text, name, message):
    """Whatever stands there, what comes back has the form that PostHog's list is made from."""
    for index, entry in enumerate(read(text, name, message)):
        assert isinstance(entry["type"], str)
        assert isinstance(entry["value"], str)
        assert index == 0 or entry["parent"] < index
