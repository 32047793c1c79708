"""Breadcrumbs as PostHog shows them: what led to an exception (`$exception_steps`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from otel_posthog.emit.breadcrumbs import EVENT, LOG, MAX_BREADCRUMB_CHARS, SPAN
from otel_posthog.events import time_from_ns
from otel_posthog.scrubbing import Scrubber
from otel_posthog.scrubbing.scrubber import MARGIN_CHARS

MAX_SHOWN_CHARS = 200
_TYPES = frozenset({EVENT, LOG, SPAN})
_NS_PER_S = 1_000_000_000


def steps_of(recorded: object, scrubber: Scrubber, max_bytes: int) -> list[dict[str, object]]:
    """Return the recorded breadcrumbs, oldest first: the last ones that fit into `max_bytes` of JSON."""
    kept: list[dict[str, object]] = []
    size_bytes = 0
    for item in reversed(json_list(recorded)):
        match item:
            case [int(time_ns), str(what), str(text), str() | None as level] if what in _TYPES:
                step: dict[str, object] = {
                    "$message": uncut(text, scrubber.text(text), MAX_BREADCRUMB_CHARS)[:MAX_SHOWN_CHARS],
                    "$timestamp": time_from_ns(time_ns).isoformat(timespec="milliseconds"),
                    "type": what,
                }
                if level is not None:
                    step["level"] = level
                size_bytes += len(json.dumps(step).encode())
                if size_bytes > max_bytes:
                    break
                kept.append(step)
    return kept[::-1]


def with_steps_since(
    properties: Mapping[str, object], since_ns: float, events_since_ns: float
) -> Mapping[str, object]:
    """Return the properties without older breadcrumbs; those of product events have a time of their own."""
    steps = properties.get("$exception_steps")
    if not isinstance(steps, list):
        return properties

    def is_kept(step: object) -> bool:
        try:  # a `before_send` may have put anything there; what has no time is as old as can be
            time_ns = datetime.fromisoformat(step["$timestamp"]).timestamp() * _NS_PER_S  # type: ignore[index]
        except (LookupError, TypeError, ValueError):
            time_ns = 0.0
        is_event = isinstance(step, Mapping) and step.get("type") == EVENT
        return time_ns >= (max(since_ns, events_since_ns) if is_event else since_ns)

    kept = [step for step in steps if is_kept(step)]
    if len(kept) == len(steps):
        return properties
    others = {name: value for name, value in properties.items() if name != "$exception_steps"}
    return {**others, "$exception_steps": kept} if kept else others


def json_list(recorded: object) -> list[object]:
    """Return the items of a recorded JSON list; none if a length limit has cut it, or it is not ours."""
    if not isinstance(recorded, str):
        return []
    try:
        items = json.loads(recorded)
    except (ValueError, RecursionError):
        return []
    return items if isinstance(items, list) else []


def uncut(text: str, scrubbed: str, max_chars: int) -> str:
    """Return the scrubbed text, without its end if the text was cut: half a secret may be there."""
    return scrubbed[:-MARGIN_CHARS] if len(text) >= max_chars else scrubbed
