"""The import contracts fail when they are broken, and rules that import-linter cannot express hold."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT, run_python

PACKAGE = ROOT / "otel_posthog"
MODULES = sorted(PACKAGE.rglob("*.py"))
SDK_USERS = ("declarative.py", "heartbeat/", "otel/sdk.py", "pipeline/", "telemetry/", "testing/")
# `opentelemetry-instrument` loads this in the process that becomes the product, and calls nothing in it.
CHANGES_ENVIRONMENT = "otel_posthog.instrument_options"

# What is added to the package, and the words with which the linter rejects it.
MUTATIONS = {
    "module without a layer": (
        {"shortcut.py": "VALUE = 1\n"},
        ["otel_posthog.shortcut", "Data flows one way"],
    ),
    "room without a layer": (
        {"shortcut/__init__.py": "", "shortcut/sending.py": "VALUE = 1\n"},
        ["otel_posthog.shortcut", "Data flows one way"],
    ),
    "new user of the transport": (
        {"heartbeat/shortcut.py": "from ..delivery import transport\n__all__ = ['transport']\n"},
        ["otel_posthog.heartbeat.shortcut -> otel_posthog.delivery.transport", "knows a transport BROKEN"],
    ),
    "import of a higher room": (
        {"scrubbing/shortcut.py": "from ..delivery import gate\n__all__ = ['gate']\n"},
        ["otel_posthog.scrubbing.shortcut -> otel_posthog.delivery.gate", "Data flows one way"],
    ),
    "import of a neighbour": (
        {"store/shortcut.py": "from ..mapping import records\n__all__ = ['records']\n"},
        ["otel_posthog.store.shortcut -> otel_posthog.mapping.records", "Data flows one way"],
    ),
    "SQLAlchemy outside the store": (
        {"consent/shortcut.py": "import sqlalchemy\n__all__ = ['sqlalchemy']\n"},
        ["otel_posthog.consent.shortcut -> sqlalchemy", "SQLAlchemy is the store's business BROKEN"],
    ),
    "requests outside the transport": (
        {"gateway/shortcut.py": "import requests\n__all__ = ['requests']\n"},
        ["otel_posthog.gateway.shortcut -> requests", "the transport's business BROKEN"],
    ),
    "Starlette in the middleware": (
        {"middleware/shortcut.py": "import starlette\n__all__ = ['starlette']\n"},
        ["otel_posthog.middleware.shortcut -> starlette", "Starlette serves"],
    ),
}


@pytest.fixture
def copy(tmp_path):
    """Return the folder of a copy of the package, with the contracts beside it."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path / PACKAGE.name


def _lint(copy):
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-cache"], cwd=copy.parent, capture_output=True, text=True, timeout=60, check=False
    )
    return run.returncode, f"{run.stdout}{run.stderr}"


def test_contracts_hold_in_the_copy(copy):
    """The copy passes as it is, so that a failure below is due to the mutation."""
    code, output = _lint(copy)

    assert code == 0, output


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_linter_rejects_the_mutation(copy, mutation):
    """A module that breaks a contract fails the check, and the message names it."""
    files, expected = MUTATIONS[mutation]
    for name, text in files.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text)

    code, output = _lint(copy)

    assert code == 1, output
    assert [words for words in expected if words not in " ".join(output.split())] == [], output


def test_sdk_is_imported_by_named_rooms_only():
    """Emitting needs opentelemetry-api alone: import-linter cannot see a subpackage of a namespace."""
    found = {
        name
        for name, tree in _trees()
        if any(module.startswith("opentelemetry.sdk") for module in _imported(tree))
    }

    assert found
    assert [name for name in sorted(found) if not name.startswith(SDK_USERS)] == []


def test_no_behaviour_depends_on_a_module_path():
    """`__name__` and `__package__` name loggers, data files and lazy exports; a move changes nothing else."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        for node in _outside(tree, _may_name_itself)
        if isinstance(node, ast.Name) and node.id in ("__name__", "__package__", "__spec__", "__path__")
    ]

    assert found == []


def test_no_module_writes_its_globals():
    """Every name of a module is written in it, where readers and type checkers find it."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("globals", "locals")
    ]

    assert found == []


def test_import_leaves_the_environment_alone():
    """Importing any module changes no environment variable, which child processes would inherit."""
    names = [_dotted(path) for path in MODULES if path.stem != "__main__"]
    program = """
        import importlib, json, os, sys

        os.environ.clear()  # this process inherits what pytest's import of the package set
        for name in sys.argv[1:]:
            importlib.import_module(name)
            if os.environ:
                print(name)
                os.environ.clear()
    """

    run = run_python(program, *(name for name in names if name != CHANGES_ENVIRONMENT))

    assert CHANGES_ENVIRONMENT in names
    assert run.stdout == ""


def test_no_module_touches_the_environment_at_import():
    """Module level names `os.environ` nowhere: settings are read when something starts."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        for node in _outside(
            tree, lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        )
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "putenv", "unsetenv")
        and _is_os(node.value)
    ]

    assert [place for place in found if not place.startswith("instrument_options.py:")] == []


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in MODULES:
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that are imported anywhere in the file, also for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside(node: ast.AST, is_exempt) -> Iterator[ast.AST]:
    """Yield the node and all below it, without what lies below an exempt node."""
    if is_exempt(node):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside(child, is_exempt)


def _may_name_itself(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="getLogger")) | ast.Call(func=ast.Name(id="files")):
            return True
        case ast.FunctionDef(name="__getattr__"):  # of a room that loads its names on first use
            return True
        case ast.Compare(left=ast.Name(id="__name__"), comparators=[ast.Constant(value="__main__")]):
            return True
    return False


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"
