"""Walk an exception and everything it was caused by into plain data, cheaply.

Runs on the request's thread, so it reads no source and formats no text: a frame is four values.
Local variables are never touched, and neither is anything that the exception's class may override.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, TypeVar

MAX_EXCEPTIONS = 50  # as posthog-python's _MAX_EXCEPTION_ENTRIES
MAX_FRAMES_HEAD = 10
MAX_FRAMES_TAIL = 40
MAX_MESSAGE_CHARS = 10_000  # PostHog cuts longer exception values
MAX_NOTES = 10
MAX_NOTE_CHARS = 3_000
MAX_CHAIN_CHARS = 900_000  # PostHog takes no larger event
_MAX_NAME_CHARS = 500  # of a file or function, where the whole would be too long
_MAX_STEPS_TO_PLACE = 1000  # calls that are looked at to find where something was raised

_OWN_PACKAGE = __name__.partition(".")[0]

_T = TypeVar("_T")
_Get = Callable[[BaseException], Any]
_slots = BaseException.__dict__
_traceback_of: _Get = _slots["__traceback__"].__get__
_cause_of: _Get = _slots["__cause__"].__get__
_context_of: _Get = _slots["__context__"].__get__
_is_context_suppressed: _Get = _slots["__suppress_context__"].__get__
_attributes_of: _Get = _slots["__dict__"].__get__
_errno_of: _Get = OSError.__dict__["errno"].__get__
_members_of: _Get = BaseExceptionGroup.__dict__["exceptions"].__get__
_group_message_of: _Get = BaseExceptionGroup.__dict__["message"].__get__

Frame = tuple[str, int, str, str]
"""File name as compiled, line number, function, module."""


def describe(error: BaseException, caller: FrameType | None = None) -> str:
    """Return the exception and its causes, contexts and group members as JSON text, outermost first.

    Each entry holds `type`, `module`, `value` and `frames` (oldest call first), where there are any
    `notes` and the `errno`; all but the first also `parent` (index) and `source` (`cause`, `context` or
    `member`). Bounded by `MAX_EXCEPTIONS`, by the frames kept at either end of a traceback and by
    `MAX_CHAIN_CHARS`. Never raises for a hostile `__str__`. Of an exception that was never raised the
    calls that led to `caller` stand for the traceback, marked as `synthetic`.
    """
    walk = _Walk()
    walk.add(error, None, None)
    if caller is not None and not walk.entries[0]["frames"]:
        frames, omitted = _frames_to(caller)
        walk.entries[0] |= {"frames": frames, "synthetic": True, **_left_out(omitted)}
    text = _as_json(walk.entries)
    return text if len(text) <= MAX_CHAIN_CHARS else _shortened(walk.entries)


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


def place_of(error: BaseException) -> Frame:
    """Return the call in which the exception was raised; without a traceback a frame without names."""
    traceback: TracebackType | None = _traceback_of(error)
    if traceback is None:
        return ("", 0, "", "")
    for _ in range(_MAX_STEPS_TO_PLACE):
        following = traceback.tb_next
        if following is None:
            break
        traceback = following
    return _frame(traceback.tb_frame, traceback.tb_lineno)


def ends_of(frames: Sequence[_T]) -> tuple[list[_T], int]:
    """Return both ends of a stack, and how many frames between them are left out."""
    omitted = len(frames) - MAX_FRAMES_HEAD - MAX_FRAMES_TAIL
    if omitted <= 0:
        return list(frames), 0
    return [*frames[:MAX_FRAMES_HEAD], *frames[-MAX_FRAMES_TAIL:]], omitted


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
        if _is_context_suppressed(error):
            if (cause := _cause_of(error)) is not None:
                self.add(cause, index, "cause")
        elif (context := _context_of(error)) is not None:
            self.add(context, index, "context")
        if issubclass(type(error), BaseExceptionGroup):
            for member in _members_of(error)[:MAX_EXCEPTIONS]:
                self.add(member, index, "member")


def _entry(error: BaseException, parent: int | None, source: str | None) -> dict[str, object]:
    cls = type(error)
    frames, omitted = _frames(_traceback_of(error))
    module: object = cls.__module__
    is_group = issubclass(cls, BaseExceptionGroup)
    # A group's text counts its members; without the count its reports stay one issue.
    value = _group_message_of(error)[:MAX_MESSAGE_CHARS] if is_group else message_of(error)
    entry: dict[str, object] = {
        "type": cls.__qualname__,
        "module": module if isinstance(module, str) else None,  # a class may set it to anything
        "value": value,
        "frames": frames,
    }
    if omitted:
        entry |= _left_out(omitted)
    if parent is not None:
        entry["parent"], entry["source"] = parent, source
    if is_group:
        entry["group"] = True
    if issubclass(cls, OSError) and type(number := _errno_of(error)) is int:
        entry["errno"] = number
    if notes := _attributes_of(error).get("__notes__"):
        entry["notes"] = list(_notes(notes))
    return entry


def _notes(notes: object) -> Iterator[str]:
    """Yield the texts among what was added by `add_note`; a program may have put anything there."""
    if isinstance(notes, list):
        for note in notes[:MAX_NOTES]:
            if type(note) is str:
                yield note[:MAX_NOTE_CHARS]


def _frames(traceback: TracebackType | None) -> tuple[list[Frame], int]:
    while traceback is not None and _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    calls = []
    while traceback is not None:
        calls.append(traceback)
        traceback = traceback.tb_next
    kept, omitted = ends_of(calls)
    return [_frame(call.tb_frame, call.tb_lineno) for call in kept], omitted


def _frames_to(caller: FrameType) -> tuple[list[Frame], int]:
    calls: list[FrameType] = []
    frame: FrameType | None = caller
    while frame is not None:
        if calls or not _is_ours(frame):
            calls.append(frame)
        frame = frame.f_back
    kept, omitted = ends_of(calls[::-1])
    return [_frame(call, call.f_lineno) for call in kept], omitted


def _frame(frame: FrameType, lineno: int | None) -> Frame:
    code = frame.f_code
    module = frame.f_globals.get("__name__")
    return (code.co_filename, lineno or 0, code.co_name, module if isinstance(module, str) else "")


def _left_out(omitted: int) -> dict[str, object]:
    return {"omitted": omitted} if omitted else {}


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == _OWN_PACKAGE


def _as_json(entries: list[dict[str, object]]) -> str:
    return json.dumps(entries, separators=(",", ":"))


def _shortened(entries: list[dict[str, object]]) -> str:
    """Return fewer exceptions, and of the last one left only what fits; their order stays."""
    while len(entries) > 1:
        entries = entries[: len(entries) // 2]
        text = _as_json(entries)
        if len(text) <= MAX_CHAIN_CHARS:
            return text
    [entry] = entries
    entry |= {"type": str(entry["type"])[:_MAX_NAME_CHARS], "module": None}
    entry["frames"] = [
        (filename[-_MAX_NAME_CHARS:], lineno, function[:_MAX_NAME_CHARS], module[:_MAX_NAME_CHARS])
        for filename, lineno, function, module in entry["frames"]  # type: ignore[attr-defined]  # of `_entry`
    ]
    return _as_json(entries)
