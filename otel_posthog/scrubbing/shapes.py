"""Values as libraries put them into messages: database errors, validation errors, command lines.

What stands in these places came from outside, whatever it is, so it goes without being judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from .looks import looks_made_up
from .machine import GENERIC
from .marks import mark
from .phrases import is_placeholder, is_status

_STRING = r"(?:'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\")"
_MARK = mark("sql")

PARAMETERS = re.compile(
    r"(?P<before>\[(?:cached since|generated in|no key|dialect)[^\]\n]{0,80}\][ ]?|; args=(?=[(\[{])|"
    r"\b(?:bound )?(?:parameters|params|bind(?:ing)?s|sql_params|"
    r"query_params)[\"']?[ ]?[:=][ ]?)(?P<open>[\[({])(?![\])}])",
    re.IGNORECASE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_BRACKET_OR_STRING = re.compile(rf"[\[({{\])}}]|{_STRING}", re.DOTALL)

KEY_DETAIL = re.compile(
    r"(?P<before>\bKey \([^()\n]{1,400}\)=)\((?P<value>[^\n]{0,2000}?)\)(?= (?:already|is |conflicts|"
    r"in )|[.\n]|\\n|[\"']|\Z)"
)
FAILING_ROW = re.compile(r"(?P<before>\bFailing row contains )\([^\n]*+")
DUPLICATE = re.compile(r"(?P<before>\bDuplicate entry )(?P<value>'.*?')(?= for key|$)")
NUMBERED = re.compile(
    rf"(?P<before>(?:\$\d{{1,4}}|:\w{{1,40}})(?:::\w{{1,40}})?[ ]?[:=][ ]?)(?P<value>{_STRING})", re.DOTALL
)
INCORRECT = re.compile(
    rf"(?P<before>\b(?:Incorrect \w{{1,20}} value:|Truncated incorrect \w{{1,20}} value:|"
    rf"Data truncated for|invalid input value for enum \w{{1,60}}:"
    rf"|date/time field value out of range:|value out of range:) )(?P<value>{_STRING})"
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
    r"|(?P<document>\bdup key: )\{[^\n]{0,2000}?\}(?=[\"',.\s]|\Z)",
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
    rf"AuthBase)\()(?P<value>{_STRING},\s{{0,5}}{_STRING})",
    re.DOTALL,
)
_LITERAL = re.compile(rf"[NEBXnebx]?{_STRING}|(?<![\w.$:%])-?\d+(?:\.\d+)?(?![\w.])", re.DOTALL)
IDENTIFIED = re.compile(
    rf"(?P<before>\b(?:IDENTIFIED BY|PASSWORD|WITH PASSWORD|password)[ ]+)(?P<value>{_STRING})"
)

INPUT_OF_ERROR = re.compile(
    rf"(?P<before>[\"']msg[\"'][ ]?:[ ]?{_STRING},\s{{0,20}}[\"']input[\"'][ ]?:[ ]?)"
    rf"(?P<value>{_STRING}|[^\s,{{}}\[\]()\"']+)?",
    re.DOTALL,
)
INPUT_VALUE = re.compile(
    r"(?P<before>\binput_value=)(?P<value>.*?)(?=, input_type=|\]?\s*\n|\]\Z|\Z)", re.DOTALL
)
_NO_INPUT = frozenset(
    {
        "{}",
        "[]",
        "()",
        "None",
        "null",
        "true",
        "false",
        "True",
        "False",
        "''",
        '""',
        "Ellipsis",
        "PydanticUndefined",
    }
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_MARKED = re.compile(r"[\"'(\[{]*\[scrubbed:[a-z-]+\][\"')\]}]*")


def mnemonic(match: re.Match[str]) -> str:
    """Take out the words that open a wallet."""
    return f"{match['before']}{mark('mnemonic')}"


def server(match: re.Match[str]) -> str:
    """Take out which server of the installation was meant."""
    host = (match["host"] or match["hosts"]).lower()
    if host in _LOCAL or host in GENERIC or host.startswith(("[", "/")):
        return match[0]
    return f"{match['before'] or match['scheme']}{mark('host')}"


def role(match: re.Match[str]) -> str:
    """Take out whose name a database refused, unless very many installations use it."""
    return match[0] if match["user"].lower() in GENERIC else f"{match['before']}{mark('user')}"


def scrub_input_value(text: str) -> str:
    """Take out what a validation error quotes of its input."""
    return _without_inputs(INPUT_VALUE.sub(_input, text))


def _without_inputs(text: str) -> str:
    """Take out the inputs from a list of errors, as `ValidationError.errors()` gives it."""
    kept: list[str] = []
    done = 0
    for match in INPUT_OF_ERROR.finditer(text):
        if match.start() < done:
            continue
        end = match.end() if match["value"] else _after_brackets(text, match.end())
        value = text[match.end("before") : end]
        if value not in _NO_INPUT and not _MARKED.fullmatch(value):
            kept += [text[done : match.end("before")], f"'{mark('input')}'"]
            done = end
    return "".join([*kept, text[done:]]) if kept else text


def _input(match: re.Match[str]) -> str:
    value = match["value"].strip()
    if value in _NO_INPUT or _MARKED.fullmatch(value):
        return match[0]
    return f"{match['before']}{mark('input')}"


def _quoted(match: re.Match[str]) -> str:
    value = match["value"]
    return f"{match['before']}{value[0]}{_MARK}{value[0]}"


def _quoted_secret(match: re.Match[str]) -> str:
    value = match["value"][1:-1]
    is_word = value.isidentifier() and not looks_made_up(value) and match["before"].islower()
    return match[0] if is_word or is_placeholder(value) or is_status(value) else _quoted(match)


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
        end = _after_brackets(text, start)
        if not _MARKED.fullmatch(text, start, end):
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
        end = _after_brackets(text, start)
        while further := _NEXT_ROW.match(text, end):
            end = _after_brackets(text, further.end() - 1)
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
    is_kept = _KEPT_LITERAL.fullmatch(value) or is_placeholder(value[1:-1]) or _MARKED.fullmatch(value)
    return match[0] if is_kept else f"{match['before']}'{_MARK}'"


def _literal(match: re.Match[str]) -> str:
    return match[0] if _MARKED.fullmatch(match[0]) else f"'{_MARK}'"


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


DATABASE_RULES: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("param", "bind", "args=", "[cached", "[generated", "[no key", "[dialect"), _without_parameters),
    (("key (",), partial(KEY_DETAIL.sub, rf"\g<before>({_MARK})")),
    (("failing row",), partial(FAILING_ROW.sub, rf"\g<before>({_MARK})")),
    (("duplicate entry",), partial(DUPLICATE.sub, rf"\g<before>'{_MARK}'")),
    (("$", ":"), partial(NUMBERED.sub, _quoted)),
    (("query argument",), partial(QUERY_ARGUMENT.sub, rf"\g<before>{_MARK}")),
    (
        ("auth(", "login(", "credential", "authenticate(", "authbase("),
        partial(CREDENTIALS_CALL.sub, rf"\g<before>'{mark('value')}'"),
    ),
    (("incorrect", "truncated", "invalid input value", "out of range:"), partial(INCORRECT.sub, _quoted)),
    (("password ", "identified by"), partial(IDENTIFIED.sub, _quoted_secret)),
    (("invalid input syntax",), partial(INVALID_SYNTAX.sub, _syntax)),
    (("'@'",), partial(DB_USER.sub, f"'{_MARK}'@'{_MARK}'")),
    (("values",), _without_literals),
    (
        ("converting the", "duplicate key value is", "token ", ", line ", "dup key"),
        partial(REFUSED.sub, _refused),
    ),
    (("select", "update", "delete", "where", "having"), _without_compared),
)
"""Texts that hint at a database's message, and what takes the data out of it."""


