#!/usr/bin/env python3
"""Set up and run: `python3 dev.py demo`, `python3 dev.py test`, `python3 dev.py check`.

Needs Python 3.11 or newer with pip, nothing else; everything is installed into `.venv` beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def main() -> None:
    """Run the command that was asked for; its exit code is this program's."""
    options, rest = _parser().parse_known_args()
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(f"otel-posthog needs Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")
    if options.command == "demo":
        _become(_environment(".[demo]") / "otel-posthog", "demo", *rest)
    programs = _environment(f".[{','.join(_extras())}]", "--group", "dev")
    if options.command == "check":
        raise SystemExit(max(_run(programs / program, *arguments) for program, *arguments in CHECKS))
    if options.session:
        _become(programs / "nox", "--session", options.session, "--", *rest)
    measured = ("-m", "coverage", "run") if options.coverage else ()
    _become(programs / "python", *measured, "-m", "pytest", *rest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=["demo", "test", "check"])
    parser.add_argument("--session", help="test in this session of noxfile.py, such as tests-3.13 or lowest")
    parser.add_argument("--coverage", action="store_true", help="measure what the tests cover, children too")
    return parser


def _extras() -> list[str]:
    import tomllib  # noqa: PLC0415 - Python 3.10 has none, and must get as far as the message in main()

    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def _environment(*wanted: str) -> Path:
    """Return the folder of the environment's programs, after installing what is not installed yet."""
    programs = VENV / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    if not python.exists():
        print(f"Creating a virtual environment in {VENV} …", flush=True)
        _make_venv(VENV, python)
    stamp = VENV / "installed"
    present = set(stamp.read_text().splitlines()) if stamp.exists() else set()
    versions = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    state = f"{versions} {' '.join(wanted)}"
    if state not in present:
        print("Installing the dependencies …", flush=True)
        _install(programs, "--editable", *wanted)
        stamp.write_text("\n".join([*sorted(present), state]))
    return programs


def _make_venv(folder: Path, python: Path) -> None:
    """Make it without ensurepip where pip is there: Debian keeps ensurepip in a package of its own."""
    has_pip = importlib.util.find_spec("pip") is not None
    venv.EnvBuilder(with_pip=not has_pip, symlinks=os.name != "nt").create(folder)
    if has_pip:
        _require(Path(sys.executable), "-m", "pip", "--python", python, "install", "--quiet", "pip")
    _require(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1", "uv")  # 25.1 knows groups


def _install(programs: Path, *wanted: str) -> None:
    """Install with uv, in seconds; with pip where uv fails: only pip reads the indexes of pip.conf."""
    python, options = programs / "python", ("install", "--quiet")
    if _run(programs / "uv", "pip", *options, "--python", str(python), *wanted) != 0:
        _require(python, "-m", "pip", *options, *wanted)


def _become(program: Path, *arguments: str) -> NoReturn:
    """Give this process over to the program, so that Ctrl-C and signals are its own."""
    if sys.platform == "win32":
        raise SystemExit(_run(program, *arguments))
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(program, [str(program), *arguments])  # noqa: S606 - a program of the environment made above


def _run(program: Path, *arguments: str) -> int:
    return subprocess.run([program, *arguments], cwd=ROOT, check=False).returncode


def _require(program: Path, *arguments: object) -> None:
    subprocess.run([program, *map(str, arguments)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
