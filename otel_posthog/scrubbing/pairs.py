"""Values that stand beside a telling name in running text: ``password=…``, JSON, YAML, repr, XML.

The name decides, not the look of the value. Every scan moves forward only, so a text of n characters
costs in the order of n steps, whatever it holds.
"""

from __future__ import annotations

import re

from .keys import MAX_JUDGED_CHARS, Names, is_about
from .looks import is_slug, is_wordy, looks_chosen, looks_secret
from .machine import GENERIC
from .marks import mark
from .phrases import end_of_passphrase, is_placeholder, is_status

_MARK = mark("value")
_MIN_ECHO_CHARS = 6
_MAX_ECHOES = 20
_MAX_LINE_CHARS = 1000
_MAX_COUNT_CHARS = 2  # a PIN has four digits, a card's check number three
_MAX_SHORT_COUNT_CHARS = 3

# Some names are two words in prose and in headings; a lone `key` or `id` would be innocent.
_FIRST_WORD = (
    r"(?:(?:api|access|private|session|pass(?=[ ](?:word|phrase|code|key))|connection|client|secret|auth|"
    r"signing|encryption|master|license|credit|"
    r"account|security|verification|confirmation|phone|mobile|first|last|full|user|mail|birth|"
    r"social|one.time|card(?=[ ](?:number|no|nr|code|holder|pin|cv))|"
    r"bank|seed|recovery|backup|passport|national|tax|driver|insurance|web)[ ](?=\w))?"
)
# What is said about a value before it comes: `access_token is not valid: '…'`, `token was …`.
_SAID_WORD = (
    r"[ ](?:is|was|are|were|set|reset|changed|equals?|to|not|valid|invalid|wrong|incorrect|mismatch|expected|"
    r"got|rejected|refused|denied|too|short|long|weak|given|provided|received|unknown|bad|expired|revoked|"
    r"failed|does|match|found|value|used|leaked|of|from|now|again|format|with|must|be|ist|war|lautet|falsch):?"
)
_SAID = (
    rf"(?P<said>(?:{_SAID_WORD}){{0,6}}[ ](?=[\"'`])"
    r"|[ ]?[(\[](?!scrubbed:)(?![A-Za-z_]{1,40}=)(?=[\"'`]?[^\s()\[\]\"'`]{6,200}[\"'`]?[)\]])"
    rf"|(?P<told>(?:{_SAID_WORD}){{1,6}}[ ](?=[^\s\"'`()\[\]{{}}<>-][^\s()\[\]{{}}<>]{{5}})))"
)
_NAMED = re.compile(
    r"(?<![\w.\-])(?<!\[scrubbed:)"
    rf"(?P<name>{_FIRST_WORD}[\w.\-]++)"
    r"(?P<sign>[\\\"'\])]{0,8}(?:\[\])?"
    r"(?:[ ]?:[ ]?(?:str|bytes|int|float|Any|SecretStr|Optional|Union|Final|ClassVar|Annotated|"
    r"Literal|Sequence|list|tuple|dict|"
    r"(?:t|typing|pydantic)\.[A-Za-z]{1,30})(?:\[[^\n=]{0,80}\])?"
    r"(?:[ ]?\|[ ]?[A-Za-z]{1,30}(?:\[\w{1,30}\])?){0,3}[ ]=[ ]"
    r"|\s{0,20}(?:=>|->|:=|={1,3}|:(?!:)|[\uff1d\uff1a]|%3[AaDd])[ \t\u00a0]{0,20}"
    r"|(?<=[\"']),\s{0,3}(?=b?[\"'])"  # a pair in a list, as headers and command lines are written
    rf"|{_SAID}"
    r"|[ \t]{1,3}(?=[^\s\-])"  # an option of a command line
    r"|>))",
    re.IGNORECASE,
)

