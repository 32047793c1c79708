"""Distinguish keys and passwords from readable words by their characters.

Nothing here is certain. The thresholds were chosen on the texts of tests/corpus: all planted secrets are
found, and at most one innocent text in a hundred is changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import pairwise

from .patterns import Pattern, word_list

_MIN_PAIRS = 3
_MIN_SHARE = 0.75
# Shorter ones in capitals are words: HTTP, JWT.
_MIN_ABBREVIATION_CHARS = 5
_MIN_RANDOM_CHARS = 22
# Of the characters; in base64 two of three differ in kind, in camelCase one.
_MIN_RANDOM_CHANGES = 0.42
_MIN_CHANGES_WITHOUT_DIGIT = 0.45
_MIN_SURE_CHARS = 30
_MAX_HYPHENS = 3  # a slug has more
_MIN_SECRET_CHARS = 6
_MIN_STRONG_CHARS = 8
# Of small and capital letters in turn, where a key is expected.
_MIN_LETTERS = 16
# Letters in a row, on average; in random texts there are fewer than three.
_MIN_WORD_CHARS = 3.0
_SURE_WORD_CHARS = 4.5
_MAX_NUMBER_CHARS = 4
_MAX_INNER_CHARS = 2

_HEX_OR_UUID = Pattern(
    r"(?:(?:0x)?[0-9a-f]{16,}|[0-9A-F]{16,}|(?=[A-Z]*\d)[A-Z0-9]{16,}|"
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
)
_NUMERIC = Pattern(
    r"[vV]?\d++(?:[.:,/_xX-]\d++)*\w{0,3}|\d{4}-\d\d-\d\dT[\d:.+Z-]*+|0x[0-9A-Fa-f]++|\d++[a-zA-Z%]{1,3}"
)
_CHUNKS = Pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]++|\d++|[^\W\dA-Za-z_]++|[^A-Za-z\d]")
# Four consonants and more that are no known abbreviation: no word of a language.
_UNSPEAKABLE = Pattern(
    r"(?i)(?!(?:x?html|https?|grpc|pgsql|xlsx|pptx|dtls|tmpfs|ctrl|msgs|pkcs|pbkdf)\Z)[b-df-hj-np-tv-xz]{4,40}"
)
# `summer2024`, but not `sha256`: names of algorithms and versions end in numbers too.
_WORD_AND_NUMBER = Pattern(
    r"(?i)(?!(?:sha|md|utf|http|base|rfc|aes|python|step|version)\d)[A-Za-z]{4,40}\d{2,8}"
)
# Numbers within one word: `x86to64` is readable, three numbers are not, nor two in a long one.
_INTERSPERSED = Pattern(
    r"(?:[A-Za-z]{1,30}\d{1,4}){3}|(?=[A-Za-z0-9]{16})[A-Za-z]{0,30}\d{1,4}[A-Za-z]{1,30}\d{1,4}[A-Za-z]"
)
_SLUG = Pattern(r"[a-z]{2,20}(?:-[a-z]{2,20}){2,8}")
_JOINTS = "_-./:\\()"
# How base64 of pictures, documents, archives and fonts begins, and names of digests.
_NO_SECRET = Pattern(
    r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|PHN2Z|JVBERi|UEsDB|H4sI|d09GR|AAABAA|Qk0"
    r"|(?i:sha(?:1|256|384|512)-|md5-)"
)
_SPECIALS = Pattern(r"[!@#$%^&*+=?~|]")


def looks_random(word: str) -> bool:
    """Return whether the word is too long and mixed to be invented by a person."""
    if len(word) < _MIN_RANDOM_CHARS or _NO_SECRET.match(word):
        return False
    kinds = [_kind(letter) for letter in word]
    if not {"a", "A"} <= set(kinds):
        return False
    is_long = len(word) >= _MIN_SURE_CHARS and word.replace("-", "", _MAX_HYPHENS).isalnum()
    if is_long and min(map(kinds.count, "aA0")) > 1 and not is_wordy(word):
        return True
    return _changes(word) >= (_MIN_RANDOM_CHANGES if "0" in kinds else _MIN_CHANGES_WITHOUT_DIGIT) * len(word)


def looks_identifying(word: str) -> bool:
    """Return whether the word is a long hexadecimal number or a UUID: a secret only where one is named."""
    return _HEX_OR_UUID.fullmatch(word) is not None


def looks_made_up(word: str) -> bool:
    """Return whether a person may have chosen the word as a password: letters with digits or signs."""
    word = word.lstrip("*&")  # `*Session` and `&str` are types
    if len(word) < _MIN_SECRET_CHARS or "scrubbed:" in word or _NUMERIC.fullmatch(word) or is_wordy(word):
        return False
    has_letter = any(map(str.isalpha, word))
    return has_letter and (any(map(str.isdigit, word)) or _SPECIALS.search(word) is not None)


def looks_chosen(word: str) -> bool:
    """Return whether the word may be a password where one is expected: made up, or a word with a number."""
    return looks_made_up(word) or _WORD_AND_NUMBER.fullmatch(word) is not None


def looks_strong(word: str) -> bool:
    """Return whether the word satisfies a password policy: three kinds of characters, none of a name's."""
    if len(word) < _MIN_STRONG_CHARS or not looks_made_up(word):
        return False
    kinds = {_kind(letter) for letter in word}
    return len(kinds & {"a", "A", "0"}) + (_SPECIALS.search(word) is not None) >= 3  # noqa: PLR2004 - of four


