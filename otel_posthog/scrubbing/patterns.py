"""The rules, in the order in which they are applied.

Every pattern is linear: a repetition is bounded, possessive, last, or ends at a character that it
cannot contain. Only plain character classes are repeated possessively: Python before 3.11.5 gets groups
wrong (https://github.com/python/cpython/issues/106052). A cheap trigger decides whether a rule runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import encoded, personal, shapes, urls, vendors
from .commands import scrub_command_line
from .databases import DATABASE_RULES
from .keys import Names, is_sensitive
from .looks import is_slug, is_wordy, looks_chosen, looks_secret
from .machine import GENERIC, Machine
from .marks import mark
from .pairs import Pairs, SourcePairs
from .phrases import is_placeholder, is_status
from .prose import WORDS, scrub_accounts, scrub_prose, scrub_random

Scrub = Callable[[str], str]
Replacement = str | Callable[[re.Match[str]], str]

ALWAYS: tuple[str, ...] = ()


DIGITS = tuple("0123456789")
LONG_WORD = re.compile(r"[A-Za-z0-9_.~+/=$:-]{14,}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret: texts in small letters that hint at it, and what takes it out.

    Without triggers it is always tried. `needs_long_word` says that a text of short words cannot hold it.
    """

    name: str
    triggers: tuple[str, ...]
    apply: Scrub
    needs_long_word: bool = False


def _rule(name: str, triggers: tuple[str, ...], pattern: re.Pattern[str], replace: Replacement) -> Rule:
    return Rule(name, triggers, partial(pattern.sub, replace))


def _long(name: str, triggers: tuple[str, ...], pattern: re.Pattern[str], replace: Replacement) -> Rule:
    return Rule(name, triggers, partial(pattern.sub, replace), needs_long_word=True)


