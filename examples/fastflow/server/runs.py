"""Run pipelines as processes of their own, a few at a time, each with a log."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from sqlalchemy import select, update

from otel_posthog import capture_exception, track

from .database import Database, Run
from .events import PipelineRunFinished, PipelineRunStarted
from .pipelines import Packages, Pipeline, PreparationError

Trigger = Literal["manual", "scheduler", "webhook"]
Ending = Literal["succeeded", "failed", "timed_out", "cancelled"]

AT_ONCE = 4
SHOWN_LOG_BYTES = 64 * 1024
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""What a pipeline sees of the server's environment: nothing secret."""
_PROGRESS = re.compile(rb"^progress (\d{1,3})$", re.MULTILINE)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    """A run that has not ended."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Runner:
    """Everything that runs at the moment; `close` ends it."""

    def __init__(
        self,
        database: Database,
        packages: Packages,
        *,
        logs_dir: Path,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._packages = packages
        self._logs_dir = logs_dir
        self._timeout_s = timeout_s
        self._clock = clock
        self._jobs: dict[int, _Job] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fastflow-run")

    def open(self) -> None:
        """Note what an earlier process left unfinished: nobody runs it any more."""
        self._logs_dir.mkdir(parents=True, exist_ok=True)
        with self._database.begin() as session:
            session.execute(
                update(Run)
                .where(Run.finished_at.is_(None))
                .values(status="cancelled", finished_at=self._clock())
            )

    def close(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        for run_id in list(self._jobs):
            self.cancel(run_id)
        self._packages.close()
        self._pool.shutdown()

    def start(self, pipeline: Pipeline, triggered_by: Trigger) -> int:
        """Run the pipeline as soon as there is room; return the number of the run."""
        with self._database.begin() as session:
            run = Run(
                pipeline=pipeline.name, triggered_by=triggered_by, status="waiting", created_at=self._clock()
            )
            session.add(run)
            session.flush()
            run_id = run.id
        self._jobs[run_id] = _Job()
        self._pool.submit(self._run, run_id, pipeline, triggered_by)
        return run_id

    def cancel(self, run_id: int) -> bool:
        """End the run, with all that it started; tell whether it was still going."""
        job = self._jobs.get(run_id)
        if job is None:
            return False
        with job.lock:
            job.cancelled.set()
            if job.process is not None:
                _end(job.process)
        return True

    def log(self, run_id: int) -> bytes:
        """Return the end of the run's output."""
        try:
            with self._log_file(run_id).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - SHOWN_LOG_BYTES))
                return file.read()
        except FileNotFoundError:
            return b""

    def progress(self, run_id: int) -> int | None:
        """Return the percentage that the pipeline last wrote as a line `progress 40`, if it does so."""
        told = _PROGRESS.findall(self.log(run_id))
        return min(100, int(told[-1])) if told else None

    def _run(self, run_id: int, pipeline: Pipeline, triggered_by: Trigger) -> None:
        started_at = self._clock()
        has_requirements = pipeline.requirements is not None
        status: Ending = "failed"
        try:
            self._note(run_id, status="running", started_at=started_at)
            track(PipelineRunStarted(triggered_by=triggered_by, has_requirements=has_requirements))
            status = self._execute(self._jobs[run_id], run_id, pipeline)
        except Exception as error:  # noqa: BLE001 - the thread's edge: told, and the next run begins
            capture_exception(error)  # a fault of Fast-Flow; one of the pipeline stands in its log
            _log.error("Run %d failed", run_id, exc_info=error)
        finally:
            finished_at = self._clock()
            self._note(run_id, status=status, finished_at=finished_at)
            del self._jobs[run_id]
            track(
                PipelineRunFinished(
                    triggered_by=triggered_by,
                    has_requirements=has_requirements,
                    success=status == "succeeded",
                    status=status,
                    duration_s=finished_at - started_at,
                )
            )

    def _execute(self, job: _Job, run_id: int, pipeline: Pipeline) -> Ending:
        with self._log_file(run_id).open("ab") as output:
            try:
                packages = self._packages.prepare(pipeline, output)
            except PreparationError:
                output.write(b"The packages of this pipeline could not be installed.\n")
                return "failed"
            with job.lock:
                if job.cancelled.is_set():
                    return "cancelled"
                process = job.process = _start(pipeline, packages, output)
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                _end(process)
                process.wait()
                return "timed_out"
        if job.cancelled.is_set():
            return "cancelled"
        return "succeeded" if code == 0 else "failed"

    def _note(self, run_id: int, **values: object) -> None:
        with self._database.begin() as session:
            session.execute(update(Run).where(Run.id == run_id).values(**values))

    def _log_file(self, run_id: int) -> Path:
        return self._logs_dir / f"{run_id}.log"


def latest_runs(database: Database) -> dict[str, Run]:
    """Return the latest run of each pipeline."""
    with database.begin() as session:
        return {run.pipeline: run for run in session.scalars(select(Run).order_by(Run.id))}


def _start(pipeline: Pipeline, packages: Path | None, output: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    if packages is not None:
        environment["PYTHONPATH"] = str(packages)
    return subprocess.Popen(  # noqa: S603 - to run these programs is what Fast-Flow is for
        [sys.executable, "-u", str(pipeline.script.resolve())],
        cwd=pipeline.script.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and what it started; `start_new_session` made them one group."""
    if process.poll() is None:  # afterwards the number may be another process's
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
