"""Values that stand beside a telling name in running text: ``password=…``, JSON, YAML, repr, XML.

The name decides, not the look of the value. Every scan moves forward only, so a text of n characters
costs in the order of n steps, whatever it holds.
"""

from __future__ import annotations

import re

from .keys import MAX_JUDGED_CHARS, Names, is_about
from .looks import looks_secret
from .marks import mark
from .phrases import is_placeholder, is_status

_MARK = mark("value")
_MIN_ECHO_CHARS = 6
_MAX_ECHOES = 20
_MAX_LINE_CHARS = 1000
_MAX_COUNT_CHARS = 2  # a PIN has four digits, a card's check number three
_MAX_SHORT_COUNT_CHARS = 3

# Some names are two words in prose and in headings; a lone `key` or `id` would be innocent.
_FIRST_WORD = (
    r"(?:(?:api|access|private|session|pass|connection|client|secret|auth|signing|encryption|master|"
    r"license|credit|"
    r"card|account|security|verification|confirmation|phone|mobile|first|last|full|user|mail|birth|"
    r"social|one.time|"
    r"bank|seed|recovery|backup|passport|national|tax|driver|insurance|web)[ ])?"
)
_NAMED = re.compile(
    r"(?<![\w.\-])(?<!\[scrubbed:)"
    rf"(?P<name>{_FIRST_WORD}[\w.\-]++)"
    r"(?P<sign>[\\\"'\])]{0,8}"
    r"(?:[ ]?:[ ]?(?:str|bytes|int|float|Any|SecretStr|Optional|Union|Final|ClassVar|Annotated|"
    r"Literal|Sequence|list|tuple|dict|"
    r"(?:t|typing|pydantic)\.[A-Za-z]{1,30})(?:\[[^\n=]{0,80}\])?"
    r"(?:[ ]?\|[ ]?[A-Za-z]{1,30}(?:\[\w{1,30}\])?){0,3}[ ]=[ ]"
    r"|\s{0,20}(?:=>|->|:=|={1,3}|:(?!:)|%3[AaDd])[ \t]{0,20}"
    r"|(?<=[\"']),\s{0,3}(?=b?[\"'])"  # a pair in a list, as headers and command lines are written
    r"|[ ](?:set|reset|changed|is|was|equals?)(?:[ ]to)?[ ](?=[\"'])"
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
_LITERAL = re.compile(
    r"(?P<open>\"\"\"|\"|'''|')(?P<inner>(?:\\.|(?!(?P=open))[^\\])*)(?P<close>(?P=open)|\Z)", re.DOTALL
)
_FIELD = re.compile(r"\{[^{}]{0,200}\}")
_NAME_WORDS = re.compile(r"[A-Za-z][A-Za-z_ -]{0,80}")
_SCHEMES = frozenset({"Bearer", "Basic", "Token", "Digest", "bearer", "basic", "token"})
_HAS_NUMBER = re.compile(r"[\"']?[^\s\d]{0,40}\d")
_STATUS = re.compile(r"[^\n,;:\[({\"]{1,120}")
_HEADER_REST = re.compile(r"(?:=\"[^\"\n]*+\"|[^\n\"'])*")
_ONE_CREDENTIAL = re.compile(
    r"(?:bearer|basic|token|negotiate|ntlm)[ \t]+[^\s,;\"']{6,}+(?![,;\"'])", re.IGNORECASE
)
_HEADERS = ("cookie", "authorization")


class Pairs:
    """Take out what stands beside a telling name."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def scrub(self, text: str) -> str:
        """Return the text with the value after each sensitive name replaced, also where it is repeated."""
        kept: list[str] = []
        values: list[str] = []
        done = 0
        for match in _NAMED.finditer(text):
            if match.start() < done or not self._is_telling(text, match):
                continue
            start, end = _value(text, match)
            raw = text[start:end]
            instead = raw if _is_harmless(match["name"], raw) else self._instead(raw, text, match.start())
            if instead == raw:
                continue
            kept += [text[done:start], instead]
            values.append(raw.strip("\"' \t"))
            done = end
        return self._without_echoes("".join([*kept, text[done:]]), values) if kept else text

    def _instead(self, raw: str, text: str, at: int) -> str:  # noqa: ARG002 - source lines need them
        quote = raw[0] if raw[0] in "\"'" and len(raw) > 1 else ""
        closing = quote if quote and raw[-1] == quote else ""
        return f"{quote}{_MARK}{closing}"

    def _is_telling(self, text: str, match: re.Match[str]) -> bool:
        sign, name = match["sign"], match["name"]
        if sign == ">":
            is_pair = text[match.start() - 1 : match.start()] == "<"
        elif sign.lstrip("\\\"')]").isspace():
            is_pair = name.startswith("-")
        elif sign.lstrip("\\\"')]").startswith(","):
            is_pair = name.startswith("-") or _is_two_item_list(text, match)
        else:
            is_pair = text[max(0, match.start() - 11) : match.start()].lower() != "unexpected "
        if not is_pair:
            return False
        judged = name[-MAX_JUDGED_CHARS:]
        return self._names.is_secret(judged) or (
            _is_assigned(text, match) and self._names.is_personal(judged)
        )

    def _without_echoes(self, text: str, values: list[str]) -> str:
        """Take out the same value where the text repeats it, as a check quotes what it refused."""
        for value in dict.fromkeys(values[:_MAX_ECHOES]):
            if (
                len(value) >= _MIN_ECHO_CHARS
                and not value.startswith("[")
                and not self._names.is_sensitive(value)
            ):
                text = text.replace(value, _MARK)
        return text


class SourcePairs(Pairs):
    """The same in lines of a program, where a bare word is a reference and only a literal is a value."""

    def _instead(self, raw: str, text: str, at: int) -> str:
        if _is_comment(text, at):
            return super()._instead(raw, text, at)
        if raw.lstrip("+-")[:1].isdigit():
            return _MARK
        return _LITERAL.sub(self._literal, raw) if not looks_secret(raw) else _MARK

    def _literal(self, match: re.Match[str]) -> str:
        inner = _FIELD.sub("", match["inner"]).strip(" :?!.,…")
        is_name = _NAME_WORDS.fullmatch(inner) is not None and self._names.is_sensitive(inner)
        if not inner or is_name or inner in _SCHEMES or is_status(inner) or is_placeholder(inner):
            return match[0]
        return f"{match['open']}{_MARK}{match['close']}"


def _is_comment(text: str, at: int) -> bool:
    before = text[text.rfind("\n", max(0, at - _MAX_LINE_CHARS), at) + 1 : at]
    code, sign, _ = before.partition("#")
    return bool(sign) and code.count('"') % 2 == 0 and code.count("'") % 2 == 0


def _is_harmless(name: str, raw: str) -> bool:
    """Tell whether what stands there is no value: a placeholder, or words about one."""
    value = raw.strip("\"' \t")
    bare = raw.strip("\"' \t()[]{}")
    if is_placeholder(value) or is_placeholder(bare) or is_status(bare):
        return True
    if value.isdigit() and len(value) <= (
        _MAX_SHORT_COUNT_CHARS if name.lower() == "pass" else _MAX_COUNT_CHARS
    ):
        return True
    return is_about(name, int(value) if value.isdecimal() and value.isascii() else value)


def _is_assigned(text: str, match: re.Match[str]) -> bool:
    """Tell whether the name is plainly a field's: `name=`, `"name":`, `<name>`, or alone on its line."""
    sign = match["sign"]
    if "=" in sign or sign[0] in "\\\"'>" or "," in sign or _HAS_NUMBER.match(text, match.end()):
        return True
    line = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
    return not line.strip(" \t-")


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
    is_quoted = _QUOTED.match(text, start) or _ESCAPED_QUOTE.match(text, start)
    if (
        not is_quoted
        and text[start : start + 1] not in "[({"
        and ":" in match["sign"]
        and name.endswith(_HEADERS)
    ):
        rest = _ONE_CREDENTIAL.match(text, start) or _HEADER_REST.match(text, start)
        return start, rest.end() if rest is not None else start
    scheme = _SCHEME.match(text, start)
    end = start if scheme is None else scheme.end()
    status = _STATUS.match(text, start)
    if status is not None and is_status(status[0]):
        return start, status.end()
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
