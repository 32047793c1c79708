"""Build stack frames that are equal on every installation, with scrubbed source lines.

File names are relative to the root of their package: where the code is installed is never sent, and
PostHog groups by them. Installed packages are below `site-packages`, the standard library is below
`lib/python3.x`; a product may be anywhere, so its top-level packages can be named (`product_roots`).
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple
from urllib.parse import urlsplit

from otel_posthog.scrubbing import Scrubber

NO_ROOTS: frozenset[str] = frozenset()
CONTEXT_LINES = 5  # before and after, as posthog-python
MAX_SOURCE_LINE_CHARS = 200
MAX_CARRIED_LINE_CHARS = 1000
MAX_SOURCE_FILES = 64  # linecache itself would keep each file for the life of the process
REGION_LINES = 60  # a 4096-bit key in PEM has 54
HOST_WITHHELD = "host.invalid"  # RFC 2606 keeps .invalid free of real hosts
PAGE = "web:javascript"
SOURCE_WITHHELD = "[scrubbed:source]"

_MAX_LINENO = 2**32 - 1  # PostHog keeps it as u32
_PROGRAMS = (".py", ".pyi", ".pyw", ".pyx", ">")
_OUTSIDE = ("/site-packages/", "/dist-packages/")
# A bundler's; it differs with each build, and looks like a secret.
_BUILD_HASH = re.compile(r"[-.](?=\w*[\dA-Z])\w{8,20}(?=\.[cm]?js$)")
_WEB = ("", "http", "https")  # of other schemes the path may name a person's folder or extension
_STDLIB = linecache.__file__.replace("\\", "/").rpartition("/")[0] + "/"
# Comments too, so that a quote in one begins no text.
_TEXT = re.compile(
    r"#[^\n]*+"
    r"|\"\"\"(?:[^\"\\]|\\.|\"(?!\"\"))*(?:\"\"\"|\Z)|'''(?:[^'\\]|\\.|'(?!''))*(?:'''|\Z)"
    r"|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?",
    re.DOTALL,
)


class _Call(NamedTuple):
    """A recorded frame."""

    filename: str
    lineno: int
    function: str
    module: str
    of_page: Mapping[str, object] | None = None


def stacks_of(
    recorded: Sequence[object],
    scrubber: Scrubber,
    roots: frozenset[str] = NO_ROOTS,
    *,
    reads_source: bool = True,
) -> list[list[dict[str, object]]]:
    """Return the `stacktrace.frames` of each recorded stack; entries that are no frames are dropped.

    With `reads_source` it reads files, so call it on the exporter's thread, and only for frames of this
    program: the frame names the file to read.
    """
    stacks = [_calls(stack) for stack in recorded]
    # Each once: a stack has many frames of few files.
    filenames = list({call.filename for stack in stacks for call in stack})
    # The whole path is scrubbed before it is made relative: its folders may give its last part away.
    scrubbed = dict(zip(filenames, scrubber.texts(filenames), strict=True))
    made = []
    for stack in stacks:
        frames = []
        for call in stack:
            if call.of_page is not None:
                frames.append(_page_frame(call, scrubbed[call.filename]))
                continue
            frame = _frame(call, scrubbed[call.filename], roots)
            if reads_source:
                frame |= source_around(call.filename, call.lineno, call.module, scrubber)
            frames.append(frame)
        made.append(frames)
    return made


def _calls(stack: object) -> list[_Call]:
    calls = []
    for entry in stack if isinstance(stack, list) else []:
        match entry:
            case [str(filename), int(lineno), str(function), str(module)]:
                calls.append(_Call(filename, lineno, function, module))
            case {"platform": "web:javascript", "filename": str(filename), "function": str(function)}:
                # No frame of this program: no file is read for it.
                calls.append(_Call(page_address(filename), 0, function, "", of_page=entry))
    return calls


def page_address(url: str) -> str:
    """Return an address in a browser with a constant host, and of it no more than the path."""
    try:
        parts = urlsplit(url)
    except ValueError:  # invalid brackets
        return f"http://{HOST_WITHHELD}/"
    path = parts.path.lstrip("/") if parts.scheme in _WEB else ""
    return f"http://{HOST_WITHHELD}/{_BUILD_HASH.sub('', path)}"


def _page_frame(call: _Call, scrubbed: str) -> dict[str, object]:
    frame: dict[str, object] = {"platform": PAGE, "filename": scrubbed, "function": call.function}
    for name, value in (call.of_page or {}).items():
        if name in ("lineno", "colno") and type(value) is int:
            frame[name] = min(max(value, 0), _MAX_LINENO)
        elif (name == "in_app" and type(value) is bool) or (name == "chunk_id" and type(value) is str):
            frame[name] = value
    return frame


def _frame(call: _Call, scrubbed: str, roots: frozenset[str]) -> dict[str, object]:
    module = call.module or module_of(call.filename, roots)
    shown = relative_filename(scrubbed, module)
    is_own = is_in_app(call.filename, module, roots)
    frame: dict[str, object] = {
        "platform": "python",  # an unknown platform makes PostHog lose the event
        "filename": shown,
        "function": call.function or "<unknown>",
        "module": module,
        "lineno": min(max(call.lineno, 0), _MAX_LINENO),
        "in_app": is_own,
    }
    if is_own and module.partition(".")[0] in sys.stdlib_module_names:
        frame["abs_path"] = shown  # else PostHog takes a product's `queue.py` for the standard library's
    return frame


def relative_filename(filename: str, module: str) -> str:
    """Return the file relative to the root of its top-level package, or its bare name."""
    # `<string>`, `<frozen runpy>`: a name and no path.
    if filename.startswith("<"):
        return filename
    parts = filename.replace("\\", "/").split("/")
    packages = module.split(".")
    depth = len(packages) + (1 if parts[-1] == "__init__.py" else 0)
    if len(packages) > 1 and parts[-depth : -depth + 1 or None] == packages[:1]:
        return "/".join(parts[-depth:])
    return parts[-1]


def is_in_app(filename: str, module: str = "", roots: frozenset[str] = NO_ROOTS) -> bool:
    """Return whether a frame is the product's own code, wherever its roots are installed.

    Without roots, code is the product's unless it is installed, frozen or in the standard library.
    """
    path = filename.replace("\\", "/")
    if roots and _top_level(path, module, roots) in roots:
        return True
    if path.startswith("<") or _below_library(path) is not None:
        return False
    return not path.startswith(_STDLIB)


def module_of(filename: str, roots: frozenset[str] = NO_ROOTS) -> str:
    """Return the module of a file whose path alone is known, empty if it is not found."""
    return _loaded_modules_name(filename) or _module_by_path(filename.replace("\\", "/"), roots)


def _top_level(path: str, module: str, roots: frozenset[str]) -> str:
    known = module if module and module != "__main__" else _module_by_path(path, roots)
    return known.partition(".")[0]


def _module_by_path(path: str, roots: frozenset[str]) -> str:
    below = _below_library(path)
    if below is None:
        if path.startswith(_STDLIB):
            below = path.removeprefix(_STDLIB)
        else:
            parts = path.split("/")
            begins = [at for at, part in enumerate(parts[:-1]) if part in roots]
            if not begins:
                return ""
            # The innermost folder: a checkout often has the name of its package.
            below = "/".join(parts[begins[-1] :])
    return _dotted(below)


def _below_library(path: str) -> str | None:
    """Return the path below a folder of installed packages or a standard library, None elsewhere."""
    for folder in _OUTSIDE:
        _, found, below = path.rpartition(folder)
        if found:
            return below
    _, found, below = path.rpartition("/lib/python3")
    return below.partition("/")[2] if found else None


def _dotted(below: str) -> str:
    stem, _, ending = below.rpartition(".")
    if ending not in ("py", "pyw", "pyc"):
        return ""
    return stem.replace("/", ".").removesuffix(".__init__")


@lru_cache(maxsize=1024)
def _loaded_modules_name(filename: str) -> str:
    """Return the name under which this process has loaded the file, empty if it has not."""
    loaded: list[tuple[str, object]] = list(sys.modules.items())  # a program may put anything there
    for name, module in loaded:
        if isinstance(module, ModuleType) and vars(module).get("__file__") == filename:
            return name
    return ""


def source_around(filename: str, lineno: int, module: str, scrubber: Scrubber) -> dict[str, object]:
    """Return the scrubbed lines before, at and after a line of a file; nothing without its source."""
    before, line, after = _read_around(filename, lineno, module, scrubber)
    return {} if line is None else _context(before, line, after)


def _context(before: Sequence[str], line: str, after: Sequence[str]) -> dict[str, object]:
    return {"pre_context": list(before), "context_line": line, "post_context": list(after)}


@lru_cache(maxsize=1024)
def _read_around(
    filename: str, lineno: int, module: str, scrubber: Scrubber
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    # Cached above, since failures repeat: scrubbing the region around a line takes milliseconds.
    lines = _lines_of(filename, module)
    if not 0 < lineno <= len(lines):
        return (), None, ()
    at = lineno - 1
    is_program = filename.endswith(_PROGRAMS)
    texts = _lines_in_texts(lines) if is_program else frozenset(range(len(lines)))
    shown = _scrubbed(lines, at, texts, scrubber)
    middle = min(at, CONTEXT_LINES)
    return tuple(shown[:middle]), shown[middle], tuple(shown[middle + 1 :])


@lru_cache(maxsize=MAX_SOURCE_FILES)
def _lines_of(filename: str, module: str) -> tuple[str, ...]:
    """Return the file's lines, also from an archive, without filling the interpreter's own cache."""
    was_there = filename in linecache.cache
    loaded = sys.modules.get(module)
    try:
        lines = tuple(linecache.getlines(filename, vars(loaded) if loaded is not None else None))
    except Exception:  # noqa: BLE001 - a name that no file can have, or a third-party loader
        return ()
    # Entries of the program stay: it may have put source there that is in no file.
    if not was_there:
        linecache.cache.pop(filename, None)
    return lines


@lru_cache(maxsize=64)
def _lines_in_texts(lines: tuple[str, ...]) -> frozenset[int]:
    """Return the indexes of lines in multi-line string literals, where bare words are no names."""
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


def _scrubbed(lines: Sequence[str], at: int, texts: frozenset[int], scrubber: Scrubber) -> list[str]:
    """Return the lines around one, each kept only if it survives alone and within its region."""
    # A secret may span lines, as a PEM block does or a value on the line after its name, and begin
    # outside of the lines shown; so the region is cut after scrubbing.
    region = [line.rstrip("\r\n") for line in lines[max(0, at - REGION_LINES) : at + 1 + REGION_LINES]]
    begin = max(0, at - REGION_LINES)
    wanted = range(max(0, at - CONTEXT_LINES), min(begin + len(region), at + 1 + CONTEXT_LINES))
    whole = "\n".join(region)
    as_source = frozenset(scrubber.source(whole).split("\n"))
    has_text = not texts.isdisjoint(wanted)
    as_text = frozenset(scrubber.text(whole).split("\n")) if has_text else frozenset[str]()
    return [
        _line(region[number - begin], scrubber.text, as_text)
        if number in texts
        else _line(region[number - begin], scrubber.source, as_source)
        for number in wanted
    ]


def _line(line: str, scrub: Callable[[str], str], kept: frozenset[str]) -> str:
    scrubbed = scrub(line)
    is_whole = line in kept or scrubbed in kept
    return scrubbed[:MAX_SOURCE_LINE_CHARS] if is_whole else SOURCE_WITHHELD
