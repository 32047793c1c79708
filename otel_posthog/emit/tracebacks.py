"""Turn an exception and everything that caused it into plain data, cheaply.

This runs on the request's thread, so it reads no source and formats no text: a frame is four values.
Local variables are never read, nor anything that the exception's class may override.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar, cast

from otel_posthog.otel import attributes

from .values import bare_name_of, name_of, text_of

MAX_EXCEPTIONS = 50  # as posthog-python's _MAX_EXCEPTION_ENTRIES
MAX_FRAMES_HEAD = 10
MAX_FRAMES_TAIL = 40
MAX_MESSAGE_CHARS = 10_000  # PostHog cuts longer exception values
MAX_NOTES = 10
MAX_NOTE_CHARS = 3_000
MAX_CHAIN_CHARS = 900_000  # PostHog accepts no larger event
_MAX_NAME_CHARS = 500  # of a file or function, if the whole would be too long
_MAX_DEPTH = 1000  # Python's default recursion limit; a deeper raise counts as located there

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])
_Get = Callable[[BaseException], Any]
_slots = BaseException.__dict__  # the slots bypass a `__getattribute__` of the exception's class
traceback_of: _Get = _slots["__traceback__"].__get__
cause_of: _Get = _slots["__cause__"].__get__
context_of: _Get = _slots["__context__"].__get__
set_context: Callable[[BaseException, BaseException | None], None] = _slots["__context__"].__set__
is_context_suppressed: _Get = _slots["__suppress_context__"].__get__
attributes_of: _Get = _slots["__dict__"].__get__
_errno_of: _Get = OSError.__dict__["errno"].__get__
members_of: _Get = BaseExceptionGroup.__dict__["exceptions"].__get__
_group_message_of: _Get = BaseExceptionGroup.__dict__["message"].__get__
_json = json.JSONEncoder(separators=(",", ":")).encode

# File name as compiled, line number, function, module.
Frame = tuple[str, int, str, str]

# Type of an exception and the frame that raised it: what counts as the same failure.
Failure = tuple[str, str, int, str, str]

# Frames are recognized by their code object: a module's name changes when a file moves, and a module of
# the application may have any name. By identity, since hashing a code object reads all of its bytecode.
own_code: dict[int, CodeType] = {}


def own_frame(function: _F) -> _F:
    """Register a function of ours that calls the application; its frame opens no reported stack."""
    code: CodeType = function.__code__
    own_code[id(code)] = code
    return function


def exception_attributes(error: BaseException, caller: FrameType | None = None) -> dict[str, object]:
    """Return the attributes of a log record for this exception: type, message and chain."""
    return {
        attributes.EXCEPTION_TYPE: type_of(error),
        attributes.EXCEPTION_MESSAGE: message_of(error),
        attributes.EXCEPTION_CHAIN: describe(error, caller),
    }


def failure_of(error: BaseException) -> Failure:
    """Return what is compared to find repetitions of the same failure."""
    return (type_of(error), *raised_in(error))


def describe(error: BaseException, caller: FrameType | None = None) -> str:
    """Return the exception and its causes, contexts and group members as JSON text, outermost first.

    Each entry holds `type`, `module`, `value` and `frames` (oldest call first), `notes` and `errno` if
    there are any; all but the first also `parent` (index) and `source` (`cause`, `context` or `member`).
    Bounded by `MAX_EXCEPTIONS`, by the frames kept at either end of a traceback and by
    `MAX_CHAIN_CHARS`. Never raises for a hostile `__str__`. If the exception was never raised, the calls
    that led to `caller` replace the traceback, marked as `synthetic`.
    """
    entries: list[dict[str, object]] = []
    _walk(error, None, None, entries, set())
    if caller is not None and not entries[0]["frames"]:
        frames, omitted = _frames_to(caller)
        entries[0] |= {"frames": frames, "synthetic": True} | ({"omitted": omitted} if omitted else {})
    text = _json(entries)
    return text if len(text) <= MAX_CHAIN_CHARS else _shortened(entries)


def message_of(error: BaseException) -> str:
    """Return `str(error)`, cut to `MAX_MESSAGE_CHARS`; a failing `__str__` gives its type's name."""
    try:
        return text_of(str(error))[:MAX_MESSAGE_CHARS]
    except BaseException:  # noqa: BLE001 - a third-party __str__ may raise anything, SystemExit too
        return f"<unprintable {bare_name_of(type(error))}>"


