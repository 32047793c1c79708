"""Values that stand beside a telling name in running text: ``password=…``, JSON, YAML, repr, XML.

The name decides, not the look of the value. `signs` says how the two are joined, `values` where the value
ends, `references` whether it is code.
"""

from __future__ import annotations

import re

from .keys import MAX_JUDGED_CHARS, Names, is_about
from .looks import is_slug, looks_chosen, looks_secret
from .machine import GENERIC
from .marks import mark
from .phrases import SCHEMES, end_of_passphrase, is_placeholder, is_status
from .references import is_reference
from .signs import NAMED
from .values import QUOTED, value_after

_MARK = mark("value")
_MIN_ECHO_CHARS = 6
_MAX_ECHOES = 20
_MAX_LINE_CHARS = 1000
_MAX_COUNT_CHARS = 2  # a PIN has four digits, a card's check number three
_MAX_SHORT_COUNT_CHARS = 3


_LITERAL = re.compile(
    r"(?P<open>\"\"\"|\"|'''|')(?P<inner>(?:\\.|(?!(?P=open))[^\\])*)(?P<close>(?P=open)|\Z)", re.DOTALL
)
_NAMED_FIELD = re.compile(r"\{[A-Za-z_][\w.!]{0,60}\}")
_TEMPLATE = re.compile(
    r"(?:[a-z+]{1,20}:)?[:/@?&=.,\s-]*"
)  # what is left of `{scheme}://{user}:{password}@…`
_FIELD = re.compile(r"\{[^{}]{0,200}\}")
_NAME_WORDS = re.compile(r"[A-Za-z][A-Za-z_ -]{0,80}")
_HAS_NUMBER = re.compile(r"[\"']?[^\s\d]{0,40}\d")
# Names of exceptions, behind which a message follows.
_FAULT = re.compile(
    r"(?:Error|Exception|Warning|Fault|Failure)\Z"
    r"|(?:\A|\.)(?:Unexpected|Invalid|Bad|Expired|Missing|Unknown|Wrong|Incorrect|Revoked|Malformed|No)[A-Z][A-Za-z]*\Z"
    r"|(?:\A|\.)[A-Z][A-Za-z]*(?:Expired|Invalid|Mismatch|NotFound|Required|Missing|Denied|Failed|Revoked)\Z"
)
_NEXT_WORD = re.compile(r"[ ]([^\s\"',;<>()\[\]{}]{6,}+)")
_NAMES = re.compile(r"\b(?:name|key|id)=[\"']\Z")  # `<string name="api_key">…</string>`
_ALONE = re.compile(r"[^\s\"',;<>()]{1,80}(?:[\"',;<>)\r\n]|\Z)")  # one word, and the end
_NO_NAME = re.compile(r"[^A-Za-z_]")
_FIRST_WORD_OF_VALUE = re.compile(r"[^\s\"',;()\[\]]++")
_MIN_PAIRED_CHARS = 4
_START_OF_PHONE = re.compile(r"\+\(?\d[\d()]*")
_MORE_NAMES = re.compile(r"(?:[ ][A-Z][^\W\d_]{1,20}(?![\w=:])){1,3}")
_MORE_DIGITS = re.compile(r"(?:[ ./-]{1,3}\(?\d[\d()]*+){1,8}")
_ASSIGNS = re.compile(r"\b(?:is|was|ist|to|equals?)\b(?![ ](?:not|too)\b)", re.IGNORECASE)
_TAKES_PASSWORD = re.compile(r"(?:.*\.)?(?:set|with)?_?[Pp]ass(?:word|wd|phrase)")
_IS_PASSWORD = re.compile(r"pass(?:w(?:ort|ord|d)|phrase|code)|kennwort|pwd", re.IGNORECASE)


