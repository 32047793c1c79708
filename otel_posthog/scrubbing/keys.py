"""Which names say that their value is secret (requirement R21).

A name is judged after case, camelCase, separators, accents, full-width letters and look-alike letters
of other alphabets are taken away, so none of them hides a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

# Substrings of a normalised name. The first four are the product's promise, the rest a fuller default.
SENSITIVE_PARTS = (
    "password",
    "secret",
    "apikey",
    "token",
    "passwd",
    "passphrase",
    "passcode",
    "passkey",
    "passwort",
    "kennwort",
    "motdepasse",
    "contrasena",
    "wachtwoord",
    "userpass",
    "authorization",
    "cookie",
    "credential",
    "privatekey",
    "privkey",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "decryptionkey",
    "masterkey",
    "sharedkey",
    "licensekey",
    "licencekey",
    "accountkey",
    "subscriptionkey",
    "authkey",
    "sshkey",
    "deploykey",
    "storagekey",
    "functionkey",
    "functionskey",
    "servicekey",
    "webhookkey",
    "appkey",
    "applicationkey",
    "consumerkey",
    "hmackey",
    "rsakey",
    "aeskey",
    "jwtkey",
    "sessionkey",
    "clientkey",
    "keydata",
    "sessionid",
    "sessionkey",
    "sessid",
    "csrf",
    "xsrf",
    "signature",
    "connectionstring",
    "connstr",
    "authcode",
    "authorizationcode",
    "codeverifier",
    "verificationcode",
    "confirmationcode",
    "recoverycode",
    "backupcode",
    "securitycode",
    "onetimecode",
    "otpcode",
    "mfacode",
    "socialsecurity",
    "creditcard",
    "cardnumber",
    "ccnumber",
    "bankaccount",
    "accountnumber",
    "routingnumber",
    "recoveryphrase",
    "seedphrase",
    "mnemonic",
    "webhookurl",
    "publishkey",
    "geheimnis",
    "zugangsdaten",
    "zugangsschlussel",
    "sicherheitscode",
    "bestatigungscode",
    # The next ones mean the same in other scripts.
    "секрет",
    "токен",
    "密钥",
    "令牌",
    "トークン",
    "シークレット",
    "пароль",
    "密码",
    "密碼",
    "パスワード",
    "ハスワート",  # the same without the marks that normalisation takes away
    "비밀번호",
)

# Whole words: as substrings they would hit `shipping`, `author`, `discard` and the like.
SENSITIVE_WORDS = frozenset(
    {
        "pwd",
        "passw",
        "pass",
        "pw",
        "psw",
        "senha",
        "parola",
        "haslo",
        "clave",
        "auth",
        "session",
        "sess",
        "sid",
        "otp",
        "totp",
        "pin",
        "puk",
        "ssn",
        "iban",
        "bic",
        "card",
        "cvv",
        "cvv2",
        "cvc",
        "dsn",
        "jwt",
        "jwe",
        "bearer",
        "creds",
        "cred",
        "hmac",
        "sig",
        "salt",
        "pat",
        "psk",
        "sas",
        "pem",
        "pkey",
        "mfa",
        "2fa",
        "otps",
        "pins",
        "ssns",
        "ibans",
        "dsns",
        "jwts",
    }
)

# Names of personal data, as whole words or up to three of them in a row: as substrings they would hit
# `user_idle_time`. In running text they count only where a value is plainly assigned to them.
PERSONAL_NAMES = frozenset(
    {
        "emails",
        "emailaddress",
        "username",
        "userid",
        "loginname",
        "firstname",
        "lastname",
        "fullname",
        "realname",
        "givenname",
        "familyname",
        "middlename",
        "surname",
        "maidenname",
        "birthdate",
        "dateofbirth",
        "birthday",
        "phonenumber",
        "mobilenumber",
        "telephone",
        "passport",
        "passportnumber",
        "taxid",
        "nationalid",
        "driverlicense",
        "drivinglicence",
        "streetaddress",
        "homeaddress",
        "postaladdress",
        "billingaddress",
        "shippingaddress",
        "ipaddress",
        "remoteaddr",
        "clientip",
        "forwardedfor",
        "macaddress",
        "computername",
        "email",
        "mailaddress",
        "phone",
        "mobilephone",
        "msisdn",
        "dob",
        "hostname",
        "fqdn",
        "fax",
        "taxnumber",
        "vatid",
        "steuerid",
        "steuernummer",
        "geburtsdatum",
        "benutzername",
    }
)

# The same where they are the whole name: `user_count` is none.
PERSONAL_WHOLE_NAMES = frozenset({"user", "login", "logname", "uname", "dbuser", "benutzer", "utilisateur"})

# Before "key": what makes it the name of an entry. Behind another word it is a secret if it looks like one.
_INNOCENT_KEYS_TEXT = """
primary foreign sort partition cache dict public map object index unique composite group row column
idempotency registry host hash routing lookup join order message event topic shard bucket translation
locale config setting metric label tag dedup dedupe natural surrogate business external reference issue
project flag feature file s3 job task run pipeline parent child item entry record
"""
INNOCENT_KEYS = frozenset(_INNOCENT_KEYS_TEXT.split())

# Names that hold a sensitive part by accident: counts and settings of text models, and a job title.
INNOCENT_NAMES = frozenset(
    {
        "maxtokens",
        "maxnewtokens",
        "maxoutputtokens",
        "maxcompletiontokens",
        "mintokens",
        "numtokens",
        "ntokens",
        "tokencount",
        "tokenscount",
        "tokenlimit",
        "tokenusage",
        "tokensused",
        "tokenspersecond",
        "tokensperminute",
        "totaltokens",
        "prompttokens",
        "completiontokens",
        "reasoningtokens",
        "cachedtokens",
        "inputtokens",
        "outputtokens",
        "tokenize",
        "tokenized",
        "tokenizer",
        "tokenizers",
        "tokenization",
        "tokenizername",
        "tokenanzahl",
        "bostoken",
        "eostoken",
        "padtoken",
        "unktoken",
        "septoken",
        "clstoken",
        "masktoken",
        "bostokenid",
        "eostokenid",
        "padtokenid",
        "stoptokens",
        "stoptokenids",
        "specialtokens",
        "secretary",
        "secretaries",
        "secretariat",
        "cookieconsent",
        "cookiepolicy",
        "cookiebanner",
    }
)

_PASSWORD_ENDINGS = ("pass", "pwd")  # dbpass, adminpwd
_INNOCENT_ENDINGS = frozenset(
    {"bypass", "compass", "encompass", "trespass", "surpass", "overpass", "underpass", "multipass", "lowpass"}
    | {"highpass", "bandpass", "allpass", "renderpass"}
)

_KEY_WORDS = frozenset({"key", "keys", "schlussel", "cle", "clave", "llave", "chave"})

# What such a name ends with where it speaks about the secret and does not hold it. Its value is kept
# only if it is a small number, a date or a plain word.
ABOUT_WORDS = frozenset(
    {
        "count",
        "counts",
        "length",
        "len",
        "size",
        "limit",
        "type",
        "kind",
        "policy",
        "strength",
        "score",
        "ttl",
        "timeout",
        "lifetime",
        "expiry",
        "expires",
        "expired",
        "expiration",
        "enabled",
        "disabled",
        "required",
        "valid",
        "invalid",
        "missing",
        "present",
        "method",
        "provider",
        "status",
        "state",
        "version",
        "algorithm",
        "attempts",
        "retries",
        "changed",
        "age",
        "duration",
        "days",
        "hours",
        "minutes",
        "seconds",
        "ms",
        "rate",
        "brand",
        "network",
        "scheme",
        "backend",
        "mode",
        "max",
        "min",
        "sent",
        "verified",
        "encryption",
        "hashing",
        "samesite",
    }
)
# "expires_at" and the like: the last word says too little by itself.
_ABOUT_ENDINGS = (
    ("expires", "at"),
    ("expires", "in"),
    ("created", "at"),
    ("updated", "at"),
    ("changed", "at"),
    ("cookie", "name"),
    ("secret", "name"),
    ("session", "name"),
    ("token", "name"),
    ("key", "name"),
    ("key", "header"),
    ("token", "header"),
)
_SPANS = frozenset(
    {"age", "timeout", "ttl", "lifetime", "expiry", "expires", "expiration", "seconds", "ms", "at"}
)
_FILES = frozenset({"file", "path", "dir"})
_PATH = re.compile(r"[A-Z]{2,20}|\.{0,2}/?[A-Za-z_.-]{1,40}(?:/[A-Za-z_.-]{1,40}){0,12}")

_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")
_PLAIN_VALUE = re.compile(
    r"[A-Za-z]{1,20}(?:[ _-][A-Za-z]{1,20}){0,3}|[A-Za-z]{2,6}(?:-[A-Za-z]{2,6})?[ -]?\d{1,3}"
    r"|\d{1,5}(?:\.\d{1,6})?|\d{4}-\d\d-\d\d(?:[T ][\d:.+Z-]{1,30})?"
)
_MAX_PLAIN_NUMBER = 100_000
_MAX_REMEMBERED = 4096
_MAX_NAME_WORDS = 3
MAX_JUDGED_CHARS = 200

_LATIN = str.maketrans(
    "авекмнорстухіјѕԁɡоеαβεκορτυχνı",
    "abekmhopctyxijsdgoeabekoptyxvi",
)


class Names:
    """Judge names by the lists above, and by those that a product adds."""

    def __init__(self, sensitive: Iterable[str] = (), innocent: Iterable[str] = ()) -> None:
        self._parts = (*SENSITIVE_PARTS, *(_joined(name) for name in sensitive))
        self._innocent = INNOCENT_NAMES | {_joined(name) for name in innocent}
        self._secret_names: dict[str, bool] = {}
        self._personal_names: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Tell whether a value under this name is a secret."""
        return _remembered(self._secret_names, name, self._judge_secret)

    def is_personal(self, name: str) -> bool:
        """Tell whether a value under this name tells who somebody is."""
        return _remembered(self._personal_names, name, self._judge_personal)

    def is_sensitive(self, name: str) -> bool:
        """Tell whether a value under this name must not leave."""
        return self.is_secret(name) or self.is_personal(name)

    def is_key(self, name: str) -> bool:
        """Tell whether a value under this name is a secret if it looks like one: `publish_key`."""
        words = _words(name)
        is_key = len(words) > 1 and words[-1] in _KEY_WORDS
        return is_key and words[-2] not in INNOCENT_KEYS and "".join(words) not in self._innocent

    def _judge_secret(self, name: str) -> bool:
        return any(
            any(part in joined for part in self._parts)
            or any(map(_is_sensitive_word, words))
            or any(_is_sensitive_word(word.rstrip("123456789")) for word in words)
            for words, joined in self._readings(name)
        )

    def _judge_personal(self, name: str) -> bool:
        return any(
            joined in PERSONAL_WHOLE_NAMES or not PERSONAL_NAMES.isdisjoint(_neighbours(words))
            for words, joined in self._readings(name)
        )

    def _readings(self, name: str) -> Iterator[tuple[list[str], str]]:
        """Return the words of the name, with and without look-alike letters of other alphabets."""
        for spelling in (name,) if name.isascii() else (name, name.casefold().translate(_LATIN)):
            words = _words(spelling)
            joined = "".join(words)
            if joined not in self._innocent:
                yield words, joined


