"""Hear of exceptions that nobody caught (requirement R13).

The hooks of Python are taken over while a `Telemetry` runs and given back afterwards; whoever had them
before is still called, and exits and interrupts are left alone.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from types import ModuleType
from typing import Any

from . import attributes
from .analytics import emit_exception, guarded
from .middleware.blame import is_error

UNCAUGHT, UNRAISABLE, LOOP = "onuncaughtexception", "unraisable", "asyncio"
"""How an exception was caught, as `mechanism.type` tells; the first name is posthog-python's."""


class Hooks:
    """The hooks of the process, and of the event loops that are named by `watch`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._installed: list[_Hook | _LoopHook] = []

    def install(self) -> None:
        """Take the hooks of the process over; again does nothing until `remove`."""
        with self._lock:
            if not self._installed:
                self._installed = [
                    _Hook(sys, "excepthook", _on_uncaught),
                    _Hook(threading, "excepthook", _on_thread),
                    _Hook(sys, "unraisablehook", _on_unraisable),
                ]

    def watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Hear of what fails in this loop and is never awaited; only between `install` and `remove`."""
        with self._lock:
            if loop is None or not self._installed:
                return
            loops = [hook.loop for hook in self._installed if isinstance(hook, _LoopHook)]
            if loop not in loops:
                self._installed.append(_LoopHook(loop))

    def remove(self) -> None:
        """Give the hooks back; one that somebody else has put over ours passes on only."""
        with self._lock:
            installed, self._installed = self._installed, []
            for hook in reversed(installed):
                hook.remove()

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()


class _Hook:
    """A function of a module that Python calls."""

    def __init__(self, place: ModuleType, name: str, report: Callable[..., None]) -> None:
        self._place = place
        self._name = name
        self._report: Callable[..., None] | None = report
        self._earlier: Callable[..., object] = getattr(place, name)
        self._ours = self._called
        setattr(place, name, self._ours)

    def remove(self) -> None:
        self._report = None
        if getattr(self._place, self._name) is self._ours:
            setattr(self._place, self._name, self._earlier)

    def _called(self, *arguments: Any) -> None:
        if self._report is not None:
            self._report(*arguments)
        self._earlier(*arguments)


class _LoopHook:
    """The exception handler of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._is_on = True
        self._earlier = loop.get_exception_handler()
        self._ours = self._called
        loop.set_exception_handler(self._ours)

    def remove(self) -> None:
        self._is_on = False
        if self.loop.get_exception_handler() is self._ours:
            self.loop.set_exception_handler(self._earlier)

    def _called(self, loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        if self._is_on:
            _on_loop(told)
        if self._earlier is None:
            loop.default_exception_handler(told)
        else:
            self._earlier(loop, told)


def _on_uncaught(_kind: object, error: BaseException | None, _traceback: object) -> None:
    _report(error, UNCAUGHT, level="fatal")


def _on_thread(told: threading.ExceptHookArgs) -> None:
    _report(told.exc_value, UNCAUGHT)


def _on_unraisable(told: sys.UnraisableHookArgs) -> None:
    """Report what failed in a `__del__` or the like, which may run in the midst of anything."""
    Context().run(_report, told.exc_value, UNRAISABLE)


@guarded
def _on_loop(told: Mapping[str, Any]) -> None:
    """Report it with the context of its task, not of whoever happened to let go of it."""
    get_context = getattr(told.get("task") or told.get("future"), "get_context", None)  # from Python 3.12 on
    context = get_context().copy() if get_context is not None else Context()
    context.run(_report, told.get("exception"), LOOP)


@guarded
def _report(error: BaseException | None, mechanism: str, *, level: str = "error") -> None:
    if error is None or not is_error(error):  # an exit, an interrupt, a cancellation
        return
    told = {attributes.EXCEPTION_MECHANISM: mechanism, attributes.EXCEPTION_LEVEL: level}
    emit_exception(error, lambda: told, handled=False)
