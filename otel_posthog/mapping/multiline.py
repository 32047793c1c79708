"""Which lines of a program stand within a text that reaches over several lines."""

from __future__ import annotations

import re
from functools import lru_cache

_TEXT = re.compile(
    r"#[^\n]*+"
    r"|\"\"\"(?:[^\"\\]|\\.|\"(?!\"\"))*(?:\"\"\"|\Z)|'''(?:[^'\\]|\\.|'(?!''))*(?:'''|\Z)"
    r"|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?",
    re.DOTALL,
)


@lru_cache(maxsize=64)
def lines_of_texts(lines: tuple[str, ...]) -> frozenset[int]:
    """Return the indexes of lines in texts of several lines, where bare words are words and no names."""
    found: set[int] = set()
    source = "".join(lines)
    at = line = 0
    for match in _TEXT.finditer(source):
        reaches = match[0].count("\n")
        if reaches and not match[0].startswith("#"):
            line += source.count("\n", at, match.start())
            found.update(range(line, line + reaches + 1))
            line += reaches
            at = match.end()
    return frozenset(found)
