"""Judge which names have a secret or personal value (requirement R21).

A name is compared without case, camelCase, separators, accents, full-width letters and look-alike letters
of other alphabets, so none of them hides a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from otel_posthog._runtime.process import lazy

from .patterns import Pattern, word_list

MAX_KEY_CHARS = 200
# Names of fields repeat in every event, so what they are is kept.
_MAX_CACHED = 4096
_MAX_NAME_WORDS = 3
# `max_tokens: 4096` is a limit; a larger number may be an identifier.
_MAX_PLAIN_NUMBER = 100_000

_PASSWORD_ENDINGS = ("pass", "pwd")  # dbpass, adminpwd
_PATH = Pattern(r"[A-Z]{2,20}|\.{0,2}/?[A-Za-z_.-]{1,40}(?:/[A-Za-z_.-]{1,40}){0,12}")
_CAMEL_BORDER = Pattern(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = Pattern(r"[\W_]+")
_PLAIN_VALUE = Pattern(
    r"[A-Za-z]{1,20}(?:[ _-][A-Za-z]{1,20}){0,3}|[A-Za-z]{2,6}(?:-[A-Za-z]{2,6})?[ -]?\d{1,3}"
    r"|\d{1,5}(?:\.\d{1,6})?|\d{4}-\d\d-\d\d(?:[T ][\d:.+Z-]{1,30})?"
)
# Letters of Cyrillic and Greek that look like Latin ones do not hide a word.
_LATIN = str.maketrans("авекмнорстухіјѕԁɡоеαβεκορτυχνı", "abekmhopctyxijsdgoeabekoptyxvi")


class Names:
    """Judge names by the word lists, and by those that a product adds."""

    def __init__(self, sensitive: Iterable[str] = (), innocent: Iterable[str] = ()) -> None:
        self._sensitive = tuple(sensitive)
        self._exempt = tuple(innocent)
        # Only words in the place of a name are cached; `is_name` judges values, so that none is kept.
        self.is_secret = lru_cache(_MAX_CACHED)(self.speaks_of_secret)
        self.is_personal = lru_cache(_MAX_CACHED)(self._is_personal)

    @lazy
    def _parts(self) -> frozenset[str]:
        return word_list("sensitive_parts").union(map(_joined, self._sensitive))

    @lazy
    def _innocent(self) -> frozenset[str]:
        return word_list("innocent_names").union(map(_joined, self._exempt))

    def is_sensitive(self, name: str) -> bool:
        """Return whether a value under this name must not be sent."""
        return self.is_secret(name) or self.is_personal(name)

    def is_name(self, value: str) -> bool:
        """Return whether the value is itself a sensitive name, as in `{"field": "password"}`."""
        return self.speaks_of_secret(value) or self._is_personal(value)

    def is_key(self, name: str) -> bool:
        """Return whether a value under this name is a secret if it looks like one: `publish_key`."""
        words = _words(name)
        is_key = len(words) > 1 and words[-1] in word_list("key_words")
        is_entry = not word_list("innocent_keys").isdisjoint(words[-2:-1])
        return is_key and not is_entry and "".join(words) not in self._innocent

    def speaks_of_secret(self, text: str) -> bool:
        """Return whether the text contains a word for a secret."""
        return any(
            any(map(joined.__contains__, self._parts))
            or any(map(_is_sensitive_word, words))
            # Numbered names too: `password2`.
            or any(_is_sensitive_word(word.rstrip("123456789")) for word in words)
            for words, joined in self._readings(text)
        )

    def _is_personal(self, name: str) -> bool:
        personal, whole = word_list("personal_names"), word_list("personal_whole_names")
        return any(
            joined in whole or not personal.isdisjoint(_neighbours(words))
            for words, joined in self._readings(name)
        )

    def _readings(self, name: str) -> Iterator[tuple[list[str], str]]:
        # With and without look-alike letters of other alphabets, so that neither spelling hides a word.
        for spelling in (name,) if name.isascii() else (name, name.casefold().translate(_LATIN)):
            words = _words(spelling)
            joined = "".join(words)
            if joined not in self._innocent:
                yield words, joined


DEFAULT_NAMES = Names()


def is_sensitive(name: str) -> bool:
    """Return whether a value under this name must not be sent, by the default lists."""
    return DEFAULT_NAMES.is_sensitive(name)


def is_about(name: str, value: object) -> bool:
    """Return whether the name describes a secret (`token_type`) and the value is a harmless one."""
    words = _words(name)
    if words[-1:] == ["tokens"]:  # of a text model
        return isinstance(value, (int, float)) and abs(value) < _MAX_PLAIN_NUMBER
    if not words[1:]:
        return False
    if words[-1] in word_list("files"):
        return isinstance(value, str) and _PATH.fullmatch(value) is not None
    if word_list("about_words").isdisjoint((words[-1], " ".join(words[-2:]))):
        return False
    if isinstance(value, (int, float)):
        return abs(value) < _MAX_PLAIN_NUMBER or words[-1] in word_list("spans")
    return isinstance(value, str) and _PLAIN_VALUE.fullmatch(value) is not None


def _is_sensitive_word(word: str) -> bool:
    if word in word_list("sensitive_words"):
        return True
    return word.endswith(_PASSWORD_ENDINGS) and word not in word_list("innocent_endings")


def _neighbours(words: list[str]) -> Iterator[str]:
    for length in range(1, _MAX_NAME_WORDS + 1):
        for start in range(len(words) - length + 1):
            yield "".join(words[start : start + length])


def _words(name: str) -> list[str]:
    if not name.isascii():
        # Accents and full width go; Korean syllables are put together again, as the lists have them.
        decomposed = unicodedata.normalize("NFKD", name)
        bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
        name = unicodedata.normalize("NFC", bare)
    return _SEPARATORS.sub(" ", _CAMEL_BORDER.sub(" ", name).casefold()).split()


def _joined(name: str) -> str:
    return "".join(_words(name))
