"""Which letters follow each other in words, as opposed to what was drawn by lot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

# A letter, and those that often follow it in the words of programs and of English; 97 of 100 pairs are these.
_FOLLOWERS_TEXT = """
abcdfgiklmnprstuvwxy babceilorsuy cacehiklorstuy dabdegilorstu eabcdefgilmnopqrstuvwxy faefilorstuy
gaeghilmnorsu haeiortu iabcdefglmnoprstvxz jeu kaeis lacdeilnopstuvy mabeilmopsu nabcdefgiklnoprstuvy
oabcdfgiklmnoprstuvwx pacehiloprstuy qu rabcdefgiklmnoprstuvy sacdefhiklmnopstuwy tacdefhilmnoprstuwy
uabcdefgilmnoprst vaeio waehinors xceipt yeilmnpst zaei
"""
_FOLLOWERS = {entry[0]: frozenset(entry[1:]) for entry in _FOLLOWERS_TEXT.split()}
_NOBODY: frozenset[str] = frozenset()
_MIN_PAIRS = 3
_MIN_SHARE = 0.75
_MIN_ABBREVIATION_CHARS = 5  # shorter ones in capitals stand for words: HTTP, JWT


def reads_like_words(chunks: Iterable[str]) -> bool:
    """Tell whether three of four pairs of neighbouring letters are those of words; few pairs tell nothing."""
    known = count = 0
    for chunk in chunks:
        if not chunk.isascii() or (chunk.isupper() and len(chunk) < _MIN_ABBREVIATION_CHARS):
            continue
        for first, second in pairwise(chunk.lower()):
            known, count = known + (second in _FOLLOWERS.get(first, _NOBODY)), count + 1
    return count < _MIN_PAIRS or known >= _MIN_SHARE * count
