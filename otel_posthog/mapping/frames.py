"""Stack frames as PostHog's error tracking groups them.

Two installations in different folders must give equal frames, so file names are relative to the
root of their package, and where the code was installed never leaves.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from functools import lru_cache

from otel_posthog.scrubbing import scrub_text

CONTEXT_LINES = 5  # before and after, as posthog-python
MAX_SOURCE_LINE_CHARS = 200
REGION_LINES = 60  # a 4096-bit key in PEM has 54
SOURCE_WITHHELD = "[scrubbed:source]"

_OUTSIDE = ("/site-packages/", "/dist-packages/")


def frame_of(filename: str, lineno: int, function: str, module: str) -> dict[str, object]:
    """Return one frame for `stacktrace.frames`, with source lines where the file is at hand.

    Reads files through `linecache`, so call it on the exporter's thread, and only for frames of
    this program: whoever names the file decides what is read.
    """
    frame = bare_frame(filename, lineno, function, module)
    before, line, after = _source_around(filename, lineno)
    if line is not None:
        frame["pre_context"], frame["context_line"], frame["post_context"] = list(before), line, list(after)
    return frame


def bare_frame(filename: str, lineno: int, function: str, module: str) -> dict[str, object]:
    """Return one frame without source lines."""
    return {
        "platform": "python",  # an unknown platform makes PostHog lose the event
        "filename": relative_filename(filename, module),
        "function": function or "<unknown>",
        "module": module,
        "lineno": lineno,
        "in_app": is_in_app(filename),
    }


def relative_filename(filename: str, module: str) -> str:
    """Return the file relative to the root of its top-level package, or its bare name."""
    if filename.startswith("<"):
        return filename
    parts = filename.replace("\\", "/").split("/")
    packages = module.split(".")
    depth = len(packages) + (1 if parts[-1] == "__init__.py" else 0)
    if len(packages) > 1 and parts[-depth : -depth + 1 or None] == packages[:1]:
        return "/".join(parts[-depth:])
    return parts[-1]


def is_in_app(filename: str) -> bool:
    """Tell whether a frame is the product's own code: not installed, not standard library, not frozen."""
    path = filename.replace("\\", "/")
    if path.startswith("<") or any(part in path for part in _OUTSIDE):
        return False
    return "/lib/python3" not in path and not path.startswith(_STDLIB)


def _stdlib_folder() -> str:
    return linecache.__file__.replace("\\", "/").rpartition("/")[0] + "/"


_STDLIB = _stdlib_folder()


@lru_cache(maxsize=1024)
def _source_around(filename: str, lineno: int) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Return the scrubbed lines before, at and after the place; no line where the source is not at hand."""
    lines = linecache.getlines(filename)
    if not 0 < lineno <= len(lines):
        return (), None, ()
    at = lineno - 1
    begin, end = max(0, at - CONTEXT_LINES), at + 1 + CONTEXT_LINES
    region = lines[max(0, at - REGION_LINES) : at + 1 + REGION_LINES]
    shown = _shown(lines[begin:end], region)
    return tuple(shown[: at - begin]), shown[at - begin], tuple(shown[at - begin + 1 :])


def _shown(lines: Sequence[str], region: Sequence[str]) -> list[str]:
    """Scrub each line, and take out those that scrubbing the whole region removes.

    A secret may reach over several lines, as a PEM block or a value on the line after its name does,
    and begin outside of the lines that are shown.
    """
    kept = set(scrub_text("\n".join(_plain(line) for line in region)).split("\n"))
    scrubbed = [scrub_text(_plain(line)) for line in lines]
    return [line[:MAX_SOURCE_LINE_CHARS] if line in kept else SOURCE_WITHHELD for line in scrubbed]


def _plain(line: str) -> str:
    return line.rstrip("\r\n")
