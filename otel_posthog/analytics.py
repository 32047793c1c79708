"""Emit product events and exceptions as OpenTelemetry log records.

This half knows `opentelemetry-api` only. Whether anything leaves is decided on the other side;
with consent denied both functions return before they build anything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from types import FrameType, TracebackType
from typing import ParamSpec

from . import attributes, tracebacks
from ._otel import Logger, SeverityNumber, context_within, get_logger
from ._uuids import random_uuid
from .errors import RegistryError
from .notices import Notices
from .registry import EXCEPTION, spec_of, values_of
from .request_state import has_left_an_application, request_under_way, was_reported
from .steps import EVENT, Steps
from .storms import Storms

_log = logging.getLogger(__name__)
MAX_PROPERTIES = 100  # of an event; room below OpenTelemetry's default limit of 128 attributes
_ANY_EVENT = "any_event"  # the answer is the same for each
_REPORTED_MARK = "__otel_posthog_reported__"
_P = ParamSpec("_P")

# Past `__setattr__`, `__getattribute__` and the like of the exception's class.
_attributes_of: Callable[[BaseException], dict[str, object]] = BaseException.__dict__["__dict__"].__get__
_traceback_of: Callable[[BaseException], TracebackType | None] = BaseException.__dict__[
    "__traceback__"
].__get__


_NO_STEPS = Steps(number=0)


@dataclass(frozen=True, slots=True)
class Emitter:
    """Where records go, and where a fault of ours is told."""

    logger: Logger
    notices: Notices
    steps: Steps = _NO_STEPS
    storms: Storms | None = None
    check: Callable[[str, Mapping[str, object]], None] | None = None
    """Under test: raises for what would be left out, where a running product never sees an exception."""


_default = Emitter(get_logger(attributes.SCOPE), Notices())
_current = _default
_diverted: Emitter | None = None


def use(emitter: Emitter) -> None:
    """Make `track`, `capture_exception` and the middleware emit there, in the whole process."""
    global _current  # noqa: PLW0603 - one of the two places of module state, see docs/architecture.md
    _current = emitter


def current() -> Emitter:
    """Return where records go at present."""
    return _diverted or _current


def is_in_use() -> bool:
    """Tell whether a `Telemetry` has been started in this process, and not shut down."""
    return _current is not _default


@contextmanager
def diverted(emitter: Emitter) -> Iterator[None]:
    """Emit there until the block ends, whoever else starts meanwhile; for tests of a product."""
    global _diverted  # noqa: PLW0603 - the same state
    before, _diverted = _diverted, emitter
    try:
        yield
    finally:
        _diverted = before


def stop_using(emitter: Emitter) -> None:
    """Go back to OpenTelemetry's global provider, if that emitter is still the current one."""
    if _current is emitter:
        use(_default)


