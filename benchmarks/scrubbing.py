"""Cost of scrubbing one event beside Sentry's EventScrubber and Logfire's Scrubber, on the same payloads.

What each of them takes out is asserted and shown first: speed counts for nothing where secrets stay. The
promise is at most 10 µs for a typical event (10 properties, an exception with 6 frames) in which nothing is
found. Rounds are interleaved; the table shows medians, and ratios to ours.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from uuid import UUID

from otel_posthog.events import Event
from otel_posthog.scrubbing import Machine, Scrubber

ROUNDS = 15
REPEATS = 300
LINES_AROUND = 5
HOSTILE_CHARS = 1_000_000
Scrub = Callable[[dict[str, object]], object]

SECRETS = {
    "key": ({"api_key": "planted"}, "planted"),
    "nested key": ({"a": {"b": [{"clientSecret": "planted"}]}}, "planted"),
    "pair in a message": ({"message": "login failed: password=planted"}, "planted"),
    "URL": ({"message": "GET https://u:planted@h.example/x"}, "planted"),
    "e-mail address": ({"message": "no such user max@planted.example"}, "max@planted"),
    "vendor token": ({"message": "refused " + "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"}, "16C7e42F"),
    "SQL parameters": ({"message": "[SQL: SELECT ?]\n[parameters: ('planted',)]"}, "planted"),
}


def _frame(number: int) -> dict[str, object]:
    lines = [f"    result_{number}_{line} = compute(request, {line})" for line in range(2 * LINES_AROUND + 1)]
    return {
        "platform": "python",
        "filename": f"fastflow/module_{number}.py",
        "function": f"handle_{number}",
        "module": f"fastflow.module_{number}",
        "lineno": 100 + number,
        "in_app": True,
        "pre_context": lines[:LINES_AROUND],
        "context_line": lines[LINES_AROUND],
        "post_context": lines[LINES_AROUND + 1 :],
    }


def typical() -> dict[str, object]:
    """Return the properties of a typical event without a secret."""
    own = {
        "source": "backend",
        "environment": "production",
        "service_version": "4.2.1",
        "step": "sync",
        "attempt": 3,
        "is_retry": True,
        "triggered_by": "scheduler",
        "duration_ms": 1234,
        "$request_method": "POST",
        "$request_path": "/api/pipelines/42/runs",
    }
    entry = {
        "type": "LookupError",
        "module": "fastflow.errors",
        "value": "pipeline 'nightly' has no step 7",
        "mechanism": {"type": "generic", "handled": False, "exception_id": 0, "synthetic": False},
        "stacktrace": {"type": "raw", "frames": [_frame(number) for number in range(6)]},
    }
    return {**own, "$exception_list": [entry]}


def ours() -> Scrub:
    """Return our scrubber as a function of properties."""
    scrubber = Scrubber(machine=Machine())
    event = Event(
        name="$exception", properties={}, timestamp=datetime.now(UTC), uuid=UUID(int=1), accepted_ns=1
    )

    def scrub(properties: dict[str, object]) -> object:
        object.__setattr__(event, "properties", properties)
        return scrubber.scrub(event).properties

    return scrub


def peers() -> dict[str, Scrub]:
    """Return the scrubbers that are installed."""
    found: dict[str, Scrub] = {"otel-posthog": ours()}
    for name, make in (("sentry-sdk", _sentry), ("logfire", _logfire)):
        try:
            found[name] = make()
        except ImportError:
            print(f"{name} is not installed and is left out; pip install {name} shows it beside ours")
    return found


def _sentry() -> Scrub:
    scrubber = import_module("sentry_sdk.scrubber").EventScrubber(recursive=True)

    def scrub(properties: dict[str, object]) -> object:
        event = {"extra": properties, "request": {"data": properties}}
        scrubber.scrub_event(event)
        return event

    return scrub


def _logfire() -> Scrub:
    scrubber = import_module("logfire._internal.scrubbing").Scrubber(None)
    return lambda properties: scrubber.scrub_value(("attributes",), properties)


def show_correctness(found: dict[str, Scrub]) -> None:
    """Print what each takes out; ours has to take out everything."""
    print(f"{'takes out':<22}" + "".join(f"{name:>14}" for name in found))
    for label, (properties, secret) in SECRETS.items():
        kept = {name: secret in str(scrub(copy.deepcopy(properties))) for name, scrub in found.items()}
        assert not kept["otel-posthog"], label
        print(f"{label:<22}" + "".join(f"{'no' if kept[name] else 'yes':>14}" for name in found))
    properties = typical()
    assert found["otel-posthog"](properties) == properties


def show_cost(found: dict[str, Scrub]) -> None:
    """Print the median cost of the typical event, seen before and seen for the first time."""
    times: dict[str, list[float]] = {name: [] for name in found}
    first: list[float] = []
    for _ in range(ROUNDS):
        for name, scrub in found.items():
            times[name].append(_cost_us(scrub, typical(), REPEATS))
        first.append(_cost_us(ours(), typical(), 1))
    base = statistics.median(times["otel-posthog"])
    print(f"\n{'typical event':<34}{'median µs':>12}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<34}{median:>12.1f}{median / base:>8.1f}")
    unseen = statistics.median(first)
    print(f"{'otel-posthog, never seen before':<34}{unseen:>12.1f}{unseen / base:>8.1f}")


def show_hostile() -> None:
    """Print the slowest of texts of a million characters that keep patterns busy."""
    atoms = [
        "a",
        "password=",
        "token=<",
        "a://b:c@",
        "%41",
        "\\u0041",
        "1.",
        "::",
        "A1b2C3d4 ",
        "QUJD",
        "'",
        "[(",
        "a@",
        "VALUES (",
    ]
    slowest = (0.0, "")
    for atom in atoms:
        text = (atom * HOSTILE_CHARS)[:HOSTILE_CHARS]
        scrubber = Scrubber(machine=Machine())
        began = time.perf_counter()
        scrubber.text(text)
        slowest = max(slowest, (time.perf_counter() - began, atom))
    took_ms, atom = slowest[0] * 1000, slowest[1]
    print(f"\nslowest hostile text of {HOSTILE_CHARS} characters: {took_ms:.0f} ms ({atom!r} repeated)")


def _cost_us(scrub: Scrub, properties: dict[str, object], repeats: int) -> float:
    if repeats > 1:
        scrub(properties)
    began = time.perf_counter()
    for _ in range(repeats):
        scrub(properties)
    return (time.perf_counter() - began) / repeats * 1e6


def main() -> None:
    """Print correctness, then cost."""
    found = peers()
    show_correctness(found)
    show_cost(found)
    show_hostile()


if __name__ == "__main__":
    main()
