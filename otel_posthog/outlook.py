"""What each request has to know of consent, worked out at each look so that a request costs no call."""

from __future__ import annotations

from math import inf
from time import monotonic

PAUSE_S = 0.1  # a look takes some milliseconds


class Outlook:
    """The answer for error reports, and how long it may be used, in seconds of monotonic time."""

    __slots__ = ("fresh_until_s", "may_report", "reporting_until_s")

    def __init__(self) -> None:
        self.may_report = True
        """Whether error reports are not denied."""
        self.fresh_until_s = -inf
        """When it is time for another look, or to start."""
        self.reporting_until_s = -inf
        """Until when they are known to be granted."""

    def follow(self, *, is_granted: bool, is_denied: bool, is_started: bool, until_s: float) -> None:
        """Take over what a look said; before the start each request has to ask all the same."""
        self.may_report = not is_denied
        self.reporting_until_s = until_s if is_granted else -inf
        self.fresh_until_s = until_s if is_started else -inf

    def rest(self, *, may_report: bool) -> bool:
        """Let requests take this for the answer while a look is under way; return it."""
        self.may_report = may_report
        self.fresh_until_s = monotonic() + PAUSE_S
        return may_report
