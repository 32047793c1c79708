"""Refuse every connection and name look-up that this library begins, for tests.

An audit hook sees all of them, also those of modules that were imported before, and who calls; patched
sockets would not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SENDING = frozenset({"socket.connect", "socket.sendmsg", "socket.sendto"})
_EVENTS = _SENDING | {"socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname"}
_OURS = ("otel_posthog.", "posthog.")
# The store connects to the product's own database; the servers are the tests' own.
_EXEMPT = (
    "otel_posthog.store.",
    "otel_posthog.testing.serving.",
    "otel_posthog.testing.sink.",
    "otel_posthog.demo.",
)

_watching: list[list[str]] = []
_lock = threading.Lock()
_is_installed = False


class EgressError(RuntimeError):
    """Raised in place of a connection while `watched` runs."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Refuse connections that this library begins, and yield the list of attempts."""
    attempts: list[str] = []
    _install()
    _watching.append(attempts)
    try:
        yield attempts
    finally:
        _watching.remove(attempts)


def _install() -> None:
    # At the first use, since an audit hook cannot be removed.
    global _is_installed  # noqa: PLW0603 - one for the process, as the hook is
    with _lock:
        if not _is_installed:
            sys.addaudithook(_notice)
            _is_installed = True


def _notice(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching or event not in _EVENTS:
        return
    where = _ours(sys._getframe(1))  # noqa: SLF001 - an audit hook gets no caller
    if where is None:
        return
    target = arguments[1] if event in _SENDING else arguments[0]
    attempt = f"{event} to {target!r} from {where}"
    for attempts in _watching:
        attempts.append(attempt)
    raise EgressError(attempt)


def _ours(frame: FrameType | None) -> str | None:
    found = None
    while frame is not None:
        name = f"{frame.f_globals.get('__name__', '')}."
        if name.startswith(_EXEMPT):
            return None
        if found is None and name.startswith(_OURS):
            found = name.rstrip(".")
        frame = frame.f_back
    return found