def is_about(name: str, value: object) -> bool:
    """Tell whether the name speaks about a secret (`token_type`) and the value is a harmless one."""
    words = _words(name)
    if words[-1:] == ["tokens"]:  # of a text model
        return isinstance(value, (int, float)) and abs(value) < _MAX_PLAIN_NUMBER
    if not words[1:]:
        return False
    if words[-1] in _FILES:
        return isinstance(value, str) and _PATH.fullmatch(value) is not None
    if not (words[-1] in ABOUT_WORDS or tuple(words[-2:]) in _ABOUT_ENDINGS):
        return False
    if isinstance(value, (int, float)):
        return abs(value) < _MAX_PLAIN_NUMBER or words[-1] in _SPANS
    return isinstance(value, str) and _PLAIN_VALUE.fullmatch(value) is not None


_DEFAULT = Names()


def is_sensitive(name: str) -> bool:
    """Tell whether a value under this name must not leave, by the default lists."""
    return _DEFAULT.is_sensitive(name)


def _remembered(memory: dict[str, bool], name: str, judge: Callable[[str], bool]) -> bool:
    known = memory.get(name)
    if known is None:
        if len(memory) >= _MAX_REMEMBERED:
            memory.clear()
        known = memory[name] = judge(name)
    return known


def _is_sensitive_word(word: str) -> bool:
    if word in SENSITIVE_WORDS:
        return True
    return word.endswith(_PASSWORD_ENDINGS) and word not in _INNOCENT_ENDINGS


def _neighbours(words: list[str]) -> Iterator[str]:
    for length in range(1, _MAX_NAME_WORDS + 1):
        for start in range(len(words) - length + 1):
            yield "".join(words[start : start + length])


def _words(name: str) -> list[str]:
    if not name.isascii():
        decomposed = unicodedata.normalize("NFKD", name)
        bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
        name = unicodedata.normalize("NFC", bare)
    return [word for word in _SEPARATORS.split(_CAMEL_BORDER.sub(" ", name).casefold()) if word]


def _joined(name: str) -> str:
    return "".join(_words(name))
