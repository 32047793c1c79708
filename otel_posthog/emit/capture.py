"""Emit product events and exceptions as OpenTelemetry log records.

This half knows `opentelemetry-api` only. Whether anything is sent is decided on the other side;
with consent denied both functions return before they build anything.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial, wraps
from random import Random
from types import FrameType
from typing import ParamSpec, cast
from uuid import UUID

from otel_posthog._runtime.process import follow_forks
from otel_posthog.errors import RegistryError
from otel_posthog.otel import attributes
from otel_posthog.otel.api import LogRecord, SeverityNumber, context_within
from otel_posthog.otel.records import was_queued
from otel_posthog.registry import EXCEPTION, spec_of, values_of

from .breadcrumbs import EVENT
from .emitters import Emitter, current, gives_way
from .failures import mark_as_reported, note_ending, was_reported
from .request_context import Owner, WatchedRequest, current_request, within
from .tracebacks import exception_attributes, failure_of, set_context, traceback_of
from .values import bare_name_of, carried, carried_properties, encodable, name_of, text_of

_log = logging.getLogger(__name__)
MAX_PROPERTIES = 100  # of an event; room below OpenTelemetry's default limit of 128 attributes
MAX_NESTED = 2  # a report, and those within its description
_NOT_REPORTED = "an exception could not be reported (%s)"
_NO_EXCEPTION = (
    "capture_exception() takes an exception, a class, a text or sys.exc_info(), not an object of %s"
)
_ANY_EVENT = "any_event"  # consent is the same for each
_P = ParamSpec("_P")


class _Random(Random):
    def after_fork(self) -> None:
        self.seed()


# `uuid4` asks the system, and thereby hands the interpreter to a busy thread, for milliseconds if that is
# the exporter's. These uuids are no secrets; they only must not repeat, not even in a child. The host cannot
# seed a generator of our own.
_random = follow_forks(_Random())


def guarded(function: Callable[_P, None]) -> Callable[_P, None]:
    """Return the function with its faults logged instead of raised into the application."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
            log_fault("an exception could not be examined", fault)

    return call


def track(event: object, properties: Mapping[str, object] | None = None) -> None:
    """Record a product event: its name with properties, or an instance of an `@event` class.

    Never raises and never waits. Events and properties that the registry does not admit are dropped, as
    are properties beyond `MAX_PROPERTIES`; nothing is sent unless the admin has switched telemetry on.
    """
    emitter = current()
    if emitter.check is not None:
        # Outside of the `try`, since a test wants to see what would be dropped.
        emitter.check(*_named(event, properties))
    try:
        name, values = _named(event, properties)
        if emitter.logger.enabled(severity_number=SeverityNumber.INFO, event_name=name):
            emitter.breadcrumbs.note(EVENT, name)
            recorded = {**carried_properties(values, MAX_PROPERTIES), attributes.EVENT_UUID: random_uuid()}
            emitter.logger.emit(
                event_name=name,
                severity_number=SeverityNumber.INFO,
                attributes=recorded,  # type: ignore[arg-type]  # plain values
            )
    except RegistryError as error:
        emitter.log_limiter.warning(_log, "track() was called wrongly, the event is dropped: %s", error)
    except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
        try:
            _count_unqueued(emitter, "track() failed with %s, the event is dropped", error)
        except RecursionError:
            emitter.counts.unqueued[0] += 1


def capture_exception(error: object = None, *, properties: Mapping[str, object] | None = None) -> None:
    """Report an exception that the application has handled; by default the one being handled.

    In place of the exception it takes a class, a text, or what `sys.exc_info()` returns. `properties` are
    numbers, booleans and short texts. Never raises and never waits; the same exception object is reported
    once.
    """
    emitter = current()
    if emitter.check is not None:
        # Outside of the `try`, since a test wants to see what would be dropped.
        emitter.check(EXCEPTION, properties or {})
    try:
        reported = _exception_of(error)
        if reported is not None:
            was_raised = traceback_of(reported) is not None
            caller = None if was_raised else sys._getframe(1)  # noqa: SLF001 - CPython's documented way
            emit_exception(reported, partial(prefixed, properties), handled=True, caller=caller)
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        try:
            _count_unqueued(emitter, _NOT_REPORTED, fault)
        except RecursionError:
            emitter.counts.unqueued[0] += 1


