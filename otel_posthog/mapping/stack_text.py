"""Read a stack as Python writes it (`traceback.format_exception`) back into what `tracebacks` tells.

Instrumentations of others record exceptions so. Whoever can make a message can forge a stack within
it; so the text ends where the message that is known begins, and no file is ever read for what it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from otel_posthog.tracebacks import MAX_EXCEPTIONS, Frame, ends_of

MAX_STACK_CHARS = 500_000  # the end is kept: there the outermost exception stands

_HEADERS = ("Traceback (most recent call last):", "Exception Group Traceback (most recent call last):")
_GROUP_BEGIN = f"  + {_HEADERS[1]}"
_MARGIN = "  | "
_LINKS = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
_FRAME = re.compile(r'  File "([^"\n]{1,4096})", line (\d{1,9}), in ([^\n]{1,500})')
_REPEATED = re.compile(r"  \[Previous line repeated (\d{1,9}) more times?\]")
_MEMBER = re.compile(r"(?:\+-|  )\+-{16} (?:\d+|\.\.\.) -{16}")
_COUNTED = re.compile(r" \(\d+ sub-exceptions?\)\Z")
_MAX_REPEATED = 50  # as many as are kept of a stack
_MAX_DEPTH = 10  # as deep as `traceback` writes groups


@dataclass(slots=True)
class Told:
    """One exception of the text."""

    lines: list[str] = field(default_factory=list)
    members: list[Told] = field(default_factory=list)
    before: Told | None = None
    link: str = ""
    """Whether `before` is the `cause` or the `context`."""

    @property
    def is_group(self) -> bool:
        """Whether it is an exception group."""
        return bool(self.members) or self.lines[:1] == [_HEADERS[1]]

    def frames(self) -> list[Frame]:
        """Return its calls, oldest first; the modules are not known."""
        found: list[Frame] = []
        for line in self._stack():
            if (frame := _FRAME.fullmatch(line)) is not None:
                found.append((frame[1], int(frame[2]), frame[3], ""))
            elif found and (repeated := _REPEATED.fullmatch(line)) is not None:
                found += [found[-1]] * min(int(repeated[1]), _MAX_REPEATED)
        return found

    def words(self) -> tuple[str, str]:
        """Return its type as written, and all of its message and notes."""
        begin = len(self._stack()) + (1 if self.lines[:1] and self.lines[0] in _HEADERS else 0)
        text = "\n".join(self.lines[begin:]).rstrip("\n")
        first, _, rest = text.partition("\n")
        name, _, message = first.partition(": ")
        if self.is_group:
            message = _COUNTED.sub("", message)
        return name, f"{message}\n{rest}" if rest else message

    def _stack(self) -> list[str]:
        if not self.lines or self.lines[0] not in _HEADERS:
            return []
        end = next((at for at, line in enumerate(self.lines[1:], 1) if line[:2] != "  "), len(self.lines))
        return self.lines[1:end]


def read(stack: str, error_type: str, message: str | None) -> list[dict[str, object]]:
    """Return entries as `tracebacks.describe` makes them, outermost first; none where there is no stack.

    `error_type` and `message` are what was recorded beside the text, and count more than it.
    """
    text, notes = _without_message(_end_of(stack), error_type, message)
    outermost = _chain(text.rstrip("\n").split("\n"))
    entries = list(_entries(outermost))
    if not entries[0]["frames"] and len(entries) == 1:
        return []
    first = entries[0]
    first["type"], first["module"] = _type(error_type, str(first["type"]), first["module"])
    if message is not None:
        first["value"] = _message(message, str(first["value"]), is_group=outermost.is_group) + notes
    return entries


def split_type(name: str) -> tuple[str, str | None]:
    """Return a qualified type as `__qualname__` and module: a class within a class begins with a capital."""
    parts = name.split(".")
    begin = next((at for at, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    if "<locals>" in parts:
        begin = min(begin, parts.index("<locals>") - 1)
    begin = max(begin, 0)
    return ".".join(parts[begin:]), ".".join(parts[:begin]) or None


def _end_of(stack: str) -> str:
    """Return what is read of a very long text, from a stack on: what a cut divides may be half a secret."""
    if len(stack) <= MAX_STACK_CHARS:
        return stack
    _, header, rest = stack[-MAX_STACK_CHARS:].partition(_HEADERS[0])
    return header + rest


def _without_message(stack: str, error_type: str, message: str | None) -> tuple[str, str]:
    """Cut off the message that is known and what follows it; return both parts."""
    if not message:
        return stack, ""
    for name in (error_type, error_type.rpartition(".")[2]):
        words = f"\n{name}: {message}"
        at = stack.rfind(words)
        if name and at >= 0:
            notes = stack[at + len(words) :].rstrip("\n")
            return f"{stack[:at]}\n{name}: ", notes if notes.startswith("\n") else ""
    return stack, ""


def _type(recorded: str, written: str, module: object) -> tuple[str, object]:
    """Return type and module: as recorded, unless that was the bare name and the text says more."""
    if not recorded or (written and "." not in recorded and written.rpartition(".")[2] == recorded):
        return (written or "Exception"), module
    return split_type(recorded)


def _message(recorded: str, written: str, *, is_group: bool) -> str:
    """Return the message: as recorded, unless that was only its first argument, as of an OSError."""
    if is_group:
        counted = _COUNTED.sub("", recorded)
        return written if written.startswith(counted) else counted
    return written if recorded in written else recorded


def _chain(lines: Sequence[str]) -> Told:
    """Return the last exception of a text, with those before it."""
    told = Told()
    block: list[str] | None = None
    for at, line in enumerate(lines):
        link = _LINKS.get(line)
        if link is not None and at and not lines[at - 1]:
            told, block = Told(before=_closed(told, block), link=link), None
        elif block is not None:
            block.append(line)
        elif line.startswith((_GROUP_BEGIN, _MARGIN)) and not told.lines:
            block = [line]
        elif line or told.lines:
            told.lines.append(line)
    return _closed(told, block)


def _closed(told: Told, block: list[str] | None) -> Told:
    if block is None:
        return told
    found = _block(block)
    if told.before is not None:
        innermost = found
        while innermost.before is not None:
            innermost = innermost.before
        innermost.before, innermost.link = told.before, told.link
    return found


def _block(lines: Sequence[str], depth: int = 0) -> Told:
    """Return the last exception of a text within a margin; what is indented deeper are members of a group."""
    told = Told()
    deeper: list[str] = []
    previous = ""
    for line in lines:
        if line[:4] not in (_MARGIN, "  + ", "  |"):
            deeper.append(line[2:])
            continue
        content = line[4:]
        link = _LINKS.get(content)
        if link is not None and not previous:
            told.members, deeper = _members(deeper, depth), []
            told = Told(before=told, link=link)
        elif content or told.lines:
            told.lines.append(content)
        previous = content
    told.members = _members(deeper, depth)
    return told


def _members(lines: Sequence[str], depth: int) -> list[Told]:
    """Return the members of a group from what stands below it."""
    if depth >= _MAX_DEPTH:
        return []
    blocks: list[list[str]] = []
    for line in lines:
        if _MEMBER.fullmatch(line):
            blocks.append([])
        elif blocks:
            blocks[-1].append(line)
    return [_block(block, depth + 1) for block in blocks if any(line.startswith("  |") for line in block)]


def _entries(told: Told) -> Iterator[dict[str, object]]:
    """Yield entries in the order of `tracebacks.describe`: what led to an exception before its members."""
    waiting: list[tuple[Told, int | None, str]] = [(told, None, "")]
    index = 0
    while waiting and index < MAX_EXCEPTIONS:
        current, parent, source = waiting.pop()
        yield _entry(current, parent, source)
        waiting += [(member, index, "member") for member in reversed(current.members)]
        if current.before is not None:
            waiting.append((current.before, index, current.link))
        index += 1


def _entry(told: Told, parent: int | None, source: str) -> dict[str, object]:
    name, value = told.words()
    frames, omitted = ends_of(told.frames())
    type_name, module = split_type(name)
    entry: dict[str, object] = {"type": type_name, "module": module, "value": value, "frames": frames}
    if omitted:
        entry["omitted"] = omitted
    if parent is not None:
        entry |= {"parent": parent, "source": source}
    if told.is_group:
        entry["group"] = True
    return entry
