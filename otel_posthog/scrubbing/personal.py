"""Personal data that is known by its look: addresses, numbers of accounts, cards and telephones.

Numbers with a check digit are taken out only where it is right; without one, only in unmistakable forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from .machine import GENERIC

Replace = Callable[[re.Match[str]], str]

_ATOM = r"[^\s@\uff20<>()\[\]\"'`,;:=/%|{}*]"
EMAIL = re.compile(
    rf"(?:(?<![A-Za-z0-9])\"[^\"@\n]{{1,64}}\"|(?<!{_ATOM}){_ATOM}++)"
    r"(?:@|\uff20|%40|\\u0040|\\x40|&#64;|[ ]?[\[(](?:at|AT|@)[\])][ ]?"
    r"|[ ](?:at|AT)[ ](?=[A-Za-z0-9-]{1,60}[ ](?:dot|DOT)[ ][A-Za-z]{2}))"
    r"(?P<domain>\[(?:IPv6:)?[0-9A-Fa-f.:]{3,45}\]"
    r"|localhost(?!\.?\w|-)|[^\s@<>()\[\]\"'`,;:=/%|{}*]{1,190}(?:\.|[ ]?[\[(](?:dot|DOT|"
    r"\.)[\])][ ]?|[ ](?:dot|DOT)[ ])[^\W\d_]{2,24}(?:\.[^\W\d_]{2,24})*)"
    r"(?::(?!\d{1,5}(?!\w))[^\s\"'<>,;:\[\]]{5,100})?"  # a list of leaked accounts: address and password
)
_NO_PERSON = re.compile(r"(?:git|hg|svn)(?:@|%40)(?:github|gitlab|bitbucket|codeberg|ssh)\.", re.IGNORECASE)
_NO_DOMAIN = re.compile(
    r"\d{1,3}x\.[a-z]{2,5}|\d+(?:\.\d+)+\.\w{1,5}", re.IGNORECASE
)  # icon@2x.png, lib@1.2.js

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = re.compile(rf"(?<!\d)(?<!\d\.)(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.]*\d)")
IPV4_DASHED = re.compile(
    rf"(?<![A-Za-z0-9-])(?:ip|ec2|host|dyn|dsl|cpe|client|pool)-{_OCTET}-{_OCTET}-{_OCTET}-{_OCTET}(?![A-Za-z0-9-])"
)
_IPV4_OF_NOBODY = re.compile(r"0\.0\.0\.0|127(?:\.\d{1,3}){3}|255\.255\.255\.\d{1,3}")
_SAYS_VERSION = re.compile(
    r"(?:(?:^|[\s(\[\"',;])[A-Z][A-Za-z]{1,30}/|\bv\.?|\b(?:ver|version|versions|release|rev|revision|"
    r"build|section|"
    r"chapter|sdk|firmware|driver|oid|python|cpython|node|java|openssl|nginx|chrome|firefox|edge|"
    r"safari|postgresql|mysql|"
    r"mariadb|redis|django|kernel|windows|macos|ubuntu|debian|docker)[.:]?[ =:]{0,3}[\"'(]?v?|"
    r"[=<>~!]=|~>|\^)\Z",
    re.IGNORECASE,
)
_IS_PACKAGE = re.compile(
    r"[-.](?:tar|whl|zip|gz|tgz|deb|rpm|jar|exe|dmg|py\d|alpha|beta|rc|dev|post|snapshot)", re.IGNORECASE
)

_HEXTET = r"[0-9A-Fa-f]{1,4}"
IPV6 = re.compile(
    rf"(?<![A-Za-z0-9])(?<![0-9A-Fa-f:]:)(?:(?:{_HEXTET}:){{7}}{_HEXTET}|(?:{_HEXTET}:){{1,6}}(?::{_HEXTET}){{1,6}}|"
    rf"(?:{_HEXTET}:){{1,7}}:|"
    rf"::(?:{_HEXTET}:){{0,6}}{_HEXTET})(?:%\w{{1,16}})?(?![A-Za-z0-9]|:[0-9A-Fa-f:])"
)
_LOOKS_LIKE_IPV6 = re.compile(r"[0-9A-Fa-f]*\d[0-9A-Fa-f]*|f[cde][0-9a-f]{2}", re.IGNORECASE)
MAC = re.compile(
    r"(?<![A-Za-z0-9-])[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}(?![A-Za-z0-9-])"
    r"|(?<![A-Za-z0-9-])(?<![0-9A-Fa-f]:)[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?![A-Za-z0-9-]|:[0-9A-Fa-f])"
    r"|(?<![A-Za-z0-9.-])(?=[0-9A-Fa-f]{4}\.)(?=[0-9.]{0,13}[A-Fa-f])(?=[A-Fa-f.]{0,13}\d)[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}(?![A-Za-z0-9-]|\.\w)"
)

CARD = re.compile(
    r"(?<![A-Za-z0-9+-])(?<!\d\.)[2-6]\d{3}(?:[ .\-_\u00a0\u2009\u202f]{0,2}\d){9,15}(?![A-Za-z0-9]|[.-]\d)"
)
_CARD_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|5[06-8]\d{10,17}|3[47]\d{13}|3(?:0[0-5]|"
    r"[689]\d)\d{11}|"
    r"6(?:011|4[4-9]\d|5\d\d)\d{12}|35\d{14}|6[2-9]\d{14,17}|220\d{13}"
)

IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0\u202f-]?[A-Za-z0-9]){11,30}")
_IBAN_CHARS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}

PHONE = re.compile(
    r"(?<![A-Za-z0-9+])\+(?:[1-9]\d{0,2}|\([1-9]\d{0,2}\))"
    r"(?:[ .\-/\u00a0\u2009\u202f]?\(?\d{1,5}\)?){2,6}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9.+-])\(\d{3,5}\)[ .\-/]?\d{3,4}[ .\-/]?\d{3,4}(?![A-Za-z0-9-])"
    r"|(?<![A-Za-z0-9.+/-])(?:1[-. ])?[2-9]\d{2}([-. ])\d{3}\1\d{4}(?![A-Za-z0-9-]|\.\w)"
    r"|(?<![A-Za-z0-9.+/-])00[1-9]\d{0,2}[ \-/]\d[\d \-/]{5,14}\d(?![A-Za-z0-9-])"
    r"|(?<![A-Za-z0-9.+-])00[1-9]\d{8,13}(?![A-Za-z0-9-])(?!\.\d)"
    r"|(?<![A-Za-z0-9.+/-])0[1-9]\d{1,4}[ /-]{1,3}\d[\d -]{4,10}\d(?![A-Za-z0-9-])"
    r"|(?<=tel:)[+\d][\d .()\-]{5,20}\d"
    r"|(?:\b(?:tel|phone|mobile|mobil|telefon|handy|fax|sms|call|whatsapp)(?:efon|"
    r"ephone)?\b\.?[ :=#]{0,3}(?:to|number|no|nr|is)?\.?[ :=]{0,2})"
    r"(?P<after>[+(]?\d[\d .()/\-]{5,20}\d)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_MIN_PHONE_DIGITS = 8

SOCIAL_SECURITY = re.compile(
    r"(?=\d{9})(?i:(?<=ssn )|(?<=ssn: )|(?<=ssn=)|(?<=security number )|(?<=security number: )|(?<=tax id )|"
    r"(?<=tax id: )|(?<=steuer-id ))\d{9,11}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![A-Za-z0-9-])"
    r"|(?<![A-Za-z0-9])[A-CEGHJ-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9.])756\.\d{4}\.\d{4}\.\d{2}(?![A-Za-z0-9.])"
    r"|(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])"
)


def replacing(mark: str, is_meant: Callable[[re.Match[str]], bool]) -> Replace:
    """Return a replacement that leaves alone what only looks alike."""

    def replace(match: re.Match[str]) -> str:
        return mark if is_meant(match) else match[0]

    return replace


def is_email(match: re.Match[str]) -> bool:
    """Tell an address of a person from `git@github.com` and `icon@2x.png`."""
    if match["domain"] == "localhost":
        return match[0].partition("@")[0].lower() not in GENERIC
    return not (_NO_PERSON.match(match[0]) or _NO_DOMAIN.fullmatch(match["domain"]))


def is_ipv4(match: re.Match[str]) -> bool:
    """Tell an address from a version of four numbers, and from the ones that every machine has."""
    if _IPV4_OF_NOBODY.fullmatch(match[0]):
        return False
    text, start, end = match.string, match.start(), match.end()
    if _IS_PACKAGE.match(text, end):
        return False
    before = text[max(0, start - 40) : start]
    return before.endswith("://") or _SAYS_VERSION.search(before) is None


def is_ipv6(match: re.Match[str]) -> bool:
    """Tell an address from a time, a slice and a C++ name."""
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


def is_card(match: re.Match[str]) -> bool:
    """Tell whether the digits are a card's: length and start of a network, right check digit."""
    digits = re.sub(r"\D", "", match[0])
    return _CARD_NETWORKS.fullmatch(digits) is not None and _has_luhn_digit(digits)


