"""Remove values from messages of known layout: of databases, validators, servers and protocols.

Parameters, rows, keys and literals in a database's message are data of users, so they are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from .entropy import looks_chosen, looks_identifying, looks_made_up, looks_secret
from .keys import DEFAULT_NAMES
from .patterns import Pattern, Rule, placeholder, rewriting, rule, word_list
from .values import after_brackets, is_placeholder, is_sentence_word, is_status

_STRING = r"(?:'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\")"
_SQL = placeholder("sql")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_BRACKET_OR_STRING = Pattern(rf"(?s)[\[({{\])}}]|{_STRING}")
_SCRUBBED = Pattern(r"[\"'(\[{]*\[scrubbed:[a-z-]+\][\"')\]}]*")

_PARAMETERS = Pattern(
    r"(?i)(?:\[(?:cached since|generated in|no key|dialect)[^\]\n]{0,80}\][ ]?|; args=(?=[(\[{])|"
    r"\b(?:bound )?(?:parameters|params|bind(?:ing)?s|sql_params|query_params)[\"']?[ ]?[:=][ ]?)"
    r"(?P<open>[\[({])(?![\])}])"
)
_KEY_DETAIL = (
    r"\bKey \([^()\n]{1,400}\)=\((?P<value>[^\n]{0,2000}?)\)"
    r"(?= (?:already|is |conflicts|in )|[.\n]|\\n|[\"']|\Z)"
)
_FAILING_ROW = r"(?P<before>\bFailing row contains )\((?:[^\n]*\)(?=\.|\\n|[\"'\n]|\Z)|[^\n]*+)"
_NUMBERED = rf"(?s)(?:\$\d{{1,4}}|(?<![\w\]]):\w{{1,40}})(?:::\w{{1,40}})?[ ]?[:=][ ]?(?P<value>{_STRING})"
_INCORRECT = (
    r"\b(?:Incorrect \w{1,20} value:|Truncated incorrect \w{1,20} value:|Data truncated for|"
    r"invalid input value for enum \w{1,60}:|date/time field value out of range:|value out of range:) "
    rf"(?P<value>{_STRING})"
)
_INVALID_SYNTAX = (
    r"\binvalid input syntax for (?:type )?[\w ]{1,40}: (?P<quote>[\"'])(?P<value>[^\n]{0,4000})(?P=quote)"
)
_REFUSED = (  # by SQL Server, PostgreSQL and MongoDB
    r"(?P<before>\bconverting the \w{1,20} value )'[^\n]{0,2000}?'(?= to data type)"
    r"|(?P<key>\bduplicate key value is )\([^\n]{0,2000}?\)(?=[.\n]|\Z)"
    r"|(?P<token>\bToken )\"[^\"\n]{0,2000}\"(?= is invalid)"
    r"|(?P<line>\b(?:JSON data|COPY [\w.\"]{1,80}), line \d{1,9}(?:, column \w{1,60})?: )[^\n]++"
    r"|(?P<document>\bdup key: )\{[^\n]{0,2000}?\}(?!\w)"
)
_DB_USER = r"'(?P<user>[^'\n@]{1,80})'@'(?P<host>[^'\n]{1,200})'"
_VALUES = Pattern(r"\bVALUES\s*\(|\bvalues\s*\(")
_NEXT_ROW = Pattern(r",\s{0,20}\(")
_LITERAL = Pattern(rf"(?s)[NEBXnebx]?{_STRING}|(?<![\w.$:%])-?\d+(?:\.\d+)?(?![\w.])")
_STATEMENT = Pattern(
    r"\b(?:SELECT|UPDATE|DELETE|WHERE|HAVING)\b"
    r"|\b(?:select\b[^\n]{1,300}?\bfrom|update\s+[\w.\"`]{1,80}\s+set|delete\s+from)\b"
)
_COMPARED = Pattern(
    r"(?i)(?P<before>(?:[=<>(,|]|\b(?:I?LIKE|AND|BETWEEN|THEN|ELSE|TO|REGEXP|GLOB|MATCH))\s{0,5}[NEne]?)(?P<value>'(?:[^'\n]|'')*')"
)
_KEPT_LITERAL = Pattern(  # states and kinds, spans of time, formats
    r"'(?:%?(?:[a-z][a-z_.-]{0,20}|[A-Z][A-Z_]{0,20})?%?|[\d.:TZ+% -]{0,32}|\d{1,4} [a-z]{3,8}|"
    r"(?:%[A-Za-z%][:/ .T-]{0,3}){1,10}|[$/][\w.\[\]/*]{0,30}|\W{0,4})'"
)
_CREDENTIALS_CALL = (
    r"(?s)(?P<before>\b\w{0,40}(?:Auth|[Ll]ogin|[Cc]redentials?|authenticate|AuthBase)\()"
    rf"(?:{_STRING},\s{{0,5}}{_STRING}|[\w.@+-]{{1,80}},[ ]?(?P<bare>[^\s,()\"']{{6,100}}(?=\))))"
)
_IDENTIFIED = (
    r"(?P<before>\b(?:IDENTIFIED (?:WITH \w{1,60} )?BY|PASSWORD|WITH PASSWORD|password|"
    rf"SET PASSWORD FOR '[^\n=]{{1,200}}'[ ]?=)[ ]+)(?P<value>{_STRING})"
)


def _credentials(match: re.Match[str]) -> str:
    bare = match["bare"]
    is_name = bare is not None and not looks_chosen(bare) and not looks_identifying(bare)
    return match[0] if is_name else f"{match['before']}'{placeholder('value')}'"


def _is_password(match: re.Match[str]) -> bool:
    value = match["value"][1:-1]
    is_word = value.isidentifier() and not looks_made_up(value) and match["before"].islower()
    return not (is_word or is_placeholder(value) or is_status(value))


# `'root'@'localhost'` identifies nobody.
def _db_user(match: re.Match[str]) -> str:
    is_everywhere = match["user"] in word_list("generic") and match["host"] in word_list("generic")
    return match[0] if is_everywhere else f"'{_SQL}'@'{_SQL}'"


_SHORT_WORD = Pattern(r"[a-z/_-]{0,12}|\W{0,4}|[A-Z]{1,8}|-?\d{1,4}(?:[.,]\d{1,4})?")


def _refused(match: re.Match[str]) -> str:
    before = match["before"] or match["key"] or match["token"] or match["line"] or match["document"]
    return f"{before}{_SQL}"


def _replaced(
    text: str, pattern: Pattern, replace: Callable[[re.Match[str]], tuple[int, int, str] | None]
) -> str:
    # `replace` returns start, end and new text; matches go from left to right and never overlap.
    kept: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        if match.start() >= done and (found := replace(match)) is not None:
            start, end, instead = found
            kept += [text[done:start], instead]
            done = end
    return "".join([*kept, text[done:]]) if kept else text


def _parameters(match: re.Match[str]) -> tuple[int, int, str] | None:
    text, start = match.string, match.start("open")
    end = after_brackets(text, start, _BRACKET_OR_STRING)
    if _SCRUBBED.fullmatch(text, start, end):
        return None
    return start, end, f"{text[start]}{_SQL}{_CLOSING[text[start]]}"


def _rows(match: re.Match[str]) -> tuple[int, int, str]:
    # Rows hold data of users, so every text and number in `VALUES (…)` goes.
    text, start = match.string, match.end() - 1
    end = after_brackets(text, start, _BRACKET_OR_STRING)
    while further := _NEXT_ROW.match(text, end):
        end = after_brackets(text, further.end() - 1, _BRACKET_OR_STRING)
    return start, end, _LITERAL.sub(_literal, text[start:end])


def _literal(match: re.Match[str]) -> str:
    return match[0] if _SCRUBBED.fullmatch(match[0]) else f"'{_SQL}'"


def _without_compared(text: str) -> str:
    # States and kinds remain, which explain the error: `= 'failed'`.
    found = _STATEMENT.search(text)
    if found is None:
        return text
    return text[: found.start()] + _COMPARED.sub(_compared, text[found.start() :])


def _compared(match: re.Match[str]) -> str:
    value = match["value"]
    is_kept = _KEPT_LITERAL.fullmatch(value) or is_placeholder(value[1:-1]) or _SCRUBBED.fullmatch(value)
    return match[0] if is_kept else f"{match['before']}'{_SQL}'"


_CREDENTIALS_TRIGGERS = ("auth(", "login(", "credential", "authenticate(", "authbase(")
_INCORRECT_TRIGGERS = ("incorrect", "truncated", "invalid input value", "out of range:")
_REFUSED_TRIGGERS = ("converting the", "duplicate key value is", "token ", ", line ", "dup key")
DATABASES = (
    Rule(
        "sql",
        ("param", "bind", "args=", "[cached", "[generated", "[no key", "[dialect"),
        partial(_replaced, pattern=_PARAMETERS, replace=_parameters),
    ),
    rule("sql", "key (", _KEY_DETAIL),
    rewriting("sql", "failing row", _FAILING_ROW, rf"\g<before>({_SQL})"),
    rule("sql", "duplicate entry", r"\bDuplicate entry (?P<value>'.*?')(?= for key|$)", keeps_quotes=True),
    rule("sql", ("$", ":"), _NUMBERED, keeps_quotes=True),
    rule(
        "sql",
        "query argument",
        r"\binvalid input for query argument \$?\d{1,4}: (?P<value>[^\n]{1,4000}?)(?= \(|\n|\Z)",
    ),
    rewriting("sql", _CREDENTIALS_TRIGGERS, _CREDENTIALS_CALL, _credentials),
    rule("sql", _INCORRECT_TRIGGERS, _INCORRECT, keeps_quotes=True),
    rule("sql", ("password ", "identified by"), _IDENTIFIED, _is_password, keeps_quotes=True),
    rule("sql", "invalid input syntax", _INVALID_SYNTAX, lambda m: not _SHORT_WORD.fullmatch(m["value"])),
    rewriting("sql", "'@'", _DB_USER, _db_user),
    Rule("sql", "values", partial(_replaced, pattern=_VALUES, replace=_rows)),
    rewriting("sql", _REFUSED_TRIGGERS, _REFUSED, _refused),
    Rule("sql", ("select", "update", "delete", "where", "having"), _without_compared),
)

_INPUT_OF_ERROR = Pattern(  # as `ValidationError.errors()` returns it
    rf"(?s)(?P<before>[\"']msg[\"'][ ]?:[ ]?{_STRING},\s{{0,20}}[\"']input[\"'][ ]?:[ ]?)"
    rf"(?P<value>{_STRING}|[^\s,{{}}\[\]()\"']+)?"
)
_INPUT_VALUE = r"(?s)\binput_value=(?P<value>.*?)(?=, input_type=|\]?\s*\n|\]\Z|\Z)"
_NO_INPUT = Pattern(r"\{\}|\[\]|\(\)|''|\"\"|None|null|[Tt]rue|[Ff]alse|Ellipsis|PydanticUndefined")


def _is_input(value: str) -> bool:
    return not _NO_INPUT.fullmatch(value) and not _SCRUBBED.fullmatch(value)


def _input(match: re.Match[str]) -> tuple[int, int, str] | None:
    text, start = match.string, match.end("before")
    end = match.end() if match["value"] else after_brackets(text, match.end(), _BRACKET_OR_STRING)
    return (start, end, f"'{placeholder('input')}'") if _is_input(text[start:end]) else None


INPUTS = (
    rule("input", "input_value", _INPUT_VALUE, lambda match: _is_input(match["value"].strip())),
    Rule("input", ("input'", 'input"'), partial(_replaced, pattern=_INPUT_OF_ERROR, replace=_input)),
)
_DIRECTIVE = (  # of Redis, of routers and of PowerShell
    r"\b(?:requirepass|masterauth|(?:secret|password|key)[ ][05-9]|snmp-server community|"
    r"SecureString(?: -String)?)[ ][\"']?(?P<value>(?!-)[^\s\"',;]{4,})"
)
_PERSON = (  # who did something, or whose something is
    r"\b(?:uid|gid|groups)=\d{1,10}\((?P<user>[\w.-]{1,64})(?=\))"
    r"|(?<![\w-])[-dlbcps](?:[r-][w-][xsStT-]){3}[+.@]?\s{1,8}\d{1,6}\s{1,8}(?P<owner>[a-z_][\w.-]{1,31})"
    r"|\b(?:chown(?: -R)?|su -l?|sudo -u|sudo:|logged in as|login as|[Uu]ser(?= ['\"])) ['\"]?"
    r"(?P<name>[a-z_][\w.-]{2,31}(?::[a-z_][\w.-]{1,31})?)(?![\w=(])"
    r"|(?<![\w@.-])(?P<prompt>[a-z_][\w.-]{1,31}@[\w-]{1,63})(?=:[~/][\w./~-]{0,100}[$#])"
)
_PROTOCOL_COMMAND = (  # of Redis, of FTP and POP3, of IMAP
    r"\b(?:AUTH[ ][\"']?(?:[\w.-]{1,40}[ ])?|PASS[ ]|LOGIN[ ][^\s]{1,100}[ ])[\"']?"
    r"(?P<value>[^\s\"',;)\]}>]{6,})"
)
_DIGEST_FIELD = r"[\w-]{2,20}=(?:\"[^\"\n]{0,300}\"|[^\s,\"]{1,300})"
_DIGEST = rf"(?i)\bDigest[ ]{{1,2}}(?P<value>{_DIGEST_FIELD}(?:,[ ]{{0,2}}{_DIGEST_FIELD}){{1,20}})"
_SERVER = (
    r"(?i)(?P<before>\b(?:could not translate host name|connection to server at|MySQL server (?:on|at)) "
    r"[\"'])(?P<host>[^\"'\n]{1,253})"
    r"|(?P<scheme>\b(?!https?:|wss?:|git|ssh:|file:)[a-z][a-z0-9+.-]{1,30}://\[scrubbed:userinfo\]@)"
    r"(?P<hosts>[\w.-]{1,253}(?:(?::\d{1,5})?,[\w.-]{1,253}){0,8})"
)
_LOCAL = ("localhost", "127.0.0.1", "::1")


def _server(match: re.Match[str]) -> str:
    # Very many installations have some hosts, such as `localhost`, so these identify nobody.
    host = (match["host"] or match["hosts"]).lower()
    if host in _LOCAL or host in word_list("generic") or host.startswith(("[", "/")):
        return match[0]
    return f"{match['before'] or match['scheme']}{placeholder('host')}"


def _person(match: re.Match[str]) -> str:
    # Very many hosts have some accounts, such as `root`, so these identify nobody.
    user = match["user"] or match["owner"] or match["name"] or match["prompt"]
    name = user.partition(":")[0]
    is_word = name.lower() in word_list("generic") or name.isdigit() or is_sentence_word(name)
    return match[0] if is_word else f"{match[0].removesuffix(user)}{placeholder('user')}"


def _looks_like_password(match: re.Match[str]) -> bool:
    return looks_chosen(match["value"]) or looks_secret(match["value"])


BEFORE_HOSTS = (
    rule(
        "value",
        "={",
        r";\s?(?:PWD|Pwd|Password)=\{(?P<value>[^{}\n]{1,200})(?=\})",  # of ODBC
        lambda match: not DEFAULT_NAMES.is_name(match["value"]),
    ),
    rule("userinfo", "jdbc:oracle", r"\bjdbc:oracle:\w{1,10}:(?P<value>[^\s/@]{1,80}/[^\s@/]{1,200})@"),
    rule("value", ("auth ", "pass ", "login "), _PROTOCOL_COMMAND, _looks_like_password),
    rule("authorization", "digest ", _DIGEST),
    rewriting("host", ("host name", "server at", "server on", "://"), _SERVER, _server),
)
AFTER_HOSTS = (
    rule(
        "user",
        ("role ", "user "),
        r"(?i)\b(?:for user|role) \"(?P<value>[^\"\n]{1,63})(?=\"|\n|\Z)",
        lambda match: match["value"].lower() not in word_list("generic"),
    ),
    rewriting(
        "user",
        ("id=", "groups=", "rw", "r--", "r-x", "chown", "su -", "sudo", " as ", "user ", "@"),
        _PERSON,
        _person,
    ),
    rule(
        "value",
        ("requirepass", "masterauth", "secret ", "password ", "key ", "community", "securestring"),
        _DIRECTIVE,
    ),
)
PGPASS = rule(
    "value",
    ":",
    r"(?<![\w.])[\w.*-]{1,80}:(?:\d{3,5}|\*):[\w*.-]{1,60}:[\w*.-]{1,60}:"
    r"(?P<value>(?:[^\s:\"'\[,]|,(?![\w.*-]+:))+)",
    lambda match: re.search(r"[^A-Za-z_]", match["value"]) is not None,
)
