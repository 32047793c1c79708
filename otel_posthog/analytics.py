"""Emit product events and exceptions as OpenTelemetry log records.

This half knows `opentelemetry-api` only. Whether anything leaves is decided on the other side;
with consent denied both functions return before they build anything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from uuid import uuid4

from . import attributes, tracebacks
from ._otel import Logger, SeverityNumber, get_logger
from .errors import RegistryError
from .notices import Notices
from .registry import spec_of, values_of

_log = logging.getLogger(__name__)
MAX_PROPERTIES = 100  # of an event; room below OpenTelemetry's default limit of 128 attributes
_REPORTED_MARK = "__otel_posthog_reported__"


@dataclass(frozen=True, slots=True)
class Emitter:
    """Where records go, and where a fault of ours is told."""

    logger: Logger
    notices: Notices


_request: ContextVar[RequestUnderWay | None] = ContextVar("otel_posthog_request", default=None)
_default = Emitter(get_logger(attributes.SCOPE), Notices())
_current = _default


def use(emitter: Emitter) -> None:
    """Make `track`, `capture_exception` and the middleware emit there, in the whole process."""
    global _current  # noqa: PLW0603 - one of the two places of module state, see docs/architecture.md
    _current = emitter


def stop_using(emitter: Emitter) -> None:
    """Go back to OpenTelemetry's global provider, if that emitter is still the current one."""
    if _current is emitter:
        use(_default)


def track(event: object, properties: Mapping[str, object] | None = None) -> None:
    """Record a product event: its name with properties, or an instance of an `@event` class.

    Never raises and never waits. What the registry does not admit stays behind, as do properties
    beyond `MAX_PROPERTIES`, and nothing leaves unless the admin has switched telemetry on.
    """
    emitter = _current
    try:
        name, values = _named(event, properties)
        if emitter.logger.enabled(severity_number=SeverityNumber.INFO, event_name=name):
            emitter.logger.emit(
                event_name=name,
                severity_number=SeverityNumber.INFO,
                attributes={**_bounded(values), attributes.EVENT_UUID: str(uuid4())},  # type: ignore[dict-item]  # the SDK cleans values
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
    if error is not None:
        emit_exception(error, lambda: _prefixed(properties or {}), handled=True)


def emit_exception(error: BaseException, extra: Callable[[], Mapping[str, object]], *, handled: bool) -> None:
    """Emit one log record for the exception, with what `extra` returns, unless it was emitted before."""
    emitter = _current
    try:
        if not emitter.logger.enabled(severity_number=SeverityNumber.ERROR) or _was_reported(error):
            return
        emitter.logger.emit(
            severity_number=SeverityNumber.ERROR,
            attributes={
                attributes.EXCEPTION_TYPE: tracebacks.type_of(error),
                attributes.EXCEPTION_MESSAGE: tracebacks.message_of(error),
                attributes.EXCEPTION_CHAIN: tracebacks.describe(error),
                attributes.EXCEPTION_HANDLED: handled,
                attributes.EVENT_UUID: str(uuid4()),
                **extra(),  # type: ignore[dict-item]  # the SDK cleans values
            },
        )
    except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
        emitter.notices.warn(_log, "an exception could not be reported (%s)", type(fault).__name__)


def mark_as_reported(error: BaseException | None) -> None:
    """Let this exception object be reported by nobody else."""
    if error is not None:
        with suppress(AttributeError, TypeError):  # some take no attribute
            setattr(error, _REPORTED_MARK, True)


class RequestUnderWay:
    """A request that the middleware watches, so that spans inside of it do not speak for it.

    Whether an exception on such a span was handled shows only at the middleware.
    """

    __slots__ = ("_is_active", "_token")

    def __enter__(self) -> None:
        self._is_active = True
        self._token = _request.set(self)

    def __exit__(self, *_error: object) -> None:
        self._is_active = False  # tasks that outlive the request have a copy of its context
        _request.reset(self._token)

    @property
    def is_active(self) -> bool:
        """Whether the request has not ended."""
        return self._is_active


def is_inside_request() -> bool:
    """Tell whether this code runs within a request that the middleware watches."""
    request = _request.get()
    return request is not None and request.is_active


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


def _was_reported(error: BaseException) -> bool:
    """Tell whether this object came by before, and mark it; one that takes no mark counts as new."""
    if getattr(error, _REPORTED_MARK, False):
        return True
    mark_as_reported(error)
    return False