_LABEL = r"(?:[ +]|%20)[A-Za-z0-9 +%]{1,60}-----"  # with the spaces of a form or URL
_PEM = re.compile(
    rf"-----BEGIN{_LABEL}.*?(?:-----END{_LABEL}|\Z)"
    rf"|(?:(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{{4,76}}\r?\n){{1,3}}-----END{_LABEL}"  # cut before
    r"|---- BEGIN [A-Za-z0-9 ]{1,60} ----.*?(?:---- END [A-Za-z0-9 ]{1,60} ----|\Z)"
    r"|PuTTY-User-Key-File-\d:.*?(?:Private-MAC: [0-9a-f]{8,}+|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_JWT = re.compile(r"(?<![\w-])(?=[\w-]*eyJ[\w-]{8})[\w-]++(?:\.[\w-]*+){1,4}", re.ASCII)
_BARE_CLAIMS = re.compile(r"(?<![A-Za-z0-9+/_-])eyJ[A-Za-z0-9+/_-]{16,}+={0,2}")
_USERINFO = re.compile(
    r"(?<![\w.+\-])[\w.+\-]++:[^\s@/\"'<>:()\[\]]{1,200}@(?!sha\d)(?=[A-Za-z\[]|(?:\d{1,3}\.){3}\d)"
    r"(?:[\w.-]{1,190}\.[^\W\d_]{2,24}(?![\w:/.-]))?"  # then it may be an address of a person
    r"|(?<![\w.+/-])[A-Za-z_][\w$#-]{0,60}/[^\s@/\"'<>:()\[\]]{3,100}@(?=(?:[\w.-]{1,100}(?::\d{2,5})?|/)/)"
)
_SCHEME = re.compile(
    r"(?P<before>\b(?:bearer|basic|digest|negotiate|ntlm|token|apikey|api-key|aws4-hmac-sha256|"
    r"ssws)[ :]{1,2})"
    r"(?=[A-Za-z._~/\-]*[\d=+]|(?-i:[A-Za-z]*[a-z][A-Z][A-Za-z]*[a-z][A-Z]))(?P<value>[A-Za-z0-9._~+/=\-]{8,}+)",
    re.IGNORECASE,
)


_AFTER_NAME = re.compile(r"\A[a-z_]{1,20}=(?=.)")


def _scheme(match: re.Match[str]) -> str:
    is_sure = match["before"].lower().startswith(("bearer", "basic", "ntlm", "negotiate"))
    is_secret = looks_secret(_AFTER_NAME.sub("", match["value"])) or is_sure
    return f"{match['before']}{mark('authorization')}" if is_secret else match[0]


_HAS_SIGN = re.compile(r"[^A-Za-z_]")


def _pgpass(match: re.Match[str]) -> str:
    return f"{match['before']}{mark('value')}" if _HAS_SIGN.search(match["value"]) else match[0]


def _netrc(match: re.Match[str]) -> str:
    if is_status(match["value"]) or match["value"] in _VERBS:
        return match[0]
    return f"{match['before']}{mark('value')}"


_VERBS = frozenset(
    {"is", "was", "has", "can", "cannot", "failed", "for", "and", "or", "in", "on", "of", "to", "with"}
)


def _odbc(match: re.Match[str]) -> str:
    return match[0] if is_sensitive(match["value"]) else f"{match['before']}{mark('value')}"


def _secret_only(match: re.Match[str]) -> str:
    is_secret = looks_chosen(match["value"]) or looks_secret(match["value"])
    return f"{match['before']}{mark('value')}" if is_secret else match[0]


def _html_field(match: re.Match[str], names: Names) -> str:
    value = match["value"]
    if value.strip("\"' ").lower() in GENERIC and not names.is_secret(match["name"]):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    if (
        not names.is_sensitive(match["name"])
        or is_placeholder(value.strip("\"' "))
        or is_status(value.strip("\"' "))
    ):
        return match[0]
    after = match.groupdict().get("after") or ""
    return f"{match['before']}{quote}{mark('value')}{quote}{after}"


_URLS = (
    _rule("vendor-token", ("a" * 21,), vendors.ENCODED_TOKEN, mark("vendor-token")),
    _rule("url", ("://", ":\\/"), urls.URL, urls.bare_url),
    _rule("query", ("?",), urls.QUERY, urls.bare_path),
    _rule("query", ("#",), urls.FRAGMENT, rf"\g<path>{mark('query')}"),
)


def _table_row(match: re.Match[str], names: Names) -> str:
    value = match["value"]
    is_secret = looks_chosen(value) or looks_secret(value) or is_slug(value)
    return f"{match['before']}{mark('value')}" if is_secret and names.is_secret(match["name"]) else match[0]


def _asserted(text: str, names: Names) -> str:
    """Take out what a failed assertion of a test says that a setting is."""
    for match in shapes.ASSERTED.finditer(text):
        value = match["value"][1:-1]
        if len(value) >= _MIN_ASSERTED_CHARS and names.is_secret(match["name"]) and not is_status(value):
            text = text.replace(value, mark("value"))
    return text


def _vendor_token(match: re.Match[str]) -> str:
    """Keep the names of tests, which begin like some vendors' tokens for tests."""
    token = match[0]
    is_name = token.startswith("test_") and is_wordy(token)
    return token if is_name else mark("vendor-token")


_MIN_ASSERTED_CHARS = 4
_BLOCKS = (
    _rule("pem", ("--begin", "-- begin ", "--end", "putty-"), _PEM, mark("pem")),
    _rule("mnemonic", ("mnemonic", "phrase", "seed", "wallet"), shapes.MNEMONIC, shapes.mnemonic),
    _long("jwt", ("eyj",), _JWT, mark("jwt")),
    _long("jwt", ("eyj",), _BARE_CLAIMS, mark("jwt")),
    _long("hash", ("$", "{", ":", "*"), vendors.PASSWORD_HASH, mark("hash")),
    _long("vendor-token", ALWAYS, vendors.VENDOR_TOKEN, _vendor_token),
)
_MESSAGES = (
    *(Rule("sql", triggers, apply) for triggers, apply in DATABASE_RULES),
    Rule("input", ("input_value", "input'", 'input"'), shapes.scrub_input_value),
    Rule(
        "option",
        (
            *(" -", "'-", '"-', "/p:", "@", "vault", "echo", "/user:", "<<<", "isql", "net use", "'use'"),
            *(
                "alias",
                "sqlplus",
                "expdp",
                "impdp",
                "sqlldr",
                "rman ",
                "nmcli",
                "rabbitmqctl",
                "obscure",
                "http-basic",
                "_auth",
                "_password",
            ),
        ),
        scrub_command_line,
    ),
    _rule("value", ("={",), shapes.ODBC_PASSWORD, _odbc),
    _rule("userinfo", ("jdbc:oracle",), shapes.ORACLE_USER, rf"\g<before>{mark('userinfo')}@"),
    _rule("value", ("auth ", "pass ", "login "), shapes.PROTOCOL_COMMAND, _secret_only),
    _rule("authorization", ("digest ",), shapes.DIGEST, rf"\g<before>{mark('authorization')}"),
    _rule("host", ("host name", "server at", "server on", "://"), shapes.SERVER, shapes.server),
    _rule("host", ("\\\\",), urls.SHARE, urls.share),
    _rule(
        "host",
        (".lan", ".corp", ".intra", ".local", ".internal", ".home.arpa", ".private"),
        urls.INTERNAL_HOST,
        urls.internal_host,
    ),
    _rule("user", ("role ", "user "), shapes.ROLE, shapes.role),
    _rule(
        "user",
        ("id=", "groups=", "rw", "r--", "r-x", "chown", "su -", "sudo", " as ", "user ", "@"),
        shapes.PERSON,
        shapes.person,
    ),
    _rule(
        "value",
        ("requirepass", "masterauth", "secret ", "password ", "key ", "community", "securestring"),
        shapes.DIRECTIVE,
        rf"\g<before>{mark('value')}",
    ),
    Rule("prose", ("credential", "creds", "login", "account", "logged in", "zugangsdaten"), scrub_accounts),
)
_PAIRS_TRIGGERS = (
    *(
        "=",
        ":",
        ">",
        "%3",
        "--",
        " '",
        ' "',
        " `",
        "',",
        '",',
        ',"',
        " -",
        "'-",
        "(",
        "[",
        "\uff1d",
        "\uff1a",
    ),
    *(" is ", " was ", " to ", " got ", " expected ", " equal", " ist ", " war ", " lautet "),
)
_PEOPLE = (
    _rule("userinfo", ("@",), _USERINFO, f"{mark('userinfo')}@"),
    _rule("authorization", (" ", ":"), _SCHEME, _scheme),
    _rule(
        "email",
        ("@", "%40", "\uff20", "u0040", "x40", "&#64;", "at]", "at)", " dot "),
        personal.EMAIL,
        personal.replacing(mark("email"), personal.is_email),
    ),
    _rule("iban", DIGITS, personal.IBAN, personal.scrub_iban(mark("iban"))),
    _rule("card", DIGITS, personal.CARD, personal.replacing(mark("card"), personal.is_card)),
    _rule("ssn", DIGITS, personal.SOCIAL_SECURITY, mark("ssn")),
    _rule("mac", (":", "-", "."), personal.MAC, mark("mac")),
    _rule("ip", (".",), personal.IPV4, personal.replacing(mark("ip"), personal.is_ipv4)),
    _rule(
        "ip",
        ("ip-", "ec2-", "host-", "dyn-", "dsl-", "cpe-", "client-", "pool-"),
        personal.IPV4_DASHED,
        mark("ip"),
    ),
    _rule("ip", (":",), personal.IPV6, personal.replacing(mark("ip"), personal.is_ipv6)),
    _rule("value", (":",), shapes.PGPASS, _pgpass),  # behind addresses, which look alike
    _rule("phone", DIGITS, personal.PHONE, personal.scrub_phone(mark("phone"))),
    _rule("path", ("/",), urls.SEGMENT, urls.closed_segment),
)
# Before escapes are undone: the `\\n` of `C:\\Users\\nadja` is none.
_HOMES = (_rule("home", ("/", "\\", "~"), urls.HOME, urls.nobodys_home),)


def rules_for_text(names: Names, machine: Machine, scrub: Scrub | None) -> tuple[Rule, ...]:
    """Return the rules for texts; `scrub` is applied to what is decoded, None decodes nothing."""
    return (
        *_HOMES,
        *_unescaping(scrub),
        *_URLS,
        *_unquoting(scrub),
        *_URLS,
        *_BLOCKS,
        *_MESSAGES,
        Rule("value", _PAIRS_TRIGGERS, Pairs(names).scrub),
        *_fields(names),
        *_PEOPLE,
        *_HOMES,
        *(_rule(name, ALWAYS, pattern, instead) for name, pattern, instead in machine.rules()),
        Rule(
            "prose",
            (
                *WORDS,
                "pin",
                "code",
                "cvv",
                "cvc",
                "tan",
                "mfa",
                "2fa",
                "puk",
                "mot de",
                "contrase",
                "senha",
                "has",
            ),
            scrub_prose,
        ),
        *_decoding(scrub),
        Rule("random", ALWAYS, scrub_random, needs_long_word=True),
    )


def rules_for_source(names: Names, machine: Machine, scrub: Scrub | None) -> tuple[Rule, ...]:
    """Return the rules for lines of a program, where bare words are references."""
    literals = () if scrub is None else (Rule("literal", ALWAYS, partial(_scrub_literals, scrub=scrub)),)
    return (
        *_HOMES,
        *_unescaping(scrub),
        *_URLS,
        *_unquoting(scrub),
        *_URLS,
        *_BLOCKS,
        *literals,
        Rule("value", _PAIRS_TRIGGERS, SourcePairs(names).scrub),
        *_PEOPLE,
        *(_rule(name, ALWAYS, pattern, instead) for name, pattern, instead in machine.rules()),
        *_decoding(scrub),
        Rule("random", ALWAYS, scrub_random, needs_long_word=True),
    )


def _fields(names: Names) -> tuple[Rule, ...]:
    return (
        _rule(
            "value", ("value", "val", "content", "data"), shapes.HTML_FIELD, partial(_html_field, names=names)
        ),
        _rule(
            "value", ("value", "val", "content", "data"), shapes.FIELD_HTML, partial(_html_field, names=names)
        ),
        _rule("value", ("value:", "val:", "value :"), shapes.YAML_FIELD, partial(_html_field, names=names)),
        _rule("value", ("env ", "arg ", "set ", "setx "), shapes.ENV_LINE, partial(_html_field, names=names)),
        _rule("value", ("<",), shapes.XML_FIELD, partial(_html_field, names=names)),
        _rule("value", ("<",), shapes.XML_NAMED, partial(_html_field, names=names)),
        _rule("value", ("</",), shapes.XML_PAIR, partial(_html_field, names=names)),
        _rule("value", ("variable ",), shapes.HCL_FIELD, partial(_html_field, names=names)),
        _rule("value", ("|",), shapes.TABLE_ROW, partial(_table_row, names=names)),
        Rule("value", ("where ",), partial(_asserted, names=names)),
        _rule("value", ("form-data",), shapes.FORM_DATA, partial(_html_field, names=names)),
        _rule("value", ("assword ", "assword\t", "assword\n"), shapes.NETRC, _netrc),
    )


def _unescaping(scrub: Scrub | None) -> tuple[Rule, ...]:
    """Return the rule that goes first, since others see a text only without its escapes."""
    if scrub is None:
        return ()
    return (Rule("escaped", ("\\", "&", "\x1b"), partial(encoded.scrub_escaped, scrub=scrub)),)


def _unquoting(scrub: Scrub | None) -> tuple[Rule, ...]:
    """Return the rule that undoes percent-encoding, for what is no query."""
    return (
        () if scrub is None else (Rule("escaped", ("%", "+"), partial(encoded.scrub_percent, scrub=scrub)),)
    )


def _scrub_literals(text: str, scrub: Scrub) -> str:
    """Scrub comments and strings of a program as the texts that they are."""
    return _LITERAL.sub(lambda match: scrub(match[0]), text)


_LITERAL = re.compile(r"#[^\n]*+|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?")


def _decoding(scrub: Scrub | None) -> tuple[Rule, ...]:
    if scrub is None:
        return ()
    return (
        Rule("base64", ALWAYS, partial(encoded.scrub_base64, scrub=scrub), needs_long_word=True),
        Rule("hex", DIGITS, partial(encoded.scrub_hex, scrub=scrub), needs_long_word=True),
    )


RULE_NAMES = frozenset(
    {"key"}
    | {rule.name for rule in rules_for_text(Names(), Machine(), str)}
    | {"home", "host", "user", "random"}
)