def guarded(function: Callable[_P, None]) -> Callable[_P, None]:
    """Return the function with faults told to the log instead of raised into the app."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
            tell_fault("an exception could not be looked at", fault)

    return call


def track(event: object, properties: Mapping[str, object] | None = None) -> None:
    """Record a product event: its name with properties, or an instance of an `@event` class.

    Never raises and never waits. What the registry does not admit stays behind, as do properties
    beyond `MAX_PROPERTIES`, and nothing leaves unless the admin has switched telemetry on.
    """
    emitter = _diverted or _current
    if emitter.check is not None:
        emitter.check(*_named(event, properties))
    try:
        name, values = _named(event, properties)
        if emitter.logger.enabled(severity_number=SeverityNumber.INFO, event_name=name):
            emitter.steps.note(EVENT, name)
            emitter.logger.emit(
                event_name=name,
                severity_number=SeverityNumber.INFO,
                attributes={**_bounded(values), attributes.EVENT_UUID: random_uuid()},  # type: ignore[dict-item]  # the SDK cleans values
            )
    except RegistryError as error:
        emitter.notices.warn(_log, "track() was called wrongly, the event is dropped: %s", error)
    except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
        emitter.notices.warn(_log, "track() failed with %s, the event is dropped", type(error).__name__)


def capture_exception(
    error: BaseException | None = None, *, properties: Mapping[str, object] | None = None
) -> None:
    """Report an exception that the application has handled; by default the one being handled.

    `properties` are numbers, booleans and short texts. Never raises and never waits; the same
    exception object is reported once.
    """
    error = error if error is not None else sys.exc_info()[1]
    check = current().check
    if check is not None:
        check(EXCEPTION, properties or {})
    if error is not None:
        was_raised = _traceback_of(error) is not None
        caller = None if was_raised else sys._getframe(1)  # noqa: SLF001 - CPython's documented way
        emit_exception(error, lambda: _prefixed(properties or {}), handled=True, caller=caller)


@guarded
def emit_exception(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> None:
    """Emit one log record for the exception, with what `extra` returns, unless it was emitted before.

    The calls that led to `caller` stand for the stack of an exception that was never raised.
    """
    if is_new(error) and _emit(error, extra, handled=handled, caller=caller):
        mark_as_reported(error)


def emit_answered(error: BaseException, extra: Callable[[], Mapping[str, object]]) -> None:
    """Emit what an application answers with a failure, and leave no mark on it: it may be raised yet."""
    if is_new(error):
        _emit(error, extra, handled=False)


def emit_leaving(error: BaseException, extra: Callable[[], Mapping[str, object]]) -> bool:
    """Emit what leaves the application, and leave no mark on it: the server gets it as it was raised.

    Tell whether it was emitted, now or before.
    """
    return not is_new(error) or _emit(error, extra, handled=False)


def _emit(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> bool:
    """Emit the record; tell whether the exception is dealt with, also where a storm of it is only counted."""
    emitter = _diverted or _current
    try:
        if not emitter.logger.enabled(severity_number=SeverityNumber.ERROR):
            return False
        if emitter.storms is not None and not emitter.storms.admits(error):
            return True
        recorded = {
            attributes.EXCEPTION_TYPE: tracebacks.type_of(error),
            attributes.EXCEPTION_MESSAGE: tracebacks.message_of(error),
            attributes.EXCEPTION_CHAIN: tracebacks.describe(error, caller),
            attributes.EXCEPTION_HANDLED: handled,
            attributes.EVENT_UUID: random_uuid(),
            **extra(),
        }
        may_track = emitter.logger.enabled(severity_number=SeverityNumber.INFO, event_name=_ANY_EVENT)
        steps = emitter.steps.as_json(with_events=may_track)
        if steps is not None:
            recorded[attributes.EXCEPTION_STEPS] = steps
        request = request_under_way()
        span = None if request is None else request.noted().span
        emitter.logger.emit(
            severity_number=SeverityNumber.ERROR,
            context=context_within(span) if span else None,
            attributes=recorded,  # type: ignore[arg-type]  # the SDK cleans values
        )
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        emitter.notices.warn(_log, "an exception could not be reported (%s)", type(fault).__name__)
        return False
    return True


def is_new(error: BaseException) -> bool:
    """Tell whether nobody has reported this exception object yet."""
    is_marked = _REPORTED_MARK in _attributes_of(error)
    return not (is_marked or was_reported(error) or has_left_an_application(_traceback_of(error)))


def mark_as_reported(error: BaseException | None) -> None:
    """Let this exception object be reported by nobody else."""
    if error is not None:
        _attributes_of(error)[_REPORTED_MARK] = True


def tell_fault(what: str, fault: Exception) -> None:
    """Log a fault of ours, without what it says: that may hold values."""
    _current.notices.warn(_log, f"{what} (%s)", type(fault).__name__)


def _named(event: object, properties: Mapping[str, object] | None) -> tuple[str, Mapping[str, object]]:
    if isinstance(event, str):
        return event, properties or {}
    spec = spec_of(event)
    if spec is None or isinstance(event, type):
        raise RegistryError("the first argument is an event's name or an instance of an @event class")
    if properties:
        raise RegistryError(f"{spec.name} holds its properties itself, pass no second argument")
    return spec.name, values_of(event)


def _prefixed(properties: Mapping[str, object]) -> dict[str, object]:
    return {f"{attributes.PROPERTY_PREFIX}{key}": value for key, value in _bounded(properties).items()}


def _bounded(properties: Mapping[str, object]) -> dict[str, object]:
    return dict(islice(properties.items(), MAX_PROPERTIES))
