"""No text that people read holds a phrase that they would have to translate.

Checked are all string literals of the package (docstrings, log lines, errors, help of the command line), its
pages and JSON files, and the documentation. `python tests/test_english.py` prints every finding.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "collector" / "README.md",
        *(page for kind in ("*.json", "*.html") for page in (ROOT / "otel_posthog").rglob(kind)),
    }
)
CONTEXT = 40  # characters
MODULES = sorted((ROOT / "otel_posthog").rglob("*.py"))
BANNED = re.compile(
    r"\b(?:(?:tell|tells|telling|told|hear|hears|hearing|heard) of"
    r"|(?:stand|stands|standing|stood) (?:in|on)|at hand|anew|owed|whoever)\b",
    re.IGNORECASE,
)


def findings(path: Path) -> list[tuple[int, str]]:
    """Return where each text with a banned phrase begins, and the phrase with what is around it."""
    texts = ((line, " ".join(text.split())) for line, text in _texts(path))
    return [
        (line, text[max(found.start() - CONTEXT, 0) : found.end() + CONTEXT])
        for line, text in texts
        for found in BANNED.finditer(text)
    ]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix != ".py":
        yield from _paragraphs(path.read_text())
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph and row with its first line: a phrase may go over the end of a line."""
    line = 1
    for paragraph in re.split(r"(\n\s*\n|\n(?=\|))", text):
        yield line, paragraph
        line += paragraph.count("\n")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("text", ["It is\ntold of here.", "whoever reads it", "It stands\n  in a file."])
def test_phrases_are_found(text, tmp_path):
    """A banned phrase is found in prose, also where a line ends within it."""
    page = tmp_path / "page.md"
    page.write_text(f"A paragraph.\n\n{text}\n")

    assert [line for line, _phrase in findings(page)] == [3]


@pytest.mark.parametrize("path", [*MODULES, *PAGES], ids=_name)
def test_text_needs_no_translation(path):
    """Docstrings, messages, help and pages are free of the phrases that CONTRIBUTING.md bans."""
    assert findings(path) == []


def main() -> None:
    """Print each finding, then how many each file has."""
    found = [(_name(path), *finding) for path in [*MODULES, *PAGES] for finding in findings(path)]
    lines = [f"{name}:{line}: {phrase}" for name, line, phrase in found]
    lines += [f"{count:4} {name}" for name, count in Counter(name for name, *_ in found).most_common()]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
