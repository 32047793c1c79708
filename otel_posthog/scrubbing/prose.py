"""Find secrets in prose, and passwords in commands: `mysql -p…`, `htpasswd -b f bob …`."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cache

from .entropy import looks_identifying, looks_made_up, looks_mixed, looks_random, looks_strong
from .patterns import Pattern, Rule, pattern_list, placeholder, rewriting, rule, word_list
from .values import is_placeholder

_BREAK = r"[\"', ]{1,4}"
_FRAGMENTS = {
    "{BREAK}": _BREAK,
    "{ARG}": r"(?:[\"']?,?[ \t]{1,3}[\"']?|=)",
    "{VALUE}": r"(?P<value>[^\s\"',\[\]]+)",
    "{FLAGS}": r"(?:[\"', ]{1,4}-[a-zA-Z0-9]{1,6}){0,4}",
    "{WORD}": rf"(?:{_BREAK}(?!-)[^\s\"',]{{1,200}})",
}
_COMMAND = r"(?<![\w.-])(?:(?:[\w.-]{1,40}/){1,6})?(?:<<command_programs>>)(?:\.exe)?(?=[\"' ,])[^\n]{1,2000}"
_STORED = (  # gh secret set NAME --body …
    r"\bsecrets?[\"', ]{1,4}(?:set|create|put|add)\b[^\n]{0,120}?[\"' ]--?"
    r"(?:body|b|value|secret-string)(?:=|[\"', ]{1,4})(?P<value>(?!\$)[^\s\"',]+)"
)
_LOGGED_IN = (  # the rest of a command whose program is on another line; of poetry
    rf"(?:\blogin{_BREAK}(?:-u|--username)(?:=|{_BREAK})[^\s\"',]{{1,80}}{_BREAK}-p[\"', ]{{0,4}}"
    rf"|\bhttp-basic\.[^\s\"',]{{1,80}}{_BREAK}[^\s\"',]{{1,80}}{_BREAK})(?P<value>(?![-$])[^\s\"',]+)"
)
_PIPED = (
    r"\becho[\"', ]{1,4}(?P<value>(?!\$)[^\s|\"']{4,200})"
    r"(?=[\"']?[ ]?\|[ ]?(?:sudo|gpg|openssl|docker|passwd|chpasswd|kinit)\b)"
)
_HERE_TEXT = r"<<<[ ]?[\"']?(?P<value>(?!\$)[^\s\"']{4,200})"
_NO_SECRET_VALUE = Pattern(r"\d{1,5}(?::\d{1,5})*(?:/(?:tcp|udp))?|\.{0,2}/.*|-.*|\[.*")
_COMMAND_TRIGGERS = (
    *(" -", "'-", '"-', "/p:", "@", "vault", "echo", "/user:", "<<<", "isql", "net use", "'use'", "alias"),
    *("sqlplus", "expdp", "impdp", "sqlldr", "rman ", "nmcli", "rabbitmqctl", "obscure", "http-basic"),
    *("_auth", "_password"),
)


def _is_password(match: re.Match[str]) -> bool:
    return not _NO_SECRET_VALUE.fullmatch(match["value"])


def _command(match: re.Match[str]) -> str:
    line = match[0]
    for option in _options():
        line = option.apply(line)
    return line


@cache
def _options() -> tuple[Rule, ...]:
    patterns = pattern_list("command_options")
    for name, fragment in _FRAGMENTS.items():
        patterns = [pattern.replace(name, fragment) for pattern in patterns]
    return tuple(rule("option", (), pattern, _is_password) for pattern in patterns)


_COMMAND_RULES = (
    *(rule("option", (), found, _is_password) for found in (_STORED, _LOGGED_IN, _PIPED, _HERE_TEXT)),
    rewriting("option", (), _COMMAND, _command),
)


def _scrub_command_line(text: str) -> str:
    for option in _COMMAND_RULES:
        text = option.apply(text)
    return text


COMMANDS = Rule("option", _COMMAND_TRIGGERS, _scrub_command_line)

# A secret follows the word for it more often than it precedes it.
_NEAR_BEFORE_CHARS = 80
_NEAR_AFTER_CHARS = 40
_MIN_DIRECT_CHARS = 6

_SENSITIVE_WORD = (
    r"(?<![A-Za-z])(?:<<secret_words>>)(?![A-Za-z0-9_])|密码|密碼|密钥|令牌|パスワード|トークン|비밀번호"
)
_SENSITIVE = Pattern(f"(?i){_SENSITIVE_WORD}")
_DIRECT = Pattern(
    rf"(?i)(?P<word>(?:{_SENSITIVE_WORD})(?:[ ](?:{_SENSITIVE_WORD})){{0,2}})"
    r"(?P<between>(?:[ ]?\([^()\n]{0,30}\))?[ ]?(?:[:=]|(?:was|is|provided|given|supplied|received|"
    r"entered|ist|war|lautet|est|es|id|value|with|used|called|named|#|–|-|→)[ ]?[:=]?)?[ ]{0,2}"
    r"(?:(?:set|reset|changed|now|still|currently)[ ](?:to[ ])?)?)"
    r"(?P<quote>[\"'`«»„“\u2018\u201a]?)(?P<value>[^\s\"'`,;()\[\]{}<>«»“”’]{4,})"
)
_USED_AS = Pattern(
    r"(?i)(?P<quote>[\"'`])(?P<value>[^\s\"'`]{4,64})(?P=quote)(?=[ ](?:as|als|como)[ ](?:(?:the|a|das)[ ])?"
    r"(?:passwor[dt]|passwd|passphrase|kennwort|contraseña)"
    r"(?!\w|[ -](?:provider|type|field|input|grant|manager|method|mode|prompt|column|hash)))"
)
_CANDIDATE = Pattern(r"[^\s\"'`,;()\[\]{}<>»”’“\u2018«=:&]{8,}+")
_TRIM = ".,:;!?…"
_JOINTS = str.maketrans("", "", "_-.")
_ALGORITHM = Pattern(
    r"(?i)(?:sha|md|argon|pbkdf|utf|oauth|http|base|rfc|[eprh]s|aes|ed|blake|v|version|step|python)-?\d{1,5}\w{0,4}"
)
_ACCOUNT = (
    r"(?i)\b(?:credentials?|creds|login|account|logged in as|zugangsdaten)(?:[ :=]{1,3}[(\"']?|[\"'])"
    r"(?P<value>[\w.@+-]{1,60}[ ]?[:/][ ]?(?P<second>(?=[^\s)]{0,100}\d)[^\s)\"',;/]{5,100}))(?![/\w])"
)
_CODE = Pattern(
    r"(?i)(?P<before>\b(?:(?:card|sim|atm|user|account)[ _-])?"
    r"(?:otp|pin|puk|tan|2fa|mfa|totp|(?P<card>cvv2?|cvc2?|csc|security[ _-]code)|passcode|"
    r"(?:bestätigungs|sicherheits|verifizierungs|einmal)-?code|(?:verification|security|confirmation|login|"
    r"one[ _-]time|authentication|access|sms)[ _-](?:code|password|pin|passcode)|code)(?![A-Za-z0-9])"
    r"(?:[ _-](?:code|number))?[ ]?(?:[:=#|]|is|was|entered|lautet|ist)?[ ]{0,2}[\"']?)"
    r"(?P<value>\d{3}[ -]?\d{3}|\d{4,8}|(?(card)\d{3}|(?!)))(?!\w|\.\d)"
)
_PLAIN_CODE = Pattern(
    r"(?i)(?:exit|status|error|return|response|country|zip|postal|area|http|errno|op|byte|source)?"
    r"[ _-]?code\b"
)
_PLAIN_CODES = ("exit", "status", "error", "return", "response", "gpio", "zip", "postal", "country", "area")
_CODE_IS = Pattern(r"(?i)code[ ](?:is|was|lautet|ist)\b")


def _scrub_prose(text: str) -> str:
    """Remove words that the text calls a secret, or that look like one near a word for it."""
    has_word = _SENSITIVE.search(text) is not None
    text = _CODE.sub(_code, text)
    if not has_word:
        return text
    text = _DIRECT.sub(_direct, text)
    text = _USED_AS.sub(_used_as, text)
    words = [match.start() for match in _SENSITIVE.finditer(text)]
    return _CANDIDATE.sub(lambda match: _near(match, words), text)


def _direct(match: re.Match[str]) -> str:
    value = match["value"].rstrip(_TRIM)
    if value.endswith("=") and not match["quote"] and match.string[match.end() : match.end() + 1] in "\"'":
        return match[0]  # a name, whose value is quoted
    if is_placeholder(value) or _VARIABLE.fullmatch(value):
        return match[0]
    if not match["quote"] and _NAME_AND_VALUE.match(value):
        return match[0]  # left to the rule for a name and its value
    is_password = match["word"].lower().startswith(("passw", "pwd", "passp", "kennw"))
    if not _is_named(value, has_sign=is_password or bool(match["between"].strip())):
        return match[0]
    rest = match["value"][len(value) :]
    return f"{match['word']}{match['between']}{match['quote']}{placeholder('prose')}{rest}"


def _used_as(match: re.Match[str]) -> str:
    value, quote = match["value"], match["quote"]
    is_kept = is_placeholder(value) or "scrubbed:" in value
    return match[0] if is_kept else f"{quote}{placeholder('prose')}{quote}"


_VARIABLE = Pattern(r"\$[A-Za-z_]{2,60}(?:->?[A-Za-z_]{0,60})?")  # of PHP
_NAME_AND_VALUE = Pattern(r"[a-z_]{2,20}=.")


def _is_named(value: str, *, has_sign: bool) -> bool:
    # For the word right after `password is` or `token`: less evidence is enough there.
    if looks_identifying(value) or looks_mixed(value) or looks_random(value) or looks_made_up(value):
        return True
    # `password is hunter2`: a readable word with a number counts if the text calls it a password
    if _ALGORITHM.fullmatch(value):
        return False
    is_numbered = value[0].isalpha() and value[-1].isdigit() and value.translate(_JOINTS).isalnum()
    return has_sign and is_numbered and len(value) >= _MIN_DIRECT_CHARS


def _near(match: re.Match[str], words: list[int]) -> str:
    value = match[0].rstrip(_TRIM)
    if "scrubbed:" in value or "://" in value or not (looks_strong(value) or looks_random(value)):
        return match[0]
    at = bisect_left(words, match.start() - _NEAR_BEFORE_CHARS)
    if at == len(words) or words[at] > match.end() + _NEAR_AFTER_CHARS:
        return match[0]
    return placeholder("prose") + match[0][len(value) :]


def _code(match: re.Match[str]) -> str:
    if _PLAIN_CODE.match(match["before"]) and not _CODE_IS.match(match["before"]):
        return match[0]
    before = match.string[max(0, match.start() - 12) : match.start()].lower().rstrip()
    return match[0] if before.endswith(_PLAIN_CODES) else f"{match['before']}{placeholder('code')}"


def _is_account(match: re.Match[str]) -> bool:
    second = match["second"].strip()
    return not second.isdigit() and "scrubbed" not in second


_ACCOUNT_TRIGGERS = ("credential", "creds", "login", "account", "logged in", "zugangsdaten")
ACCOUNTS = rule("prose", _ACCOUNT_TRIGGERS, _ACCOUNT, _is_account)


@cache
def prose_rule() -> Rule:
    """Return the rule for secrets in prose; its triggers are read from a file."""
    codes = ("pin", "code", "cvv", "cvc", "tan", "mfa", "2fa", "puk", "mot de", "contrase", "senha", "has")
    return Rule("prose", (*sorted(word_list("secret_triggers")), *codes), _scrub_prose)
