"""Decide which exceptions are reported: errors (R12), once each, and a failure only so often (R16).

Each failure has a token bucket of its own that admits a burst and refills slowly, so that one that
repeats without end suppresses no other.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import cast

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts
from otel_posthog.otel import attributes
from otel_posthog.otel.api import Logger, SeverityNumber
from otel_posthog.otel.records import ending_of
from otel_posthog.registry import SUPPRESSED

from .request_context import WatchedCall, WatchedRequest, WrappedSend
from .tracebacks import (
    Failure,
    attributes_of,
    cause_of,
    context_of,
    is_context_suppressed,
    members_of,
    own_code,
    traceback_of,
)
from .values import bare_name_of

FAILURE_STATUS = 500
# Of a WebSocket: RFC 6455, section 7.4.1, and Litestar's 4000 plus the HTTP status.
FAILURE_CLOSE_CODES = frozenset({1011, 4500})

# Starlette, uvicorn, Litestar, Quart and Django raise these when a client disconnects; matched by name
# because this half imports no framework.
DISCONNECTS = frozenset(
    {
        "ClientDisconnect",
        "ClientDisconnected",
        "ClientDisconnectedError",
        "RequestAborted",
        "UnreadablePostError",
        "WebSocketDisconnect",
        "WebSocketDisconnected",
    }
)
# Exceptions of one chain or group that are examined; the request waits meanwhile.
MAX_RELATED = 100
_REPORTED_MARK = "__otel_posthog_reported__"

SUMMARY_INTERVAL_S = 60.0
# Buckets that are kept. The one unused for longest goes first; its failure then has a new burst.
MAX_FAILURES = 1_000
MAX_SUMMARIZED = 10
_MINUTE_S = 60.0
_FRAME_LINE = re.compile(r'  File "([^"\n]{1,500})", line (\d{1,9}), in ([^\n]{1,200})')
_CALL_HANDLERS = logging.Logger.callHandlers.__code__
_MAX_HANDLER_FRAMES = 40  # of a handler and an OpenTelemetry SDK, which passes a record to our processor
_mro_of = type.__dict__["__mro__"].__get__
_OTHERS: Failure = ("others", "", 0, "", "")


def is_error(error: BaseException, send: Callable[..., object] | None = None) -> bool:
    """Return whether this is an error: no cancellation, no exit, no disconnected client.

    A group is one if any of its members is. An exception raised from a disconnect is none, such as
    Litestar's "Exception caught after response started"; `send` is the one that the application got.
    """
    members = _reachable(error, _members_of)
    return any(_is_a(member, Exception) and _is_single_error(member, send) for member in members)


def is_failure(error: BaseException, request: WatchedRequest, ended_with: int) -> bool:
    """Return whether the exception is why the request ended with this status, or WebSocket close.

    A framework's HTTP error is a deliberate answer, unless it was raised from or while handling an error.
    """
    own, code = _numbers_of(error)
    if ended_with == FAILURE_STATUS:
        # No other status counts: clients of other services raise exceptions with a `status_code` too.
        is_http_error = own == ended_with
    else:
        is_http_error = ended_with not in FAILURE_CLOSE_CODES or code == ended_with or own > 0
    is_named = code == ended_with or FAILURE_STATUS <= own < FAILURE_STATUS + 100
    return not is_http_error or (is_named and reason_of(error, request) is not None)


def reason_of(error: BaseException, request: WatchedRequest) -> BaseException | None:
    """Return the error from which, or while handling which, this one was raised; `from None` hides it."""
    is_chosen = cause_of(error) is not None or is_context_suppressed(error)
    reason: BaseException | None = (cause_of if is_chosen else context_of)(error)
    # What was being handled around the call of the application is in the context of all that it raises.
    if reason is None or reason is request.outer or not is_error(reason, request.send):
        return None
    return reason


def _numbers_of(error: BaseException) -> tuple[int, int]:
    """Return `status_code`, and the `code` of werkzeug or of a close; 0 for none."""
    try:
        code = getattr(error, "code", 0)
        # Werkzeug's and WebOb's HTTP errors are WSGI applications that respond.
        found = getattr(error, "status_code", code if callable(error) else 0), code
    except Exception:  # noqa: BLE001 - attributes of a third-party class; it names nothing then
        return 0, 0
    status, code = (each if issubclass(type(each), int) else 0 for each in found)
    return status, code


def was_reported(error: BaseException, request: WatchedRequest | None) -> bool:
    """Return whether this very exception was reported before."""
    if request is not None and request.notes is not None and request.notes.reported is error:
        return True
    is_marked = dict.__contains__(attributes_of(error), _REPORTED_MARK)
    return is_marked or _has_left_an_application(traceback_of(error))


def follows_report(error: BaseException, request: WatchedRequest) -> bool:
    """Return whether the exception, or a cause, context or member of it, ended in a report."""
    # Frameworks raise a new exception if a handler fails after its response has begun: no second failure.
    reported = None if request.notes is None else request.notes.reported
    return any(
        each is reported or _has_left_an_application(traceback_of(each))
        for each in _reachable(error, _related_to)
    )


def mark_as_reported(error: BaseException | None, record: object = None) -> None:
    """Prevent further reports of this exception object, if there is one, after that of the record."""
    if error is None:
        return
    # Past `__setattr__` of the exception's class, which may refuse.
    dict.__setitem__(attributes_of(error), _REPORTED_MARK, ending_of(record))


def note_ending(error: BaseException | None, known: Mapping[str, object]) -> None:
    """Add what is known of a reported exception once it turns out to be unhandled, unless it was sent."""
    ending = None if error is None else dict.get(attributes_of(error), _REPORTED_MARK)
    if type(ending) is dict:
        ending.update({**known, attributes.EXCEPTION_HANDLED: False})


def subject_of(recorded: Mapping[str, object], given: object = None) -> BaseException | None:
    """Return the exception that a record of other instrumentation describes, None if it is not known.

    `given` is the object if the record holds it; otherwise it is the exception being handled or logged, if
    its type fits.
    """
    if issubclass(type(given), BaseException):
        return cast("BaseException", given)
    name = str(recorded.get(attributes.EXCEPTION_TYPE) or "").rpartition(".")[2]
    for error in (sys.exception(), _being_logged()):
        if error is not None and bare_name_of(type(error)) == name:
            return error
    return None


def _being_logged() -> BaseException | None:
    """Return the exception of the log record whose handlers run now, None if there is none."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - CPython's documented way
    for _ in range(_MAX_HANDLER_FRAMES):
        if frame is None or frame.f_code is _CALL_HANDLERS:
            break
        frame = frame.f_back
    else:
        return None
    info = None if frame is None else getattr(frame.f_locals.get("record"), "exc_info", None)
    return info[1] if isinstance(info, tuple) else None


