"""Exceptions that somebody else's instrumentation records: which object it is, and of which request."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress

from . import attributes
from .analytics import is_new, mark_as_reported
from .middleware.description import request_attributes
from .request_state import request_under_way

_NOTE = "_otel_posthog_request"
_NOTHING: Mapping[str, object] = {}


def take_over(recorded: Mapping[str, object], given: object = None) -> bool:
    """Tell whether the exception that this thread records is told for the first time, and mark it.

    `given` is the object if the record holds it; else the one being handled counts, if its type fits.
    """
    error = given if isinstance(given, BaseException) else _handled(recorded)
    if error is None:
        return True
    if not is_new(error):
        return False
    mark_as_reported(error)
    return True


def note_request(record: object) -> None:
    """Note on the record, invisibly to exporters, in which request it was made."""
    request = request_under_way()
    if request is not None:
        with suppress(AttributeError, TypeError):  # a record that takes no attribute
            setattr(record, _NOTE, request_attributes(request))


def noted_request(record: object) -> Mapping[str, object]:
    """Return what was noted on the record, nothing where that is nothing."""
    noted: Mapping[str, object] = getattr(record, _NOTE, _NOTHING)
    return noted


def _handled(recorded: Mapping[str, object]) -> BaseException | None:
    error = sys.exception()
    name = str(recorded.get(attributes.EXCEPTION_TYPE) or "").rpartition(".")[2]
    return error if error is not None and type(error).__name__ == name else None