def emit_exception(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> bool:
    """Emit one log record for the exception, with the attributes of `extra`, and mark it as reported.

    Returns whether it is reported, now or before. The mark is set only when the record is queued;
    otherwise the next source that sees the exception reports it. The calls that led to `caller` are the
    stack of an exception that was never raised.
    """
    request = current_request()
    if was_reported(error, request):
        if not handled:
            note_ending(error, extra())
        return True
    emitted = _emit(error, extra, request, handled=handled, caller=caller)
    if emitted:
        mark_as_reported(error, emitted)
    return bool(emitted)


def emit_request_error(error: BaseException, extra: Callable[[], Mapping[str, object]], owner: Owner) -> bool:
    """Emit what the owner's application failed with; return whether it is reported, now or before."""
    if gives_way(owner):
        return False
    request = current_request()  # of an application wrapped twice the inner one, which reports first
    # No mark on it: it may be raised yet, and the server gets it as it was raised (docs/adr/0006).
    with within(owner):
        if was_reported(error, request):
            note_ending(error, extra())
            return True
        return bool(_emit(error, extra, request, handled=False))


def _exception_of(given: object) -> BaseException | None:
    """Return the exception that a caller of `capture_exception` means."""
    # Never `isinstance`, which asks an object for its `__class__`.
    cls: type = type(given)
    handled = sys.exception()
    if issubclass(cls, BaseException):
        return cast("BaseException", given)
    if issubclass(cls, tuple):  # type, value and traceback; frameworks pass the type alone, too
        found = [part for part in cast("tuple[object, ...]", given)[1::-1] if part is not None]
        return _exception_of(found[0]) if found else handled
    if issubclass(cls, type) and issubclass(cast("type", given), BaseException):
        if handled is not None and issubclass(type(handled), cast("type", given)):
            return handled
        error = _made(cast("type[BaseException]", given))
    elif issubclass(cls, str):
        error = Exception(text_of(given))
    else:
        if given is not None:
            current().log_limiter.warning(_log, _NO_EXCEPTION, name_of(cls)[0])
        return handled
    set_context(error, handled)
    return error


def _made(cls: type[BaseException]) -> BaseException:
    try:
        made = cls()
    except Exception:  # noqa: BLE001 - it needs arguments
        made = None
    # Its `__new__` may return anything.
    return made if type(made) is cls else Exception(name_of(cls)[0])


class _Nesting(threading.local):
    def __init__(self) -> None:
        self.errors: list[BaseException] = []


_nesting = _Nesting()


def _emit(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    request: WatchedRequest | None,
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> object:
    """Emit the record and return it; False if it is not queued, True if the rate limit only counts it."""
    emitter, described = current(), _nesting.errors
    # An exception's `__str__` may report the exception itself, or others without end.
    if len(described) >= MAX_NESTED or any(each is error for each in described):
        return False
    described.append(error)
    try:
        if not emitter.logger.enabled(severity_number=SeverityNumber.ERROR):
            return False
        # Asked before the walk, so that a suppressed report costs one dictionary look-up.
        if emitter.rate_limit is not None and not emitter.rate_limit.admits(failure_of(error)):
            return True
        record = _record_of(emitter, error, extra, request, handled=handled, caller=caller)
        return _queue(emitter, record) and record
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        _count_unqueued(emitter, _NOT_REPORTED, fault)
        return False
    finally:
        described.pop()


def _record_of(
    emitter: Emitter,
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    request: WatchedRequest | None,
    *,
    handled: bool,
    caller: FrameType | None,
) -> LogRecord:
    # `extra` is a function, so that a suppressed report costs no description of the request.
    recorded = {
        **exception_attributes(error, caller),
        attributes.EXCEPTION_HANDLED: handled,
        attributes.EVENT_UUID: random_uuid(),
        **extra(),
    }
    allows_events = partial(
        emitter.logger.enabled, severity_number=SeverityNumber.INFO, event_name=_ANY_EVENT
    )
    breadcrumbs = emitter.breadcrumbs.as_json(request, allows_events=allows_events)
    if breadcrumbs is not None:
        recorded[attributes.EXCEPTION_STEPS] = breadcrumbs
    span = None if request is None or request.notes is None else request.notes.span
    severity = (
        SeverityNumber.FATAL if recorded.get(attributes.EXCEPTION_LEVEL) == "fatal" else SeverityNumber.ERROR
    )
    return LogRecord(
        event_name=attributes.EXCEPTION_EVENT,
        severity_number=severity,
        severity_text=severity.name,
        # In the trace of the span that ended before the report, if no other one is current.
        context=context_within(span) if span else None,
        attributes={key: carried(value) for key, value in recorded.items()},  # type: ignore[misc]  # plain values
    )


def _queue(emitter: Emitter, record: LogRecord) -> bool:
    """Emit the record; return whether it is queued, as far as the processor says."""
    try:
        emitter.logger.emit(record)
    except Exception:
        if not was_queued(record):  # else another processor has failed, and ours has it
            raise
    return was_queued(record) or not emitter.notes_queued


def _count_unqueued(emitter: Emitter, template: str, fault: Exception) -> None:
    """Count a report or an event that could not be queued; raises only if there is no room to begin."""
    emitter.counts.unqueued[0] += 1
    try:  # noqa: SIM105 - `suppress` itself needs room below the limit of recursion
        emitter.log_limiter.warning(_log, template, bare_name_of(type(fault)))
    except RecursionError:  # counted is enough
        pass


def random_uuid() -> str:
    """Return a new uuid of version 4 as text."""
    return str(UUID(int=_random.getrandbits(128), version=4))


def log_fault(what: str, fault: Exception) -> None:
    """Log a fault of ours by its type; its message may hold values."""
    with suppress(RecursionError):  # no room for a log line; what is lost is counted elsewhere
        current().log_limiter.warning(_log, f"{what} (%s)", bare_name_of(type(fault)))


def _named(event: object, properties: Mapping[str, object] | None) -> tuple[str, Mapping[str, object]]:
    if issubclass(type(event), str):
        return encodable(text_of(event)), {} if properties is None else properties
    spec = spec_of(event)
    if spec is None or isinstance(event, type):
        raise RegistryError("the first argument is an event's name or an instance of an @event class")
    if properties:
        raise RegistryError(f"{spec.name} holds its properties itself: pass no second argument")
    return spec.name, values_of(event)


def prefixed(properties: Mapping[str, object] | None) -> dict[str, object]:
    """Return the properties as a report carries them; never raises."""
    try:
        copied = carried_properties(properties or {}, MAX_PROPERTIES)
    except Exception as fault:  # noqa: BLE001 - the report counts more than what was to be added to it
        log_fault("the properties of capture_exception() cannot be read", fault)
        return {}
    return {f"{attributes.PROPERTY_PREFIX}{key}": value for key, value in copied.items()}
