"""Catch what a function raises."""

from __future__ import annotations


def caught(action):
    """Return the exception that the action raises, of whatever kind."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - the tests want every kind
        return error
    raise AssertionError("nothing was raised")
