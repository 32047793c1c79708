"""Values as libraries and programs lay them out: validation errors, fields of markup, tables, accounts."""

from __future__ import annotations

import re

from .databases import BRACKET_OR_STRING, MARKED, STRING
from .machine import GENERIC
from .marks import mark
from .phrases import is_sentence_word
from .values import after_brackets

INPUT_OF_ERROR = re.compile(
    rf"(?P<before>[\"']msg[\"'][ ]?:[ ]?{STRING},\s{{0,20}}[\"']input[\"'][ ]?:[ ]?)"
    rf"(?P<value>{STRING}|[^\s,{{}}\[\]()\"']+)?",
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


def mnemonic(match: re.Match[str]) -> str:
    """Take out the words that open a wallet."""
    return f"{match['before']}{mark('mnemonic')}"


def server(match: re.Match[str]) -> str:
    """Take out which server of the installation was meant."""
    host = (match["host"] or match["hosts"]).lower()
    if host in _LOCAL or host in GENERIC or host.startswith(("[", "/")):
        return match[0]
    return f"{match['before'] or match['scheme']}{mark('host')}"


def person(match: re.Match[str]) -> str:
    """Take out whose account it is, unless very many machines have it."""
    user = match["user"] or match["owner"] or match["name"] or match["prompt"]
    name = user.partition(":")[0]
    is_word = name.lower() in GENERIC or name.isdigit() or is_sentence_word(name)
    return match[0] if is_word else f"{match[0].removesuffix(user)}{mark('user')}"


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
        end = match.end() if match["value"] else after_brackets(text, match.end(), BRACKET_OR_STRING)
        value = text[match.end("before") : end]
        if value not in _NO_INPUT and not MARKED.fullmatch(value):
            kept += [text[done : match.end("before")], f"'{mark('input')}'"]
            done = end
    return "".join([*kept, text[done:]]) if kept else text


def _input(match: re.Match[str]) -> str:
    value = match["value"].strip()
    if value in _NO_INPUT or MARKED.fullmatch(value):
        return match[0]
    return f"{match['before']}{mark('input')}"


DIRECTIVE = re.compile(  # of Redis, of routers and of PowerShell
    r"(?P<before>\b(?:requirepass|masterauth|(?:secret|password|key)[ ][05-9]|snmp-server community|"
    r"SecureString(?: -String)?)[ ][\"']?)(?P<value>(?!-)[^\s\"',;]{4,})"
)
PERSON = re.compile(  # who did something, or whose something is
    r"(?P<before>\b(?:uid|gid|groups)=\d{1,10}\()(?P<user>[\w.-]{1,64})(?=\))"
    r"|(?P<mode>(?<![\w-])[-dlbcps](?:[r-][w-][xsStT-]){3}[+.@]?\s{1,8}\d{1,6}\s{1,8})(?P<owner>[a-z_][\w.-]{1,31})"
    r"|(?P<command>\b(?:chown(?: -R)?|su -l?|sudo -u|sudo:|logged in as|login as|[Uu]ser(?= ['\"])) ['\"]?)"
    r"(?P<name>[a-z_][\w.-]{2,31}(?::[a-z_][\w.-]{1,31})?)(?![\w=(])"
    r"|(?<![\w@.-])(?P<prompt>[a-z_][\w.-]{1,31}@[\w-]{1,63})(?=:[~/][\w./~-]{0,100}[$#])"
)


MNEMONIC = re.compile(
    r"(?P<before>(?<![A-Za-z])(?:mnemonic|seed|phrase|wallet)s?\b[^\n]{0,40}?[\"' :=])"
    r"(?P<value>[a-z]{3,8}(?:[ ,]{1,2}[a-z]{3,8}){11,23})(?![a-z])",
    re.IGNORECASE,
)
ODBC_PASSWORD = re.compile(r"(?P<before>;\s?(?:PWD|Pwd|Password)=\{)(?P<value>[^{}\n]{1,200})(?=\})")
ORACLE_USER = re.compile(r"(?P<before>\bjdbc:oracle:\w{1,10}:)[^\s/@]{1,80}/[^\s@/]{1,200}@")
PROTOCOL_COMMAND = re.compile(  # of Redis, of FTP and POP3, of IMAP
    r"(?P<before>\b(?:AUTH[ ][\"']?(?:[\w.-]{1,40}[ ])?|PASS[ ]|LOGIN[ ][^\s]{1,100}[ ])[\"']?)"
    r"(?P<value>[^\s\"',;)\]}>]{6,})"
)
_DIGEST_FIELD = r"[\w-]{2,20}=(?:\"[^\"\n]{0,300}\"|[^\s,\"]{1,300})"
DIGEST = re.compile(
    rf"(?P<before>\bDigest[ ]{{1,2}}){_DIGEST_FIELD}(?:,[ ]{{0,2}}{_DIGEST_FIELD}){{1,20}}", re.IGNORECASE
)
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
    r"(?P<value>(?![=\[-]|(?:to|in|is|as|or|and|before|for|on|via)\b)[^\s\"']+|"
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
ASSERTED = re.compile(rf"(?P<before>\bwhere )(?P<value>{STRING})(?= = (?P<name>[\w.()-]{{2,200}}))")
FIELD_HTML = re.compile(
    r"(?P<before>\b(?:value|val|content|data)\"?'?[ ]?[=:][ ]?)(?P<value>\"[^\"\n]{0,1000}\"|"
    r"'[^'\n]{0,1000}')"
    r"(?P<after>[^<>{}\n]{0,80}?\b(?:name|key|field|header|"
    r"id)\"?'?[ ]?[=:][ ]?[\"'](?P<name>[^\"'\n]{1,80})[\"'])"
)
