"""Values that stand beside a telling name in running text: ``password=…``, JSON, YAML, repr, XML.

The name decides, not the look of the value. Every scan moves forward only, so a text of n characters
costs in the order of n steps, whatever it holds.
"""

from __future__ import annotations

import re

from .keys import is_sensitive

MAX_JUDGED_CHARS = 200
_MARK = "[scrubbed:value]"

# Some names are two words in prose and in headings; a lone `key` or `id` would be innocent.
_FIRST_WORD = r"(?:(?:api|access|private|session|pass|connection|client)[ ])?"
_NAMED = re.compile(
    r"(?<![\w.\-])(?<!\[scrubbed:)"
    rf"(?P<name>{_FIRST_WORD}[\w.\-]++)"
    r"(?P<sign>[\\\"'\])]{0,8}"
    r"(?:\s{0,20}(?:=>|->|:=|={1,3}|:|%3[AaDd])[ \t]{0,20}"
    r"|(?<=[\"']),\s{0,3}(?=b?[\"'])"  # a pair in a list, as headers and command lines are written
    r"|[ \t]{1,3}(?=[^\s\-])"  # an option of a command line
    r"|>))",
    re.IGNORECASE,
)

_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.|'')*'?"
_QUOTED = re.compile(rf"[A-Za-z]{{0,2}}(?:{_STRING})", re.DOTALL)
_ESCAPED_QUOTE = re.compile(r"(?P<slashes>\\{1,15})(?P<quote>[\"'])")
_OPENING = re.compile(r"[A-Za-z_]?[\w.]*+[\[({]")
_BRACKET_OR_STRING = re.compile(rf"[\[({{]|[\])}}]|{_STRING}", re.DOTALL)
_SCHEME = re.compile(r"(?:bearer|basic|digest|token|negotiate|apikey)[ \t]++", re.IGNORECASE)
_ANGLED = re.compile(r"<[^<>\n]*+>")
# A separator ends the value only where something else begins: `a,b` is one password, `a, b=1` is not.
_PLAIN = re.compile(
    r"(?:[^\s,;&\"'`})\]<>\[({\\]|\\(?![\"'])"
    r"|[,;&\"'`})\]](?=[^\s,;&\"'`})\]\\<>\[({=:])(?!\w{1,60}+[\"']?[ ]?[=:])"
    r"|(?<=[^\s])[<\[({])+"
)
_BLOCK = re.compile(r"(?:[|>][+-]?[0-9]?)?[ \t]*\r?\n(?:[ \t]+[^\n]*+(?:\n|\Z)|-[ ][^\n]*+(?:\n|\Z))+")
_NEXT_LINE = re.compile(r"\r?\n[ \t]{0,20}")
_HEADER_REST = re.compile(r"(?:=\"[^\"\n]*+\"|[^\n\"'])*")
_HEADERS = ("cookie", "authorization")


def scrub_pairs(text: str) -> str:
    """Return the text with the value after each sensitive name replaced."""
    kept, done = [], 0
    for match in _NAMED.finditer(text):
        if match.start() < done or not _is_telling(text, match):
            continue
        start, end = _value(text, match)
        if end > start:
            quote = text[start] if text[start] in "\"'" and end - start > 1 else ""
            closing = quote if quote and text[end - 1] == quote else ""
            kept += [text[done:start], quote, _MARK, closing]
            done = end
    return "".join([*kept, text[done:]])


def _is_telling(text: str, match: re.Match[str]) -> bool:
    sign, name = match["sign"], match["name"]
    if sign == ">":
        is_pair = text[match.start() - 1 : match.start()] == "<"
    elif sign.isspace():
        is_pair = name.startswith("--")
    elif sign.lstrip("\\\"')]").startswith(","):
        is_pair = name.startswith("--") or _is_two_item_list(text, match)
    else:
        is_pair = True
    return is_pair and is_sensitive(name[-MAX_JUDGED_CHARS:])


def _is_two_item_list(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 3) : match.start()].rstrip("\"'").removesuffix("b")
    value = _QUOTED.match(text, match.end())
    return before.endswith(("(", "[")) and value is not None and text.startswith((")", "]"), value.end())


def _value(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return where the value begins and ends."""
    start = match.end()
    if match["sign"] == ">":
        end = text.find("<", start)
        return start, len(text) if end < 0 else end
    block = _BLOCK.match(text, start)
    if block is not None:
        return start, block.end() - (1 if block[0].endswith("\n") else 0)
    line = _NEXT_LINE.match(text, start)
    if line is not None:
        start = line.end()
    name = match["name"].lower()
    if text[start : start + 1] not in ("'", '"') and ":" in match["sign"] and name.endswith(_HEADERS):
        rest = _HEADER_REST.match(text, start)
        return start, rest.end() if rest is not None else start
    scheme = _SCHEME.match(text, start)
    end = start if scheme is None else scheme.end()
    while (further := _piece(text, end, is_first=end == start)) > end:
        end = further
    return start, end


def _piece(text: str, at: int, *, is_first: bool) -> int:
    """Return where the quoted, bracketed or plain piece at that place ends."""
    escaped = _ESCAPED_QUOTE.match(text, at)
    if escaped is not None:
        return _after_escaped_string(text, escaped) if is_first else at
    opening = _OPENING.match(text, at)
    if opening is not None:
        return _after_brackets(text, opening.end() - 1)
    found = _QUOTED.match(text, at) if is_first else None
    found = found or _ANGLED.match(text, at) or _PLAIN.match(text, at)
    return at if found is None else found.end()


def _after_escaped_string(text: str, opening: re.Match[str]) -> int:
    """Return where a string within a string ends: at the next quote behind as many backslashes."""
    closing = re.compile(rf"(?<!\\){re.escape(opening[0])}").search(text, opening.end())
    return len(text) if closing is None else closing.end()


def _after_brackets(text: str, at: int) -> int:
    depth = 0
    for found in _BRACKET_OR_STRING.finditer(text, at):
        if found[0] in "[({":
            depth += 1
        elif found[0] in "])}":
            depth -= 1
            if depth <= 0:
                return found.end()
    return len(text)
