"""Stack frames as PostHog's error tracking groups them.

Two installations in different folders must give equal frames, so file names are relative to the
root of their package, and where the code was installed never leaves.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence

CONTEXT_LINES = 5  # before and after, as posthog-python
MAX_SOURCE_LINE_CHARS = 200

_OUTSIDE = ("/site-packages/", "/dist-packages/")


def frame_of(filename: str, lineno: int, function: str, module: str) -> dict[str, object]:
    """Return one frame for `stacktrace.frames`, with source lines where the file is at hand.

    Reads files through `linecache`, so call it on the exporter's thread, and only for frames of
    this program: whoever names the file decides what is read.
    """
    frame = bare_frame(filename, lineno, function, module)
    lines = linecache.getlines(filename)
    if 0 < lineno <= len(lines):
        frame["pre_context"] = _shown(lines[max(0, lineno - 1 - CONTEXT_LINES) : lineno - 1])
        frame["context_line"] = _shown(lines[lineno - 1 : lineno])[0]
        frame["post_context"] = _shown(lines[lineno : lineno + CONTEXT_LINES])
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


def _shown(lines: Sequence[str]) -> list[str]:
    return [line.rstrip("\r\n")[:MAX_SOURCE_LINE_CHARS] for line in lines]