_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.|'')*'?"
_TRIPLE = r"\"\"\".*?(?:\"\"\"|\Z)|'\''.*?(?:'\''|\Z)"
_QUOTED = re.compile(rf"[A-Za-z]{{0,2}}(?:{_TRIPLE}|{_STRING})|`[^`\n]*`?", re.DOTALL)
_ESCAPED_QUOTE = re.compile(r"(?P<slashes>\\{1,15})(?P<quote>[\"'])")
_OPENING = re.compile(r"[A-Za-z_]?[\w.]*+[\[({]")
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
_LITERAL = re.compile(
    r"(?P<open>\"\"\"|\"|'''|')(?P<inner>(?:\\.|(?!(?P=open))[^\\])*)(?P<close>(?P=open)|\Z)", re.DOTALL
)
_NAMED_FIELD = re.compile(r"\{[A-Za-z_][\w.!]{0,60}\}")
_TEMPLATE = re.compile(
    r"(?:[a-z+]{1,20}:)?[:/@?&=.,\s-]*"
)  # what is left of `{scheme}://{user}:{password}@…`
_FIELD = re.compile(r"\{[^{}]{0,200}\}")
_NAME_WORDS = re.compile(r"[A-Za-z][A-Za-z_ -]{0,80}")
_SCHEMES = frozenset({"Bearer", "Basic", "Token", "Digest", "bearer", "basic", "token"})
_HAS_NUMBER = re.compile(r"[\"']?[^\s\d]{0,40}\d")
_STATUS = re.compile(r"[^\n,;:\[({\"]{1,120}(?<!\w(?=[\[({]))")
_BEHIND_STATUS = re.compile(r":[ ]{1,3}(?=[\"'`])")  # `--password: invalid int value: '…'`
_HEADER_REST = re.compile(r"(?:=\"[^\"\n]*+\"|='[^'\n]*+'|[^\n\"'])*")
_ONE_CREDENTIAL = re.compile(
    r"(?:bearer|basic|token|negotiate|ntlm)[ \t]+[^\s,;\"']{6,}+(?![,;\"'])", re.IGNORECASE
)
_REFERENCE = re.compile(
    r"(?P<head>(?:[A-Za-z_][A-Za-z0-9_]{0,60}(?:\.[A-Za-z_][A-Za-z0-9_]{0,60}){0,6})?)"
    r"(?P<arguments>[\[({][^\n]{0,300}[\])}][.\w()\[\]]{0,60})?[;:]?"
)
_ARGUMENT = re.compile(r"\"[^\"\n]*\"?|'[^'\n]*'?|[^\s()\[\]{},:=\"']+")
# Names of exceptions, behind which a message follows.
_FAULT = re.compile(
    r"(?:Error|Exception|Warning|Fault|Failure)\Z"
    r"|(?:\A|\.)(?:Unexpected|Invalid|Bad|Expired|Missing|Unknown|Wrong|Incorrect|Revoked|Malformed|No)[A-Z][A-Za-z]*\Z"
    r"|(?:\A|\.)[A-Z][A-Za-z]*(?:Expired|Invalid|Mismatch|NotFound|Required|Missing|Denied|Failed|Revoked)\Z"
)
_NEXT_WORD = re.compile(r"[ ]([^\s\"',;<>()\[\]{}]{6,}+)")
_BEFORE_NAME = re.compile(r"\s*(?:(?:const|let|var|val|final|self\.|this\.)[ ]?|\w{1,20},[ ])?")
_NAMES = re.compile(r"\b(?:name|key|id)=[\"']\Z")  # `<string name="api_key">…</string>`
_GOES_ON = re.compile(r"[\w\"'$\\%+-]")  # behind a closing quote
_ALONE = re.compile(r"[^\s\"',;<>()]{1,80}(?:[\"',;<>)\r\n]|\Z)")  # one word, and the end
_NO_NAME = re.compile(r"[^A-Za-z_]")
_FIRST_WORD_OF_VALUE = re.compile(r"[^\s\"',;()\[\]]++")
_MAX_ARGUMENT_CHARS = 12
_MIN_PAIRED_CHARS = 4
_START_OF_PHONE = re.compile(r"\+\(?\d[\d()]*")
_MORE_DIGITS = re.compile(r"(?:[ ./-]{1,3}\(?\d[\d()]*+){1,8}")
_HEADERS = ("cookie", "authorization")
_ASSIGNS = re.compile(r"\b(?:is|was|ist|to|equals?)\b(?![ ](?:not|too)\b)", re.IGNORECASE)
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
        for match in _NAMED.finditer(text):
            if match.start() < done or not self._is_telling(text, match):
                continue
            start, end = _value(text, match)
            end = _further(text, match, start, end)
            raw = text[start:end]
            if self._names.is_secret(raw[:MAX_JUDGED_CHARS]):  # `Token: session 7f3a… expired`
                end = _after_secret_word(text, end)
                raw = text[start:end]
            is_kept = self._is_harmless(match["name"], raw) or self._is_code(text, match, raw)
            instead = raw if is_kept else self._instead(raw, text, match.start())
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
        sign, judged = match["sign"], match["name"].removeprefix("-D")[-MAX_JUDGED_CHARS:]
        if _FAULT.search(judged):
            first = _FIRST_WORD_OF_VALUE.match(text, match.end())
            return first is not None and (looks_chosen(first[0]) or looks_secret(first[0]))
        if self._names.is_secret(judged) and not (match["said"] and "okenize" in judged):
            return self._is_pair(text, match)
        is_assigned = "=" in sign or ":" in sign or sign[:1] in "\\\"'"
        if is_assigned and self._names.is_key(judged):
            start, end = _value(text, match)
            return looks_secret(text[start:end].strip("\"'` \t,;"))
        return (
            match["said"] is None
            and self._names.is_personal(judged)
            and self._is_pair(text, match)
            and _is_assigned(text, match)
        )

    def _is_pair(self, text: str, match: re.Match[str]) -> bool:
        sign, name = match["sign"].lstrip("\\\"')]"), match["name"]
        if match["said"] is not None:
            is_option = name.startswith("-") and match["told"] is None
            return is_option or self._is_quoted_secret(text, match)
        if sign == ">":
            before = text[max(0, match.start() - 8) : match.start()]
            is_element = before.endswith("<") and not text.startswith(("/", ">", " "), match.end())
            return is_element or _NAMES.search(before) is not None
        if sign.isspace():
            return name.startswith("-")
        if sign.startswith(","):
            if name.startswith("-"):
                return True
            return self._is_two_item_list(text, match) or _is_followed_by_secret(text, match)
        is_parser = (
            name.lower() in ("token", "tokens") and text[: match.start()][-11:].lower() == "unexpected "
        )
        return not is_parser

    def _is_quoted_secret(self, text: str, match: re.Match[str]) -> bool:
        """Tell whether what is quoted behind a name and some words about it is its value."""
        quoted = _QUOTED.match(text, match.end()) or _FIRST_WORD_OF_VALUE.match(text, match.end())
        value = "" if quoted is None else quoted[0].strip("\"'`()[] ").rstrip(".,:;")
        if not value or self._names.is_sensitive(value):
            return False
        is_quoted = match["said"].endswith(" ") and match["told"] is None
        if is_quoted and (_ASSIGNS.search(match["said"]) or _IS_PASSWORD.search(match["name"])):
            return True
        name = match["name"]
        if _IS_PASSWORD.search(name) and _NO_NAME.search(value) and not value.isdigit():
            return True
        is_compound = not name.isalpha() or not name[1:].islower() or name.lower().startswith("credential")
        return looks_chosen(value) or looks_secret(value) or (is_compound and is_slug(value))

    def _is_two_item_list(self, text: str, match: re.Match[str]) -> bool:
        before = text[max(0, match.start() - 3) : match.start()].rstrip("\"'").removesuffix("b")
        value = _QUOTED.match(text, match.end())
        if value is None or not before.endswith(("(", "[")) or not text.startswith((")", "]"), value.end()):
            return False
        bare = value[0].removeprefix("b").strip("\"'")
        is_name = _NAME_WORDS.fullmatch(bare) is not None and self._names.is_sensitive(bare)
        return len(bare) >= _MIN_PAIRED_CHARS and not is_name  # ["token", "password"], ["token", "id"]

    def _is_harmless(self, name: str, raw: str) -> bool:
        """Tell whether what stands there is no value: a placeholder, or words about one."""
        value = raw.strip("\"' \t")
        if value.lower() in GENERIC and not self._names.is_secret(name):
            return True
        if value.isupper() and name.startswith("-") and self._names.is_sensitive(value):
            return True  # `--token TOKEN`, of a usage
        return _is_no_value(name, raw)

    def _is_code(self, text: str, match: re.Match[str], raw: str) -> bool:
        """Tell whether the value is an expression of a program without a literal: `os.environ["TOKEN"]`."""
        if raw == "await" or (raw == "f" and text.startswith(('"', "'"), match.end() + 1)):
            return True
        parts = _REFERENCE.fullmatch(raw)
        if parts is None or not (parts["head"] or parts["arguments"]):
            return False
        head, arguments = parts["head"], parts["arguments"]
        if (
            arguments is None
        ):  # `self.token = token`, `"token": token`, `email == email`, `key = settings.key`
            if head.lower() == match["name"].lower() != head:  # `tokenService: TokenService`
                return True
            is_compared = "==" in match["sign"]
            is_reference = "." in head + match["name"] or is_compared or match["sign"][:1] in "\"'"
            is_name = head[-1].isalpha() and self._names.is_sensitive(head.rpartition(".")[2])
            return (is_compared and head.islower() and is_wordy(head)) or (is_reference and is_name)
        is_call = "." in head or "_" in head or arguments in ("()", "[]") or _is_statement(text, match)
        if not is_call or looks_chosen(head):
            return False
        return all(self._is_argument(word[0]) for word in _ARGUMENT.finditer(arguments))

    def _is_argument(self, word: str) -> bool:
        bare = word.strip("\"' ")
        if word[0] not in "\"'":
            return not looks_chosen(bare)
        is_word = bare.isalpha() and bare.islower() and len(bare) <= _MAX_ARGUMENT_CHARS
        is_kept = is_word or is_placeholder(bare) or bare in _SCHEMES or self._names.is_sensitive(bare)
        return is_kept or not any(map(str.isalnum, bare))

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
            or inner in _SCHEMES
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


