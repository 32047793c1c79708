"""The form of what the library makes itself: what fits, and what two of them have in common."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_manifests import thoroughly

from otel_posthog.registry import EXCEPTION, Kind
from otel_posthog.registry.builtin import BASE, EXCEPTION_SPEC
from otel_posthog.registry.diff import Effect, compare, narrowed
from otel_posthog.registry.domains import NOTHING, REFUSED, Flag
from otel_posthog.registry.manifest import Manifest, today_utc
from otel_posthog.registry.shapes import common, covers, fitted, made

FRAME = {
    "type": "object",
    "properties": {"file": {"type": "string"}, "line": {"type": "integer"}},
    "required": ["file"],
    "additionalProperties": False,
}
REPORT = {"type": "array", "minItems": 1, "items": FRAME}
KEYS = ("file", "line", "vars")


def _closed(properties, required):
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


_leaves = st.sampled_from(
    [
        {"const": "x"},
        {"const": True},
        {"enum": ["x", "y"]},
        {"type": "string"},
        {"type": "integer"},
        {"type": "boolean"},
        {"type": ["null", "string"]},
        {"type": "object"},
    ]
)


def _nested(inner):
    lists = st.builds(
        lambda items, fewest: {"type": "array", "items": items, "minItems": fewest}, inner, st.integers(0, 1)
    )
    objects = st.dictionaries(st.sampled_from(KEYS), inner, max_size=3).flatmap(
        lambda properties: (
            st.builds(
                _closed,
                st.just(properties),
                st.sets(st.sampled_from(sorted(properties) or ["file"]), max_size=1),
            )
            if properties
            else st.just(_closed({}, ()))
        )
    )
    return lists | objects


forms = st.recursive(_leaves, _nested, max_leaves=6)
values = st.recursive(
    st.sampled_from(["x", "y", "z", 0, 1, 1.5, True, False, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@thoroughly
@given(form=forms, value=values)
def test_what_fits_is_valid(form, value):
    """What is left of a value is valid against the form, and is left as it is the second time."""
    left = fitted(value, form)

    if left is not REFUSED:
        jsonschema.validate(left, form)
        assert fitted(left, form) is left


@thoroughly
@given(form=forms, value=values)
def test_valid_value_is_left_as_it_is(form, value):
    """What is valid against the form loses nothing."""
    if jsonschema.Draft202012Validator(form).is_valid(value):
        assert fitted(value, form) is value


@thoroughly
@given(one=forms, other=forms, value=values)
def test_common_form_is_within_both(one, other, value):
    """What has the form that two have in common is valid against either."""
    met = common(one, other)
    left = REFUSED if met is None else fitted(value, met)

    if left is not REFUSED:
        jsonschema.validate(left, one)
        jsonschema.validate(left, other)


@thoroughly
@given(wide=forms, narrow=forms, value=values)
def test_covering_form_takes_all_of_the_other(wide, narrow, value):
    """Where one form covers another, what has the narrow one loses nothing by the wide one."""
    left = fitted(value, narrow)

    if left is not REFUSED and covers(wide, narrow):
        assert fitted(left, wide) is left


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ([{"file": "a.py", "line": 3}], [{"file": "a.py", "line": 3}]),
        ([{"file": "a.py", "vars": {"password": "x"}}], [{"file": "a.py"}]),
        ([{"file": "a.py", "line": True}], [{"file": "a.py"}]),
        ([{"file": "a.py", "line": "3"}], [{"file": "a.py"}]),
        ([{"line": 3}, {"file": "b.py"}], [{"file": "b.py"}]),
        ([{"line": 3}], REFUSED),
        ([], REFUSED),
        ("a.py", REFUSED),
        (None, REFUSED),
    ],
)
def test_only_what_is_known_is_left(value, left):
    """A key that nobody declared goes, what lacks a part that is needed goes whole."""
    assert fitted(value, REPORT) == left


def test_other_domain_has_nothing_in_common():
    """What became a property of another type lets nothing out until somebody agrees."""
    assert made("a text", type="string").meet(Flag()) is NOTHING
    assert not made("a text", type="string").covers(Flag())


def _library(items):
    """Return the manifest of error reports of a library whose exceptions have this form."""
    today = EXCEPTION_SPEC.properties["$exception_list"]
    form = made(today.domain, **{**today.values.schema(), "items": items})
    properties = {**EXCEPTION_SPEC.properties, "$exception_list": replace(today, values=form)}
    spec = replace(EXCEPTION_SPEC, properties=properties)
    return Manifest(kind=Kind.ERRORS, base=BASE, events={EXCEPTION: spec})


def test_report_of_a_newer_library_keeps_the_form_agreed_to():
    """A library that adds a key to reports asks, and until then reports leave without it, not not at all."""
    today = EXCEPTION_SPEC.properties["$exception_list"].values.schema()["items"]
    wider = {**today, "properties": {**today["properties"], "thread": {"type": "string"}}}
    old, new = _library(today), _library(wider)
    report = {"type": "ValueError", "value": "v", "mechanism": {"handled": False}}

    left = narrowed(old, new).examine(EXCEPTION, {"$exception_list": [{**report, "thread": "x"}]}, today_utc)

    assert left.properties == {"$exception_list": [report]}
    assert [change.effect for change in compare(old, new)] == [Effect.WIDENING]
    assert [change.effect for change in compare(new, old)] == [Effect.NARROWING]
