"""Stack frames that are equal on every installation."""

from __future__ import annotations

import importlib
import json.decoder
import linecache
import sys
import sysconfig
import zipfile

import pytest

from otel_posthog.mapping.frames import (
    CONTEXT_LINES,
    MAX_SOURCE_LINE_CHARS,
    is_in_app,
    module_of,
    relative_filename,
    stacks_of,
)
from otel_posthog.scrubbing import Scrubber

SCRUBBER = Scrubber()


def frame_of(*call, reads_source=True):
    """Return one frame of one stack."""
    [[frame]] = stacks_of([[[*call]]], SCRUBBER, reads_source=reads_source)
    return frame


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
    assert frame_of("/gone/x.py", 3, "", "x") == frame_of("/gone/x.py", 3, "", "x", reads_source=False)


@pytest.mark.parametrize("filename", ["/\ud83e.py", "a\x00b.py", "", "/" + "x" * 5_000])
def test_name_that_no_file_can_have_gives_no_source(filename):
    """Code may be compiled under any name; its frame is told all the same."""
    assert "context_line" not in frame_of(filename, 1, "run", "odd")


def test_nameless_function_gets_a_name():
    """PostHog expects a function's name."""
    assert frame_of("x.py", 1, "", "x", reads_source=False)["function"] == "<unknown>"


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
    frame = frame_of("/srv/app/queue.py", 3, "f", "queue", reads_source=False)

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


ROOTS = frozenset({"fastflow"})


@pytest.mark.parametrize(
    ("filename", "module", "expected"),
    [
        ("/srv/max/app/fastflow/runs/api.py", "fastflow.runs.api", "fastflow/runs/api.py"),
        ("C:\\Users\\max\\app\\fastflow\\runs\\api.py", "fastflow.runs.api", "fastflow/runs/api.py"),
        ("/srv/fastflow/fastflow/api.py", "fastflow.api", "fastflow/api.py"),
        ("/srv/max/fastflow/runs/__init__.py", "fastflow.runs", "fastflow/runs/__init__.py"),
        ("C:\\max\\fastflow\\__init__.py", "fastflow", "__init__.py"),
        ("/srv/max/app/main.py", "main", "main.py"),
        ("/srv/max/app/main.py", "__main__", "main.py"),
        ("/srv/max/fastflow/__main__.py", "__main__", "__main__.py"),
        ("/srv/max/fastflow/__main__.py", "fastflow.__main__", "fastflow/__main__.py"),
        ("/srv/max/other/api.py", "fastflow.runs.api", "api.py"),
        ("api.py", "fastflow.runs.deeper.api", "api.py"),
        ("/srv/max/app/script.py", "", "script.py"),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap", "<frozen importlib._bootstrap>"),
        ("<string>", "__main__", "<string>"),
    ],
)
def test_file_is_relative_to_its_package(filename, module, expected):
    """Where the code was installed does not leave, on POSIX and on Windows (R15)."""
    assert relative_filename(filename, module) == expected


@pytest.mark.parametrize(
    "filename",
    [
        "/srv/venv/lib/python3.11/site-packages/starlette/routing.py",
        "C:\\venv\\Lib\\site-packages\\starlette\\routing.py",
        "/usr/lib/python3/dist-packages/yaml/__init__.py",
        "/usr/lib/python3.12/asyncio/events.py",
        json.decoder.__file__,
        "<frozen importlib._bootstrap>",
        "<string>",
    ],
)
def test_foreign_code_is_not_in_app(filename):
    """Installed packages, the standard library and frozen modules are not the product."""
    assert not is_in_app(filename)


@pytest.mark.parametrize(
    "filename", ["/srv/app/fastflow/api.py", "C:\\app\\fastflow\\api.py", "main.py", __file__]
)
def test_own_code_is_in_app(filename):
    """Everything else is the product."""
    assert is_in_app(filename)


def test_standard_library_is_known_on_any_layout():
    """The folder of the running interpreter's standard library counts, whatever it is called."""
    assert not is_in_app(sysconfig.get_path("stdlib") + "/json/decoder.py")


@pytest.mark.parametrize(
    ("filename", "module", "expected"),
    [
        ("/srv/venv/lib/python3.11/site-packages/fastflow/api.py", "fastflow.api", True),
        ("/srv/venv/lib/python3.11/site-packages/fastflow/__main__.py", "__main__", True),
        ("/srv/fastflow/venv/lib/python3.11/site-packages/starlette/routing.py", "starlette.routing", False),
        ("/srv/fastflow/venv/lib/python3.11/site-packages/starlette/routing.py", "", False),
        ("/usr/lib/python3.11/json/decoder.py", "json.decoder", False),
        ("/srv/app/fastflow/api.py", "", True),
        ("/srv/app/main.py", "main", True),
    ],
)
def test_named_roots_are_the_product_wherever_they_are_installed(filename, module, expected):
    """A product that is installed with pip is still the product, and what it is installed beside is not."""
    assert is_in_app(filename, module, ROOTS) is expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("/x/lib/python3.11/site-packages/starlette/routing.py", "starlette.routing"),
        ("C:\\venv\\Lib\\site-packages\\starlette\\routing.py", "starlette.routing"),
        ("/x/lib/python3.11/site-packages/yaml/__init__.py", "yaml"),
        ("/elsewhere/lib/python3.9/json/decoder.py", "json.decoder"),
        (json.decoder.__file__, "json.decoder"),
        (__file__, __name__),
        ("/srv/fastflow/fastflow/runs/api.py", "fastflow.runs.api"),
        ("/srv/app/other/api.py", ""),
        ("<string>", ""),
    ],
)
def test_module_is_found_by_the_file(filename, expected):
    """A stack text names files only; what is loaded, installed or below a named root has a module."""
    assert module_of(filename, ROOTS) == expected
