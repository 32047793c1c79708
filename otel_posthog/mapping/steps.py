"""The steps that led to an exception, as PostHog's `$exception_steps` (requirement R15)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from otel_posthog.events import time_from_ns
from otel_posthog.scrubbing import Scrubber
from otel_posthog.scrubbing.scrubber import MARGIN_CHARS
from otel_posthog.steps import EVENT, LOG, MAX_STEP_CHARS, SPAN

MAX_SHOWN_CHARS = 200
_WHAT = frozenset({EVENT, LOG, SPAN})


def steps_of(recorded: object, scrubber: Scrubber, max_bytes: int) -> list[dict[str, object]]:
    """Return the recorded steps, oldest first; the last ones that fit into so many bytes of JSON."""
    kept: list[dict[str, object]] = []
    size_bytes = 0
    for item in reversed(_items(recorded)):
        match item:
            case [int(time_ns), str(what), str(text), str() | None as level] if what in _WHAT:
                step = _step(time_ns, what, _shown(text, scrubber), level)
                size_bytes += len(json.dumps(step).encode())
                if size_bytes > max_bytes:
                    break
                kept.append(step)
    return kept[::-1]


def without_events(properties: Mapping[str, object]) -> Mapping[str, object]:
    """Return an exception's properties without the names of product events among its steps."""
    steps = properties.get("$exception_steps")
    if not isinstance(steps, list):
        return properties
    kept = [step for step in steps if not (isinstance(step, Mapping) and step.get("type") == EVENT)]
    others = {name: value for name, value in properties.items() if name != "$exception_steps"}
    return {**others, "$exception_steps": kept} if kept else others


def _items(recorded: object) -> list[object]:
    if not isinstance(recorded, str):
        return []
    try:
        items = json.loads(recorded)
    except (ValueError, RecursionError):  # cut by an attribute length limit, or not ours
        return []
    return items if isinstance(items, list) else []


def _shown(text: str, scrubber: Scrubber) -> str:
    scrubbed = scrubber.text(text)
    whole = scrubbed[:-MARGIN_CHARS] if len(text) >= MAX_STEP_CHARS else scrubbed
    return whole[:MAX_SHOWN_CHARS]


def _step(time_ns: int, what: str, text: str, level: str | None) -> dict[str, object]:
    step: dict[str, object] = {
        "$message": text,
        "$timestamp": time_from_ns(time_ns).isoformat(timespec="milliseconds"),
        "type": what,
    }
    return step if level is None else {**step, "level": level}