def looks_mixed(word: str) -> bool:
    """Return whether small and capital letters and two digits are mixed, which few readable words do."""
    kinds = [_kind(letter) for letter in word]
    return len(word) >= _MIN_STRONG_CHARS and {"a", "A", "0"} <= set(kinds) and kinds.count("0") > 1


def looks_secret(word: str) -> bool:
    """Return whether the word can be a key where one is expected."""
    return (
        looks_mixed(word)
        or looks_identifying(word)
        or looks_random(word)
        or (len(word) >= _MIN_STRONG_CHARS and looks_made_up(word))
        or (len(word) >= _MIN_LETTERS and word.isalnum() and _is_scrambled(word))
    )


def is_slug(word: str) -> bool:
    """Return whether these are words with hyphens, as in a passphrase."""
    return _SLUG.fullmatch(word) is not None


def is_wordy(word: str) -> bool:
    """Return whether the word is made of readable words and short numbers: `step-12`, `CamelCase2Names`."""
    if _INTERSPERSED.search(word):
        return False
    words: list[str] = []
    numbers = 0
    for found in _CHUNKS.finditer(word):
        chunk = found[0]
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
        not is_mixed or average >= _SURE_WORD_CHARS or _reads_like_words(words)
    )


def _reads_like_words(chunks: Iterable[str]) -> bool:
    # In words three of four pairs of neighbouring letters are common; few pairs prove nothing.
    known = count = 0
    bigrams = _bigrams()
    for chunk in chunks:
        if not chunk.isascii() or (chunk.isupper() and len(chunk) < _MIN_ABBREVIATION_CHARS):
            continue
        pairs = list(map("".join, pairwise(chunk.lower())))
        known, count = known + sum(map(bigrams.__contains__, pairs)), count + len(pairs)
    return count < _MIN_PAIRS or known >= _MIN_SHARE * count


@cache
def _bigrams() -> frozenset[str]:
    return frozenset(entry[0] + second for entry in word_list("bigrams") for second in entry[1:])


def _is_scrambled(word: str) -> bool:
    # Small and capital letters that form no words: `kJhGtRfDeWsQaZxC`.
    is_mixed = not (word.islower() or word.isupper())
    return is_mixed and (_changes(word) >= _MIN_RANDOM_CHANGES * len(word) or not is_wordy(word))


def _changes(word: str) -> int:
    return sum(left != right for left, right in pairwise(map(_kind, word)))


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    if letter.isalpha():
        return "a" if letter.islower() else "A"
    return letter
