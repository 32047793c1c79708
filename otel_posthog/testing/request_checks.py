"""What PostHog makes of a request as a whole: pure functions, as in `event_checks`."""

from __future__ import annotations

from otel_posthog.testing.event_checks import read_timestamp
from otel_posthog.testing.submission import Submission, event_token

MAX_TOKEN_BYTES = 64


def shape_problem(submission: Submission) -> str | None:
    """Say whether the body has none of the shapes that parse."""
    if not isinstance(submission.root, dict | list):
        return "the body is neither an object nor an array"
    if isinstance(submission.root, dict) and submission.is_batch:
        if not isinstance(submission.root["batch"], list):
            return "batch is no array"
        if not isinstance(submission.root.get("sent_at"), str | None):
            return "sent_at is no text"
        if not isinstance(submission.root.get("historical_migration"), bool | None):
            return "historical_migration is no boolean"
    if len(submission.events) != len(submission.items):
        return "an event is no object"
    return None


def batch_token_missing(submission: Submission) -> str | None:
    """Say whether a batch lacks its token."""
    if submission.is_batch and not isinstance(submission.batch_token, str):
        return "no api_key next to batch"
    return None


def batch_empty(submission: Submission) -> str | None:
    """Say whether there is no event."""
    return None if submission.items else "no event"


def token_missing(submission: Submission) -> str | None:
    """Say whether no event carries a token, outside a batch."""
    if submission.is_batch or any(event_token(event) is not None for event in submission.events):
        return None
    return "no event carries an api_key"


def token_invalid(submission: Submission) -> str | None:
    """Say why the token is none, in the words of capture."""
    token = submission.token.strip()
    if not token:
        return "empty"
    if len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN_BYTES:
        return "too_long"
    if not token.isascii():
        return "not_ascii"
    if token.startswith("phx_"):
        return "personal_api_key"
    return "null_byte" if "\0" in token else None


def tokens_differ(submission: Submission) -> str | None:
    """Say whether the events of an array carry different tokens."""
    tokens = {token for event in submission.events if (token := event_token(event)) is not None}
    return "more than one api_key" if len(tokens) > 1 and not submission.is_batch else None


def sent_at_unreadable(submission: Submission) -> str | None:
    """Say whether sent_at is given and is no RFC 3339 time with a zone."""
    if submission.sent_at is None or read_timestamp(submission.sent_at):
        return None
    return f"sent_at is {submission.sent_at!r}"
