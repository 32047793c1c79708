"""Remove values beside a sensitive name: `password=…`, JSON, YAML, repr, markup, tables.

The name decides, not the characters of the value.
"""

from __future__ import annotations

import re
from functools import partial

from .entropy import is_slug, looks_chosen, looks_secret
from .keys import MAX_KEY_CHARS, Names
from .patterns import Pattern, Rule, placeholder, rule, word_list
from .values import (
    MAX_COUNT_CHARS,
    QUOTED,
    SCHEMES,
    TEMPLATE,
    end_of_passphrase,
    is_no_value,
    is_placeholder,
    is_status,
    value_after,
)

_FIRST_WORD = r"(?:(?:<<first_words>>)[ ](?=\w))?"
_SAID_WORD = r"[ ](?:<<remark_words>>):?"
_SAID = (
    rf"(?P<said>(?:{_SAID_WORD}){{0,6}}[ ](?=[\"'`])"
    r"|[ ]?[(\[](?!scrubbed:)(?![A-Za-z_]{1,40}=)(?=[\"'`]?[^\s()\[\]\"'`]{6,200}[\"'`]?[)\]])"
    rf"|(?P<told>(?:{_SAID_WORD}){{1,6}}[ ](?=[^\s\"'`()\[\]{{}}<>-][^\s()\[\]{{}}<>]{{5}})))"
)
_NAMED = Pattern(
    r"(?i)(?<![\w.\-])(?<!\[scrubbed:)"
    rf"(?P<name>mot[ ]de[ ]passe|{_FIRST_WORD}[\w.\-]++)"
    r"(?P<sign>[\\\"'\])*`»”]{0,8}(?:\[\])?"
    r"(?:[ ]?:[ ]?(?:str|bytes|int|float|Any|SecretStr|Optional|Union|Final|ClassVar|Annotated|"
    r"Literal|Sequence|list|tuple|dict|(?:t|typing|pydantic)\.[A-Za-z]{1,30})(?:\[[^\n=]{0,80}\])?"
    r"(?:[ ]?\|[ ]?[A-Za-z]{1,30}(?:\[\w{1,30}\])?){0,3}[ ]=[ ]"
    r"|\s{0,20}(?:=>|->|:=|={1,3}|:(?!:)|[\uff1d\uff1a]|%3[AaDd])[ \t\u00a0]{0,20}"
    r"|(?<=[\"']),\s{0,3}(?=b?[\"'])"  # a pair in a list, as headers and command lines are written
    r"|(?:,[ ]?|[ ]\.[ ])(?=\"[^\"\n]{0,200}\"[)}])"  # of Erlang and Lisp
    rf"|{_SAID}"
    r"|[ \t]{1,3}(?=[^\s\-])"  # an option of a command line
    r"|>))"
)


# One of these is between a name and its value, whatever the notation.
_TRIGGERS = (
    "=", ":", ">", "%3", "--", " '", ' "', " `", "',", '",', ',"', " -", "'-", "(", "[", "\uff1d", "\uff1a",
    " is ", " was ", " to ", " got ", " expected ", " equal", " ist ", " war ", " lautet ",
)  # fmt: skip

_REPLACED = placeholder("value")
_MIN_ECHO_CHARS = 6  # a shorter value is also part of ordinary words
_MAX_ECHOES = 20  # each one costs a search of the whole text
_MAX_LINE_CHARS = 1000


_LITERAL = Pattern(
    r"(?s)(?P<open>\"\"\"|\"|'''|')(?P<inner>(?:\\.|(?!(?P=open))[^\\])*)(?P<close>(?P=open)|\Z)"
)
_FIELD = Pattern(r"\{[^{}]{0,200}\}")
_NAME_WORDS = Pattern(r"[A-Za-z][A-Za-z_ -]{0,80}")
_HAS_NUMBER = Pattern(r"[\"']?[^\s\d]{0,40}\d")
# Names of exceptions, which a message follows.
_FAULT = Pattern(
    r"(?:Error|Exception|Warning|Fault|Failure)\Z"
    r"|(?:\A|\.)(?:Unexpected|Invalid|Bad|Expired|Missing|Unknown|Wrong|Incorrect|Revoked|Malformed|No)[A-Z][A-Za-z]*\Z"
    r"|(?:\A|\.)[A-Z][A-Za-z]*(?:Expired|Invalid|Mismatch|NotFound|Required|Missing|Denied|Failed|Revoked)\Z"
)
_NEXT_WORD = Pattern(r"[ ]([^\s\"',;<>()\[\]{}]{6,}+)")
_NAMES = Pattern(r"\b(?:name|key|id)=[\"']\Z")  # `<string name="api_key">…</string>`
_ALONE = Pattern(r"[^\s\"',;<>()]{1,80}(?:[\"',;<>)\r\n]|\Z)")  # one word, and the end
_NO_NAME = Pattern(r"[^A-Za-z_]")
_FIRST_WORD_OF_VALUE = Pattern(r"[^\s\"',;()\[\]]++")
_MIN_PAIRED_CHARS = 4
_START_OF_PHONE = Pattern(r"\+\(?\d[\d()]*")
_MORE_NAMES = Pattern(r"(?:[ ][A-Z][^\W\d_]{1,20}(?![\w=:])){1,3}")
_MORE_DIGITS = Pattern(r"(?:[ ./-]{1,3}\(?\d[\d()]*+){1,8}")
_ASSIGNS = Pattern(r"(?i)\b(?:is|was|ist|to|equals?)\b(?![ ](?:not|too)\b)")
_TAKES_PASSWORD = Pattern(r"(?:.*\.)?(?:set|with)?_?[Pp]ass(?:word|wd|phrase)")
_IS_PASSWORD = Pattern(r"(?i)pass(?:w(?:ort|ord|d)|phrase|code)|kennwort|pwd")


