"""Stack frames as PostHog's error tracking groups them.

Two installations in different folders must give equal frames, so file names are relative to the
root of their package, and where the code was installed never leaves.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache

from otel_posthog.scrubbing import Scrubber

from .multiline import lines_of_texts
from .places import NO_ROOTS, is_in_app, module_of, relative_filename

CONTEXT_LINES = 5  # before and after, as posthog-python
MAX_SOURCE_LINE_CHARS = 200
MAX_CARRIED_LINE_CHARS = 1000
MAX_SOURCE_FILES = 64  # kept in memory
REGION_LINES = 60  # a 4096-bit key in PEM has 54
SOURCE_WITHHELD = "[scrubbed:source]"

_SCRUBBER = Scrubber()
_MAX_LINENO = 2**32 - 1  # PostHog keeps it as u32
_PROGRAMS = (".py", ".pyi", ".pyw", ".pyx", ">")


def frame_of(
    filename: str,
    lineno: int,
    function: str,
    module: str,
    scrubber: Scrubber = _SCRUBBER,
    roots: frozenset[str] = NO_ROOTS,
) -> dict[str, object]:
    """Return one frame for `stacktrace.frames`, with source lines where the file is at hand.

    Reads files, so call it on the exporter's thread, and only for frames of this program: whoever
    names the file decides what is read.
    """
    frame = bare_frame(filename, lineno, function, module, scrubber, roots)
    before, line, after = _source_around(filename, lineno, module, scrubber)
    if line is not None:
        frame["pre_context"], frame["context_line"], frame["post_context"] = list(before), line, list(after)
    return frame


def bare_frame(
    filename: str,
    lineno: int,
    function: str,
    module: str,
    scrubber: Scrubber = _SCRUBBER,
    roots: frozenset[str] = NO_ROOTS,
) -> dict[str, object]:
    """Return one frame without source lines; its module is found by the file where it is not known.

    The whole path is scrubbed before it is made relative: its folders may say what its last part is.
    """
    module = module or module_of(filename, roots)
    shown = relative_filename(scrubber.text(filename), module)
    is_own = is_in_app(filename, module, roots)
    frame: dict[str, object] = {
        "platform": "python",  # an unknown platform makes PostHog lose the event
        "filename": shown,
        "function": function or "<unknown>",
        "module": module,
        "lineno": min(max(lineno, 0), _MAX_LINENO),
        "in_app": is_own,
    }
    if is_own and module.partition(".")[0] in sys.stdlib_module_names:
        frame["abs_path"] = shown  # else PostHog takes a product's `queue.py` for the standard library's
    return frame


def carrying_frame(
    frame: dict[str, object],
    before: Sequence[object],
    line: str,
    after: Sequence[object],
    scrubber: Scrubber = _SCRUBBER,
) -> dict[str, object]:
    """Return the frame with source lines that came along with it, scrubbed and bounded anew."""
    kept = [*before[-CONTEXT_LINES:], line, *after[:CONTEXT_LINES]]
    at = len(before[-CONTEXT_LINES:])
    lines = [str(text)[:MAX_CARRIED_LINE_CHARS] for text in kept]
    shown = _Region(lines, at, frozenset(), scrubber).shown()
    return frame | {"pre_context": shown[:at], "context_line": shown[at], "post_context": shown[at + 1 :]}


@lru_cache(maxsize=1024)
def _source_around(
    filename: str, lineno: int, module: str, scrubber: Scrubber
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Return the scrubbed lines before, at and after the place; no line where the source is not at hand."""
    lines = _lines_of(filename, module)
    if not 0 < lineno <= len(lines):
        return (), None, ()
    at = lineno - 1
    is_program = filename.endswith(_PROGRAMS)
    texts = lines_of_texts(lines) if is_program else frozenset(range(len(lines)))
    shown = _Region(lines, at, texts, scrubber).shown()
    middle = min(at, CONTEXT_LINES)
    return tuple(shown[:middle]), shown[middle], tuple(shown[middle + 1 :])


@lru_cache(maxsize=MAX_SOURCE_FILES)
def _lines_of(filename: str, module: str) -> tuple[str, ...]:
    """Return the file's lines, also from an archive; `linecache` itself would keep every file for good."""
    was_there = filename in linecache.cache
    loaded = sys.modules.get(module)
    try:
        lines = tuple(linecache.getlines(filename, vars(loaded) if loaded is not None else None))
    except Exception:  # noqa: BLE001 - a name that no file can have, or a foreign loader
        return ()
    if not was_there:
        linecache.cache.pop(filename, None)
    return lines


class _Region:
    """The lines around a place, scrubbed each by itself and all together.

    A secret may reach over several lines, as a PEM block or a value on the line after its name does,
    and begin outside of the lines that are shown. So a line stays only if it survives both.
    """

    def __init__(self, lines: Sequence[str], at: int, texts: frozenset[int], scrubber: Scrubber) -> None:
        self._lines = [line.rstrip("\r\n") for line in lines]
        self._at = at
        self._texts = texts
        self._scrubber = scrubber

    def shown(self) -> list[str]:
        """Return the lines that leave."""
        wanted = range(max(0, self._at - CONTEXT_LINES), min(len(self._lines), self._at + 1 + CONTEXT_LINES))
        as_source = self._kept(self._scrubber.source)
        as_text = self._kept(self._scrubber.text) if not self._texts.isdisjoint(wanted) else frozenset()
        return [
            self._line(self._lines[number], self._scrubber.text, as_text)
            if number in self._texts
            else self._line(self._lines[number], self._scrubber.source, as_source)
            for number in wanted
        ]

    def _kept(self, scrub: Callable[[str], str]) -> frozenset[str]:
        region = self._lines[max(0, self._at - REGION_LINES) : self._at + 1 + REGION_LINES]
        return frozenset(scrub("\n".join(region)).split("\n"))

    @staticmethod
    def _line(line: str, scrub: Callable[[str], str], kept: frozenset[str]) -> str:
        scrubbed = scrub(line)
        is_whole = line in kept or scrubbed in kept
        return scrubbed[:MAX_SOURCE_LINE_CHARS] if is_whole else SOURCE_WITHHELD
