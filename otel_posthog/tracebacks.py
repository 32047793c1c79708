"""Walk an exception and everything it was caused by into plain data, cheaply.

Runs on the request's thread, so it reads no source and formats no text: a frame is four values.
Local variables are never touched.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

MAX_EXCEPTIONS = 50  # as posthog-python's _MAX_EXCEPTION_ENTRIES
MAX_FRAMES_HEAD = 10
MAX_FRAMES_TAIL = 40
MAX_MESSAGE_CHARS = 10_000  # PostHog cuts longer exception values

_OWN_PACKAGE = __name__.partition(".")[0]

Frame = tuple[str, int, str, str]
"""File name as compiled, line number, function, module."""


def describe(error: BaseException) -> str:
    """Return the exception and its causes, contexts and group members as JSON text, outermost first.

    Each entry holds `type`, `module`, `value` and `frames` (oldest call first); all but the first
    also `parent` (index) and `source` (`cause`, `context` or `member`). Bounded by `MAX_EXCEPTIONS`
    and by the frames kept at either end of a traceback. Never raises for a hostile `__str__`.
    """
    walk = _Walk()
    walk.add(error, None, None)
    return json.dumps(walk.entries, separators=(",", ":"))


def message_of(error: BaseException) -> str:
    """Return `str(error)`, cut to `MAX_MESSAGE_CHARS`; a failing `__str__` gives its type's name."""
    try:
        return str.__getitem__(str(error), slice(MAX_MESSAGE_CHARS))
    except BaseException:  # noqa: BLE001 - anything can happen in a foreign __str__, an exit too
        return f"<unprintable {type(error).__name__}>"


def type_of(error: BaseException) -> str:
    """Return the type's name as OpenTelemetry writes `exception.type`: qualified, unless built in."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


@dataclass(slots=True)
class _Walk:
    entries: list[dict[str, object]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def add(self, error: BaseException, parent: int | None, source: str | None) -> None:
        if id(error) in self.seen or len(self.entries) >= MAX_EXCEPTIONS:
            return
        self.seen.add(id(error))
        index = len(self.entries)
        self.entries.append(_entry(error, parent, source))
        if error.__suppress_context__:
            if error.__cause__ is not None:
                self.add(error.__cause__, index, "cause")
        elif error.__context__ is not None:
            self.add(error.__context__, index, "context")
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions[:MAX_EXCEPTIONS]:
                self.add(member, index, "member")


def _entry(error: BaseException, parent: int | None, source: str | None) -> dict[str, object]:
    frames, omitted = _frames(error.__traceback__)
    module: object = type(error).__module__
    is_group = isinstance(error, BaseExceptionGroup)
    # A group's text counts its members; without the count its reports stay one issue.
    value = error.message[:MAX_MESSAGE_CHARS] if isinstance(error, BaseExceptionGroup) else message_of(error)
    entry: dict[str, object] = {
        "type": type(error).__qualname__,
        "module": module if isinstance(module, str) else None,  # a class may set it to anything
        "value": value,
        "frames": frames,
    }
    if omitted:
        entry["omitted"] = omitted
    if parent is not None:
        entry["parent"], entry["source"] = parent, source
    if is_group:
        entry["group"] = True
    return entry


def _frames(traceback: TracebackType | None) -> tuple[list[Frame], int]:
    while traceback is not None and _is_ours(traceback):
        traceback = traceback.tb_next
    head: list[Frame] = []
    tail: deque[Frame] = deque(maxlen=MAX_FRAMES_TAIL)
    count = 0
    while traceback is not None:
        frame = traceback.tb_frame
        code = frame.f_code
        module = frame.f_globals.get("__name__")
        kept = (
            code.co_filename,
            traceback.tb_lineno or 0,
            code.co_name,
            module if isinstance(module, str) else "",
        )
        if count < MAX_FRAMES_HEAD:
            head.append(kept)
        else:
            tail.append(kept)
        count += 1
        traceback = traceback.tb_next
    return head + list(tail), max(0, count - MAX_FRAMES_HEAD - MAX_FRAMES_TAIL)


def _is_ours(traceback: TracebackType) -> bool:
    name = traceback.tb_frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == _OWN_PACKAGE
