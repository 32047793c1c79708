"""Start pipelines when their time has come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy import func, select

from otel_posthog import capture_exception

from .database import Database, Schedule

CHECK_S = 1.0
_S_PER_MINUTE = 60
_log = logging.getLogger(__name__)


class Scheduler:
    """One thread that looks every second; what was missed while the server was down is run once."""

    def __init__(
        self, database: Database, *, start: Callable[[str], object], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._start = start
        self._clock = clock
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastflow-scheduler", daemon=True)

    def open(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def schedule(self, pipeline: str, every_minutes: int) -> None:
        """Run the pipeline again and again, for the first time when the interval has passed."""
        with self._database.begin() as session:
            next_at = self._clock() + every_minutes * _S_PER_MINUTE
            session.merge(Schedule(pipeline=pipeline, every_minutes=every_minutes, next_at=next_at))

    def unschedule(self, pipeline: str) -> None:
        """Run the pipeline only when somebody asks for it."""
        with self._database.begin() as session:
            found = session.get(Schedule, pipeline)
            if found is not None:
                session.delete(found)

    def schedules(self) -> dict[str, Schedule]:
        """Return the schedule of each pipeline that has one."""
        with self._database.begin() as session:
            return {found.pipeline: found for found in session.scalars(select(Schedule))}

    def count(self) -> int:
        """Return how many pipelines run by themselves."""
        with self._database.begin() as session:
            return session.scalar(select(func.count(Schedule.pipeline))) or 0

    def run_due(self) -> None:
        """Start what is due at this moment."""
        now = self._clock()
        with self._database.begin() as session:
            due = session.scalars(select(Schedule).where(Schedule.next_at <= now)).all()
            for schedule in due:
                schedule.next_at = now + schedule.every_minutes * _S_PER_MINUTE
            names = [schedule.pipeline for schedule in due]
        for name in names:
            self._start(name)

    def _watch(self) -> None:
        while not self._is_over.wait(CHECK_S):
            try:
                self.run_due()
            except Exception as error:  # noqa: BLE001 - the thread's edge: told, and looked again
                capture_exception(error)
                _log.error("The scheduler could not look", exc_info=error)