_ARG = r"(?:[\"']?,?[ \t]{1,3}[\"']?|=)"  # between an option and its value, also within a list
_VALUE = r"(?P<value>[^\s\"',\[\]]+)"
_PROGRAMS = (
    r"(?:mysql\w*|user(?:add|mod)|mariadb\w*|mongo\w*|sshpass|docker|podman|buildah|helm|az|7za?|unzip|zip|plink|"
    r"sqlcmd|bcp|ldap\w+|"
    r"redis-cli|curl|wget|http|smbclient|net|svn|twine|rabbitmqctl|psql|cqlsh|influx|htpasswd|"
    r"keytool|openssl|gpg|"
    r"xfreerdp|snmp\w+|mosquitto_\w+|amqp-\w+|ansible\w*|borg|ftp|lftp|sqlplus|isql|expdp|impdp|cypher-shell|mc|kinit|vault|rclone|restic)"
)
COMMAND = re.compile(
    rf"(?<![\w.-])(?:(?:[\w.-]{{1,40}}/){{1,6}})?{_PROGRAMS}(?:\.exe)?(?=[\"' ,])[^\n]{{1,2000}}"
)
_FLAGS = r"(?:[\"', ]{1,4}-[a-zA-Z0-9]{1,6}){0,4}"
_BREAK = r"[\"', ]{1,4}"
_WORD = rf"(?:{_BREAK}(?!-)[^\s\"',]{{1,200}})"
_OPTIONS = (
    re.compile(rf"(?P<before>[\s\"']-(?:p|P|a|w|pw|passin|passout|storepass|keypass){_ARG}){_VALUE}"),
    re.compile(r"(?P<before>[\s\"']-[pP][\"']?)(?P<value>(?![ort]{1,4}\b)[^\s\"',\[\]=-][^\s\"',\[\]]{2,})"),
    re.compile(
        rf"(?P<before>[\s\"'](?:-u|--user|-U|--proxy-user|--auth){_ARG}[^\s\"',:%]{{1,80}}[:%]){_VALUE}"
    ),
    re.compile(rf"(?P<before>\blftp\b[^\n]{{0,60}}?[\s\"']-u{_ARG}[^\s\"',]{{1,80}},){_VALUE}"),
    re.compile(r"(?P<before>[\s\"'](?:pass|env):)(?P<value>[^\s\"',]+)"),
    re.compile(r"(?P<before>\bvault[\"', ]{1,4}login[\"', ]{1,4})(?P<value>(?!-)[^\s\"',]{8,})"),
    re.compile(r"(?P<before>\bsnmp\w{1,12}\b[^\n]{0,60}?[\s\"']-c[\"', ]{1,3})(?P<value>[^\s\"',]+)"),
    re.compile(r"(?P<before>[\s\"']/user:[^\s\"',]{1,80}[\"', ]{1,4})(?P<value>(?!/)[^\s\"',]+)"),
    re.compile(r"(?P<before>[\s\"']/p:)(?P<value>[^\s\"',]+)"),
    re.compile(
        rf"(?P<before>\bnet{_BREAK}use{_BREAK}(?:[A-Za-z*]:?{_BREAK})?\\[^\s\"',]{{3,200}}{_BREAK})"
        r"(?P<value>(?!/)[^\s\"',]+)"
    ),
    re.compile(rf"(?P<before>\bisql(?:{_BREAK}[\w.]{{1,60}}){{2}}{_BREAK})(?!-){_VALUE}"),
    re.compile(
        rf"(?P<before>\bhtpasswd{_FLAGS}{_BREAK}-[a-zA-Z]{{0,4}}n[a-zA-Z]{{0,4}}{_FLAGS}{_WORD}{_BREAK}){_VALUE}"
    ),
    re.compile(
        rf"(?P<before>\bhtpasswd(?=[^\n]{{0,40}}[\"', ]-[a-zA-Z]{{0,4}}b)"
        rf"(?:{_BREAK}-[a-mo-zA-Z0-9]{{1,6}}){{1,4}}(?:{_BREAK}\d{{1,2}})?(?!{_BREAK}\d{{1,2}}\s){_WORD}{{2}}{_BREAK}){_VALUE}"
    ),
    re.compile(
        r"(?P<before>\b(?:sqlplus|expdp|impdp|sqlldr|rman)\b[^\n]{0,60}?[\s\"']\w{1,40}/)(?P<value>[^\s\"'/@,]{3,})"
    ),
    re.compile(
        rf"(?P<before>\bmc{_BREAK}alias{_BREAK}set{_WORD}{{2}}{_BREAK})(?P<value>[^\s\"',]+(?:{_WORD})?)"
    ),
    re.compile(r"(?P<before>[\s\"']\w{1,40}/)(?P<value>[^\s\"'/@,]{3,}(?=@))"),
)
PIPED = re.compile(
    r"(?:(?P<before>\becho[\"', ]{1,4})(?P<value>(?!\$)[^\s|\"']{4,200})"
    r"(?=[\"']?[ ]?\|[ ]?(?:sudo|gpg|openssl|docker|passwd|chpasswd|kinit)\b))"
)
HERE_TEXT = re.compile(r"(?P<before><<<[ ]?[\"']?)(?P<value>(?!\$)[^\s\"']{4,200})")
STORED = re.compile(  # gh secret set NAME --body …
    r"(?P<before>\bsecrets?[\"', ]{1,4}(?:set|create|put|add)\b[^\n]{0,120}?[\"' ]--?"
    r"(?:body|b|value|secret-string)(?:=|[\"', ]{1,4}))(?P<value>(?!\$)[^\s\"',]+)"
)
_NO_SECRET_VALUE = re.compile(r"\d{1,5}(?::\d{1,5})*(?:/(?:tcp|udp))?|\.{0,2}/.*|-.*|\[.*")


