"""Notice every connection and every look-up of a name that this library begins."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_EVENTS = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)
_OURS = ("otel_posthog.", "posthog.")
_EXEMPT = ("otel_posthog.store.", "otel_posthog.testing.", "otel_posthog.demo.")
"""The store's connections go to the product's own database."""

_watching: list[list[str]] = []
_lock = threading.Lock()
_is_installed = False


class EgressError(RuntimeError):
    """Raised in place of a connection while `watched` runs."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Refuse connections that this library begins, and yield a list that tells of each attempt."""
    attempts: list[str] = []
    _install()
    _watching.append(attempts)
    try:
        yield attempts
    finally:
        _watching.remove(attempts)


def _install() -> None:
    """Add the hook at the first use: an audit hook can never be taken back."""
    global _is_installed  # noqa: PLW0603 - one for the process, as the hook is
    with _lock:
        if not _is_installed:
            sys.addaudithook(_notice)
            _is_installed = True


def _notice(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching or event not in _EVENTS:
        return
    where = _ours(sys._getframe(1))  # noqa: SLF001 - the only way to see who calls
    if where is None:
        return
    target = arguments[1] if event in {"socket.connect", "socket.sendmsg", "socket.sendto"} else arguments[0]
    told = f"{event} to {target!r} from {where}"
    for attempts in _watching:
        attempts.append(told)
    raise EgressError(told)


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
