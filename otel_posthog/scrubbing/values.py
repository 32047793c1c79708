"""Find where the value beside a name ends, and which text is a placeholder, a remark or code.

Every scan moves forward only, so a text of n characters costs in the order of n steps, whatever it holds.
"""

from __future__ import annotations

import re

from .entropy import is_wordy, looks_chosen
from .keys import Names, is_about
from .patterns import Pattern, word_list

SCHEMES = frozenset({"Bearer", "Basic", "Token", "Digest", "bearer", "basic", "token"})
_PLACEHOLDER = Pattern("(?i)<<placeholders>>|")
_NAMED_FIELD = Pattern(r"\{[A-Za-z_][\w.!]{0,60}\}")
# The rest of `{scheme}://{user}:{password}@…`
TEMPLATE = Pattern(r"(?:[a-z+]{1,20}:)?[:/@?&=.,\s-]*")
_WORD = Pattern(r"[^\W\d_][^\W\d_'’-]*(?:['’-][^\W\d_]+)*|\d+")
_BETWEEN = Pattern(r"[\s.!?()\-–'\"<>=]*")
_MAX_STATUS_CHARS = 160
_MAX_NUMBER_CHARS = 3
_MAX_REMARKS = 512
# Texts found to be remarks, which hold no secret. A text is judged once where its value ends and once as that
# value, and a hostile text of `token=<` repeats one remark 24,000 times: half of its time.
_remarks: set[str] = set()
_PHRASE_WORD = Pattern(r"[ ]([^\W\d_]{3,14})(?![\w'’=:(\[-])")
_MIN_FURTHER_WORDS = 3
# A PIN has four digits, a card's check number three.
MAX_COUNT_CHARS = 2
_MAX_SHORT_COUNT_CHARS = 3
# The lowest limit of `int` that Python can be set to; above it raises.
_MAX_NUMBER_DIGITS = 640


def end_of_passphrase(text: str, at: int) -> int:
    """Return where the passphrase ends whose first word ends there."""
    end, count = at, 0
    while (word := _PHRASE_WORD.match(text, end)) and not is_sentence_word(word[1]):
        end, count = word.end(), count + 1
    return end if count >= _MIN_FURTHER_WORDS else at


def is_sentence_word(word: str) -> bool:
    """Return whether the word is one of those that sentences are made of."""
    word = word.lower()
    return word in word_list("status") or word in word_list("sentences")


