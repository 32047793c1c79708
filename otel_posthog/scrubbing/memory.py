"""What was found innocent before, so that names of files, functions and keys are judged once."""

from __future__ import annotations

MAX_TEXTS = 4096
MAX_TEXT_CHARS = 400


class Innocent:
    """A bounded set of texts; what was not asked for long is forgotten. Holds no secret.

    Two generations instead of an order: a look costs one hash and no lock. `young` is for looking only.
    """

    __slots__ = ("_old", "young")

    def __init__(self) -> None:
        self.young: set[object] = set()
        self._old: set[object] = set()

    def __contains__(self, text: str) -> bool:
        if text in self.young:
            return True
        if text not in self._old:
            return False
        self.add(text)
        return True

    def add(self, text: str) -> None:
        """Remember the text, unless it is long."""
        if len(text) > MAX_TEXT_CHARS:
            return
        if len(self.young) >= MAX_TEXTS:
            self._old, self.young = self.young, set()
        self.young.add(text)
