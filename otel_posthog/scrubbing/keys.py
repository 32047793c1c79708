"""Which names say that their value is secret (requirement R21).

A name is judged after case, camelCase, separators, accents, full-width letters and look-alike letters
of other alphabets are taken away, so none of them hides a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from .key_lists import (
    ABOUT_ENDINGS,
    ABOUT_WORDS,
    FILES,
    INNOCENT_ENDINGS,
    INNOCENT_KEYS,
    INNOCENT_NAMES,
    KEY_WORDS,
    PASSWORD_ENDINGS,
    PERSONAL_NAMES,
    PERSONAL_WHOLE_NAMES,
    SENSITIVE_PARTS,
    SENSITIVE_WORDS,
    SPANS,
)

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
        is_key = len(words) > 1 and words[-1] in KEY_WORDS
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
    if words[-1] in FILES:
        return isinstance(value, str) and _PATH.fullmatch(value) is not None
    if not (words[-1] in ABOUT_WORDS or tuple(words[-2:]) in ABOUT_ENDINGS):
        return False
    if isinstance(value, (int, float)):
        return abs(value) < _MAX_PLAIN_NUMBER or words[-1] in SPANS
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
    return word.endswith(PASSWORD_ENDINGS) and word not in INNOCENT_ENDINGS


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
