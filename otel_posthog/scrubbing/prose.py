"""Secrets in running text: right behind the word for one, or random-looking in its neighbourhood."""

from __future__ import annotations

import re
from bisect import bisect_left

from .looks import looks_identifying, looks_made_up, looks_mixed, looks_random, looks_strong
from .marks import mark
from .phrases import is_placeholder

_NEAR_BEFORE_CHARS = 80
_NEAR_AFTER_CHARS = 40
_MIN_DIRECT_CHARS = 6

WORDS = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "bearer",
    "session",
    "cookie",
    "jwt",
    "otp",
    "signature",
    "passwort",
    "kennwort",
    "login",
    "auth",
    "wachtwoord",
    "lösenord",
    "heslo",
    "jelszó",
    "salasana",
    "adgangskode",
    "şifre",
    "parola",
    "jeton",
    "geheimnis",
    "schlüssel",
    "clé",
    "clave",
    "llave",
    "ключ",
    "токен",
    "секрет",
    "пароль",
    "密码",
    "密碼",
    "密钥",
    "令牌",
    "パスワード",
    "トークン",
    "비밀번호",
)
# `key` alone is too common to speak for what stands around it, so it needs another word before it.
_WORD = re.compile(
    r"(?<![A-Za-z])(?:auth(?:entication|ori[sz]ation)?|pass(?:word|wd|phrase|code)s?|pwd|secrets?|tokens?|(?:api|access|secret|"
    r"private|signing|encryption|"
    r"master|auth|licen[sc]e|session|shared|webhook|deploy|ssh|hmac)[ _-]?keys?|credentials?|bearer|"
    r"session(?:[ _-]?id)?|cookies?|jwt|otp|signatures?|passwort|kennwort|mot de passe|contraseña|"
    r"senha|hasło|пароль|wachtwoord|lösenord|heslo|jelszó|salasana|adgangskode|şifre|parola|jeton|geheimnis|"
    r"(?:api|zugangs|lizenz|sitzungs)-?schlüssel|schlüssel|"
    r"(?:clé|clave|llave)(?: (?:secrète|privée|secreta|privada|d'api|de api))?|ключ|токен|секрет)"
    r"(?![A-Za-z0-9_])"
    r"|密码|密碼|密钥|令牌|パスワード|トークン|비밀번호",
    re.IGNORECASE,
)
_DIRECT = re.compile(
    rf"(?P<word>(?:{_WORD.pattern})(?:[ ](?:{_WORD.pattern})){{0,2}})"
    r"(?P<between>(?:[ ]?\([^()\n]{0,30}\))?[ ]?(?:[:=]|(?:was|is|provided|given|supplied|received|"
    r"entered|ist|war|lautet|est|es|id|value|with|used|called|named|#|–|-|→)[ ]?[:=]?)?[ ]{0,2}"
    r"(?:(?:set|reset|changed|now|still|currently)[ ](?:to[ ])?)?)"
    r"(?P<quote>[\"'`«»„“\u2018\u201a]?)(?P<value>[^\s\"'`,;()\[\]{}<>«»“”’]{4,})",
    re.IGNORECASE,
)
_USED_AS = re.compile(
    r"(?P<quote>[\"'`])(?P<value>[^\s\"'`]{4,64})(?P=quote)(?=[ ](?:as|als|como)[ ](?:(?:the|a|das)[ ])?"
    r"(?:passwor[dt]|passwd|passphrase|kennwort|contraseña)"
    r"(?!\w|[ -](?:provider|type|field|input|grant|manager|method|mode|prompt|column|hash)))",
    re.IGNORECASE,
)
_CANDIDATE = re.compile(r"[^\s\"'`,;()\[\]{}<>»”’“\u2018«=:&]{8,}+")
_TRIM = ".,:;!?…"
_JOINTS = str.maketrans("", "", "_-.")
_ALGORITHM = re.compile(
    r"(?:sha|md|argon|pbkdf|utf|oauth|http|base|rfc|[eprh]s|aes|ed|blake|v|version|step|"
    r"python)-?\d{1,5}\w{0,4}",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"(?P<before>\b(?:credentials?|creds|login|account|logged in as|"
    r"zugangsdaten)(?:[ :=]{1,3}[(\"']?|[\"']))"
    r"(?P<value>[\w.@+-]{1,60}[ ]?[:/][ ]?(?=[^\s)]{0,100}\d)[^\s)\"',;/]{5,100})(?![/\w])",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?P<before>\b(?:(?:card|sim|atm|user|account)[ _-])?"
    r"(?:otp|pin|puk|tan|2fa|mfa|totp|(?P<card>cvv2?|cvc2?|csc|security[ _-]code)|passcode|"
    r"(?:bestätigungs|sicherheits|verifizierungs|einmal)-?code|(?:verification|security|confirmation|login|"
    r"one[ _-]time|authentication|access|sms)[ _-](?:code|password|pin|passcode)|code)(?![A-Za-z0-9])"
    r"(?:[ _-](?:code|number))?[ ]?(?:[:=#|]|is|was|entered|lautet|ist)?[ ]{0,2}[\"']?)"
    r"(?P<value>\d{3}[ -]?\d{3}|\d{4,8}|(?(card)\d{3}|(?!)))(?!\w|\.\d)",
    re.IGNORECASE,
)
_PLAIN_CODE = re.compile(
    r"(?:exit|status|error|return|response|country|zip|postal|area|http|errno|op|byte|source)?[ _-]?code\b",
    re.IGNORECASE,
)


