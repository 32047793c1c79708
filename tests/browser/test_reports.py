"""What a page may say about an error."""

from __future__ import annotations

import copy

import pytest
from browser_reports import CHUNK_ID, FRAME, REPORT
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.browser.reports import is_report

KEYS = st.sampled_from([*REPORT, "type", "value", "mechanism", "stacktrace", "frames"])
_EXCEPTION = REPORT["$exception_list"][0]


def _with(path, value):
    """Return the report with this value at the path."""
    made = copy.deepcopy(REPORT)
    *parents, last = path
    place = made
    for key in parents:
        place = place[key]
    place[last] = value
    return made


_FIRST = ("$exception_list", 0)
_INNER = (*_FIRST, "stacktrace", "frames", 0)
REFUSED = {
    "list": [REPORT],
    "nothing": None,
    "no exception": {**REPORT, "$exception_list": []},
    "no list": {key: value for key, value in REPORT.items() if key != "$exception_list"},
    "unknown key": {**REPORT, "distinct_id": "visitor"},
    "unknown key of an exception": _with((*_FIRST, "module"), "x"),
    "unknown key of a frame": _with((*_INNER, "vars"), {"password": "x"}),
    "context line": _with((*_INNER, "context_line"), "x"),
    "other platform": _with((*_INNER, "platform"), "python"),
    "negative line": _with((*_INNER, "lineno"), -1),
    "large line": _with((*_INNER, "lineno"), 2**32),
    "boolean as line": _with((*_INNER, "lineno"), True),
    "fraction as line": _with((*_INNER, "lineno"), 1.5),
    "text as flag": _with((*_INNER, "in_app"), "yes"),
    "chunk id that is none": _with((*_INNER, "chunk_id"), "../../etc/passwd"),
    "long file name": _with((*_INNER, "filename"), "x" * 2_001),
    "long message": _with((*_FIRST, "value"), "x" * 10_001),
    "no message": _with((*_FIRST, "value"), None),
    "many frames": _with((*_FIRST, "stacktrace", "frames"), [FRAME] * 51),
    "many exceptions": {**REPORT, "$exception_list": [_EXCEPTION] * 51},
    "mechanism with more": _with((*_FIRST, "mechanism", "meta"), {}),
    "many properties": {**REPORT, "properties": {f"p{number}": 1 for number in range(51)}},
    "property of PostHog": {**REPORT, "properties": {"$set": "x"}},
    "property with a long name": {**REPORT, "properties": {"x" * 65: 1}},
    "nested property": {**REPORT, "properties": {"nested": {}}},
    "infinite property": {**REPORT, "properties": {"number": float("inf")}},
    "long property": {**REPORT, "properties": {"text": "x" * 10_000}},
    "uuid that is none": {**REPORT, "uuid": "1"},
    "level that is no word": {**REPORT, "$exception_level": "a b"},
}
ACCEPTED = {
    "all of it": REPORT,
    "the least": {"$exception_list": [{"type": "Error", "value": ""}]},
    "no frames": _with((*_FIRST, "stacktrace", "frames"), []),
    "marker of a test": {**REPORT, "properties": {"$fastflow_frontend_test": True}},
    "chunk id": _with((*_INNER, "chunk_id"), CHUNK_ID.upper()),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_shapes_are_refused(case):
    """An unlisted key, another type, a value out of bounds or a missing part refuses the whole report."""
    assert not is_report(REFUSED[case])


@pytest.mark.parametrize("case", ACCEPTED)
def test_descriptions_of_posthog_js_are_accepted(case):
    """What posthog-js says about an error is a report, whole or with the least that an error has."""
    assert is_report(ACCEPTED[case])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_any_json_is_judged(content):
    """Whatever a stranger sends is a report or is none; nothing fails on it."""
    assert is_report(content) in (True, False)