def is_placeholder(value: str) -> bool:
    """Return whether the text only represents a value: `?`, `$1`, `%(x)s`, `{token}`, `****`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def is_status(value: str) -> bool:
    """Return whether the text consists of words about a value: `must not be empty`."""
    if value in _remarks:
        return True
    if not value or len(value) > _MAX_STATUS_CHARS:
        return False
    status, word, words, end, is_all_status = word_list("status"), "", 0, 0, True
    for words, match in enumerate(_WORD.finditer(value), 1):
        word = match[0].lower()
        if word not in status and not (word.isdigit() and len(word) <= _MAX_NUMBER_CHARS):
            is_all_status = False
        if (words > 1 and not is_all_status) or not _BETWEEN.fullmatch(value, end, match.start()):
            return False
        end = match.end()
    if not words or not _BETWEEN.fullmatch(value, end):
        return False
    if not (is_all_status if words > 1 else word in word_list("status_alone")):
        return False
    if len(_remarks) >= _MAX_REMARKS:
        _remarks.clear()
    _remarks.add(value)
    return True


def is_no_value(text: str, match: re.Match[str], raw: str, names: Names) -> bool:
    """Return whether the text after the name is a placeholder, a remark or a reference."""
    name, value, bare = match["name"], raw.strip("\"' \t"), raw.strip("\"' \t()[]{}&*")
    if value.lower() in word_list("generic") and not names.is_secret(name):
        return True
    if value.isupper() and name.startswith("-") and names.is_name(value):
        return True  # `--token TOKEN`, of a usage
    if is_placeholder(value) or is_placeholder(bare) or is_status(bare) or value in SCHEMES:
        return True
    max_count = _MAX_SHORT_COUNT_CHARS if name.lower() == "pass" else MAX_COUNT_CHARS
    if _is_template(value) or (value.isdigit() and len(value) <= max_count):
        return True
    is_number = value.isdecimal() and value.isascii() and len(value) <= _MAX_NUMBER_DIGITS
    known = int(value) if is_number else value
    return is_about(name, known) or _is_reference(text, match, raw, names)


def _is_template(value: str) -> bool:
    # Only fields and signs, `{user}:{password}@{host}`, or one sign alone.
    bare = _NAMED_FIELD.sub("", value)
    is_sign = len(value) == 1 and not value.isalnum()
    return is_sign or (bare != value and TEMPLATE.fullmatch(bare) is not None)


_REFERENCE = Pattern(
    r"(?P<head>(?:\$?[A-Za-z_][A-Za-z0-9_]{0,60}(?:(?:\.|::|->)[A-Za-z_][A-Za-z0-9_]{0,60}){0,6})?)"
    r"(?P<arguments>[\[({][^\n]{0,300}[\])}][.\w()\[\]?]{0,60})?[;:]?"
)
_ARGUMENT = Pattern(r"\"[^\"\n]*\"?|'[^'\n]*'?|[^\s()\[\]{},:=\"']+")
_BEFORE_NAME = Pattern(r"\s*(?:(?:const|let|var|val|final|self\.|this\.)[ ]?|\w{1,20},[ ]|\w{1,40}:[ ])?")
_JOINED = Pattern(r"[._:>$]|[a-z][A-Z]")
_MAX_ARGUMENT_CHARS = 12


def _is_reference(text: str, match: re.Match[str], raw: str, names: Names) -> bool:
    """Return whether the value is an expression of a program without a literal: `os.environ["TOKEN"]`."""
    if raw == "await" or (raw == "f" and text.startswith(('"', "'"), match.end() + 1)):
        return True
    parts = _REFERENCE.fullmatch(raw)
    if parts is None or not (parts["head"] or parts["arguments"]):
        return False
    head, arguments = parts["head"], parts["arguments"]
    if arguments is None:  # `self.token = token`, `"token": token`, `email == email`, `key = settings.key`
        if _is_own_name(head, match["name"]):
            return True
        is_compared = "==" in match["sign"]
        is_reference = "." in head + match["name"] or is_compared or match["sign"][:1] in "\"'"
        is_name = head[-1].isalpha() and names.is_name(head.rpartition(".")[2])
        return (is_compared and head.islower() and is_wordy(head)) or (is_reference and is_name)
    if not head:
        return all(names.is_name(word[0]) for word in _ARGUMENT.finditer(arguments))  # (user, password)
    is_call = _JOINED.search(head) or arguments[0] == "[" or arguments == "()" or _is_statement(text, match)
    return (
        bool(is_call)
        and not looks_chosen(head.lstrip("$"))
        and all(_is_argument(word[0], names) for word in _ARGUMENT.finditer(arguments))
    )


def _is_own_name(value: str, name: str) -> bool:
    # A variable or a type has the name: `session: AsyncSession`, `token=token`.
    if value.lower() == name.lower():
        return True
    is_type = value[:1].isupper() and value.endswith(("Session", "Token", "Auth"))
    return is_type and value.lower().endswith(name.lower())


def _is_argument(word: str, names: Names) -> bool:
    bare = word.strip("\"' ")
    if word[0] not in "\"'":
        return not looks_chosen(bare)
    is_word = bare.isalpha() and bare.islower() and len(bare) <= _MAX_ARGUMENT_CHARS
    is_kept = is_word or is_placeholder(bare) or bare in SCHEMES or names.is_name(bare)
    return is_kept or not any(map(str.isalnum, bare))


def _is_statement(text: str, match: re.Match[str]) -> bool:
    # In a program the line begins with the name, and ` = ` follows.
    line = text[max(0, match.start() - 60) : match.start()].rpartition("\n")[2]
    return match["sign"].endswith(" = ") and _BEFORE_NAME.fullmatch(line) is not None


_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.|'')*'?"
_TRIPLE = r"\"\"\".*?(?:\"\"\"|\Z)|'\''.*?(?:'\''|\Z)"
QUOTED = Pattern(rf"(?s)[A-Za-z]{{0,2}}(?:{_TRIPLE}|{_STRING})|`[^`\n]*`?|«[^»\n]*»?|[“„][^“”\n]*[“”]?")
_ESCAPED_QUOTE = Pattern(r"(?P<slashes>\\{1,15})(?P<quote>[\"'])")
_OPENING = Pattern(r"[A-Za-z_$]?[\w.]*+(?:(?:::|->)[\w.]{1,60}){0,6}[\[({]")
_BRACKET_OR_STRING = Pattern(rf"(?s)[\[({{]|[\])}}]|{_STRING}")
_SCHEME = Pattern(r"(?i)(?:bearer|basic|digest|token|negotiate|apikey)[ \t]++(?!=)")
_ANGLED = Pattern(r"<[^<>\n]*+>")
# A separator ends the value only where something else begins: `a,b` is one password, `a, b=1` is not.
_PLAIN = Pattern(
    r"(?:[^\s,;&\"'`})\]<>\[({\\]|\\(?![\"'])"
    r"|[,;&\"'`})\]](?=[^\s,;&\"'`})\]\\<>\[({=:])(?![\w.-]{1,60}+[\"']?[ ]?[=:])"
    r"|(?<=[^\s])[<\[({])+"
)
_BLOCK = Pattern(r"(?:[|>][+-]?[0-9]?)?[ \t]*\r?\n(?:[ \t]+[^\n]*+(?:\n|\Z)|-[ ][^\n]*+(?:\n|\Z))+")
# Of YAML, a block of it on one line, and PHP's var_dump.
_TYPE = Pattern(r"!!\w{1,20}[ ]|[|>][+-]?\d?[ ]{1,20}(?=\S)|\w{1,20}\(\d{1,6}\)[ ](?=[\"'])")
_NEXT_LINE = Pattern(r"\r?\n[ \t]{0,20}")
_STATUS = Pattern(r"[^\n,;:\[({\"]{1,120}(?<!\w(?=[\[({]))")
_QUOTED_NUMBER = Pattern(r"[\"'`]\d{3,}[\"'`]")  # `cvc = '131' LIMIT 1`
_AFTER_STATUS = Pattern(r":[ ]{1,3}(?=[\"'`])")  # `--password: invalid int value: '…'`
_HEADER_REST = Pattern(r"(?:=\"[^\"\n]*+\"|='[^'\n]*+'|[^\n\"'])*")
_ONE_CREDENTIAL = Pattern(r"(?i)(?:bearer|basic|token|negotiate|ntlm)[ \t]+[^\s,;\"']{6,}+(?![,;\"'])")
_FIELDS = Pattern(  # of Digest and its like
    r"[\w-]{3,20}[ ]{1,2}[\w-]{1,40}=(?:\"[^\"\n]*+\"|[^\s,\"']++)"
    r"(?:,[ ]{0,2}[\w-]{1,40}=(?:\"[^\"\n]*+\"|[^\s,\"']++)){1,40}"
)
_COOKIES = Pattern(
    r"(?=[\w.-]{1,80}=)[^\s\"']*+(?:(?<=[;,])[ ](?:\w{3}, )?"
    r"(?:(?<=, )\d\d[ -]\w{3}[ -]\d{2,4}[ ][\d:]{8} GMT[;,]?)?[^\s\"']*+){0,60}"
)
_HEADER_VALUES = (_ONE_CREDENTIAL, _FIELDS, _HEADER_REST)
_COOKIE_VALUES = (_COOKIES, _HEADER_REST)
_GOES_ON = Pattern(r"[\w\"'$\\%+-]")  # after a closing quote
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
    is_header = ":" in match["sign"] and name.endswith(_HEADERS)
    if is_header and not is_quoted and text[start : start + 1] not in "[({":
        forms = _COOKIE_VALUES if name.endswith("cookie") else _HEADER_VALUES
        rest = next(filter(None, (form.match(text, start) for form in forms)), None)
        return start, rest.end() if rest is not None else start
    scheme = _SCHEME.match(text, start)
    end = start if scheme is None else scheme.end()
    status = _STATUS.match(text, start)
    if status is not None and is_status(status[0]) and not _QUOTED_NUMBER.match(text, start):
        remark_end = _AFTER_STATUS.match(text, status.end())
        if remark_end is None:
            return start, status.end()
        start = end = remark_end.end()
    while (further := _piece(text, end, is_first=end == start)) > end:
        end = further
        if text[end - 1] in "\"'" and not _GOES_ON.match(text, end):
            break
    return start, end


def _piece(text: str, at: int, *, is_first: bool) -> int:
    """Return where the quoted, bracketed or plain piece that begins there ends."""
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
    # A string within a string ends at the next quote after as many backslashes.
    closing = re.compile(rf"(?<!\\){re.escape(opening[0])}").search(text, opening.end())
    return len(text) if closing is None else closing.end()


def after_brackets(text: str, at: int, tokens: Pattern = _BRACKET_OR_STRING) -> int:
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
