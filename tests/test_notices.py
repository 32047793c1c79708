"""One line a minute for each problem."""

from __future__ import annotations

import logging

import pytest
from logs import warning_records, warnings

from otel_posthog.notices import NOTICE_INTERVAL_S, Notices

LOGGER = logging.getLogger("tests.notices")


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notices(clock):
    return Notices(clock)


def test_first_line_is_logged(notices, caplog):
    """A problem is told at once, at warning level, without a traceback."""
    notices.warn(LOGGER, "lost %d", 3)

    [record] = warning_records(caplog, LOGGER.name)
    assert (record.levelname, record.getMessage(), record.exc_info) == ("WARNING", "lost 3", None)


def test_same_template_within_a_minute_is_silent(notices, clock, caplog):
    """The same problem with other arguments is not told again within a minute."""
    notices.warn(LOGGER, "lost %d", 3)
    clock.now += NOTICE_INTERVAL_S - 0.1

    notices.warn(LOGGER, "lost %d", 4)

    assert warnings(caplog, LOGGER.name) == ["lost 3"]


def test_same_template_after_a_minute_is_told_again(notices, clock, caplog):
    """A problem that lasts is told once a minute."""
    notices.warn(LOGGER, "lost %d", 3)
    clock.now += NOTICE_INTERVAL_S

    notices.warn(LOGGER, "lost %d", 4)

    assert warnings(caplog, LOGGER.name) == ["lost 3", "lost 4"]


def test_silent_lines_do_not_prolong_the_silence(notices, clock, caplog):
    """A problem met all the time is still told once a minute."""
    for _ in range(121):
        notices.warn(LOGGER, "lost")
        clock.now += 1

    assert len(warnings(caplog, LOGGER.name)) == 3


def test_other_template_is_told(notices, caplog):
    """Problems do not silence each other."""
    notices.warn(LOGGER, "lost %d", 3)

    notices.warn(LOGGER, "refused %d", 3)

    assert warnings(caplog, LOGGER.name) == ["lost 3", "refused 3"]


def test_child_process_may_speak(notices, caplog):
    """After a fork the lines still come, and what was told before stays told."""
    notices.warn(LOGGER, "lost")

    notices.after_fork()
    notices.warn(LOGGER, "lost")
    notices.warn(LOGGER, "refused")

    assert warnings(caplog, LOGGER.name) == ["lost", "refused"]


def test_failing_log_handler_is_none_of_our_business(notices):
    """A handler of the host that raises costs the line, never the caller."""

    class Full(logging.Handler):
        """A handler whose disk is full."""

        def __init__(self):
            super().__init__()
            self.records = []

        def emit(self, record):
            self.records.append(record.getMessage())
            raise OSError("no room for the log")

    tried = Full()
    LOGGER.addHandler(tried)
    try:
        notices.warn(LOGGER, "lost %d", 3)
    finally:
        LOGGER.removeHandler(tried)

    assert tried.records == ["lost 3"]
