"""Which names say that their value is secret (requirement R21)."""

from __future__ import annotations

import re
from functools import lru_cache

# Substrings of a normalised name. The first four are the product's promise, the rest a fuller default.
SENSITIVE_PARTS = (
    "password",
    "secret",
    "apikey",
    "token",
    "passwd",
    "passphrase",
    "authorization",
    "cookie",
    "credential",
    "privatekey",
    "accesskey",
    "sessionid",
    "csrf",
    "xsrf",
    "signature",
    "connectionstring",
)

# Whole words: as substrings they would hit `shipping`, `author`, `discard` and the like.
SENSITIVE_WORDS = frozenset(
    {
        "pwd",
        "auth",
        "session",
        "sid",
        "otp",
        "pin",
        "ssn",
        "iban",
        "cvv",
        "cvc",
        "dsn",
        "jwt",
        "bearer",
        "email",
    }
)

# Names that hold a sensitive part by accident: counts and settings of text models, and a job title.
INNOCENT_NAMES = frozenset(
    {
        "maxtokens",
        "mintokens",
        "numtokens",
        "ntokens",
        "tokencount",
        "tokenscount",
        "totaltokens",
        "prompttokens",
        "completiontokens",
        "inputtokens",
        "outputtokens",
        "tokenizer",
        "tokenization",
        "secretary",
        "secretariat",
    }
)

_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=4096)
def is_sensitive(name: str) -> bool:
    """Tell whether a value under this name must not leave.

    Case, camelCase, `-`, `_`, `.` and spaces do not hide a word.
    """
    words = [word for word in _SEPARATORS.split(_CAMEL_BORDER.sub(" ", name).lower()) if word]
    joined = "".join(words)
    if joined in INNOCENT_NAMES:
        return False
    return any(part in joined for part in SENSITIVE_PARTS) or not SENSITIVE_WORDS.isdisjoint(words)
