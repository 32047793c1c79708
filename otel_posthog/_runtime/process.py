"""Run what is due at a fork.

An object with a lock, a thread or a connection calls `follow_forks(self)` at the end of its `__init__`.
That is all: no owner passes a fork on to its parts, so that none can be forgotten.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakValueDictionary

_F = TypeVar("_F", bound="Renewing | Pausing")

_TURN_TIMEOUT_S = 15.0  # above what the hooks wait for: 10 s for an import, 1 s each for the others


@runtime_checkable
class Renewing(Protocol):
    """An object with locks, threads or connections that a child must not share."""

    def after_fork(self) -> None:
        """Start afresh in the child."""


@runtime_checkable
class Pausing(Protocol):
    """An object that must not be copied in the middle of its work."""

    def before_fork(self) -> None:
        """Finish the work in progress, and begin none."""

    def after_fork_in_parent(self) -> None:
        """Go on."""


# Weak, since hooks of `os.register_at_fork` cannot be taken back; numbered, to keep the order.
_followers: WeakValueDictionary[int, Renewing | Pausing] = WeakValueDictionary()
_numbers = count()
_turn = threading.RLock()


def follow_forks(follower: _F) -> _F:
    """Call the object's methods at each fork while the object lives; return it.

    `before_fork` is called in reverse order of registration, the other methods in order. An object that
    holds its lock while it calls another must therefore be made after that other: it pauses first.
    """
    _followers[next(_numbers)] = follower
    return follower


def followers() -> list[Renewing | Pausing]:
    """Return the living objects that follow forks, in order of registration."""
    return [alive for reference in _followers.valuerefs() if (alive := reference()) is not None]


def _before_fork() -> None:
    # One fork at a time: two would release what the other holds.
    _turn.acquire(timeout=_TURN_TIMEOUT_S)
    _call_each(alive.before_fork for alive in reversed(followers()) if isinstance(alive, Pausing))


def _after_fork_in_parent() -> None:
    try:
        _call_each(alive.after_fork_in_parent for alive in followers() if isinstance(alive, Pausing))
    finally:
        with suppress(RuntimeError):  # not acquired in time
            _turn.release()


def _after_fork_in_child() -> None:
    global _turn  # noqa: PLW0603 - the parent's may be held by a thread that is not here
    _turn = threading.RLock()
    _call_each(alive.after_fork for alive in followers() if isinstance(alive, Renewing))


def _call_each(methods: Iterable[Callable[[], None]]) -> None:
    """Call all of them, then raise the first error, which Python reports as unraisable."""
    errors = []
    for method in methods:
        try:
            method()
        except Exception as error:  # noqa: BLE001 - one that fails must not cost the others
            errors.append(error)
    if errors:
        raise errors[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


if TYPE_CHECKING:
    from functools import cached_property

    lazy = cached_property
else:

    class lazy:  # noqa: N801 - reads as `property` does
        """Compute an attribute at its first use, like `cached_property` but without a lock."""

        # Up to Python 3.11 `cached_property` holds one lock for all instances while it computes a value; a
        # child forked meanwhile waits for ever. Here two threads may compute it, and one result is kept.
        def __init__(self, make: Callable[..., Any]) -> None:
            self._make = make
            self.__doc__ = make.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: object | None, owner: type) -> Any:
            if instance is None:
                return self
            return instance.__dict__.setdefault(self._name, self._make(instance))
