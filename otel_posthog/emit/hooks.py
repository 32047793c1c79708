"""Report exceptions that reach no middleware: unhandled ones, and those that are logged (R13).

Python's hooks are replaced while a `Telemetry` runs and restored afterwards. The previous hooks are
still called, and exits and interrupts are not reported.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from types import ModuleType
from typing import Any

from otel_posthog._runtime.process import follow_forks
from otel_posthog.otel import attributes

from .breadcrumbs import LOG
from .capture import emit_exception, guarded, log_fault, prefixed
from .emitters import current, is_current
from .failures import is_error
from .request_context import Owner, current_request, request_attributes

# Reporting what these log about telemetry would never end: each report may log again.
_TELEMETRY_LOGGERS = ("otel_posthog", "opentelemetry")


class LogHandler(logging.Handler):
    """Report `logger.exception(…)` and record warnings of the owner as breadcrumbs, from the root logger."""

    def __init__(self, owner: Owner, *, with_exceptions: bool, with_steps: bool) -> None:
        super().__init__(logging.WARNING)
        self._owner = owner
        self._with_exceptions = with_exceptions
        self._with_steps = with_steps

    def install(self) -> None:
        """Add the handler to the root logger if any of its two tasks is enabled."""
        if self._with_exceptions or self._with_steps:
            logging.getLogger().addHandler(self)

    def remove(self) -> None:
        """Remove the handler from the root logger."""
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Report or record the log record; without another handler, Python's last resort prints it."""
        if _is_alone(record, self) and logging.lastResort is not None:
            logging.lastResort.handle(record)
        if record.name.partition(".")[0] not in _TELEMETRY_LOGGERS and is_current(self._owner):
            self._process(record)

    def _process(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[1] if record.exc_info and record.levelno >= logging.ERROR else None
            # By the class that Python knows: `__class__` of the exception may raise.
            if self._with_exceptions and error is not None and issubclass(type(error), Exception):
                emit_exception(error, partial(request_attributes, current_request()), handled=True)
            if self._with_steps:
                current().breadcrumbs.note(LOG, record.getMessage(), record.levelname.lower())
        except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
            log_fault("a log record could not be examined", fault)


def _is_alone(record: logging.LogRecord, ours: logging.Handler) -> bool:
    """Return whether no other handler gets the record: without ours Python would have printed it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not ours for handler in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True


# How an exception was caught, as `mechanism.type`; the first name is posthog-python's.
UNCAUGHT, UNRAISABLE, LOOP = "onuncaughtexception", "unraisable", "asyncio"


class Hooks:
    """The hooks of the process, and of the event loops that are given to `watch`, for one owner."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._installed: list[_Hook] = []
        follow_forks(self)

    def install(self) -> None:
        """Replace the hooks of the process; does nothing if they are installed."""
        with self._lock:
            if not self._installed:
                self._installed = [
                    _hook_of(sys, "excepthook", partial(_on_uncaught, self._owner)),
                    _hook_of(threading, "excepthook", partial(_on_thread, self._owner)),
                    _hook_of(sys, "unraisablehook", partial(_on_unraisable, self._owner)),
                ]

    def watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Report what fails in this loop and is never awaited; only between `install` and `remove`."""
        with self._lock:
            if loop is None or not self._installed:
                return
            if not any(hook.owner is loop for hook in self._installed):
                get, replace = loop.get_exception_handler, loop.set_exception_handler
                self._installed.append(_Hook(loop, partial(_on_loop, self._owner), get, replace))

    def remove(self) -> None:
        """Restore the previous hooks; if another hook was set since, ours only passes on."""
        with self._lock:
            installed, self._installed = self._installed, []
            for hook in reversed(installed):
                hook.remove()

    def after_fork(self) -> None:
        """Replace a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()


class _Hook:
    """A function that Python or an event loop calls: ours first, then the earlier one."""

    def __init__(
        self,
        owner: object,
        report: Callable[..., None],
        get: Callable[[], Callable[..., object] | None],
        replace: Callable[[Callable[..., object] | None], None],
    ) -> None:
        self.owner = owner
        self._report: Callable[..., None] | None = report
        self._get, self._replace = get, replace
        self._earlier = get()
        self._ours = self._called  # kept: each access makes another bound method
        replace(self._ours)

    def remove(self) -> None:
        self._report = None
        if self._get() is self._ours:
            self._replace(self._earlier)

    def _called(self, *arguments: Any) -> None:
        if self._report is not None:
            self._report(*arguments)
        (self._earlier or _default_of_loop)(*arguments)


def _hook_of(module: ModuleType, name: str, report: Callable[..., None]) -> _Hook:
    return _Hook(module, report, partial(getattr, module, name), partial(setattr, module, name))


def _default_of_loop(loop: asyncio.AbstractEventLoop, failure: dict[str, Any]) -> None:
    loop.default_exception_handler(failure)


def _on_uncaught(owner: Owner, _kind: object, error: BaseException | None, _traceback: object) -> None:
    _report(owner, error, UNCAUGHT, level="fatal")


def _on_thread(owner: Owner, failure: threading.ExceptHookArgs) -> None:
    _report(owner, failure.exc_value, UNCAUGHT)


def _on_unraisable(owner: Owner, failure: sys.UnraisableHookArgs) -> None:
    # In a context of its own: what fails in a `__del__` may be found during any request.
    Context().run(_report, owner, failure.exc_value, UNRAISABLE)


@guarded
def _on_loop(owner: Owner, _loop: object, failure: Mapping[str, Any]) -> None:
    """Report it with the context of its task, not of the code that dropped the last reference."""
    get_context = getattr(failure.get("task") or failure.get("future"), "get_context", None)  # Python 3.12
    context = get_context().copy() if get_context is not None else Context()
    context.run(_report, owner, failure.get("exception"), LOOP)


def _report(owner: Owner, error: BaseException | None, mechanism: str, *, level: str = "error") -> None:
    if is_current(owner):
        report_unhandled(error, mechanism, level=level)


@guarded
def report_unhandled(
    error: BaseException | None, mechanism: str, *, level: str = "error", **properties: object
) -> None:
    """Report what the product did not handle, once; `mechanism` names what caught it."""
    if error is None or not is_error(error):  # an exit, an interrupt, a cancellation
        return
    recorded = {attributes.EXCEPTION_MECHANISM: mechanism, attributes.EXCEPTION_LEVEL: level}
    emit_exception(error, lambda: {**recorded, **prefixed(properties)}, handled=False)
