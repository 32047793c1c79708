"""Stack frames that are equal on every installation."""

from __future__ import annotations

import importlib
import linecache
import sys
import zipfile

import pytest

from otel_posthog.mapping.frames import (
    CONTEXT_LINES,
    MAX_SOURCE_LINE_CHARS,
    bare_frame,
    frame_of,
)


@pytest.fixture
def source(tmp_path):
    """Return a file of 20 numbered lines."""
    path = tmp_path / "pkg" / "mod.py"
    path.parent.mkdir()
    path.write_text("".join(f"line {number}\n" for number in range(1, 21)))
    return str(path)


def test_frame_is_complete(source):
    """A frame holds what PostHog groups by, and the lines around."""
    assert frame_of(source, 10, "run", "pkg.mod") == {
        "platform": "python",
        "filename": "pkg/mod.py",
        "function": "run",
        "module": "pkg.mod",
        "lineno": 10,
        "in_app": True,
        "pre_context": [f"line {number}" for number in range(10 - CONTEXT_LINES, 10)],
        "context_line": "line 10",
        "post_context": [f"line {number}" for number in range(11, 11 + CONTEXT_LINES)],
    }


@pytest.mark.parametrize(
    ("lineno", "before", "after"), [(1, 0, CONTEXT_LINES), (20, CONTEXT_LINES, 0), (2, 1, CONTEXT_LINES)]
)
def test_context_ends_at_the_file(source, lineno, before, after):
    """Near the ends of the file there are fewer lines."""
    frame = frame_of(source, lineno, "run", "pkg.mod")

    assert (len(frame["pre_context"]), frame["context_line"], len(frame["post_context"])) == (
        before,
        f"line {lineno}",
        after,
    )


@pytest.mark.parametrize("lineno", [0, -1, 21, 10**9])
def test_line_outside_the_file_has_no_context(source, lineno):
    """A line that the file does not have, as after an update on disk, gives no source."""
    assert "context_line" not in frame_of(source, lineno, "run", "pkg.mod")


def test_missing_file_has_no_context():
    """A frame of a file that is gone is still a frame."""
    assert frame_of("/gone/x.py", 3, "", "x") == bare_frame("/gone/x.py", 3, "", "x")


@pytest.mark.parametrize("filename", ["/\ud83e.py", "a\x00b.py", "", "/" + "x" * 5_000])
def test_name_that_no_file_can_have_gives_no_source(filename):
    """Code may be compiled under any name; its frame is told all the same."""
    assert "context_line" not in frame_of(filename, 1, "run", "odd")


def test_nameless_function_gets_a_name():
    """PostHog expects a function's name."""
    assert bare_frame("x.py", 1, "", "x")["function"] == "<unknown>"


def test_long_source_line_is_cut(tmp_path):
    """A minified line is cut."""
    path = tmp_path / "x.py"
    path.write_text("x" * 10_000)

    assert len(frame_of(str(path), 1, "f", "x")["context_line"]) == MAX_SOURCE_LINE_CHARS


def test_own_running_frame():
    """A frame of this very file is described as posthog-python would."""
    here = sys._getframe()

    frame = frame_of(here.f_code.co_filename, here.f_lineno, here.f_code.co_name, __name__)

    assert frame["filename"].endswith("test_frames.py")
    assert frame["context_line"].split()[0] == "frame"


def test_module_of_the_standard_library_by_name_only_stays_in_app():
    """A product's own file named like a module of the standard library says where it lies: PostHog asks."""
    frame = bare_frame("/srv/app/queue.py", 3, "f", "queue")

    assert (frame["in_app"], frame["abs_path"]) == (True, "queue.py")


def test_source_of_an_archive_is_shown(tmp_path, monkeypatch):
    """Where a program runs from a zip file, its loader has the source."""
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("zipped_for_frames.py", "first = 1\nsecond = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "app.pyz"))
    module = importlib.import_module("zipped_for_frames")

    frame = frame_of(module.__file__, 2, "f", "zipped_for_frames")

    assert (frame["pre_context"], frame["context_line"]) == (["first = 1"], "second = 2")


def test_files_read_for_source_are_not_kept_for_good(source):
    """Reading a file leaves nothing in the interpreter's own cache, which is never emptied."""
    frame_of(source, 3, "run", "pkg.mod")

    assert source not in linecache.cache
