"""What a rule is, and how a check of one thing becomes a search through a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from otel_posthog.testing.submission import Submission


class Verdict(StrEnum):
    """What PostHog does to whoever breaks a rule."""

    REFUSE = "refuse"  # answers an error status, and nothing of the request is kept
    DROP = "drop"  # answers 200 and drops the event later, or keeps an exception that makes no issue
    ALTER = "alter"  # answers 200 and stores something else than was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where a rule is broken; `index` counts the events, None means the whole request."""

    index: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: what PostHog does (`verdict`, `status`), when, and who says so."""

    id: str
    verdict: Verdict
    status: int | None = None
    description: str
    source: str
    find: Callable[[Submission], Iterator[Finding]]


def problem(rule_id: str) -> Callable[[Submission], Iterator[Finding]]:
    """Find the body that could not be read for this reason."""

    def find(submission: Submission) -> Iterator[Finding]:
        if submission.problem is not None and submission.problem.rule_id == rule_id:
            yield Finding(index=None, detail=submission.problem.detail)

    return find


def request(check: Callable[[Submission], str | None]) -> Callable[[Submission], Iterator[Finding]]:
    """Find what a check of the whole request says."""

    def find(submission: Submission) -> Iterator[Finding]:
        detail = check(submission)
        if detail is not None:
            yield Finding(index=None, detail=detail)

    return find


def each(check: Callable[[dict[str, object]], str | None]) -> Callable[[Submission], Iterator[Finding]]:
    """Find what a check of one event says, for every event."""
    return each_with(lambda event, _: check(event))


def each_with(
    check: Callable[[dict[str, object], Submission], str | None],
) -> Callable[[Submission], Iterator[Finding]]:
    """Find what a check of one event within its request says, for every event."""

    def find(submission: Submission) -> Iterator[Finding]:
        for index, event in enumerate(submission.events):
            detail = check(event, submission)
            if detail is not None:
                yield Finding(index=index, detail=detail)

    return find
