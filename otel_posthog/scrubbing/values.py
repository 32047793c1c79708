"""Where the value that stands beside a name begins and ends.

Every scan moves forward only, so a text of n characters costs in the order of n steps, whatever it holds.
"""

from __future__ import annotations

import re

from .phrases import is_status

_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.|'')*'?"
_TRIPLE = r"\"\"\".*?(?:\"\"\"|\Z)|'\''.*?(?:'\''|\Z)"
QUOTED = re.compile(
    rf"[A-Za-z]{{0,2}}(?:{_TRIPLE}|{_STRING})|`[^`\n]*`?|«[^»\n]*»?|[“„][^“”\n]*[“”]?", re.DOTALL
)
_ESCAPED_QUOTE = re.compile(r"(?P<slashes>\\{1,15})(?P<quote>[\"'])")
_OPENING = re.compile(r"[A-Za-z_$]?[\w.]*+(?:(?:::|->)[\w.]{1,60}){0,6}[\[({]")
_BRACKET_OR_STRING = re.compile(rf"[\[({{]|[\])}}]|{_STRING}", re.DOTALL)
_SCHEME = re.compile(r"(?:bearer|basic|digest|token|negotiate|apikey)[ \t]++(?!=)", re.IGNORECASE)
_ANGLED = re.compile(r"<[^<>\n]*+>")
# A separator ends the value only where something else begins: `a,b` is one password, `a, b=1` is not.
_PLAIN = re.compile(
    r"(?:[^\s,;&\"'`})\]<>\[({\\]|\\(?![\"'])"
    r"|[,;&\"'`})\]](?=[^\s,;&\"'`})\]\\<>\[({=:])(?![\w.-]{1,60}+[\"']?[ ]?[=:])"
    r"|(?<=[^\s])[<\[({])+"
)
_BLOCK = re.compile(r"(?:[|>][+-]?[0-9]?)?[ \t]*\r?\n(?:[ \t]+[^\n]*+(?:\n|\Z)|-[ ][^\n]*+(?:\n|\Z))+")
# Of YAML, a block of it on one line, and PHP's var_dump.
_TYPE = re.compile(r"!!\w{1,20}[ ]|[|>][+-]?\d?[ ]{1,20}(?=\S)|\w{1,20}\(\d{1,6}\)[ ](?=[\"'])")
_NEXT_LINE = re.compile(r"\r?\n[ \t]{0,20}")
_STATUS = re.compile(r"[^\n,;:\[({\"]{1,120}(?<!\w(?=[\[({]))")
_QUOTED_NUMBER = re.compile(r"[\"'`]\d{3,}[\"'`]")  # `cvc = '131' LIMIT 1`
_BEHIND_STATUS = re.compile(r":[ ]{1,3}(?=[\"'`])")  # `--password: invalid int value: '…'`
_HEADER_REST = re.compile(r"(?:=\"[^\"\n]*+\"|='[^'\n]*+'|[^\n\"'])*")
_ONE_CREDENTIAL = re.compile(
    r"(?:bearer|basic|token|negotiate|ntlm)[ \t]+[^\s,;\"']{6,}+(?![,;\"'])", re.IGNORECASE
)
_FIELDS = re.compile(  # of Digest and its like
    r"[\w-]{3,20}[ ]{1,2}[\w-]{1,40}=(?:\"[^\"\n]*+\"|[^\s,\"']++)"
    r"(?:,[ ]{0,2}[\w-]{1,40}=(?:\"[^\"\n]*+\"|[^\s,\"']++)){1,40}"
)
_COOKIES = re.compile(
    r"(?=[\w.-]{1,80}=)[^\s\"']*+(?:(?<=[;,])[ ](?:\w{3}, )?"
    r"(?:(?<=, )\d\d[ -]\w{3}[ -]\d{2,4}[ ][\d:]{8} GMT[;,]?)?[^\s\"']*+){0,60}"
)
_HEADER_VALUES = (_ONE_CREDENTIAL, _FIELDS, _HEADER_REST)
_COOKIE_VALUES = (_COOKIES, _HEADER_REST)
_GOES_ON = re.compile(r"[\w\"'$\\%+-]")  # behind a closing quote
_HEADERS = ("cookie", "authorization", "-signature")


def value_after(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return where the value begins and ends."""
    start = match.end()
    if match["sign"].endswith(">") and not match["sign"].endswith(("=>", "->")):
        end = text.find("<", start)
        return start, len(text) if end < 0 else end
    block = _BLOCK.match(text, start)
    if block is not None:
        return start, block.end() - (1 if block[0].endswith("\n") else 0)
    for before in (_NEXT_LINE, _TYPE):
        if (found := before.match(text, start)) is not None:
            start = found.end()
    name = match["name"].lower()
    is_quoted = QUOTED.match(text, start) or _ESCAPED_QUOTE.match(text, start)
    if (
        not is_quoted
        and text[start : start + 1] not in "[({"
        and ":" in match["sign"]
        and name.endswith(_HEADERS)
    ):
        forms = _COOKIE_VALUES if name.endswith("cookie") else _HEADER_VALUES
        rest = next(filter(None, (form.match(text, start) for form in forms)), None)
        return start, rest.end() if rest is not None else start
    scheme = _SCHEME.match(text, start)
    end = start if scheme is None else scheme.end()
    status = _STATUS.match(text, start)
    if status is not None and is_status(status[0]) and not _QUOTED_NUMBER.match(text, start):
        behind = _BEHIND_STATUS.match(text, status.end())
        if behind is None:
            return start, status.end()
        start = end = behind.end()
    while (further := _piece(text, end, is_first=end == start)) > end:
        end = further
        if text[end - 1] in "\"'" and not _GOES_ON.match(text, end):
            break
    return start, end


def _piece(text: str, at: int, *, is_first: bool) -> int:
    """Return where the quoted, bracketed or plain piece at that place ends."""
    escaped = _ESCAPED_QUOTE.match(text, at)
    if escaped is not None:
        return _after_escaped_string(text, escaped) if is_first else at
    opening = _OPENING.match(text, at)
    if opening is not None:
        return after_brackets(text, opening.end() - 1)
    found = QUOTED.match(text, at) if is_first else None
    found = found or _ANGLED.match(text, at) or _PLAIN.match(text, at)
    return at if found is None else found.end()


def _after_escaped_string(text: str, opening: re.Match[str]) -> int:
    """Return where a string within a string ends: at the next quote behind as many backslashes."""
    closing = re.compile(rf"(?<!\\){re.escape(opening[0])}").search(text, opening.end())
    return len(text) if closing is None else closing.end()


def after_brackets(text: str, at: int, tokens: re.Pattern[str] = _BRACKET_OR_STRING) -> int:
    """Return where the bracket that opens there is closed, at the end of the text if it never is.

    `tokens` finds brackets, and whole strings, whose brackets do not count.
    """
    depth = 0
    for found in tokens.finditer(text, at):
        if found[0] in "[({":
            depth += 1
        elif found[0] in "])}":
            depth -= 1
            if depth <= 0:
                return found.end()
    return len(text)
