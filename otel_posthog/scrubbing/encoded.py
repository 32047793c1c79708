"""Secrets in disguise: percent-encoded, escaped, in base64 or hexadecimal.

What is decoded is scrubbed by all rules. Where they find something, the disguise goes with it.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable
from urllib.parse import unquote, unquote_plus

from .marks import mark

Scrub = Callable[[str], str]

_RUN = re.compile(r"[^\s<>]++")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|[?&][\w.%-]{1,60}=[^&\"'+]{0,200}\+")  # a form has + for a space
_ESCAPE = re.compile(
    r"((?:\\{1,15}x[0-9A-Fa-f]{2}){2,})|\\{1,15}(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([nrt]|[0fv](?![a-z]{2}))|([\"'/]))"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{12,}+={0,2}")
_BASE64_LINES = re.compile(r"(?:[A-Za-z0-9+/]{60,76}\r?\n){1,200}[A-Za-z0-9+/]{4,76}={0,2}")
_HEX = re.compile(r"(?<![A-Za-z0-9])(?:0x|\\x)?((?:[0-9A-Fa-f]{2}){8,})(?![A-Za-z0-9])")
_CREDENTIALS = re.compile(r"[\w.@+-]{1,80}:[^\s:]{4,80}")
_PLAIN_LOGIN = re.compile(r"[^\0]{0,80}\0[^\0]{1,80}\0[^\0]{1,200}")  # SASL PLAIN
_MIN_DECODED_CHARS = 8
_MIN_BASE64_CHARS = 12


def scrub_percent(text: str, scrub: Scrub) -> str:
    """Return the text without secrets that are percent-encoded."""

    def replace(match: re.Match[str]) -> str:
        if _ENCODED.search(match[0]) is None:
            return match[0]
        for decode in (unquote, unquote_plus):
            decoded = decode(match[0])
            if (scrubbed := scrub(decoded)) != decoded:
                return scrubbed
        return match[0]

    return _RUN.sub(replace, text)


def scrub_escaped(text: str, scrub: Scrub) -> str:
    """Return the text without secrets that hide behind escapes of JSON, of Python or of HTML."""
    for decode in (_without_colours, _without_escapes, html.unescape):
        decoded = decode(text)
        if decoded != text and (scrubbed := scrub(decoded)) != decoded:
            text = scrubbed
    return text


def scrub_base64(text: str, scrub: Scrub) -> str:
    """Return the text without blocks of base64 that hold a secret."""

    def replace(match: re.Match[str]) -> str:
        if _is_telling(_from_base64(match[0]), scrub):
            return mark("base64")
        if "/" not in match[0]:
            return match[0]
        return "/".join(  # it may be a path with base64 in it
            mark("base64")
            if len(part) >= _MIN_BASE64_CHARS and _is_telling(_from_base64(part), scrub)
            else part
            for part in match[0].split("/")
        )

    return _BASE64.sub(replace, _BASE64_LINES.sub(replace, text))


def scrub_hex(text: str, scrub: Scrub) -> str:
    """Return the text without hexadecimal blocks that hold a secret."""

    def replace(match: re.Match[str]) -> str:
        return mark("hex") if _is_telling(_printable(bytes.fromhex(match[1])), scrub) else match[0]

    return _HEX.sub(replace, text)


def _is_telling(decoded: str | None, scrub: Scrub) -> bool:
    if decoded is None:
        return False
    is_login = _CREDENTIALS.fullmatch(decoded) or _PLAIN_LOGIN.fullmatch(decoded)
    return is_login is not None or scrub(decoded) != decoded


def _from_base64(block: str) -> str | None:
    compact = re.sub(r"\s", "", block).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _printable(base64.b64decode(compact + "=" * (-len(compact) % 4)))
    except (binascii.Error, ValueError):
        return None


def _printable(raw: bytes) -> str | None:
    """Return the bytes as text, or None where they are something else."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    is_text = all(letter.isprintable() or letter.isspace() or letter == "\0" for letter in text)
    return text if is_text and len(text) >= _MIN_DECODED_CHARS else None


def _without_colours(text: str) -> str:
    return _COLOUR.sub("", text)


def _without_escapes(text: str) -> str:
    return _ESCAPE.sub(_character, text)


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