class KeyValues:
    """Remove values beside a sensitive name."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def scrub(self, text: str) -> str:
        """Return the text with the value after each sensitive name replaced, also where it is repeated."""
        kept: list[str] = []
        values: list[str] = []
        speaking: dict[str, bool] = {}  # for this text only: a hostile one repeats itself
        done = 0
        for match in _NAMED.finditer(text):
            if match.start() < done or not self._is_sensitive(text, match):
                continue
            start, end = value_after(text, match)
            end = self._further(text, match, start, end)
            raw = text[start:end]
            if raw not in speaking:
                speaking[raw] = self._names.speaks_of_secret(raw[:MAX_KEY_CHARS])
            if speaking[raw]:  # `Token: session 7f3a… expired`
                end = _after_secret_word(text, end)
                raw = text[start:end]
            if is_no_value(text, match, raw, self._names):
                continue
            instead = self._instead(raw, text, match.start())
            if instead == raw:
                continue
            kept += [text[done:start], instead]
            values.append(raw.strip("\"' \t"))
            done = end
        return self._without_echoes("".join([*kept, text[done:]]), values) if kept else text

    def _further(self, text: str, match: re.Match[str], start: int, end: int) -> int:
        # Spaces belong to the value in telephone numbers, names and passphrases.
        if _START_OF_PHONE.fullmatch(text, start, end):
            more = _MORE_DIGITS.match(text, end)
            return end if more is None else more.end()
        sign = match["sign"]
        if not text[start:end].isalpha() or not (":" in sign or "= " in sign):
            return end
        if self._names.is_secret(match["name"][-MAX_KEY_CHARS:]):
            return end_of_passphrase(text, end)
        more = _MORE_NAMES.match(text, end) if text[start].isupper() else None
        return end if more is None else more.end()

    def _instead(self, raw: str, text: str, at: int) -> str:  # noqa: ARG002 - source lines need them
        quote = raw[0] if raw[0] in "\"'" and len(raw) > 1 else ""
        return f"{quote}{_REPLACED}{quote if raw[-1] == quote else ''}"

    def _is_sensitive(self, text: str, match: re.Match[str]) -> bool:
        sign, judged = match["sign"], match["name"].removeprefix("-D")[-MAX_KEY_CHARS:]
        if _is_quoted_name(text, match):
            return False
        if _FAULT.search(judged):
            first = _FIRST_WORD_OF_VALUE.match(text, match.end())
            return first is not None and looks_secret(first[0]) and not self._names.speaks_of_secret(first[0])
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
            return (name.startswith("-") and match["told"] is None) or self._is_quoted_secret(text, match)
        if sign == ">":
            return _is_element(text, match)
        if sign.isspace():
            return name.startswith("-")
        if sign.startswith(","):
            return name.startswith("-") or self._is_listed(text, match)
        if sign == " . ":
            return text.endswith("(", 0, at)
        is_parser = name.lower() in ("token", "tokens")
        return not (is_parser and text[max(0, at - 11) : at].lower() == "unexpected ")

    def _is_listed(self, text: str, match: re.Match[str]) -> bool:
        if match["sign"].startswith(","):  # `{password,"…"}`, without a quote before it
            return text.endswith("{", 0, match.start())
        value = QUOTED.match(text, match.end())
        if value is None:
            return False
        bare, is_closed = value[0].removeprefix("b").strip("\"'"), text.startswith(")", value.end())
        if looks_chosen(bare) or looks_secret(bare) or (is_closed and is_slug(bare)):
            return True
        before = text[max(0, match.start() - 3) : match.start()].rstrip("\"'").removesuffix("b")
        if not before.endswith(("(", "[")) or not text.startswith((")", "]"), value.end()):
            return False
        is_name = _NAME_WORDS.fullmatch(bare) is not None and self._names.is_name(bare)
        is_long = len(bare) >= _MIN_PAIRED_CHARS or (bare.isdigit() and len(bare) > MAX_COUNT_CHARS)
        return is_long and not is_name  # ["token", "password"], ["token", "id"]

    def _is_quoted_secret(self, text: str, match: re.Match[str]) -> bool:
        """Return whether the quoted text after a name and a remark is the name's value."""
        quoted = QUOTED.match(text, match.end()) or _FIRST_WORD_OF_VALUE.match(text, match.end())
        value = "" if quoted is None else quoted[0].strip("\"'`()[] ").rstrip(".,:;")
        if not value or self._names.is_name(value):
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

    def _without_echoes(self, text: str, values: list[str]) -> str:
        # A check repeats the value that it rejects, without the name beside it.
        for value in dict.fromkeys(values[:_MAX_ECHOES]):
            is_short = len(value) < _MIN_ECHO_CHARS
            if not is_short and not value.startswith("[") and not self._names.is_name(value):
                text = text.replace(value, _REPLACED)
        return text


