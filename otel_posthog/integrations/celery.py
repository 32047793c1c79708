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
from otel_posthog.emit.request_context import within
from otel_posthog.telemetry import Telemetry


def instrument_celery(telemetry: Telemetry) -> None:
    """Report to this object in each process of a worker, and start it there.

    Prefork children write to the spool, and the worker's main process sends.
    """
    receivers = _Receivers(telemetry)
    for signal, receiver in (
        (signals.worker_init, receivers.start),
        (signals.worker_process_init, receivers.start),
        (signals.worker_ready, receivers.watch),
        (signals.worker_shutdown, receivers.send),
        (signals.worker_process_shutdown, receivers.end),
        (signals.task_prerun, receivers.begin_task),
        (signals.task_postrun, receivers.end_task),
        (signals.task_failure, receivers.report),
        (signals.task_internal_error, receivers.report),
    ):
        signal.connect(receiver, weak=False)


class _Receivers:
    # Celery logs what a receiver raises, and goes on.
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def start(self, **_signal: Any) -> None:
        self.end_task()  # before anything is sent from a child
        self._telemetry.start()

    def watch(self, sender: Any, **_signal: Any) -> None:
        # Children may spool after a grant of which the main process would learn nothing.
        interval_s = self._telemetry.config.consent_max_age_s
        sender.timer.call_repeatedly(interval_s, self._telemetry.lifecycle.touch)

    def begin_task(self, task: Any, **_signal: Any) -> None:
        if not task.request.is_eager:
            forget()

    def end_task(self, **_signal: Any) -> None:
        if current_process().daemon:  # only prefork has such children
            self._telemetry.spool()

    def end(self, **_signal: Any) -> None:
        if not self._telemetry.spool():
            self.send()

    def send(self, **_signal: Any) -> None:
        self._telemetry.flush(self._telemetry.config.shutdown_timeout_s)

    def report(self, sender: Any, exception: BaseException, einfo: Any, **_signal: Any) -> None:
        # Celery signals a time limit twice; the second time without the request, and also if it tries again.
        is_repeated = isinstance(exception, TimeLimitExceeded) and sender.request.id is None
        if is_repeated or isinstance(exception, (Ignore, Reject, Retry, sender.throws or ())):
            return
        error = sys.exception() or exception  # Celery replaces what cannot be pickled
        with within(self._telemetry.lifecycle.owner):
            report_unhandled(error, "celery", **_described(sender))
        if was_reported(error, None):
            for logged in (exception, einfo.exception):
                mark_as_reported(logged)


def _described(task: Any) -> dict[str, Any]:
    request = task.request  # never its arguments, nor its id
    if request.id is None:  # the task failed before it began
        return {"task": task.name}
    queue = (request.delivery_info or {}).get("routing_key")
    return {"task": task.name, "queue": queue, "retries": request.retries}