def scrub_iban(mark: str) -> Replace:
    """Return a replacement for account numbers with a right check number; what follows is kept."""

    def replace(match: re.Match[str]) -> str:
        text = match[0]
        wanted = _IBAN_CHARS.get(text[:2].upper())
        if wanted is None:
            return text
        end = _end_after(text, wanted)
        compact = re.sub(r"[ \u00a0\u202f-]", "", text[:end]).upper()
        is_whole = len(compact) == wanted and (end == len(text) or not text[end].isalnum())
        return mark + text[end:] if is_whole and _has_iban_number(compact) else text

    return replace


def scrub_phone(mark: str) -> Replace:
    """Return a replacement for telephone numbers with digits enough; the word for one is kept."""

    def replace(match: re.Match[str]) -> str:
        number = match["after"] or match[0]
        digits = sum(map(str.isdigit, match[0])) + (match["after"] is not None)
        return match[0].removesuffix(number) + mark if digits >= _MIN_PHONE_DIGITS else match[0]

    return replace


def _has_luhn_digit(digits: str) -> bool:
    if len(set(digits)) == 1:
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0  # noqa: PLR2004


def _end_after(text: str, count: int) -> int:
    for place, letter in enumerate(text):
        count -= letter.isalnum()
        if count == 0:
            return place + 1
    return len(text)


def _has_iban_number(compact: str) -> bool:
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in rearranged)) % 97 == 1
