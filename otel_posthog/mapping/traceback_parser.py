"""Parse the text of `traceback.format_exception` into the entries that `emit.tracebacks` records.

Third-party instrumentations record exceptions as text. A message can forge a stack within it; so the text
is read backwards from the recorded message, and no file is ever read because the text names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from otel_posthog.emit.tracebacks import MAX_EXCEPTIONS, Frame, ends_of

MAX_STACK_CHARS = 500_000  # the end is kept: it holds the outermost exception

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
_MAX_REPEATED = 50  # as many frames are kept of a stack
_MAX_DEPTH = 10  # as deep as `traceback` writes groups


@dataclass(slots=True)
class Parsed:
    """One exception of the text."""

    lines: list[str] = field(default_factory=list)
    members: list[Parsed] = field(default_factory=list)
    before: Parsed | None = None
    # `cause` or `context`, which `before` is.
    link: str = ""

    @property
    def is_group(self) -> bool:
        """Whether it is an exception group."""
        return bool(self.members) or self.lines[:1] == [_HEADERS[1]]

    def frames(self) -> list[Frame]:
        """Return the frames, oldest call first, with unknown modules."""
        found: list[Frame] = []
        for line in self._stack():
            if (frame := _FRAME.fullmatch(line)) is not None:
                found.append((frame[1], int(frame[2]), frame[3], ""))
            elif found and (repeated := _REPEATED.fullmatch(line)) is not None:
                found += [found[-1]] * min(int(repeated[1]), _MAX_REPEATED)
        return found

    def words(self) -> tuple[str, str]:
        """Return the type as written, and the message with the notes."""
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
    """Return entries as `tracebacks.describe` builds them, outermost first; none without a stack.

    `error_type` and `message` were recorded beside the text, and take precedence over it.
    """
    text, notes = _without_message(_end_of(stack), error_type, message)
    outermost = _chain(text.rstrip("\n").split("\n"))
    entries = list(_entries(outermost))
    # Without a stack the text adds nothing to the type and message recorded beside it.
    if not entries[0]["frames"] and len(entries) == 1:
        return []
    first = entries[0]
    first["type"], first["module"] = _type(error_type, str(first["type"]), first["module"])
    if message is not None:
        first["value"] = _message(message, str(first["value"]), is_group=outermost.is_group) + notes
    return entries


def split_type(name: str) -> tuple[str, str | None]:
    """Split a qualified type into `__qualname__` and module: the first capital begins the class."""
    parts = name.split(".")
    begin = next((at for at, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    if "<locals>" in parts:
        # The function around a local class belongs to `__qualname__`, whatever its case.
        begin = min(begin, parts.index("<locals>") - 1)
    begin = max(begin, 0)
    return ".".join(parts[begin:]), ".".join(parts[:begin]) or None


def _end_of(stack: str) -> str:
    """Return the end of a very long text, from a stack on: the cut may leave half a secret."""
    if len(stack) <= MAX_STACK_CHARS:
        return stack
    _, header, rest = stack[-MAX_STACK_CHARS:].partition(_HEADERS[0])
    return header + rest


def _without_message(stack: str, error_type: str, message: str | None) -> tuple[str, str]:
    """Cut the text at the recorded message; return what precedes and what follows it."""
    if not message:
        return stack, ""
    for name in (error_type, error_type.rpartition(".")[2]):
        words = f"\n{name}: {message}"
        # The last occurrence: the message may quote a traceback, even one with this message (docs/adr/0043).
        at = stack.rfind(words)
        if name and at >= 0:
            notes = stack[at + len(words) :].rstrip("\n")
            return f"{stack[:at]}\n{name}: ", notes if notes.startswith("\n") else ""
    return stack, ""


def _type(recorded: str, written: str, module: object) -> tuple[str, object]:
    """Return type and module: as recorded, unless that is a bare name and the text has the full one."""
    if not recorded or (written and "." not in recorded and written.rpartition(".")[2] == recorded):
        return (written or "Exception"), module
    return split_type(recorded)


def _message(recorded: str, written: str, *, is_group: bool) -> str:
    """Return the message: as recorded, unless that is only a part of it, as of an OSError."""
    if is_group:
        # Without the number of members, as in `tracebacks`: reports of one group stay one issue.
        counted = _COUNTED.sub("", recorded)
        return written if written.startswith(counted) else counted
    return written if recorded in written else recorded


def _chain(lines: Sequence[str]) -> Parsed:
    """Parse the last exception of a text, with those before it."""
    parsed = Parsed()
    block: list[str] | None = None
    for at, line in enumerate(lines):
        link = _LINKS.get(line)
        if link is not None and at and not lines[at - 1]:
            parsed, block = Parsed(before=_closed(parsed, block), link=link), None
        elif block is not None:
            block.append(line)
        elif line.startswith((_GROUP_BEGIN, _MARGIN)) and not parsed.lines:
            block = [line]
        elif line or parsed.lines:
            parsed.lines.append(line)
    return _closed(parsed, block)


def _closed(parsed: Parsed, block: list[str] | None) -> Parsed:
    if block is None:
        return parsed
    found = _block(block)
    if parsed.before is not None:
        innermost = found
        while innermost.before is not None:
            innermost = innermost.before
        innermost.before, innermost.link = parsed.before, parsed.link
    return found


def _block(lines: Sequence[str], depth: int = 0) -> Parsed:
    """Parse the last exception of a text within a margin; deeper indentation holds a group's members."""
    parsed = Parsed()
    deeper: list[str] = []
    previous = ""
    for line in lines:
        if line[:4] not in (_MARGIN, "  + ", "  |"):
            deeper.append(line[2:])
            continue
        content = line[4:]
        link = _LINKS.get(content)
        if link is not None and not previous:
            parsed.members, deeper = _members(deeper, depth), []
            parsed = Parsed(before=parsed, link=link)
        elif content or parsed.lines:
            parsed.lines.append(content)
        previous = content
    parsed.members = _members(deeper, depth)
    return parsed


def _members(lines: Sequence[str], depth: int) -> list[Parsed]:
    """Parse the members of a group from the lines below it."""
    if depth >= _MAX_DEPTH:
        return []
    blocks: list[list[str]] = []
    for line in lines:
        if _MEMBER.fullmatch(line):
            blocks.append([])
        elif blocks:
            blocks[-1].append(line)
    return [_block(block, depth + 1) for block in blocks if any(line.startswith("  |") for line in block)]


def _entries(parsed: Parsed) -> Iterator[dict[str, object]]:
    """Yield entries in the order of `tracebacks.describe`: causes of an exception before its members."""
    waiting: list[tuple[Parsed, int | None, str]] = [(parsed, None, "")]
    index = 0
    while waiting and index < MAX_EXCEPTIONS:
        current, parent, source = waiting.pop()
        yield _entry(current, parent, source)
        # Taken from the end: the cause comes before the members, and these in their order.
        waiting += [(member, index, "member") for member in reversed(current.members)]
        if current.before is not None:
            waiting.append((current.before, index, current.link))
        index += 1


def _entry(parsed: Parsed, parent: int | None, source: str) -> dict[str, object]:
    name, value = parsed.words()
    frames, omitted = ends_of(parsed.frames())
    type_name, module = split_type(name)
    entry: dict[str, object] = {"type": type_name, "module": module, "value": value, "frames": frames}
    if omitted:
        entry["omitted"] = omitted
    if parent is not None:
        entry |= {"parent": parent, "source": source}
    if parsed.is_group:
        entry["group"] = True
    return entry