class SourceKeyValues(KeyValues):
    """The same for lines of a program, where a bare word is a reference and only a literal is a value."""

    def _instead(self, raw: str, text: str, at: int) -> str:
        if _is_comment(text, at):
            return super()._instead(raw, text, at)
        if raw.lstrip("+-")[:1].isdigit():
            return _REPLACED
        return _LITERAL.sub(self._literal, raw) if not looks_secret(raw) else _REPLACED

    def _literal(self, match: re.Match[str]) -> str:
        inner = _FIELD.sub("", match["inner"]).strip(" :?!.,…")
        is_name = _NAME_WORDS.fullmatch(inner) is not None and self._names.is_name(inner)
        is_template = not inner or TEMPLATE.fullmatch(inner) is not None
        if is_template or is_name or inner in SCHEMES or is_status(inner) or is_placeholder(inner):
            return match[0]
        return f"{match['open']}{_REPLACED}{match['close']}"


def _is_comment(text: str, at: int) -> bool:
    before = text[text.rfind("\n", max(0, at - _MAX_LINE_CHARS), at) + 1 : at]
    code, sign, _ = before.partition("#")
    return bool(sign) and code.count('"') % 2 == 0 and code.count("'") % 2 == 0


def _is_quoted_name(text: str, match: re.Match[str]) -> bool:
    # The quotes close right after the name, so the value is a variable: `print("password:", password)`.
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 2]
    return before in ('"', "'") and after in (f"{before},", f"{before})") and match["sign"].strip() == ":"


def _is_element(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 8) : match.start()]
    is_element = before.endswith("<") and not text.startswith(("/", ">", " "), match.end())
    return is_element or _NAMES.search(before) is not None


def _is_assigned(text: str, match: re.Match[str]) -> bool:
    # A personal name counts only where it is a field's: `name=`, `"name":`, `<name>`, alone on its line.
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


