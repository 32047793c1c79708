"""Find personal data by its form: addresses, accounts, cards, telephone numbers.

A number with a check digit is removed only if the digit is right; other numbers only in unmistakable forms.
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import AddressValueError, IPv6Address

from .patterns import Pattern, placeholder, rewriting, rule, word_list

_DIGITS = tuple("0123456789")
_ATOM = r"[^\s@\uff20<>()\[\]\"'`,;:=/%|{}*]"
_EMAIL = (
    rf"(?:(?<![A-Za-z0-9])\"[^\"@\n]{{1,64}}\"|(?<!{_ATOM}){_ATOM}++)"
    r"(?:@|\uff20|%40|\\u0040|\\x40|&#64;|[ ]?[\[(](?:at|AT|@)[\])][ ]?"
    r"|[ ](?:at|AT)[ ](?=[A-Za-z0-9-]{1,60}[ ](?:dot|DOT)[ ][A-Za-z]{2}))"
    r"(?P<domain>\[(?:IPv6:)?[0-9A-Fa-f.:]{3,45}\]"
    r"|localhost(?!\.?\w|-)|[^\s@<>()\[\]\"'`,;:=/%|{}*]{1,190}(?:\.|[ ]?[\[(](?:dot|DOT|"
    r"\.)[\])][ ]?|[ ](?:dot|DOT)[ ])[^\W\d_]{2,24}(?:\.[^\W\d_]{2,24})*)"
    r"(?::(?!\d{1,5}(?!\w))[^\s\"'<>,;:\[\]]{5,100})?"  # a list of leaked accounts: address and password
)
_NO_PERSON = Pattern(r"(?i)(?:git|hg|svn)(?:@|%40)(?:github|gitlab|bitbucket|codeberg|ssh)\.")
_NO_DOMAIN = Pattern(r"(?i)\d{1,3}x\.[a-z]{2,5}|\d+(?:\.\d+)+\.\w{1,5}")  # icon@2x.png, lib@1.2.js

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"(?<!\d)(?<!\d\.)(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.]*\d)"
_IPV4_DASHED = rf"(?<![A-Za-z0-9-])(?:ip|ec2|host|dyn|dsl|cpe|client|pool)(?:-{_OCTET}){{4}}(?![A-Za-z0-9-])"
_IPV4_OF_NOBODY = Pattern(r"0\.0\.0\.0|127(?:\.\d{1,3}){3}|255\.255\.255\.\d{1,3}")
_SAYS_VERSION = Pattern(
    r"(?i)(?:(?:^|[\s(\[\"',;])[A-Z][A-Za-z]{1,30}/|\bv\.?|\b(?:<<version_words>>)[.:]?[ =:]{0,3}[\"'(]?v?|"
    r"[=<>~!]=|~>|\^)\Z"
)
_IS_PACKAGE = Pattern(
    r"(?i)[-.](?:tar|whl|zip|gz|tgz|deb|rpm|jar|exe|dmg|py\d|alpha|beta|rc|dev|post|snapshot)"
)

_HEXTET = r"[0-9A-Fa-f]{1,4}"
_IPV6 = (
    rf"(?<![A-Za-z0-9])(?<![0-9A-Fa-f:]:)(?:(?:{_HEXTET}:){{7}}{_HEXTET}|(?:{_HEXTET}:){{1,6}}(?::{_HEXTET}){{1,6}}|"
    rf"(?:{_HEXTET}:){{1,7}}:|::(?:{_HEXTET}:){{0,6}}{_HEXTET})(?:%\w{{1,16}})?(?![A-Za-z0-9]|:[0-9A-Fa-f:])"
)
_LOOKS_LIKE_IPV6 = Pattern(r"(?i)[0-9A-Fa-f]*\d[0-9A-Fa-f]*|f[cde][0-9a-f]{2}")

_CARD = (
    r"(?<![A-Za-z0-9+-])(?<!\d\.)[2-6]\d{3}(?:[ .\-_\u00a0\u2009\u202f]{0,2}\d){9,15}(?![A-Za-z0-9]|[.-]\d)"
)
_CARD_NETWORKS = Pattern("<<card_networks>>")

_IBAN = r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0\u202f-]?[A-Za-z0-9]){11,30}"

_MIN_PHONE_DIGITS = 8


def _is_email(match: re.Match[str]) -> bool:
    # `git@github.com` and `icon@2x.png` have the form of an address.
    if match["domain"] == "localhost":
        return match[0].partition("@")[0].lower() not in word_list("generic")
    return not (_NO_PERSON.match(match[0]) or _NO_DOMAIN.fullmatch(match["domain"]))


def _is_ipv4(match: re.Match[str]) -> bool:
    # A version has four numbers, too, and every host has 127.0.0.1.
    text, start, end = match.string, match.start(), match.end()
    if _IPV4_OF_NOBODY.fullmatch(match[0]) or _IS_PACKAGE.match(text, end):
        return False
    before = text[max(0, start - 40) : start]
    return before.endswith("://") or _SAYS_VERSION.search(before) is None


def _is_ipv6(match: re.Match[str]) -> bool:
    # A time, a slice and a C++ name have the form of an address.
    address = match[0].partition("%")[0]
    if address in ("::", "::1"):
        return False
    first = next(part for part in address.split(":") if part)
    if address.count(":") < 7 and (len(first) < 3 or not _LOOKS_LIKE_IPV6.fullmatch(first)):  # noqa: PLR2004 - eight parts
        return False
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


def _is_card(match: re.Match[str]) -> bool:
    # Without a network's length and start and the check digit it is an order or a telephone number.
    digits = re.sub(r"\D", "", match[0])
    if _CARD_NETWORKS.fullmatch(digits) is None or len(set(digits)) == 1:
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0  # noqa: PLR2004


def _iban(match: re.Match[str]) -> str:
    # The pattern may take in the words behind the number, so its length decides what goes.
    text = match[0]
    wanted = _iban_lengths().get(text[:2].lower())
    if wanted is None:
        return text
    end = _end_after(text, wanted)
    compact = re.sub(r"[ \u00a0\u202f-]", "", text[:end]).upper()
    is_whole = len(compact) == wanted and (end == len(text) or not text[end].isalnum())
    if not is_whole or int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 != 1:
        return text
    return placeholder("iban") + text[end:]


@cache
def _iban_lengths() -> dict[str, int]:
    return {entry[:2]: int(entry[2:]) for entry in word_list("iban_lengths")}


def _end_after(text: str, count: int) -> int:
    for place, letter in enumerate(text):
        count -= letter.isalnum()
        if count == 0:
            return place + 1
    return len(text)


def _has_digits_of_phone(match: re.Match[str]) -> bool:
    digits = sum(map(str.isdigit, match[0])) + (match["value"] is not None)
    return digits >= _MIN_PHONE_DIGITS


RULES = (
    rule("email", ("@", "%40", "\uff20", "u0040", "x40", "&#64;", "at]", "at)", " dot "), _EMAIL, _is_email),
    rewriting("iban", _DIGITS, _IBAN, _iban),
    rule("card", _DIGITS, _CARD, _is_card),
    rule("ssn", _DIGITS, "<<social_security_numbers>>"),
    rule("mac", (":", "-", "."), "<<mac_addresses>>"),
    rule("ip", ".", _IPV4, _is_ipv4),
    rule("ip", ("ip-", "ec2-", "host-", "dyn-", "dsl-", "cpe-", "client-", "pool-"), _IPV4_DASHED),
    rule("ip", ":", _IPV6, _is_ipv6),
)
PHONE = rule("phone", _DIGITS, "(?i)<<phone_numbers>>", _has_digits_of_phone)
