"""Show an ingestion request as the rules see it: decoded, read where PostHog reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from otel_posthog.testing.decoding import Problem

TOKEN_KEYS = ("token", "$token", "api_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One decoded request; `root` is its JSON, or None if `problem` is set."""

    path: str
    root: object
    problem: Problem | None
    received_at: datetime

    @property
    def is_batch(self) -> bool:
        """Whether it has the form `{api_key, batch, sent_at}`."""
        return isinstance(self.root, dict) and "batch" in self.root

    @property
    def items(self) -> list[object]:
        """What is in the place of events, of any type."""
        root = self.root["batch"] if isinstance(self.root, dict) and self.is_batch else self.root
        if isinstance(root, list):
            return list(root)
        return [] if self.is_batch or root is None else [root]

    @property
    def events(self) -> list[dict[str, object]]:
        """The items that are objects."""
        return [item for item in self.items if isinstance(item, dict)]

    @property
    def batch_token(self) -> object:
        """The token of the whole batch, or None."""
        if not isinstance(self.root, dict) or not self.is_batch:
            return None
        return self.root.get("token", self.root.get("api_key"))

    @property
    def token(self) -> str:
        """The token that counts for the request, or an empty text."""
        tokens = [self.batch_token, *map(event_token, self.events)]
        return next((token for token in tokens if isinstance(token, str)), "")

    @property
    def sent_at(self) -> str | None:
        """When the sender sent the batch, by its own clock."""
        value = self.root.get("sent_at") if isinstance(self.root, dict) and self.is_batch else None
        return value if isinstance(value, str) else None


def singly(submission: Submission, token: str, sdk: str) -> Iterator[Submission]:
    """Yield each event of `/i/v1/analytics/events` as a batch of its own, in the form of `/batch/`."""
    for event in submission.events:
        options = event.get("options")
        moved = {f"${name}": value for name, value in (options if isinstance(options, dict) else {}).items()}
        made = dict(zip(("$lib", "$lib_version"), sdk.split("/", 1), strict=False))
        given = event | {"properties": properties(event) | moved | made}
        yield replace(submission, root={"api_key": token, "batch": [given]})


def event_token(event: dict[str, object]) -> object:
    """Return the token that a single event carries, at its top or among its properties."""
    for key in TOKEN_KEYS:
        if event.get(key) is not None:
            return event[key]
    token = properties(event).get("token")
    return token if isinstance(token, str) else None


def properties(event: dict[str, object]) -> dict[str, object]:
    """Return the event's properties; empty if they are no object."""
    value = event.get("properties")
    return value if isinstance(value, dict) else {}


def distinct_id(event: dict[str, object]) -> object:
    """Return the distinct_id from the three places where PostHog looks, or None."""
    places = (event.get("distinct_id"), event.get("$distinct_id"), properties(event).get("distinct_id"))
    return next((value for value in places if value is not None), None)