_CODE_IS = re.compile(r"code[ ](?:is|was|lautet|ist)\b", re.IGNORECASE)


def scrub_prose(text: str) -> str:
    """Return the text without what is named as a secret, or looks like one near a word for it."""
    has_word = _WORD.search(text) is not None
    text = _CODE.sub(_code, text)
    if not has_word:
        return text
    text = _DIRECT.sub(_direct, text)
    text = _USED_AS.sub(_used_as, text)
    words = [match.start() for match in _WORD.finditer(text)]
    return _CANDIDATE.sub(lambda match: _near(match, words), text)


def scrub_accounts(text: str) -> str:
    """Return the text without names and passwords in one: `credentials bob/…`."""
    return _ACCOUNT.sub(_account, text)


def scrub_random(text: str) -> str:
    """Return the text without words that nobody can have made up."""
    return RANDOM.sub(_random, text)


RANDOM = re.compile(r"(?<![A-Za-z0-9_+/=-])[A-Za-z0-9_+/=-]{22,}+")
_DATA_URI = re.compile(
    r"data:(?:image|font|audio|video)/[\w.+-]{1,40};base64,\Z|sha(?:1|256|384|512)-\Z", re.IGNORECASE
)


_DIGEST = re.compile(r"(?:sha(?:1|256|384|512)|md5)-", re.IGNORECASE)


def _random(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 60) : match.start()]
    if _DATA_URI.search(before) or not _any_part_random(match[0]):
        return match[0]
    return mark("random")


def _any_part_random(word: str) -> bool:
    if _DIGEST.match(word):
        return False
    if "/" in word and any(map(looks_random, word.split("/"))):
        return True
    if "/" not in word:
        return looks_random(word) or ("_" in word and any(map(looks_random, word.split("_"))))
    is_path = not word.endswith("=") and (
        word.startswith(("/", "./")) or word.count("/") > len(word) / 12  # rather than base64
    )
    return not is_path and looks_random(word)


def _direct(match: re.Match[str]) -> str:
    value = match["value"].rstrip(_TRIM)
    if value.endswith("=") and not match["quote"] and match.string[match.end() : match.end() + 1] in "\"'":
        return match[0]  # a name, whose value is quoted
    if is_placeholder(value) or _VARIABLE.fullmatch(value):
        return match[0]
    if not match["quote"] and _NAME_AND_VALUE.match(value):
        return match[0]  # of the rule for pairs
    is_password = match["word"].lower().startswith(("passw", "pwd", "passp", "kennw"))
    if not _is_named(value, has_sign=is_password or bool(match["between"].strip())):
        return match[0]
    rest = match["value"][len(value) :]
    return f"{match['word']}{match['between']}{match['quote']}{mark('prose')}{rest}"


def _used_as(match: re.Match[str]) -> str:
    value, quote = match["value"], match["quote"]
    return match[0] if is_placeholder(value) or "scrubbed:" in value else f"{quote}{mark('prose')}{quote}"


_VARIABLE = re.compile(r"\$[A-Za-z_]{2,60}(?:->?[A-Za-z_]{0,60})?")  # of PHP
_NAME_AND_VALUE = re.compile(r"[a-z_]{2,20}=.")


def _is_named(value: str, *, has_sign: bool) -> bool:
    """Tell whether the word right behind `password is` or `token` is what it names."""
    if looks_identifying(value) or looks_mixed(value) or looks_random(value) or looks_made_up(value):
        return True
    # `password is hunter2`: a readable word with a number counts where it is said to be one
    if _ALGORITHM.fullmatch(value):
        return False
    return (
        has_sign
        and len(value) >= _MIN_DIRECT_CHARS
        and value[0].isalpha()
        and value[-1].isdigit()
        and value.translate(_JOINTS).isalnum()
    )


def _near(match: re.Match[str], words: list[int]) -> str:
    value = match[0].rstrip(_TRIM)
    if "scrubbed:" in value or "://" in value or not (looks_strong(value) or looks_random(value)):
        return match[0]
    at = bisect_left(words, match.start() - _NEAR_BEFORE_CHARS)
    if at == len(words) or words[at] > match.end() + _NEAR_AFTER_CHARS:
        return match[0]
    return mark("prose") + match[0][len(value) :]


def _account(match: re.Match[str]) -> str:
    second = re.split(r"[:/]", match["value"], maxsplit=1)[1].strip()
    return match[0] if second.isdigit() or "scrubbed" in second else f"{match['before']}{mark('prose')}"


def _code(match: re.Match[str]) -> str:
    if _PLAIN_CODE.match(match["before"]) and not _CODE_IS.match(match["before"]):
        return match[0]
    before = match.string[max(0, match.start() - 12) : match.start()].lower()
    if before.rstrip().endswith(
        ("exit", "status", "error", "return", "response", "gpio", "zip", "postal", "country", "area")
    ):
        return match[0]
    return f"{match['before']}{mark('code')}"