def scrub_command_line(text: str) -> str:
    """Take out passwords that programs take as short options: `mysql -p…`, `curl -u user:…`."""
    for pattern in (STORED, PIPED, HERE_TEXT):
        text = pattern.sub(_option, text)
    return COMMAND.sub(_command, text)


def _command(match: re.Match[str]) -> str:
    line = match[0]
    for option in _OPTIONS:
        line = option.sub(_option, line)
    return line


def _option(match: re.Match[str]) -> str:
    value = match["value"]
    if value.startswith("[scrubbed:") or _NO_SECRET_VALUE.fullmatch(value):
        return match[0]
    return f"{match['before']}{mark('option')}"


MNEMONIC = re.compile(
    r"(?P<before>(?<![A-Za-z])(?:mnemonic|seed|phrase|wallet)s?\b[^\n]{0,40}?[\"' :=])"
    r"(?P<value>[a-z]{3,8}(?:[ ,]{1,2}[a-z]{3,8}){11,23})(?![a-z])",
    re.IGNORECASE,
)
ODBC_PASSWORD = re.compile(
    r"(?P<before>;\s?(?:PWD|Pwd|Password)=\{)(?P<value>[^{}\n]{1,200})(?=\}(?:[;\"'\s})\],.!]|\Z))"
)
ORACLE_USER = re.compile(r"(?P<before>\bjdbc:oracle:\w{1,10}:)[^\s/@]{1,80}/[^\s@/]{1,200}@")
REDIS_AUTH = re.compile(r"(?P<before>\bAUTH[ ][\"']?(?:[\w.-]{1,40}[ ])?)(?P<value>[^\s\"',;)\]}>]{6,})")
FORM_DATA = re.compile(
    r"(?P<before>form-data;[^\n]{0,40}?name=[\"']?(?P<name>[^\"'\n;]{1,80})[^\n]{0,200}\r?\n"
    r"(?:[\w-]{1,40}:[^\n]{0,200}\r?\n){0,4}(?:\r?\n){1,8})(?P<value>[^\r\n]+)"
)
SERVER = re.compile(
    r"(?P<before>\b(?:could not translate host name|connection to server at|MySQL server (?:on|at)) [\"'])"
    r"(?P<host>[^\"'\n]{1,253})"
    r"|(?P<scheme>\b(?!https?:|wss?:|git|ssh:|file:)[a-z][a-z0-9+.-]{1,30}://\[scrubbed:userinfo\]@)"
    r"(?P<hosts>[\w.-]{1,253}(?:(?::\d{1,5})?,[\w.-]{1,253}){0,8})",
    re.IGNORECASE,
)
ROLE = re.compile(r"(?P<before>\b(?:for user|role) \")(?P<user>[^\"\n]{1,63})(?=\"|\n|\Z)", re.IGNORECASE)

