"""Passwords that programs take as short options or as arguments: ``mysql -p…``, ``htpasswd -b f bob …``."""

from __future__ import annotations

import re

from .marks import mark

_ARG = r"(?:[\"']?,?[ \t]{1,3}[\"']?|=)"  # between an option and its value, also within a list
_VALUE = r"(?P<value>[^\s\"',\[\]]+)"
_PROGRAMS = (
    r"(?:mysql\w*|user(?:add|mod)|mariadb\w*|mongo\w*|sshpass|docker|podman|buildah|helm|az|7za?|unzip|zip|plink|"
    r"sqlcmd|bcp|ldap\w+|"
    r"redis-cli|curl|wget|http|smbclient|net|svn|twine|rabbitmqctl|psql|cqlsh|influx|htpasswd|"
    r"keytool|openssl|gpg|"
    r"xfreerdp|snmp\w+|mosquitto_\w+|amqp-\w+|ansible\w*|borg|(?:nc|l)?ftp|npm|sqlplus|isql|expdp|impdp|cypher-shell|mc|kinit|nmcli|vault|rclone|restic)"
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
    re.compile(rf"(?P<before>\bopenssl\b[^\n]{{0,200}}?[\s\"']-(?:k|K|pass){_ARG}){_VALUE}"),
    re.compile(
        rf"(?P<before>\brabbitmqctl{_BREAK}(?:add_user|change_password|authenticate_user){_WORD}{_BREAK}){_VALUE}"
    ),
    re.compile(rf"(?P<before>\brclone{_BREAK}obscure{_BREAK}){_VALUE}"),
    re.compile(
        rf"(?P<before>\bnpm{_BREAK}(?:config{_BREAK})?set{_BREAK}[^\s\"',]{{0,200}}_(?:authToken|auth|password){_ARG}){_VALUE}"
    ),
    re.compile(rf"(?P<before>\b(?:nmcli|mysqladmin)\b[^\n]{{0,200}}?[\s\"']password{_ARG}){_VALUE}"),
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
_NEXT = r"[\"', ]{1,4}"
LOGGED_IN = re.compile(  # what is left of a command whose program stands elsewhere; of poetry
    rf"(?P<before>\blogin{_NEXT}(?:-u|--username)(?:=|{_NEXT})[^\s\"',]{{1,80}}{_NEXT}-p[\"', ]{{0,4}}"
    rf"|\bhttp-basic\.[^\s\"',]{{1,80}}{_NEXT}[^\s\"',]{{1,80}}{_NEXT})(?P<value>(?![-$])[^\s\"',]+)"
)
STORED = re.compile(  # gh secret set NAME --body …
    r"(?P<before>\bsecrets?[\"', ]{1,4}(?:set|create|put|add)\b[^\n]{0,120}?[\"' ]--?"
    r"(?:body|b|value|secret-string)(?:=|[\"', ]{1,4}))(?P<value>(?!\$)[^\s\"',]+)"
)
_NO_SECRET_VALUE = re.compile(r"\d{1,5}(?::\d{1,5})*(?:/(?:tcp|udp))?|\.{0,2}/.*|-.*|\[.*")


def scrub_command_line(text: str) -> str:
    """Take out passwords that programs take as short options: `mysql -p…`, `curl -u user:…`."""
    for pattern in (STORED, LOGGED_IN, PIPED, HERE_TEXT):
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
