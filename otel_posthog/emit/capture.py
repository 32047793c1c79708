"""Emit product events and exceptions as OpenTelemetry log records.

This half knows `opentelemetry-api` only. Whether anything is sent is decided on the other side;
with consent denied both functions return before they build anything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from itertools import islice
from random import Random
from types import FrameType
from typing import ParamSpec
from uuid import UUID

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.errors import RegistryError
from otel_posthog.otel import attributes
from otel_posthog.otel.api import Logger, SeverityNumber, context_within, get_logger
from otel_posthog.registry import EXCEPTION, spec_of, values_of

from .breadcrumbs import EVENT, Breadcrumbs
from .failures import RateLimit, mark_as_reported, was_reported
from .request_context import WatchedRequest, current_request
from .tracebacks import exception_attributes, failure_of, traceback_of

_log = logging.getLogger(__name__)
MAX_PROPERTIES = 100  # of an event; room below OpenTelemetry's default limit of 128 attributes
_ANY_EVENT = "any_event"  # consent is the same for each
_P = ParamSpec("_P")


class _Random(Random):
    def after_fork(self) -> None:
        self.seed()


# `uuid4` asks the system, and thereby hands the interpreter to a busy thread, for milliseconds if that is
# the exporter's. These uuids are no secrets; they only must not repeat, not even in a child. The host cannot
# seed a generator of our own.
_random = follow_forks(_Random())


@dataclass(frozen=True, slots=True)
class Emitter:
    """Where records go, and what is asked and added on their way."""

    logger: Logger
    log_limiter: LogLimiter
    breadcrumbs: Breadcrumbs = Breadcrumbs(number=0)  # noqa: RUF009 - it records nothing
    rate_limit: RateLimit | None = None
    # Used in tests: raises for what would be dropped, while a running product never sees an exception.
    check: Callable[[str, Mapping[str, object]], None] | None = None


_default = Emitter(get_logger(attributes.SCOPE), LogLimiter())
_current = _default
_diverted: Emitter | None = None


def use(emitter: Emitter) -> None:
    """Make `track`, `capture_exception` and the middleware emit there, in the whole process."""
    global _current  # noqa: PLW0603 - one of the two places of module state, see docs/architecture.md
    _current = emitter


def current() -> Emitter:
    """Return the emitter in use."""
    return _diverted or _current


def is_in_use() -> bool:
    """Return whether a `Telemetry` runs in this process."""
    return _current is not _default


@contextmanager
def diverted(emitter: Emitter) -> Iterator[None]:
    """Emit there until the block ends, even if another `Telemetry` starts; for tests of a product."""
    global _diverted  # noqa: PLW0603 - the same state
    before, _diverted = _diverted, emitter
    try:
        yield
    finally:
        _diverted = before


def stop_using(emitter: Emitter) -> None:
    """Return to OpenTelemetry's global provider, if that emitter is still the one in use."""
    if _current is emitter:
        use(_default)


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
    emitter = _diverted or _current
    if emitter.check is not None:
        # Outside of the `try`, since a test wants to see what would be dropped.
        emitter.check(*_named(event, properties))
    try:
        name, values = _named(event, properties)
        if emitter.logger.enabled(severity_number=SeverityNumber.INFO, event_name=name):
            emitter.breadcrumbs.note(EVENT, name)
            emitter.logger.emit(
                event_name=name,
                severity_number=SeverityNumber.INFO,
                attributes={**_bounded(values), attributes.EVENT_UUID: random_uuid()},  # type: ignore[dict-item]  # the SDK cleans values
            )
    except RegistryError as error:
        emitter.log_limiter.warning(_log, "track() was called wrongly, the event is dropped: %s", error)
    except Exception as error:  # noqa: BLE001 - a fault of ours never reaches the app
        emitter.log_limiter.warning(
            _log, "track() failed with %s, the event is dropped", type(error).__name__
        )


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
        was_raised = traceback_of(error) is not None
        caller = None if was_raised else sys._getframe(1)  # noqa: SLF001 - CPython's documented way
        emit_exception(error, partial(_prefixed, properties), handled=True, caller=caller)


def emit_exception(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> None:
    """Emit one log record for the exception, with the attributes of `extra`, and mark it as reported.

    Does nothing if it was reported before. The calls that led to `caller` are the stack of an exception
    that was never raised.
    """
    request = current_request()
    if not was_reported(error, request) and _emit(error, extra, request, handled=handled, caller=caller):
        mark_as_reported(error)


def emit_request_error(error: BaseException, extra: Callable[[], Mapping[str, object]]) -> bool:
    """Emit what the application failed with; return whether it is reported, now or before."""
    request = current_request()  # of an application wrapped twice the inner one, which reports first
    # No mark on it: it may be raised yet, and the server gets it as it was raised (docs/adr/0006).
    return was_reported(error, request) or _emit(error, extra, request, handled=False)


def _emit(
    error: BaseException,
    extra: Callable[[], Mapping[str, object]],
    request: WatchedRequest | None,
    *,
    handled: bool,
    caller: FrameType | None = None,
) -> bool:
    """Emit the record; return whether the exception is dealt with, also if the rate limit only counts it."""
    emitter = _diverted or _current
    try:
        if not emitter.logger.enabled(severity_number=SeverityNumber.ERROR):
            return False
        # Asked before the walk, so that a suppressed report costs one dictionary look-up.
        if emitter.rate_limit is not None and not emitter.rate_limit.admits(failure_of(error)):
            return True
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
        emitter.logger.emit(
            severity_number=SeverityNumber.ERROR,
            # In the trace of the span that ended before the report, if no other one is current.
            context=context_within(span) if span else None,
            attributes=recorded,  # type: ignore[arg-type]  # the SDK cleans values
        )
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        emitter.log_limiter.warning(_log, "an exception could not be reported (%s)", type(fault).__name__)
        return False
    return True


def random_uuid() -> str:
    """Return a new uuid of version 4 as text."""
    return str(UUID(int=_random.getrandbits(128), version=4))


def log_fault(what: str, fault: Exception) -> None:
    """Log a fault of ours by its type; its message may hold values."""
    _current.log_limiter.warning(_log, f"{what} (%s)", type(fault).__name__)


def _named(event: object, properties: Mapping[str, object] | None) -> tuple[str, Mapping[str, object]]:
    if isinstance(event, str):
        return event, properties or {}
    spec = spec_of(event)
    if spec is None or isinstance(event, type):
        raise RegistryError("the first argument is an event's name or an instance of an @event class")
    if properties:
        raise RegistryError(f"{spec.name} holds its properties itself: pass no second argument")
    return spec.name, values_of(event)


def _prefixed(properties: Mapping[str, object] | None) -> dict[str, object]:
    return {f"{attributes.PROPERTY_PREFIX}{key}": value for key, value in _bounded(properties or {}).items()}


def _bounded(properties: Mapping[str, object]) -> dict[str, object]:
    return dict(islice(properties.items(), MAX_PROPERTIES))