def _has_left_an_application(traceback: TracebackType | None) -> bool:
    """Return whether the exception has ended a call of the application that reported it."""
    # Read from its traceback, which holds our frame. Nothing is written on the exception: the server, and
    # a queue that pickles it, get it as it was raised.
    while traceback is not None:
        frame = traceback.tb_frame
        if id(frame.f_code) in own_code and _has_reported(frame):
            return True
        traceback = traceback.tb_next
    return False


def _has_reported(frame: FrameType) -> bool:
    """Return whether the frame watched a call that has ended with a report."""
    # `f_locals` of a frame that still runs is not read: on Python 3.11 and 3.12 it is a copy that stays on
    # the frame, and with it the exception that is being handled there, in a circle.
    caller: FrameType | None = sys._getframe()  # noqa: SLF001 - CPython's documented way
    while caller is not None:
        if caller is frame:
            return False
        caller = caller.f_back
    # By the class that Python knows: `__class__` of a local proxy may raise.
    calls = [value for value in frame.f_locals.values() if issubclass(type(value), WatchedCall)]
    return any(call.was_reported for call in calls)


def _is_single_error(error: BaseException, send: Callable[..., object] | None) -> bool:
    if _is_a(error, BaseExceptionGroup):
        return False

    def reasons(each: BaseException) -> Sequence[BaseException]:
        # By `from` only: a context may be any coincidence.
        cause = cause_of(each)
        if _is_a(each, BaseExceptionGroup) or cause is None or _is_disconnect(each, send):
            return _members_of(each)
        return (cause,)

    roots = [root for root in _reachable(error, reasons) if _is_a(root, Exception) and not reasons(root)]
    return not roots or not all(_is_disconnect(root, send) for root in roots)


def _is_disconnect(error: BaseException, send: Callable[..., object] | None) -> bool:
    if not DISCONNECTS.isdisjoint(bare_name_of(cls) for cls in _mro_of(type(error))):
        return True
    return send is not None and _is_a(error, OSError) and _is_raised_by(error, send)