class Pairs:
    """Take out what stands beside a telling name."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def scrub(self, text: str) -> str:
        """Return the text with the value after each sensitive name replaced, also where it is repeated."""
        kept: list[str] = []
        values: list[str] = []
        done = 0
        for match in NAMED.finditer(text):
            if match.start() < done or not self._is_telling(text, match):
                continue
            start, end = value_after(text, match)
            end = self._further(text, match, start, end)
            raw = text[start:end]
            if self._names.is_secret(raw[:MAX_JUDGED_CHARS]):  # `Token: session 7f3a… expired`
                end = _after_secret_word(text, end)
                raw = text[start:end]
            is_kept = self._is_harmless(match["name"], raw) or is_reference(text, match, raw, self._names)
            instead = raw if is_kept else self._instead(raw, text, match.start())
            if instead == raw:
                continue
            kept += [text[done:start], instead]
            values.append(raw.strip("\"' \t"))
            done = end
        return self._without_echoes("".join([*kept, text[done:]]), values) if kept else text

    def _further(self, text: str, match: re.Match[str], start: int, end: int) -> int:
        """Return where the value ends if spaces belong to it: in telephone numbers, names and passphrases."""
        if _START_OF_PHONE.fullmatch(text, start, end):
            more = _MORE_DIGITS.match(text, end)
            return end if more is None else more.end()
        sign = match["sign"]
        if not text[start:end].isalpha() or not (":" in sign or "= " in sign):
            return end
        if self._names.is_secret(match["name"][-MAX_JUDGED_CHARS:]):
            return end_of_passphrase(text, end)
        more = _MORE_NAMES.match(text, end) if text[start].isupper() else None
        return end if more is None else more.end()

    def _instead(self, raw: str, text: str, at: int) -> str:  # noqa: ARG002 - source lines need them
        quote = raw[0] if raw[0] in "\"'" and len(raw) > 1 else ""
        closing = quote if quote and raw[-1] == quote else ""
        return f"{quote}{_MARK}{closing}"

    def _is_telling(self, text: str, match: re.Match[str]) -> bool:
        sign, judged = match["sign"], match["name"].removeprefix("-D")[-MAX_JUDGED_CHARS:]
        if _is_quoted_name(text, match):
            return False
        if _FAULT.search(judged):
            first = _FIRST_WORD_OF_VALUE.match(text, match.end())
            return first is not None and looks_secret(first[0]) and not self._names.is_secret(first[0])
        if self._names.is_secret(judged) and not (match["said"] and "okenize" in judged):
            return self._is_pair(text, match)
        is_assigned = "=" in sign or ":" in sign or sign[:1] in "\\\"'"
        if is_assigned and self._names.is_key(judged):
            start, end = value_after(text, match)
            return looks_secret(text[start:end].strip("\"'` \t,;"))
        return (
            match["said"] is None
            and self._names.is_personal(judged)
            and self._is_pair(text, match)
            and _is_assigned(text, match)
        )

    def _is_pair(self, text: str, match: re.Match[str]) -> bool:
        sign, name, at = match["sign"].lstrip("\\\"')]*`»”"), match["name"], match.start()
        if match["said"] is not None:
            is_option = name.startswith("-") and match["told"] is None
            return is_option or self._is_quoted_secret(text, match)
        if sign == ">":
            return _is_element(text, match)
        if sign.isspace():
            return name.startswith("-")
        if sign.startswith(","):
            return name.startswith("-") or self._is_listed(text, match)
        if sign == " . ":
            return text.endswith("(", 0, at)
        is_parser = (
            name.lower() in ("token", "tokens") and text[max(0, at - 11) : at].lower() == "unexpected "
        )
        return not is_parser

    def _is_listed(self, text: str, match: re.Match[str]) -> bool:
        if match["sign"].startswith(","):  # `{password,"…"}`, where no quote stands before it
            return text.endswith("{", 0, match.start())
        return self._is_two_item_list(text, match) or _is_followed_by_secret(text, match)

    def _is_quoted_secret(self, text: str, match: re.Match[str]) -> bool:
        """Tell whether what is quoted behind a name and some words about it is its value."""
        quoted = QUOTED.match(text, match.end()) or _FIRST_WORD_OF_VALUE.match(text, match.end())
        value = "" if quoted is None else quoted[0].strip("\"'`()[] ").rstrip(".,:;")
        if not value or self._names.is_sensitive(value):
            return False
        is_quoted = match["said"].endswith(" ") and match["told"] is None
        if is_quoted and (_ASSIGNS.search(match["said"]) or _IS_PASSWORD.search(match["name"])):
            return True
        name = match["name"]
        is_literal = text.startswith(('"', "'"), match.end())
        if match["said"].strip() == "(" and is_literal and _TAKES_PASSWORD.fullmatch(name):
            return True
        if _IS_PASSWORD.search(name) and _NO_NAME.search(value) and not value.isdigit():
            return True
        is_compound = not name.isalpha() or not name[1:].islower() or name.lower().startswith("credential")
        return looks_chosen(value) or looks_secret(value) or (is_compound and is_slug(value))

    def _is_two_item_list(self, text: str, match: re.Match[str]) -> bool:
        before = text[max(0, match.start() - 3) : match.start()].rstrip("\"'").removesuffix("b")
        value = QUOTED.match(text, match.end())
        if value is None or not before.endswith(("(", "[")) or not text.startswith((")", "]"), value.end()):
            return False
        bare = value[0].removeprefix("b").strip("\"'")
        is_name = _NAME_WORDS.fullmatch(bare) is not None and self._names.is_sensitive(bare)
        is_long = len(bare) >= _MIN_PAIRED_CHARS or (bare.isdigit() and len(bare) > _MAX_COUNT_CHARS)
        return is_long and not is_name  # ["token", "password"], ["token", "id"]

    def _is_harmless(self, name: str, raw: str) -> bool:
        """Tell whether what stands there is no value: a placeholder, or words about one."""
        value = raw.strip("\"' \t")
        if value.lower() in GENERIC and not self._names.is_secret(name):
            return True
        if value.isupper() and name.startswith("-") and self._names.is_sensitive(value):
            return True  # `--token TOKEN`, of a usage
        return _is_no_value(name, raw)

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
        if (
            not inner
            or _TEMPLATE.fullmatch(inner)
            or is_name
            or inner in SCHEMES
            or is_status(inner)
            or is_placeholder(inner)
        ):
            return match[0]
        return f"{match['open']}{_MARK}{match['close']}"


def _is_comment(text: str, at: int) -> bool:
    before = text[text.rfind("\n", max(0, at - _MAX_LINE_CHARS), at) + 1 : at]
    code, sign, _ = before.partition("#")
    return bool(sign) and code.count('"') % 2 == 0 and code.count("'") % 2 == 0


def _is_template(value: str) -> bool:
    """Tell whether the text is made of fields and signs, `{user}:{password}@{host}`, or of one sign."""
    bare = _NAMED_FIELD.sub("", value)
    return (bare != value and _TEMPLATE.fullmatch(bare) is not None) or (
        len(value) == 1 and not value.isalnum()
    )


def _is_no_value(name: str, raw: str) -> bool:
    value = raw.strip("\"' \t")
    bare = raw.strip("\"' \t()[]{}&*")
    if (
        is_placeholder(value)
        or is_placeholder(bare)
        or is_status(bare)
        or value in SCHEMES
        or _is_template(value)
    ):
        return True
    if value.isdigit() and len(value) <= (
        _MAX_SHORT_COUNT_CHARS if name.lower() == "pass" else _MAX_COUNT_CHARS
    ):
        return True
    return is_about(name, int(value) if value.isdecimal() and value.isascii() else value)


def _is_quoted_name(text: str, match: re.Match[str]) -> bool:
    """Tell whether the quotes close right behind the name: `print("password:", password)`."""
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 2]
    return before in ('"', "'") and after in (f"{before},", f"{before})") and match["sign"].strip() == ":"


def _is_element(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 8) : match.start()]
    is_element = before.endswith("<") and not text.startswith(("/", ">", " "), match.end())
    return is_element or _NAMES.search(before) is not None


def _is_assigned(text: str, match: re.Match[str]) -> bool:
    """Tell whether the name is plainly a field's: `name=`, `"name":`, `<name>`, or alone on its line."""
    sign = match["sign"]
    if "=" in sign or sign[0] in "\\\"'>" or "," in sign or _HAS_NUMBER.match(text, match.end()):
        return True
    if ":" in sign and (not match["name"].isalnum() or _ALONE.match(text, match.end())):
        return True
    line = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
    before = line.rstrip()
    return not before or not before[-1].isalnum()


def _after_secret_word(text: str, at: int) -> int:
    word = _NEXT_WORD.match(text, at)
    return word.end() if word is not None and (looks_chosen(word[1]) or looks_secret(word[1])) else at


def _is_followed_by_secret(text: str, match: re.Match[str]) -> bool:
    value = QUOTED.match(text, match.end())
    if value is None:
        return False
    bare = value[0].removeprefix("b").strip("\"'")
    return looks_chosen(bare) or looks_secret(bare) or (text.startswith(")", value.end()) and is_slug(bare))
