"""Report failing RQ jobs, and deliver what jobs track: their process ends by `os._exit`."""

from __future__ import annotations

from typing import Any, ClassVar

from rq.exceptions import DeserializationError
from rq.job import Job
from rq.worker import BaseWorker

from otel_posthog.emit.breadcrumbs import forget
from otel_posthog.emit.capture import guarded
from otel_posthog.emit.hooks import report_unhandled
from otel_posthog.emit.request_context import Owner, within
from otel_posthog.telemetry import Telemetry

_RETRIES = "otel_posthog_retries"  # in a job's meta, which RQ saves with it: RQ counts retries down only
_UNREADABLE = "unserialized"  # RQ's key for a meta that it writes back unchanged


class WorkHorseError(Exception):
    """Never raised; reported when the process of a job was killed."""


class TelemetryMixin(BaseWorker):
    """A worker that reports to `telemetry`: name it before RQ's class, and set that attribute.

    The process of a job writes to the spool, and the worker's main process sends.
    """

    telemetry: ClassVar[Telemetry]

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work as RQ does, with telemetry running in this process."""
        guarded(self.telemetry.start)()
        try:
            return super().work(*args, **kwargs)
        finally:
            self.telemetry.flush(self.telemetry.config.shutdown_timeout_s)

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Send RQ's heartbeat, which surrounds each job, and see whether consent was granted meanwhile."""
        super().heartbeat(*args, **kwargs)
        if not self.is_horse:
            guarded(self.telemetry.lifecycle.look)()

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Perform the job as RQ does; what it tracks outlives its process."""
        forget()
        if self.is_horse:
            self.telemetry.spool()  # before anything is sent from here
            guarded(self.telemetry.start)()
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            if self.is_horse and not self.telemetry.spool():
                self.telemetry.flush(self.telemetry.config.shutdown_timeout_s)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Report the failure unless RQ will retry the job, and handle it as RQ does."""
        _report(self.telemetry.lifecycle.owner, job, exc_info[1])
        super().handle_exception(job, *exc_info)

    def handle_work_horse_killed(self, job: Job, *status: Any) -> None:
        """Report that the process of the job was killed, and handle it as RQ does."""
        _report(self.telemetry.lifecycle.owner, job, WorkHorseError("The process of a job was killed"))
        super().handle_work_horse_killed(job, *status)  # type: ignore[no-untyped-call]


def _name(job: Job) -> str | None:
    try:
        return job.func_name
    except DeserializationError:  # which is why it failed
        return None


@guarded
def _report(owner: Owner, job: Job, error: BaseException) -> None:
    retried = job.meta.get(_RETRIES, 0)
    if not job.should_retry:  # never its arguments, nor its id
        retries = (job.number_of_retries or 0) + retried
        with within(owner):
            report_unhandled(error, "rq", task=_name(job), queue=job.origin, retries=retries)
    elif _UNREADABLE not in job.meta:
        job.meta[_RETRIES] = retried + 1