def _is_raised_by(error: BaseException, send: Callable[..., object]) -> bool:
    """Return whether the server's `send` raised it, as ASGI (HTTP 2.4) allows after a disconnect."""
    # An `OSError` from anywhere else is the application's own.
    while isinstance(wrapper := getattr(send, "__self__", None), WrappedSend):
        send = wrapper.send
    function = send if hasattr(send, "__code__") else getattr(send, "__func__", type(send).__call__)
    code = getattr(function, "__code__", None)
    return code is not None and any(frame.f_code is code for frame in _frames_of(traceback_of(error)))


def _frames_of(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _members_of(error: BaseException) -> Sequence[BaseException]:
    members: Sequence[BaseException] = members_of(error) if _is_a(error, BaseExceptionGroup) else ()
    return members


def _related_to(error: BaseException) -> Sequence[BaseException | None]:
    return (cause_of(error), context_of(error), *_members_of(error))


def _is_a(error: BaseException, cls: type[BaseException]) -> bool:
    # By the class that Python knows: `isinstance` also asks `__class__`, which may raise.
    return issubclass(type(error), cls)


def _reachable(
    error: BaseException, next_to: Callable[[BaseException], Sequence[BaseException | None]]
) -> list[BaseException]:
    """Return the exception and those reached from it, each once."""
    waiting: list[BaseException | None] = [error]
    found: dict[int, BaseException] = {}
    while waiting and len(found) < MAX_RELATED:
        current = waiting.pop()
        if current is not None and id(current) not in found:
            found[id(current)] = current
            waiting += next_to(current)
    return [*found.values()]


class RateLimit:
    """A token bucket for each failure; safe in threads and signal handlers."""

    def __init__(
        self,
        counts: Counts,
        *,
        burst: int,
        refill_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._burst = burst
        self._per_s = refill_per_minute / _MINUTE_S
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets: OrderedDict[Failure, tuple[float, float]] = OrderedDict()
        self._suppressed: Counter[Failure] = Counter()
        self._began_s = 0.0
        follow_forks(self)

    def admits(self, failure: Failure) -> bool:
        """Return whether this failure may be reported; if not, count it."""
        now_s = self._clock()
        with self._lock:
            # Taken out and put back, so that the first bucket is the one unused for longest.
            left, since_s = self._buckets.pop(failure, (float(self._burst), now_s))
            left = min(float(self._burst), left + (now_s - since_s) * self._per_s)
            is_admitted = left >= 1
            self._buckets[failure] = (left - 1 if is_admitted else left, now_s)
            if len(self._buckets) > MAX_FAILURES:
                self._buckets.popitem(last=False)
            if not is_admitted:
                self._counts.add("suppressed")
                if not self._suppressed:
                    self._began_s = now_s
                # Further failures count together: a flood of different ones must not fill memory.
                is_listed = failure in self._suppressed or len(self._suppressed) < MAX_FAILURES
                self._suppressed[failure if is_listed else _OTHERS] += 1
        return is_admitted

    def admits_record(self, recorded: Mapping[str, object]) -> bool:
        """Return the same for a third-party record of an exception, whose stack is a text."""
        stack = str(recorded.get(attributes.EXCEPTION_STACKTRACE) or "")
        name = str(recorded.get(attributes.EXCEPTION_TYPE) or "")
        # The last frame raised it. A plain search finds it, since a third party's text may be long.
        last = _FRAME_LINE.match(stack, stack.rfind('\n  File "') + 1)
        return self.admits((name, last[1], int(last[2]), last[3], "") if last else (name, "", 0, "", ""))

    def emit_summary(self, logger: Logger, *, is_final: bool = False) -> None:
        """Emit one record for the reports suppressed since the last one, after a minute or at the end."""
        with self._lock:
            seconds = self._clock() - self._began_s
            if not self._suppressed or (seconds < SUMMARY_INTERVAL_S and not is_final):
                return
            suppressed, self._suppressed = self._suppressed, Counter()
        # From here on without the lock: the processors behind the logger have locks of their own.
        worst = [[*failure, number] for failure, number in suppressed.most_common(MAX_SUMMARIZED)]
        logger.emit(
            event_name=SUPPRESSED,
            severity_number=SeverityNumber.ERROR,
            attributes={
                "suppressed": suppressed.total(),
                "failures": len(suppressed),
                "seconds": round(seconds),
                "worst": json.dumps(worst),
            },
        )

    def discard(self) -> None:
        """Start again; consent was withdrawn to what was suppressed."""
        with self._lock:
            self._buckets, self._suppressed = OrderedDict(), Counter()

    def after_fork(self) -> None:
        """Start empty in a child: the parent reports what the parent suppressed."""
        self._lock = threading.RLock()
        self._buckets = OrderedDict()
        self._suppressed = Counter()
