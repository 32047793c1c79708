"""A fingerprint of our own, where PostHog's would not be stable."""

from __future__ import annotations

import pytest
from raising import caught

from otel_posthog.emit.tracebacks import describe, type_of
from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.otel import attributes

BASE = BaseProperties(environment="production")


def _fingerprint(error):
    recorded = {attributes.EXCEPTION_TYPE: type_of(error), attributes.EXCEPTION_CHAIN: describe(error)}
    properties = exception_properties(recorded, BASE, trace_id=0, span_id=0)
    return properties.get("$exception_fingerprint")


def _fail(message="x"):
    raise ValueError(message)


def _fail_otherwise():
    raise TypeError("x")


def test_exception_with_a_stack_is_left_to_posthog():
    """Where type and frames say it all, there is no fingerprint of ours."""
    assert _fingerprint(caught(_fail)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("run 17 failed", "run 4711 failed"),
        ("no such step 'build'", "no such step 'test'"),
        ('no "a"', 'no "b"'),
        ("object 0x7f3a failed", "object 0x7f3b failed"),
        ("commit 9fceb02d0a is gone", "commit 1fceb02d0b is gone"),
        ("took 1.5s", "took 2.25s"),
        ("failed\nfirst detail", "failed\nsecond detail"),
    ],
)
def test_never_raised_ones_are_told_apart_by_their_words(one, other):
    """Without a stack PostHog would take the whole message, and make an issue of each number in it."""
    assert _fingerprint(ValueError(one)) == _fingerprint(ValueError(other)) is not None


@pytest.mark.parametrize("other", [ValueError("another sentence"), TypeError("a sentence")], ids=repr)
def test_never_raised_ones_of_other_words_or_type_differ(other):
    """Another message or another type is another failure."""
    assert _fingerprint(ValueError("a sentence")) != _fingerprint(other)


def _recurse(left, extra):
    if left:
        _recurse(left - 1, extra)
    elif extra:
        _fail()
    else:
        raise RecursionError("deep")


def test_recursions_of_other_depths_are_one():
    """However deep a recursion was when it ended, whatever was cut out of its stack, it is one failure."""
    one, other = caught(lambda: _recurse(200, extra=False)), caught(lambda: _recurse(333, extra=False))

    assert _fingerprint(one) == _fingerprint(other) is not None
    assert _fingerprint(caught(lambda: _recurse(200, extra=True))) != _fingerprint(one)


def test_groups_are_one_whatever_the_number_and_order_of_members():
    """Tasks fail in any order and number; which failures there are is what counts."""
    first, second = caught(_fail), caught(_fail_otherwise)

    one = _fingerprint(caught(lambda: _group([first, second])))
    other = _fingerprint(caught(lambda: _group([second, first, caught(_fail), caught(_fail)])))

    assert one == other is not None
    assert _fingerprint(caught(lambda: _group([first]))) != one


def _group(members):
    raise ExceptionGroup("several", members)