_HTML_FIELD = (
    r"(?:\"?'?\b(?:name|key|field|header|id)\"?'?[ ]?[=:][ ]?)[\"'](?P<name>[^\"'\n]{1,80})[\"']"
    r"[^<>{}]{0,80}?\b(?:value|val|content|data)\"?'?[ ]?[=:][ ]?(?P<value>\"[^\"\n]*\"|'[^'\n]*')"
)
_FIELD_HTML = (
    r"\b(?:value|val|content|data)\"?'?[ ]?[=:][ ]?(?P<value>\"[^\"\n]{0,1000}\"|'[^'\n]{0,1000}')"
    r"[^<>{}\n]{0,80}?\b(?:name|key|field|header|id)\"?'?[ ]?[=:][ ]?[\"'](?P<name>[^\"'\n]{1,80})[\"']"
)
_YAML_FIELD = (
    r"\b(?:name|key)[ ]?:[ ]?[\"']?(?P<name>[\w.-]{1,80})[\"']?\s{1,20}"
    r"(?:value|val)[ ]?:[ ]?(?P<value>[^\n]+)"
)
_ENV_LINE = (
    r"\b(?:ENV|ARG|setx?)[ ]+(?:-{1,2}\w{1,10}[ ]+){0,3}(?P<name>[A-Z][A-Z0-9_]{1,79}|\w{0,40}_\w{1,40})[ ]+"
    r"(?P<value>(?![=\[-]|(?:to|in|is|as|or|and|before|for|on|via)\b)[^\s\"']+|\"[^\"\n]+\"|'[^'\n]+')"
)
_XML_FIELD = (
    r"<(?:[\w-]{1,40}:)?(?P<name>[\w.-]{2,80})(?:\s{1,5}[\w:.-]{1,40}=[\"'][^\"'<>]{0,200}[\"']){0,10}>"
    r"(?:\s{0,20}(?=<!\[|[^<]{1,2000}<)|(?=\S))"
    r"(?P<value><!\[CDATA\[[^\]]{1,2000}\]\]>|[^\s</>][^<]{0,2000})(?=<|\Z)"
)
_XML_NAMED = (
    r"\b(?:name|key|id)=[\"'](?P<name>[^\"'<>\n]{1,80})[\"'][^<>]{0,80}>\s{0,40}"
    r"<(?:value|string|val|data)\b[^<>]{0,80}>(?P<value>[^<]{1,2000})"
)
_XML_PAIR = (
    r"<(?:name|key)>(?P<name>[^<>\n]{1,80})</(?:name|key)>\s{0,40}"
    r"<(?:value|string|val|data|integer)>(?P<value>[^<]{1,2000})"
)
_HCL_FIELD = (
    r"\bvariable[ ][\"'](?P<name>[^\"'\n]{1,80})[\"'][ ]?\{[^{}]{0,200}?\bdefault\s{0,10}=\s{0,10}"
    r"(?P<value>\"[^\"\n]{1,2000}\"|'[^'\n]{1,2000}')"
)
_TABLE_ROW = (
    r"\|[ ]{0,20}(?P<name>[\w.-]{2,80})[ ]{0,20}\|[ ]{0,20}(?P<value>[^|\s][^|\n]{0,200}?)(?=[ ]{0,20}\|)"
)
_ASSERTED = Pattern(
    r"\bwhere (?P<value>'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\")(?= = (?P<name>[\w.()-]{2,200}))"
)
_MIN_ASSERTED_CHARS = 4
_FORM_DATA = (
    r"form-data;[^\n]{0,40}?name=[\"']?(?P<name>[^\"'\n;]{1,80})[^\n]{0,200}\r?\n"
    r"(?:[\w-]{1,40}:[^\n]{0,200}\r?\n){0,4}(?:\r?\n){1,8}(?P<value>[^\r\n]+)"
)
_NETRC = r"\b(?:machine|default|login)\b[^\n]{0,200}?\bpassword[ \t\n]{1,4}(?P<value>[^\s\[]+)"
_VERBS = ("is", "was", "has", "can", "cannot", "failed", "for", "and", "or", "in", "on", "of", "to", "with")


def key_value_rules(names: Names) -> tuple[Rule, ...]:
    """Return the rules for a name and its value in text, markup, tables and files."""

    def is_field(match: re.Match[str]) -> bool:
        value = match["value"].strip("\"' ")
        is_generic = value.lower() in word_list("generic") and not names.is_secret(match["name"])
        is_sensitive = not is_generic and names.is_sensitive(match["name"])
        return is_sensitive and not is_placeholder(value) and not is_status(value)

    def is_row(match: re.Match[str]) -> bool:
        value = match["value"]
        is_secret = looks_chosen(value) or looks_secret(value) or is_slug(value)
        return is_secret and names.is_secret(match["name"])

    def field(triggers: str | tuple[str, ...], pattern: str) -> Rule:
        return rule("value", triggers, pattern, is_field, keeps_quotes=True)

    return (
        Rule("value", _TRIGGERS, KeyValues(names).scrub),
        field(("value", "val", "content", "data"), _HTML_FIELD),
        field(("value", "val", "content", "data"), _FIELD_HTML),
        field(("value:", "val:", "value :"), _YAML_FIELD),
        field(("env ", "arg ", "set ", "setx "), _ENV_LINE),
        field("<", _XML_FIELD),
        field("<", _XML_NAMED),
        field("</", _XML_PAIR),
        field("variable ", _HCL_FIELD),
        rule("value", "|", _TABLE_ROW, is_row),
        Rule("value", "where ", partial(_without_asserted, names=names)),
        field("form-data", _FORM_DATA),
        rule("value", ("assword ", "assword\t", "assword\n"), _NETRC, _is_netrc_password),
    )


def source_rule(names: Names) -> Rule:
    """Return the rule for a name and its value in lines of a program."""
    return Rule("value", _TRIGGERS, SourceKeyValues(names).scrub)


def _without_asserted(text: str, names: Names) -> str:
    # A failed assertion of a test shows the setting's value first: `where 'x' = settings.password`.
    for match in _ASSERTED.finditer(text):
        value = match["value"][1:-1]
        if len(value) >= _MIN_ASSERTED_CHARS and names.is_secret(match["name"]) and not is_status(value):
            text = text.replace(value, _REPLACED)
    return text


def _is_netrc_password(match: re.Match[str]) -> bool:
    return not is_status(match["value"]) and match["value"] not in _VERBS
