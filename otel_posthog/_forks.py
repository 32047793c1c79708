"""Have an object follow `os.fork`, without keeping it alive: hooks cannot be taken back."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Forking(Protocol):
    """What has locks, threads or connections that a child must not share."""

    def before_fork(self) -> None:
        """Wait until nothing is half done that the child would find half done."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork(self) -> None:
        """Start afresh in a child."""


def follow_forks(forking: Forking) -> None:
    """Call the object's hooks at each fork, as long as somebody else holds it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_weakly(forking.before_fork),
            after_in_parent=_weakly(forking.after_fork_in_parent),
            after_in_child=_weakly(forking.after_fork),
        )


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := reference()) is not None:
            alive()

    return call
