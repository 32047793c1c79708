"""What databases say about the data they were given: parameters, rows, keys, literals.

What stands in these places came from outside, whatever it is, so it goes without being judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from .looks import looks_chosen, looks_identifying, looks_made_up
from .machine import GENERIC
from .marks import mark
from .phrases import is_placeholder, is_status
from .values import after_brackets

STRING = r"(?:'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\")"
_MARK = mark("sql")
PARAMETERS = re.compile(
    r"(?P<before>\[(?:cached since|generated in|no key|dialect)[^\]\n]{0,80}\][ ]?|; args=(?=[(\[{])|"
    r"\b(?:bound )?(?:parameters|params|bind(?:ing)?s|sql_params|"
    r"query_params)[\"']?[ ]?[:=][ ]?)(?P<open>[\[({])(?![\])}])",
    re.IGNORECASE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
BRACKET_OR_STRING = re.compile(rf"[\[({{\])}}]|{STRING}", re.DOTALL)
KEY_DETAIL = re.compile(
    r"(?P<before>\bKey \([^()\n]{1,400}\)=)\((?P<value>[^\n]{0,2000}?)\)(?= (?:already|is |conflicts|"
    r"in )|[.\n]|\\n|[\"']|\Z)"
)
FAILING_ROW = re.compile(r"(?P<before>\bFailing row contains )\((?:[^\n]*\)(?=\.|\\n|[\"'\n]|\Z)|[^\n]*+)")
DUPLICATE = re.compile(r"(?P<before>\bDuplicate entry )(?P<value>'.*?')(?= for key|$)")
NUMBERED = re.compile(
    rf"(?P<before>(?:\$\d{{1,4}}|(?<![\w\]]):\w{{1,40}})(?:::\w{{1,40}})?[ ]?[:=][ ]?)(?P<value>{STRING})",
    re.DOTALL,
)
INCORRECT = re.compile(
    rf"(?P<before>\b(?:Incorrect \w{{1,20}} value:|Truncated incorrect \w{{1,20}} value:|"
    rf"Data truncated for|invalid input value for enum \w{{1,60}}:"
    rf"|date/time field value out of range:|value out of range:) )(?P<value>{STRING})"
)
INVALID_SYNTAX = re.compile(
    r"(?P<before>\binvalid input syntax for (?:type )?[\w ]{1,40}: )"
    r"(?P<quote>[\"'])(?P<value>[^\n]{0,4000})(?P=quote)"
)
REFUSED = re.compile(  # by SQL Server and PostgreSQL
    r"(?P<before>\bconverting the \w{1,20} value )(?P<value>'[^\n]{0,2000}?')(?= to data type)"
    r"|(?P<key>\bduplicate key value is )\([^\n]{0,2000}?\)(?=[.\n]|\Z)"
    r"|(?P<token>\bToken )\"[^\"\n]{0,2000}\"(?= is invalid)"
    r"|(?P<line>\b(?:JSON data|COPY [\w.\"]{1,80}), line \d{1,9}(?:, column \w{1,60})?: )[^\n]++"
    r"|(?P<document>\bdup key: )\{[^\n]{0,2000}?\}(?!\w)",
)
DB_USER = re.compile(r"'(?P<user>[^'\n@]{1,80})'@'(?P<host>[^'\n]{1,200})'")
VALUES = re.compile(r"\bVALUES\s*\(|\bvalues\s*\(")
STATEMENT = re.compile(
    r"\b(?:SELECT|UPDATE|DELETE|WHERE|HAVING)\b"
    r"|\b(?:select\b[^\n]{1,300}?\bfrom|update\s+[\w.\"`]{1,80}\s+set|delete\s+from)\b"
)
_COMPARED = re.compile(
    r"(?P<before>(?:[=<>(,|]|\b(?:I?LIKE|AND|BETWEEN|THEN|ELSE|TO|REGEXP|GLOB|MATCH))\s{0,5}[NEne]?)(?P<value>'(?:[^'\n]|'')*')",
    re.IGNORECASE,
)
_KEPT_LITERAL = re.compile(  # states and kinds, spans of time, formats
    r"'(?:%?(?:[a-z][a-z_.-]{0,20}|[A-Z][A-Z_]{0,20})?%?|[\d.:TZ+% -]{0,32}|\d{1,4} [a-z]{3,8}|"
    r"(?:%[A-Za-z%][:/ .T-]{0,3}){1,10}|[$/][\w.\[\]/*]{0,30}|\W{0,4})'"
)
_NEXT_ROW = re.compile(r",\s{0,20}\(")
QUERY_ARGUMENT = re.compile(
    r"(?P<before>\binvalid input for query argument \$?\d{1,4}: )[^\n]{1,4000}?(?= \(|\n|\Z)"
)
CREDENTIALS_CALL = re.compile(
    rf"(?P<before>\b\w{{0,40}}(?:Auth|[Ll]ogin|[Cc]redentials?|authenticate|"
    rf"AuthBase)\()(?P<value>{STRING},\s{{0,5}}{STRING}"
    r"|[\w.@+-]{1,80},[ ]?(?P<bare>[^\s,()\"']{6,100}(?=\))))",
    re.DOTALL,
)
_LITERAL = re.compile(rf"[NEBXnebx]?{STRING}|(?<![\w.$:%])-?\d+(?:\.\d+)?(?![\w.])", re.DOTALL)
IDENTIFIED = re.compile(
    r"(?P<before>\b(?:IDENTIFIED (?:WITH \w{1,60} )?BY|PASSWORD|WITH PASSWORD|password|"
    r"SET PASSWORD FOR '[^\n=]{1,200}'[ ]?=)[ ]+)"
    rf"(?P<value>{STRING})"
)
MARKED = re.compile(r"[\"'(\[{]*\[scrubbed:[a-z-]+\][\"')\]}]*")


def _credentials(match: re.Match[str]) -> str:
    bare = match["bare"]
    is_name = bare is not None and not looks_chosen(bare) and not looks_identifying(bare)
    return match[0] if is_name else f"{match['before']}'{mark('value')}'"


def _quoted(match: re.Match[str]) -> str:
    value = match["value"]
    return f"{match['before']}{value[0]}{_MARK}{value[0]}"


def _quoted_secret(match: re.Match[str]) -> str:
    value = match["value"][1:-1]
    is_word = value.isidentifier() and not looks_made_up(value) and match["before"].islower()
    return match[0] if is_word or is_placeholder(value) or is_status(value) else _quoted(match)


def _db_user(match: re.Match[str]) -> str:
    is_everywhere = match["user"] in GENERIC and match["host"] in GENERIC
    return match[0] if is_everywhere else f"'{_MARK}'@'{_MARK}'"


def _syntax(match: re.Match[str]) -> str:
    is_word = _SHORT_WORD.fullmatch(match["value"]) is not None
    return match[0] if is_word else f"{match['before']}{match['quote']}{_MARK}{match['quote']}"


_SHORT_WORD = re.compile(r"[a-z/_-]{0,12}|\W{0,4}|[A-Z]{1,8}|-?\d{1,4}(?:[.,]\d{1,4})?")


def _refused(match: re.Match[str]) -> str:
    before = match["before"] or match["key"] or match["token"] or match["line"] or match["document"]
    return f"{before}{_MARK}"


def _without_parameters(text: str) -> str:
    kept: list[str] = []
    done = 0
    for match in PARAMETERS.finditer(text):
        if match.start() < done:
            continue
        start = match.start("open")
        end = after_brackets(text, start, BRACKET_OR_STRING)
        if not MARKED.fullmatch(text, start, end):
            kept += [text[done:start], text[start], _MARK, _CLOSING[text[start]]]
            done = end
    return "".join([*kept, text[done:]]) if kept else text


def _without_literals(text: str) -> str:
    """Take out texts and numbers within `VALUES (…)`."""
    kept: list[str] = []
    done = 0
    for match in VALUES.finditer(text):
        if match.start() < done:
            continue
        start = match.end() - 1
        end = after_brackets(text, start, BRACKET_OR_STRING)
        while further := _NEXT_ROW.match(text, end):
            end = after_brackets(text, further.end() - 1, BRACKET_OR_STRING)
        kept += [text[done:start], _LITERAL.sub(_literal, text[start:end])]
        done = end
    return "".join([*kept, text[done:]]) if kept else text


def _without_compared(text: str) -> str:
    """Take out texts with which a statement compares, unless they are states and kinds: `= 'failed'`."""
    found = STATEMENT.search(text)
    if found is None:
        return text
    return text[: found.start()] + _COMPARED.sub(_compared, text[found.start() :])


def _compared(match: re.Match[str]) -> str:
    value = match["value"]
    is_kept = _KEPT_LITERAL.fullmatch(value) or is_placeholder(value[1:-1]) or MARKED.fullmatch(value)
    return match[0] if is_kept else f"{match['before']}'{_MARK}'"


def _literal(match: re.Match[str]) -> str:
    return match[0] if MARKED.fullmatch(match[0]) else f"'{_MARK}'"


DATABASE_RULES: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("param", "bind", "args=", "[cached", "[generated", "[no key", "[dialect"), _without_parameters),
    (("key (",), partial(KEY_DETAIL.sub, rf"\g<before>({_MARK})")),
    (("failing row",), partial(FAILING_ROW.sub, rf"\g<before>({_MARK})")),
    (("duplicate entry",), partial(DUPLICATE.sub, rf"\g<before>'{_MARK}'")),
    (("$", ":"), partial(NUMBERED.sub, _quoted)),
    (("query argument",), partial(QUERY_ARGUMENT.sub, rf"\g<before>{_MARK}")),
    (
        ("auth(", "login(", "credential", "authenticate(", "authbase("),
        partial(CREDENTIALS_CALL.sub, _credentials),
    ),
    (("incorrect", "truncated", "invalid input value", "out of range:"), partial(INCORRECT.sub, _quoted)),
    (("password ", "identified by"), partial(IDENTIFIED.sub, _quoted_secret)),
    (("invalid input syntax",), partial(INVALID_SYNTAX.sub, _syntax)),
    (("'@'",), partial(DB_USER.sub, _db_user)),
    (("values",), _without_literals),
    (
        ("converting the", "duplicate key value is", "token ", ", line ", "dup key"),
        partial(REFUSED.sub, _refused),
    ),
    (("select", "update", "delete", "where", "having"), _without_compared),
)
"""Texts that hint at a database's message, and what takes the data out of it."""
