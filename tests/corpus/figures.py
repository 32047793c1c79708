"""Count by kind what the scrubber takes out and what it leaves, and write it into docs/privacy.md.

Run it after a change of the rules: ``python tests/corpus/figures.py``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from corpus.innocents import INNOCENTS
from corpus.kinds import KINDS, planted
from corpus.making import encodings

from otel_posthog.scrubbing import Machine, Scrubber

PAGE = Path(__file__).parent.parent.parent / "docs" / "privacy.md"
CASES_PER_KIND = 40
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True, slots=True)
class Figure:
    """What became of the cases of one kind."""

    kind: str
    cases: int
    leaked: int
    words: int
    words_kept: int


@cache
def figures() -> tuple[Figure, ...]:
    """Scrub all cases of all kinds."""
    scrubber = Scrubber(machine=Machine())
    return tuple(_figure(kind, scrubber) for kind in KINDS)


def _figure(kind: str, scrubber: Scrubber) -> Figure:
    leaked = words = kept = 0
    for seed in range(CASES_PER_KIND):
        text, secret = planted(kind, seed)
        scrubbed = scrubber.text(text)
        leaked += any(form in scrubbed.encode() for form in encodings(secret))
        innocent = _WORD.findall(text.replace(secret, " ", 1))
        left = _WORD.findall(scrubbed)
        words += len(innocent)
        kept += sum(word in left for word in innocent)
    return Figure(kind, CASES_PER_KIND, leaked, words, kept)


def table(found: tuple[Figure, ...]) -> str:
    """Return the figures as the documentation shows them."""
    altered = sum(Scrubber(machine=Machine()).text(text) != text for text in INNOCENTS)
    rows = [
        f"| {figure.kind} | {figure.cases} | {figure.leaked} | "
        f"{f'{100 * figure.words_kept / figure.words:.0f} %' if figure.words else '–'} |"
        for figure in found
    ]
    cases, leaked = sum(figure.cases for figure in found), sum(figure.leaked for figure in found)
    return "\n".join(
        [
            f"{len(found)} kinds, {cases} texts with a secret: {leaked} leaked.",
            f"{len(INNOCENTS)} innocent texts: {altered} altered.",
            "",
            "| kind | texts | leaked | words around it kept |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def main() -> None:
    """Put the table into the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    PAGE.write_text(f"{before}{_BEGIN}\n{table(figures())}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
