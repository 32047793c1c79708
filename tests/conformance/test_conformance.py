"""Odd applications behind odd servers: wrapped, each behaves exactly as it does bare (R27)."""

from __future__ import annotations

from functools import cache

import pytest

from .all_cases import CASES
from .harness import facts

MIN_CASES = 100


@cache
def _bare_facts(case, *, adds_headers):
    return facts(case, lambda app: app, adds_headers=adds_headers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_odd_application(case, wrapping):
    """Client, server and application can tell no difference, and errors are reported once (R12, R16)."""
    wrapping.begin()
    bare = _bare_facts(case, adds_headers=wrapping.adds_headers)

    wrapped = facts(case, wrapping.wrap, adds_headers=wrapping.adds_headers)

    assert wrapped == bare
    expected = case.reports if wrapping.is_reporting else 0
    assert wrapping.reports(at_least=expected) == expected


def test_cases_note_something():
    """No case passes for want of facts, and there are many."""
    silent = [case.name for case in CASES if not _bare_facts(case, adds_headers=False)]

    assert silent == []
    assert len(CASES) >= MIN_CASES
    assert len({case.name for case in CASES}) == len(CASES)
