"""Where a file lies: the same answer on every installation."""

from __future__ import annotations

import json.decoder
import sysconfig

import pytest

from otel_posthog.mapping.places import is_in_app, module_of, relative_filename

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