def type_of(error: BaseException) -> str:
    """Return the type's name as OpenTelemetry writes `exception.type`: qualified, unless built in."""
    name, module = name_of(type(error))
    return name if module in ("", "builtins") else f"{module}.{name}"


def raised_in(error: BaseException) -> Frame:
    """Return the frame that raised the exception; an empty one without a traceback."""
    traceback: TracebackType | None = traceback_of(error)
    if traceback is None:
        return ("", 0, "", "")
    for _ in range(_MAX_DEPTH):
        following = traceback.tb_next
        if following is None:
            break
        traceback = following
    return _frame(traceback.tb_frame, traceback.tb_lineno)


def ends_of(frames: Sequence[_T]) -> tuple[list[_T], int]:
    """Return both ends of a stack, and the number of frames omitted between them."""
    omitted = len(frames) - MAX_FRAMES_HEAD - MAX_FRAMES_TAIL
    if omitted <= 0:
        return list(frames), 0
    return [*frames[:MAX_FRAMES_HEAD], *frames[-MAX_FRAMES_TAIL:]], omitted


def _walk(
    error: BaseException,
    parent: int | None,
    source: str | None,
    entries: list[dict[str, object]],
    seen: set[int],
) -> None:
    if id(error) in seen or len(entries) >= MAX_EXCEPTIONS:
        return
    seen.add(id(error))
    index = len(entries)
    entries.append(_entry(error, parent, source))
    # As `traceback` prints it: a cause takes the place of the context, and `from None` leaves neither.
    is_cause = is_context_suppressed(error)
    if (before := (cause_of if is_cause else context_of)(error)) is not None:
        _walk(before, index, "cause" if is_cause else "context", entries, seen)
    if issubclass(type(error), BaseExceptionGroup):
        for member in members_of(error)[:MAX_EXCEPTIONS]:
            _walk(member, index, "member", entries, seen)


def _entry(error: BaseException, parent: int | None, source: str | None) -> dict[str, object]:
    cls = type(error)
    frames, omitted = _frames(traceback_of(error))
    name, module = name_of(cls)
    is_group = issubclass(cls, BaseExceptionGroup)
    # A group's text counts its members; without the count its reports stay one issue.
    value = text_of(_group_message_of(error))[:MAX_MESSAGE_CHARS] if is_group else message_of(error)
    entry: dict[str, object] = {
        "type": name,
        "module": module or None,
        "value": value,
        "frames": frames,
    }
    if omitted:
        entry["omitted"] = omitted
    if parent is not None:
        entry["parent"], entry["source"] = parent, source
    if is_group:
        entry["group"] = True
    if issubclass(cls, OSError) and type(number := _errno_of(error)) is int:
        entry["errno"] = number
    if notes := _notes(dict.get(attributes_of(error), "__notes__")):
        entry["notes"] = notes
    return entry


def _notes(notes: object) -> list[str]:
    """Return the texts added by `add_note`; a program may have stored anything there."""
    if not issubclass(type(notes), list):
        return []
    kept = islice(list.__iter__(cast("list[object]", notes)), MAX_NOTES)
    return [text_of(note)[:MAX_NOTE_CHARS] for note in kept if issubclass(type(note), str)]


def _frames(traceback: TracebackType | None) -> tuple[list[Frame], int]:
    while traceback is not None and id(traceback.tb_frame.f_code) in own_code:
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
        calls.append(frame)
        frame = frame.f_back
    kept, omitted = ends_of(calls[::-1])
    return [_frame(call, call.f_lineno) for call in kept], omitted


def _frame(frame: FrameType, lineno: int | None) -> Frame:
    code = frame.f_code
    # `exec` accepts a subclass of `dict` for the globals.
    return (code.co_filename, lineno or 0, code.co_name, text_of(dict.get(frame.f_globals, "__name__")))


def _shortened(entries: list[dict[str, object]]) -> str:
    """Return the first exceptions that fit, and of a single one what fits."""
    while len(entries) > 1:
        # Halved, so that the size of a long chain is measured a few times only.
        entries = entries[: len(entries) // 2]
        text = _json(entries)
        if len(text) <= MAX_CHAIN_CHARS:
            return text
    [entry] = entries
    entry |= {"type": str(entry["type"])[:_MAX_NAME_CHARS], "module": None}
    entry["frames"] = [
        (filename[-_MAX_NAME_CHARS:], lineno, function[:_MAX_NAME_CHARS], module[:_MAX_NAME_CHARS])
        for filename, lineno, function, module in entry["frames"]  # type: ignore[attr-defined]  # of `_entry`
    ]
    return _json(entries)