NETRC = re.compile(
    r"(?P<before>\b(?:machine|default|login)\b[^\n]{0,200}?\bpassword[ \t\n]{1,4})(?P<value>[^\s\[]+)"
)
PGPASS = re.compile(
    r"(?P<before>(?<![\w.])[\w.*-]{1,80}:(?:\d{3,5}|"
    r"\*):[\w*.-]{1,60}:[\w*.-]{1,60}:)(?P<value>(?:[^\s:\"'\[,]|,(?![\w.*-]+:))+)"
)
ENV_LINE = re.compile(
    r"(?P<before>\b(?:ENV|ARG|setx?)[ ]+(?:-{1,2}\w{1,10}[ ]+){0,3}"
    r"(?P<name>[A-Z][A-Z0-9_]{1,79}|\w{0,40}_\w{1,40})[ ]+)"
    r"(?P<value>(?![=\[-]|to\b)[^\s\"']+|"
    r"\"[^\"\n]+\"|'[^'\n]+')"
)
YAML_FIELD = re.compile(
    r"(?P<before>\b(?:name|key)[ ]?:[ ]?[\"']?(?P<name>[\w.-]{1,80})[\"']?\s{1,20}(?:value|"
    r"val)[ ]?:[ ]?)(?P<value>[^\n]+)"
)
HTML_FIELD = re.compile(
    r"(?P<before>(?:\"?'?\b(?:name|key|field|header|"
    r"id)\"?'?[ ]?[=:][ ]?)[\"'](?P<name>[^\"'\n]{1,80})[\"'][^<>{}]{0,80}?"
    r"\b(?:value|val|content|data)\"?'?[ ]?[=:][ ]?)(?P<value>\"[^\"\n]*\"|'[^'\n]*')"
)
XML_FIELD = re.compile(
    r"(?P<before><(?:[\w-]{1,40}:)?(?P<name>[\w.-]{2,80})(?:\s{1,5}[\w:.-]{1,40}=[\"'][^\"'<>]{0,200}[\"']){0,10}>"
    r"(?:\s{0,20}(?=<!\[|[^<]{1,2000}<)|(?=\S)))"
    r"(?P<value><!\[CDATA\[[^\]]{1,2000}\]\]>|[^\s</>][^<]{0,2000})(?=<|\Z)"
)
XML_NAMED = re.compile(
    r"(?P<before>\b(?:name|key|id)=[\"'](?P<name>[^\"'<>\n]{1,80})[\"'][^<>]{0,80}>\s{0,40}"
    r"<(?:value|string|val|data)\b[^<>]{0,80}>)(?P<value>[^<]{1,2000})"
)
XML_PAIR = re.compile(
    r"(?P<before><(?:name|key)>(?P<name>[^<>\n]{1,80})</(?:name|key)>\s{0,40}"
    r"<(?:value|string|val|data|integer)>)(?P<value>[^<]{1,2000})"
)
HCL_FIELD = re.compile(
    r"(?P<before>\bvariable[ ][\"'](?P<name>[^\"'\n]{1,80})[\"'][ ]?"
    r"\{[^{}]{0,200}?\bdefault\s{0,10}=\s{0,10})"
    r"(?P<value>\"[^\"\n]{1,2000}\"|'[^'\n]{1,2000}')"
)
TABLE_ROW = re.compile(
    r"(?P<before>\|[ ]{0,20}(?P<name>[\w.-]{2,80})[ ]{0,20}\|[ ]{0,20})"
    r"(?P<value>[^|\s][^|\n]{0,200}?)(?=[ ]{0,20}\|)"
)
ASSERTED = re.compile(rf"(?P<before>\bwhere )(?P<value>{_STRING})(?= = (?P<name>[\w.()-]{{2,200}}))")
FIELD_HTML = re.compile(
    r"(?P<before>\b(?:value|val|content|data)\"?'?[ ]?[=:][ ]?)(?P<value>\"[^\"\n]{0,1000}\"|"
    r"'[^'\n]{0,1000}')"
    r"(?P<after>[^<>{}\n]{0,80}?\b(?:name|key|field|header|"
    r"id)\"?'?[ ]?[=:][ ]?[\"'](?P<name>[^\"'\n]{1,80})[\"'])"
)
