"""Whether a word looks like a secret: chosen at random, or a password that somebody made up."""

from __future__ import annotations

import re
from itertools import pairwise

from .letters import reads_like_words

_MARK = "scrubbed:"
_MIN_RANDOM_CHARS = 22
_MIN_RANDOM_CHANGES = (
    0.42  # of the characters; in base64 two of three differ in kind, in camelCase one of three
)
_MIN_SURE_CHARS = 30
_MAX_HYPHENS = 3  # a slug has more
_MIN_SECRET_CHARS = 6
_MIN_STRONG_CHARS = 8

_MIN_CHANGES_WITHOUT_DIGIT = 0.45
_MIN_LETTERS = 16  # of small and capital letters in turn, at a place where a key is expected
_HEX_OR_UUID = re.compile(
    r"(?:(?:0x)?[0-9a-f]{16,}|[0-9A-F]{16,}|(?=[A-Z]*\d)[A-Z0-9]{16,}|"
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
)
_NUMERIC = re.compile(
    r"[vV]?\d++(?:[.:,/_xX-]\d++)*\w{0,3}|\d{4}-\d\d-\d\dT[\d:.+Z-]*+|0x[0-9A-Fa-f]++|\d++[a-zA-Z%]{1,3}"
)
_CHUNKS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]++|\d++|[^\W\dA-Za-z_]++|[^A-Za-z\d]")
_UNSPEAKABLE = re.compile(
    r"(?!(?:x?html|https?|grpc|pgsql|xlsx|pptx|dtls|tmpfs|ctrl|msgs|pkcs|pbkdf)\Z)[b-df-hj-np-tv-xz]{4,40}",
    re.IGNORECASE,
)
_MIN_WORD_CHARS = 3.0  # letters in a row, on average; chosen at random they are fewer than three
_SURE_WORD_CHARS = 4.5
_MAX_NUMBER_CHARS = 4
_MAX_INNER_CHARS = 2
_WORD_AND_NUMBER = re.compile(
    r"(?!(?:sha|md|utf|http|base|rfc|aes|python|step|version)\d)[A-Za-z]{4,40}\d{2,8}", re.IGNORECASE
)
# Numbers here and there within one word: `x86to64` is readable, three numbers are not, nor two in a long one.
_INTERSPERSED = re.compile(
    r"(?:[A-Za-z]{1,30}\d{1,4}){3}|(?=[A-Za-z0-9]{16})[A-Za-z]{0,30}\d{1,4}[A-Za-z]{1,30}\d{1,4}[A-Za-z]"
)
_SLUG = re.compile(r"[a-z]{2,20}(?:-[a-z]{2,20}){2,8}")
_JOINTS = "_-./:\\()"
_PICTURES = (
    "iVBORw0KGgo",
    "/9j/",
    "R0lGOD",
    "UklGR",
    "PHN2Z",
    "JVBERi",
    "UEsDB",
    "H4sI",
    "d09GR",
    "AAABAA",
    "Qk0",
)
_DIGESTS = re.compile(r"sha(?:1|256|384|512)-|md5-", re.IGNORECASE)
_SPECIALS = re.compile(r"[!@#$%^&*+=?~|]")


def looks_random(word: str) -> bool:
    """Tell whether nobody can have made up the word: long, of all kinds of letters, and mixed."""
    if len(word) < _MIN_RANDOM_CHARS or word.startswith(_PICTURES) or _DIGESTS.match(word):
        return False
    kinds = [_kind(letter) for letter in word]
    if not {"a", "A"} <= set(kinds):
        return False
    is_long = len(word) >= _MIN_SURE_CHARS and word.replace("-", "", _MAX_HYPHENS).isalnum()
    if is_long and min(map(kinds.count, "aA0")) > 1 and not is_wordy(word):
        return True
    return _changes(word) >= (_MIN_RANDOM_CHANGES if "0" in kinds else _MIN_CHANGES_WITHOUT_DIGIT) * len(word)


def looks_identifying(word: str) -> bool:
    """Tell whether the word is a long hexadecimal number or a UUID: a secret only where one is named."""
    return _HEX_OR_UUID.fullmatch(word) is not None


def looks_made_up(word: str) -> bool:
    """Tell whether somebody may have chosen the word as a password: letters with digits or signs."""
    word = word.lstrip("*&")  # `*Session` and `&str` are types
    if len(word) < _MIN_SECRET_CHARS or _MARK in word or _is_numeric(word) or is_wordy(word):
        return False
    has_letter = any(map(str.isalpha, word))
    return has_letter and (any(map(str.isdigit, word)) or _SPECIALS.search(word) is not None)


def looks_chosen(word: str) -> bool:
    """Tell whether the word may be a password where one may stand: made up, or a word with a number."""
    return looks_made_up(word) or _WORD_AND_NUMBER.fullmatch(word) is not None


def is_slug(word: str) -> bool:
    """Tell whether these are words with hyphens, as in a passphrase."""
    return _SLUG.fullmatch(word) is not None


def looks_strong(word: str) -> bool:
    """Tell whether a password rule would like the word: three kinds of characters, none of a name's."""
    if len(word) < _MIN_STRONG_CHARS or not looks_made_up(word):
        return False
    kinds = {_kind(letter) for letter in word}
    return len(kinds & {"a", "A", "0"}) + (_SPECIALS.search(word) is not None) >= 3  # noqa: PLR2004 - of four


def is_wordy(word: str) -> bool:
    """Tell whether the word is made of readable words and short numbers: `step-12`, `CamelCase2Names`."""
    if _INTERSPERSED.search(word):
        return False
    words: list[str] = []
    numbers = 0
    for chunk in _CHUNKS.findall(word):
        if chunk.isalpha():
            if _UNSPEAKABLE.fullmatch(chunk):
                return False
            words.append(chunk)
        elif chunk.isdigit():
            if len(chunk) > _MAX_NUMBER_CHARS:
                return False
            numbers += len(chunk) > _MAX_INNER_CHARS
        elif chunk not in _JOINTS:
            return False
    if not words or (numbers > 1 and word.isalnum()):  # abc123def456
        return False
    average = sum(map(len, words)) / len(words)
    is_mixed = not (word.islower() or word.isupper())
    return average >= _MIN_WORD_CHARS and (
        not is_mixed or average >= _SURE_WORD_CHARS or reads_like_words(words)
    )


def looks_mixed(word: str) -> bool:
    """Tell whether small and capital letters and two digits are mixed, which few readable words do."""
    kinds = [_kind(letter) for letter in word]
    return len(word) >= _MIN_STRONG_CHARS and {"a", "A", "0"} <= set(kinds) and kinds.count("0") > 1


def looks_secret(word: str) -> bool:
    """Tell whether the word can be a key at a place where one is expected."""
    return (
        looks_mixed(word)
        or looks_identifying(word)
        or looks_random(word)
        or (len(word) >= _MIN_STRONG_CHARS and looks_made_up(word))
        or (len(word) >= _MIN_LETTERS and word.isalnum() and _is_scrambled(word))
    )


def _is_scrambled(word: str) -> bool:
    """Tell whether small and capital letters do not make words."""
    is_mixed = not (word.islower() or word.isupper())
    return is_mixed and (_changes(word) >= _MIN_RANDOM_CHANGES * len(word) or not is_wordy(word))


def _changes(word: str) -> int:
    return sum(left != right for left, right in pairwise(map(_kind, word)))


def _is_numeric(word: str) -> bool:
    return _NUMERIC.fullmatch(word) is not None


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    if letter.isalpha():
        return "a" if letter.islower() else "A"
    return letter
