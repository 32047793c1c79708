"""Hear of exceptions that a framework announces by a signal only.

Django and Quart answer outside of their `except`, so that the exception is not active any more when
the 500 passes the middleware. No framework is imported: one that is not loaded serves no request.
"""

from __future__ import annotations

import sys
from types import ModuleType

from otel_posthog.analytics import emit_exception, guarded
from otel_posthog.request_state import remember_origins, request_of_origin, request_under_way

from .blame import is_error
from .description import request_attributes

_UID = "otel_posthog"


@guarded
def listen() -> None:
    """Connect to the signals of the frameworks that are loaded by now; again does no harm."""
    _listen_to_django(sys.modules.get("django.core.signals"))
    _listen_to_quart(sys.modules.get("quart.signals"))


def _listen_to_django(signals: ModuleType | None) -> None:
    if signals is not None:
        signals.got_request_exception.connect(_on_django, weak=False, dispatch_uid=_UID)


def _listen_to_quart(signals: ModuleType | None) -> None:
    if signals is not None:
        remember_origins()
        signals.got_request_exception.connect(_on_quart)
        signals.got_websocket_exception.connect(_on_quart_unanswered)
        signals.got_background_exception.connect(_on_quart_unanswered)


def _on_django(**_arguments: object) -> None:
    """Note the exception that Django's handler is in the middle of handling."""
    _announce(sys.exception())


async def _on_quart(_app: object, *, exception: BaseException, **_arguments: object) -> None:
    """Note it; a coroutine, because Quart runs plain receivers on a thread."""
    _announce(exception)


async def _on_quart_unanswered(_app: object, *, exception: BaseException, **_arguments: object) -> None:
    """Report at once: a background task has no answer, and a WebSocket is closed as after a good end."""
    origin, request = request_of_origin(), request_under_way()
    if not is_error(exception, request.send_of_server() if request else None):
        return
    emit_exception(exception, lambda: request_attributes(origin) if origin else {}, handled=False)
    if request is not None:
        request.noted().reported = exception


def _announce(error: BaseException | None) -> None:
    request = request_under_way()
    if request is not None:
        request.noted().announced = error
