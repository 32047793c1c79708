"""Find secrets known by their form: vendors' tokens, keys and hashes, plain or encoded.

The formats are from the vendors' documentation and from gitleaks, trufflehog, detect-secrets and GitHub's
secret scanning. Lengths are lower bounds on purpose: a cut or padded token is still a secret.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from urllib.parse import unquote, unquote_plus

from .entropy import is_wordy, looks_random, looks_secret
from .patterns import Pattern, Rule, Scrub, placeholder, rule

_LABEL = r"(?:[ +]|%20)[A-Za-z0-9 +%]{1,60}-----"  # with the spaces of a form or URL
_PEM = (
    rf"(?si)-----BEGIN{_LABEL}.*?(?:-----END{_LABEL}|\Z)"
    rf"|(?:(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{{4,76}}\r?\n){{1,3}}-----END{_LABEL}"  # cut before
    r"|---- BEGIN [A-Za-z0-9 ]{1,60} ----.*?(?:---- END [A-Za-z0-9 ]{1,60} ----|\Z)"
    r"|PuTTY-User-Key-File-\d:.*?(?:Private-MAC: [0-9a-f]{8,}+|\Z)"
)
_MNEMONIC = (  # of a wallet
    r"(?i)(?<![A-Za-z])(?:mnemonic|seed|phrase|wallet)s?\b[^\n]{0,40}?[\"' :=]"
    r"(?P<value>[a-z]{3,8}(?:[ ,]{1,2}[a-z]{3,8}){11,23})(?![a-z])"
)
_WIDE = (  # base64 with its signs
    r"tfp_[A-Za-z0-9_.-]{30,}+|(?:AT[AC]TT3|fm1[ar]_|fm2_|glc_|sntrys_)[A-Za-z0-9_+/=-]{16,}+"
)
_VENDOR_TOKEN = (
    rf"{_WIDE}|(?:<<token_prefixes>>)(?:-|_)?[A-Za-z0-9_-]{{12,}}+(?:\.[A-Za-z0-9_-]{{6,}}+){{0,4}}"
    r"|(?:(?<![A-Za-z0-9])|(?<=\\[nrtfv])|(?<=\x1b\[\dm)|(?<=\x1b\[\d\dm))"
    r"(?:(?:<<common_token_prefixes>>)(?=[A-Za-z]{0,40}+\d)[A-Za-z0-9]{12,}+[A-Za-z0-9_-]*+|<<tokens>>)"
)


def _is_token(match: re.Match[str]) -> bool:
    # Names of tests begin like some vendors' tokens for tests.
    return not (match[0].startswith("test_") and is_wordy(match[0]))


# Twitter's. It holds `%`, so it is found before percent-encoding is undone.
ENCODED_TOKEN = rule("vendor-token", "a" * 21, r"(?<![A-Za-z0-9])A{21}[A-Za-z0-9%+/=]{20,}+")

RULES = (
    rule("pem", ("--begin", "-- begin ", "--end", "putty-"), _PEM),
    rule("mnemonic", ("mnemonic", "phrase", "seed", "wallet"), _MNEMONIC),
    rule("jwt", "eyj", r"(?a)(?<![\w-])(?=[\w-]*eyJ[\w-]{8})[\w-]++(?:\.[\w-]*+){1,4}", needs_long_word=True),
    rule("jwt", "eyj", r"(?<![A-Za-z0-9+/_-])eyJ[A-Za-z0-9+/_-]{16,}+={0,2}", needs_long_word=True),
    rule("hash", ("$", "{", ":", "*"), "<<password_hashes>>", needs_long_word=True),
    rule("vendor-token", (), _VENDOR_TOKEN, _is_token, needs_long_word=True),
)

_SCHEME = (
    r"(?i)(?P<before>\b(?:bearer|basic|digest|negotiate|ntlm|token|apikey|api-key|aws4-hmac-sha256|ssws)"
    r"[ :]{1,2})(?=[A-Za-z._~/\-]*[\d=+]|(?-i:[A-Za-z]*[a-z][A-Z][A-Za-z]*[a-z][A-Z]))"
    r"(?P<value>[A-Za-z0-9._~+/=\-]{8,}+)"
)
_AFTER_NAME = Pattern(r"\A[a-z_]{1,20}=(?=.)")


def _is_authorization(match: re.Match[str]) -> bool:
    is_sure = match["before"].lower().startswith(("bearer", "basic", "ntlm", "negotiate"))
    return is_sure or looks_secret(_AFTER_NAME.sub("", match["value"]))


AUTHORIZATION = rule("authorization", (" ", ":"), _SCHEME, _is_authorization)

_RUN = Pattern(r"[^\s<>]++")
# A form has + for a space.
_ENCODED = Pattern(r"%[0-9A-Fa-f]{2}|[?&][\w.%-]{1,60}=[^&\"'+]{0,200}\+")
_ESCAPE = Pattern(
    r"((?:\\{1,15}x[0-9A-Fa-f]{2}){2,})|\\{1,15}(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([nrt]|[0fv](?![a-z]{2}))|([\"'/]))"
)
_COLOUR = Pattern(r"\x1b\[[0-9;]{0,20}m")
_BASE64 = Pattern(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{12,}+={0,2}")
_BASE64_LINES = Pattern(r"(?:[A-Za-z0-9+/]{60,76}\r?\n){1,200}[A-Za-z0-9+/]{4,76}={0,2}")
_HEX = Pattern(r"(?<![A-Za-z0-9])(?:0x|\\x)?((?:[0-9A-Fa-f]{2}){8,})(?![A-Za-z0-9])")
# Or SASL PLAIN.
_LOGIN = Pattern(r"[\w.@+-]{1,80}:[^\s:]{4,80}|[^\0]{0,80}\0[^\0]{1,80}\0[^\0]{1,200}")
# Shorter runs decode to readable text by chance.
_MIN_DECODED_CHARS = 8
_MIN_BASE64_CHARS = 12


_DECODERS: tuple[Scrub, ...] = (
    lambda text: _COLOUR.sub("", text),
    lambda text: _ESCAPE.sub(_character, text),
    html.unescape,
)


def escape_rule(scrub: Scrub) -> Rule:
    """Return the rule for secrets behind escapes of JSON, of Python, of HTML or of terminals."""

    def apply(text: str) -> str:
        for decode in _DECODERS:
            decoded = decode(text)
            if decoded != text and (scrubbed := scrub(decoded)) != decoded:
                text = scrubbed
        return text

    return Rule("escaped", ("\\", "&", "\x1b"), apply)


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return bytes.fromhex(re.sub(r"\\+x", "", match[1])).decode("utf-8", "replace")
    if match[5]:
        return match[5]
    code = match[2] or match[3]
    if code is None:
        return "\n"
    number = int(code, 16)
    is_surrogate = 0xD800 <= number <= 0xDFFF  # noqa: PLR2004 - Unicode's range
    return "?" if is_surrogate else chr(number)


def percent_rule(scrub: Scrub) -> Rule:
    """Return the rule for percent-encoded secrets outside of queries."""

    def replace(match: re.Match[str]) -> str:
        if _ENCODED.search(match[0]) is None:
            return match[0]
        for decode in (unquote, unquote_plus):
            decoded = decode(match[0])
            if (scrubbed := scrub(decoded)) != decoded:
                return scrubbed
        return match[0]

    return Rule("escaped", ("%", "+"), lambda text: _RUN.sub(replace, text))


def decoding_rules(scrub: Scrub) -> tuple[Rule, ...]:
    """Return the rules for base64 and hexadecimal blocks that hold a secret; the whole block goes."""

    def base64_block(match: re.Match[str]) -> str:
        if is_secret(_from_base64(match[0])):
            return placeholder("base64")
        # A path may have base64 in it. Short parts are left alone.
        parts = match[0].split("/")
        is_path = len(parts) > 1
        return "/".join(placeholder("base64") if is_path and is_secret_part(part) else part for part in parts)

    def is_secret_part(part: str) -> bool:
        return len(part) >= _MIN_BASE64_CHARS and is_secret(_from_base64(part))

    def is_secret(decoded: str | None) -> bool:
        return decoded is not None and (_LOGIN.fullmatch(decoded) is not None or scrub(decoded) != decoded)

    def hex_block(match: re.Match[str]) -> str:
        return placeholder("hex") if is_secret(_printable(bytes.fromhex(match[1]))) else match[0]

    def base64_blocks(text: str) -> str:
        return _BASE64.sub(base64_block, _BASE64_LINES.sub(base64_block, text))

    return (
        Rule("base64", (), base64_blocks, needs_long_word=True),
        Rule("hex", tuple("0123456789"), lambda text: _HEX.sub(hex_block, text), needs_long_word=True),
    )


def _from_base64(block: str) -> str | None:
    compact = re.sub(r"\s", "", block).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _printable(base64.b64decode(compact + "=" * (-len(compact) % 4)))
    except (binascii.Error, ValueError):
        return None


def _printable(raw: bytes) -> str | None:
    # Bytes of pictures and archives are no text, so no rule could find a secret in them.
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    is_text = all(letter.isprintable() or letter.isspace() or letter == "\0" for letter in text)
    return text if is_text and len(text) >= _MIN_DECODED_CHARS else None


_DATA_URI = Pattern(r"(?i)data:(?:image|font|audio|video)/[\w.+-]{1,40};base64,\Z|sha(?:1|256|384|512)-\Z")
_DIGEST = Pattern(r"(?i)(?:sha(?:1|256|384|512)|md5)-")


def _is_random(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 60) : match.start()]
    return not _DATA_URI.search(before) and _is_any_part_random(match[0])


def _is_any_part_random(word: str) -> bool:
    if _DIGEST.match(word):
        return False
    if "/" not in word:
        return looks_random(word) or ("_" in word and any(map(looks_random, word.split("_"))))
    if any(map(looks_random, word.split("/"))):
        return True
    # More than one `/` in twelve characters is a path rather than base64.
    is_path = word.startswith(("/", "./")) or word.count("/") > len(word) / 12
    return (word.endswith("=") or not is_path) and looks_random(word)


RANDOM = rule("random", (), r"(?<![A-Za-z0-9_+/=-])[A-Za-z0-9_+/=-]{22,}+", _is_random, needs_long_word=True)
