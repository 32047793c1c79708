"""The same behaviours for every product, and what each is to be reported as."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One thing that a product does at a path; `reported` is the type and value of its one event."""

    path: str
    reported: tuple[str, str] | None = None
    status: int | None = None
    """Asserted where all products agree on it; of a WebSocket the code of the close."""


def _error(path, kind="LookupError", value=None, **more):
    return Behaviour(path=path, reported=(kind, value or path.rpartition("/")[2]), **more)


def _nothing(path, **more):
    return Behaviour(path=path, **more)


REQUESTS = (
    _error("/raise/unhandled"),
    _error("/raise/answered_with_500", "Answered500", status=500),
    _nothing("/raise/answered_with_418", status=418),
    _nothing("/raise/answered_with_503", status=503),
    _nothing("/raise/cancelled"),
    _error("/raise/group", "ExceptionGroup", "several"),
    _error("/raise/mixed_group", "BaseExceptionGroup", "several"),
    _nothing("/raise/cancelled_group"),
    _nothing("/raise/left"),
    _nothing("/raise/left_group"),
    _error("/raise/left_and_failed_group", "ExceptionGroup", "several"),
    _error("/thread"),
    _nothing("/fine", status=200),
    _nothing("/nowhere", status=404),
    _nothing("/forbidden", status=403),
    _nothing("/deliberate_500", status=500),
    _nothing("/deliberate_503", status=503),
    _error("/http/500_from_error", status=500),
    _error("/http/500_while_handling", status=500),
    _error("/http/502_while_handling", status=502),
    _error("/http/503_from_error", status=503),
    _nothing("/http/500_from_none", status=500),
    _nothing("/http/503_from_none", status=503),
    _nothing("/http/404_from_error", status=404),
    _nothing("/plain_500", status=500),
    _nothing("/swallowed", status=200),
    _nothing("/swallowed_then_500", status=500),
    _error("/background"),
    _error("/background_in_thread"),
    _error("/stream", status=200),
    _error("/sync_stream", status=200),
    _error("/stillborn_stream"),
    _error("/dependency_before_view"),
    _error("/dependency_before_answer"),
    _error("/dependency_after_answer"),
    _error("/mounted/unhandled"),
    _error("/mounted/answered_with_500", "Answered500", status=500),
)

CAUSED = (
    "/http/500_from_error",
    "/http/500_while_handling",
    "/http/502_while_handling",
    "/http/503_from_error",
)
"""Reported as the HTTP error of the framework, with the error as its cause."""

SOCKETS = (
    _error("/socket/unhandled"),
    _error("/socket/before_accept"),
    _error("/socket/answered_with_1011", "Answered500", status=1011),
    _nothing("/socket/answered_with_1008", status=1008),
    _nothing("/socket/deliberate_1011", status=1011),
    _error("/socket/caused_1011", status=1011),
    _nothing("/socket/fine", status=1000),
)