def _is_statement(text: str, match: re.Match[str]) -> bool:
    """Tell whether the line begins with the name, and ` = ` follows, as in a program."""
    line = text[max(0, match.start() - 60) : match.start()].rpartition("\n")[2]
    return match["sign"].endswith(" = ") and _BEFORE_NAME.fullmatch(line) is not None


def _is_no_value(name: str, raw: str) -> bool:
    value = raw.strip("\"' \t")
    bare = raw.strip("\"' \t()[]{}")
    if (
        is_placeholder(value)
        or is_placeholder(bare)
        or is_status(bare)
        or value in _SCHEMES
        or _is_template(value)
    ):
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
    if ":" in sign and _ALONE.match(text, match.end()):
        return True
    line = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
    before = line.rstrip()
    return not before or not before[-1].isalnum()


def _after_secret_word(text: str, at: int) -> int:
    word = _NEXT_WORD.match(text, at)
    return word.end() if word is not None and (looks_chosen(word[1]) or looks_secret(word[1])) else at


def _is_followed_by_secret(text: str, match: re.Match[str]) -> bool:
    value = _QUOTED.match(text, match.end())
    if value is None:
        return False
    bare = value[0].removeprefix("b").strip("\"'")
    return looks_chosen(bare) or looks_secret(bare) or (text.startswith(")", value.end()) and is_slug(bare))


def _value(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return where the value begins and ends."""
    start = match.end()
    if match["sign"].endswith(">"):
        end = text.find("<", start)
        return start, len(text) if end < 0 else end
    block = _BLOCK.match(text, start)
    if block is not None:
        return start, block.end() - (1 if block[0].endswith("\n") else 0)
    line = _NEXT_LINE.match(text, start) or _TYPE.match(text, start)
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
        behind = _BEHIND_STATUS.match(text, status.end())
        if behind is None:
            return start, status.end()
        start = end = behind.end()
    while (further := _piece(text, end, is_first=end == start)) > end:
        end = further
        if text[end - 1] in "\"'" and not _GOES_ON.match(text, end):
            break
    return start, end


def _further(text: str, match: re.Match[str], start: int, end: int) -> int:
    """Return where the value ends if spaces belong to it: in telephone numbers and in passphrases."""
    if _START_OF_PHONE.fullmatch(text, start, end):
        more = _MORE_DIGITS.match(text, end)
        return end if more is None else more.end()
    sign = match["sign"]
    if text[start:end].isalpha() and (":" in sign or "= " in sign):
        return end_of_passphrase(text, end)
    return end


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
