"""Patterns for names, and one index over many of them.

`*` stands for any run of characters, `?` for one, and a part of a path in braces for one part:
``/runs/{id}`` matches ``/runs/17`` as well as the template ``/runs/{run_id}``. Names come from
clients, so what follows a `*` is found at its first place and never tried again, and a name that is
longer than any route matches `*` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import commonprefix

ANYTHING = "*"
NAME_MAX_CHARS = 1000
REMEMBERED_NAMES = 1024
REMEMBERED_NAME_MAX_CHARS = 200  # longer names are looked up afresh, so that clients cannot fill memory

_PART = r"(?<![^/ *])\{[^{}/]*\}(?![^/*])"
_SPECIAL = re.compile(rf"\*+|\?|{_PART}")


class NameIndex:
    """Tell which of many patterns a name matches, in the time of one where it matches none."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._always = tuple(at for at, pattern in enumerate(patterns) if pattern == ANYTHING)
        self._exact = {pattern for pattern in patterns if not _SPECIAL.search(pattern)}
        self._compiled = [(at, compiled(pattern)) for at, pattern in enumerate(patterns)]
        wild = sorted({pattern for pattern in patterns if pattern not in self._exact and pattern != ANYTHING})
        self._may_be_wild = (
            re.compile(_tree([_pieces(pattern) for pattern in wild]), re.DOTALL).match if wild else None
        )
        self._remembered: dict[str, tuple[int, ...]] = {}

    def matching(self, name: str) -> tuple[int, ...]:
        """Return the positions of the patterns that match, in order."""
        found = self._remembered.get(name)
        if found is None:
            if len(name) > NAME_MAX_CHARS:
                return self._always
            if not (name in self._exact or (self._may_be_wild is not None and self._may_be_wild(name))):
                return self._always
            found = self._search(name)
            if len(name) <= REMEMBERED_NAME_MAX_CHARS:
                if len(self._remembered) >= REMEMBERED_NAMES:
                    self._remembered.clear()
                self._remembered[name] = found
        return found

    def _search(self, name: str) -> tuple[int, ...]:
        return tuple(at for at, pattern in self._compiled if pattern.fullmatch(name))


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern as a regular expression for `fullmatch`."""
    prefix, tail = _pieces(pattern)
    return re.compile(re.escape(prefix) + tail, re.DOTALL)


def is_pattern(text: str) -> bool:
    """Tell whether the text matches more than itself."""
    return _SPECIAL.search(text) is not None


def _pieces(pattern: str) -> tuple[str, str]:
    """Return the literal beginning and an expression for the rest, which ends at the end of the name."""
    first = _SPECIAL.search(pattern)
    if first is None:
        return pattern, r"\Z"
    prefix, rest = pattern[: first.start()], pattern[first.start() :]
    head, *chunks = [_chunk(chunk) for chunk in re.split(r"\*+", rest)]
    if not chunks:
        return prefix, rf"{head}\Z"
    *middle, last = chunks
    found = "".join(f"(?>.*?{chunk})" for chunk in middle if chunk)
    return prefix, rf"{head}{found}.*{last}\Z"


def _chunk(text: str) -> str:
    """Return an expression for a piece without `*`."""
    parts = re.split(rf"(\?|{_PART})", text)
    return "".join(_expression(part) for part in parts)


def _expression(part: str) -> str:
    if part == "?":
        return "."
    return "[^/]++" if part.startswith("{") and is_pattern(part) else re.escape(part)


def _tree(pieces: Sequence[tuple[str, str]]) -> str:
    """Return one expression for all; a common beginning stands once, so a name fails at its first letter."""
    prefix = commonprefix([literal for literal, _ in pieces])  # noqa: RUF071 - letters, not folders
    branches: dict[str, list[tuple[str, str]]] = {}
    for literal, tail in pieces:
        rest = literal[len(prefix) :]
        branches.setdefault(rest[:1], []).append((rest, tail))
    ends = [tail for _, tail in branches.pop("", [])]
    alternatives = [_tree(branch) for branch in branches.values()] + ends
    return (
        f"{re.escape(prefix)}(?:{'|'.join(alternatives)})" if len(pieces) > 1 else re.escape(prefix) + ends[0]
    )
