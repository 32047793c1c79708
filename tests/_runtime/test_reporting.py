"""One line a minute for each problem."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from logs import warning_records, warnings

from otel_posthog._runtime.reporting import (
    DROPS,
    MAX_ARGUMENT_CHARS,
    NOTICE_INTERVAL_S,
    Counts,
    DropLog,
    LogLimiter,
)
from otel_posthog.delivery.ledger import KILLED

LOGGER = logging.getLogger("tests.log_limiter")


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
def log_limiter(clock):
    return LogLimiter(clock)


def test_first_line_is_logged(log_limiter, caplog):
    """A problem is told at once, at warning level, without a traceback."""
    log_limiter.warning(LOGGER, "lost %d", 3)

    [record] = warning_records(caplog, LOGGER.name)
    assert (record.levelname, record.getMessage(), record.exc_info) == ("WARNING", "lost 3", None)


def test_same_template_within_a_minute_is_silent(log_limiter, clock, caplog):
    """The same problem with other arguments is not told again within a minute."""
    log_limiter.warning(LOGGER, "lost %d", 3)
    clock.now += NOTICE_INTERVAL_S - 0.1

    log_limiter.warning(LOGGER, "lost %d", 4)

    assert warnings(caplog, LOGGER.name) == ["lost 3"]


def test_same_template_after_a_minute_is_told_again(log_limiter, clock, caplog):
    """A problem that lasts is told once a minute."""
    log_limiter.warning(LOGGER, "lost %d", 3)
    clock.now += NOTICE_INTERVAL_S

    log_limiter.warning(LOGGER, "lost %d", 4)

    assert warnings(caplog, LOGGER.name) == ["lost 3", "lost 4"]


def test_silent_lines_do_not_prolong_the_silence(log_limiter, clock, caplog):
    """A problem met all the time is still told once a minute."""
    for _ in range(121):
        log_limiter.warning(LOGGER, "lost")
        clock.now += 1

    assert len(warnings(caplog, LOGGER.name)) == 3


def test_other_template_is_told(log_limiter, caplog):
    """Problems do not silence each other."""
    log_limiter.warning(LOGGER, "lost %d", 3)

    log_limiter.warning(LOGGER, "refused %d", 3)

    assert warnings(caplog, LOGGER.name) == ["lost 3", "refused 3"]


def test_child_process_may_speak(log_limiter, caplog):
    """After a fork the lines still come, and what was told before stays told."""
    log_limiter.warning(LOGGER, "lost")

    log_limiter.after_fork()
    log_limiter.warning(LOGGER, "lost")
    log_limiter.warning(LOGGER, "refused")

    assert warnings(caplog, LOGGER.name) == ["lost", "refused"]


def test_failing_log_handler_is_none_of_our_business(log_limiter):
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
        log_limiter.warning(LOGGER, "lost %d", 3)
    finally:
        LOGGER.removeHandler(tried)

    assert tried.records == ["lost 3"]


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("pay\n2026-01-01 ERROR forged", "pay\\n2026-01-01 ERROR forged"),
        ("\x1b[31mred\u202e\x9b", "\\x1b[31mred\\u202e\\x9b"),
        (ValueError("two\r\nlines"), "two\\r\\nlines"),
        ("Zahlung größer \udcff", "Zahlung größer \\udcff"),
        ("x" * 2 * MAX_ARGUMENT_CHARS, "x" * MAX_ARGUMENT_CHARS),
    ],
    ids=["line", "colour", "error", "surrogate", "long"],
)
def test_argument_forges_no_line(log_limiter, caplog, argument, shown):
    """What a line quotes can neither begin another line, nor color it, nor be endless."""
    log_limiter.warning(LOGGER, "dropped %s (%d)", argument, 3)

    assert warnings(caplog, LOGGER.name) == [f"dropped {shown} (3)"]


def test_counts_without_a_call_are_counted():
    """What is counted at the limit of recursion is a drop like any other, and a child begins at zero."""
    counts = Counts()
    counts.add("unqueued")
    counts.unqueued[0] += 2
    assert counts.as_dict() == counts.dropped() == {"unqueued": 3}

    counts.after_fork()

    assert counts.as_dict() == {}


ROOT = Path(__file__).parents[2]
NO_DROPS = {
    "sent",
    "handed_over",
    "withdrawn",
    "told_before",
    "suppressed",
    "trimmed",
    "outside_declaration",
    "before_send",
}


def test_drops_are_told_apart():
    """What was lost is told without what was sent, repeated or withdrawn."""
    counts = Counts()
    for reason in ("sent", "queue_full", "withdrawn", "expired", "queue_full"):
        counts.add(reason)

    assert counts.dropped() == {"queue_full": 2, "expired": 1}


def test_each_reason_is_documented():
    """Each reason in the source stands in the table of docs/delivery.md, and no other.

    What the gateway counts beside events is on its own page.
    """
    package = ROOT / "otel_posthog"
    files = set(package.rglob("*.py")) - set((package / "gateway").rglob("*.py"))
    sources = "".join(path.read_text() for path in files)
    used = set(re.findall(r'(?:counts\.add(?:_each)?\(|\.drop\(.+, )\s*"(\w+)"', sources))
    table = (ROOT / "docs" / "delivery.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", table, re.MULTILINE))

    assert used | {KILLED} == documented == DROPS | NO_DROPS


def test_drops_are_logged_once_a_minute(clock, caplog):
    """One line a minute says how many events were dropped since the last line, by reason."""
    counts = Counts()
    drop_log = DropLog(counts, clock)

    drop_log.write(LOGGER)
    counts.add("expired", 2)
    counts.add("sent", 9)
    drop_log.write(LOGGER)
    counts.add("expired")
    counts.add("refused", 4)
    drop_log.write(LOGGER)
    clock.now += NOTICE_INTERVAL_S
    drop_log.write(LOGGER)
    clock.now += NOTICE_INTERVAL_S
    drop_log.write(LOGGER)

    told = [line.partition(". ")[0] for line in warnings(caplog, LOGGER.name)]
    assert told == ["Events were dropped: 2 expired", "Events were dropped: 1 expired, 4 refused"]


def test_last_drops_are_logged_at_the_end(clock, caplog):
    """At the end of a process the last line does not wait for its minute."""
    counts = Counts()
    drop_log = DropLog(counts, clock)
    counts.add("expired")
    drop_log.write(LOGGER)
    counts.add("shutdown")

    drop_log.write_now(LOGGER)
    drop_log.write_now(LOGGER)

    assert len(warnings(caplog, LOGGER.name)) == 2
