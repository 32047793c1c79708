"""Report failing Celery tasks, and deliver what tasks track, however their process ends."""

from __future__ import annotations

import sys
from typing import Any

from billiard import current_process  # type: ignore[import-untyped]  # it has no types
from celery import signals  # type: ignore[import-untyped]
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded  # type: ignore[import-untyped]

from otel_posthog.emit.breadcrumbs import forget
from otel_posthog.emit.failures import mark_as_reported, was_reported
from otel_posthog.emit.hooks import report_unhandled
from otel_posthog.telemetry import Telemetry

_MECHANISM = "celery"
_NO_FAILURES = (Ignore, Reject, Retry)


def instrument_celery(telemetry: Telemetry) -> None:
    """Report to this object in each process of a worker, and start it there.

    Call it once, where the Celery app is made. Prefork children write to the spool, and the worker's main
    process sends; the other pools send by themselves. Outside of a worker nothing changes.
    """
    receivers = _Receivers(telemetry)
    for name in ("worker_init", "worker_process_init", "worker_process_shutdown", "task_prerun"):
        getattr(signals, name).connect(getattr(receivers, f"on_{name}"), weak=False)
    signals.task_postrun.connect(receivers.on_task_postrun, weak=False)
    signals.task_failure.connect(receivers.on_failure, weak=False)
    signals.task_internal_error.connect(receivers.on_failure, weak=False)


class _Receivers:
    """What is connected to Celery's signals, which log what a receiver raises."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._is_child = False

    def on_worker_init(self, **_signal: Any) -> None:
        self._telemetry.start()

    def on_worker_process_init(self, **_signal: Any) -> None:
        self._is_child = current_process().daemon  # the solo pool sends this signal, too
        if self._is_child:
            self._telemetry.spool()  # before anything is sent from here
        self._telemetry.start()

    def on_task_prerun(self, task: Any, **_signal: Any) -> None:
        if not task.request.is_eager:
            forget()

    def on_task_postrun(self, **_signal: Any) -> None:
        if self._is_child:
            self._telemetry.spool()

    def on_worker_process_shutdown(self, **_signal: Any) -> None:
        if not self._telemetry.spool():
            self._telemetry.flush(self._telemetry.config.shutdown_timeout_s)

    def on_failure(self, sender: Any, exception: BaseException, einfo: Any, **_signal: Any) -> None:
        expected = (*_NO_FAILURES, *(sender.throws or ()))
        # Celery signals a time limit twice; the second time without the request, and also if it tries again.
        is_repeated = isinstance(exception, TimeLimitExceeded) and sender.request.id is None
        if is_repeated or isinstance(exception, expected):
            return
        # Celery replaces what cannot be pickled.
        error = sys.exception() or exception
        report_unhandled(error, _MECHANISM, properties=_described(sender))
        if was_reported(error, None):
            for logged in (exception, einfo.exception):
                mark_as_reported(logged)


def _described(task: Any) -> dict[str, object]:
    """Return what is known of the task; never its arguments, nor its id."""
    request, described = task.request, {"task": task.name}
    if request.id is None:  # the task failed before it began
        return described
    queue = (request.delivery_info or {}).get("routing_key")
    return {**described, "queue": queue, "retries": request.retries}
