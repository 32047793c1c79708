#!/usr/bin/env python3
"""Set up and run: `python3 dev.py demo`, `python3 dev.py test`.

Needs Python 3.11 or newer with pip, nothing else; everything goes into `.venv` beside this file.
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
OLDEST_PYTHON = (3, 11)
TESTED_EXTRAS = "aiosqlite,api,asyncpg,config,demo,gateway,migrations,postgresql,spans,system,testing"
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
        programs = _environment(options.venv, [".[demo]"])
        _become(programs / "otel-posthog", "demo", *rest)
    programs = _environment(options.venv, [f".[{TESTED_EXTRAS}]", "--group", "dev"])
    if options.command == "check":
        raise SystemExit(max(_run(programs / program, *arguments) for program, *arguments in CHECKS))
    _become(programs / "python", "-m", "pytest", *rest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=["demo", "test", "check"])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to install (default: .venv)")
    return parser


def _environment(folder: Path, wanted: list[str]) -> Path:
    """Return the folder of the environment's programs, after installing what is not installed yet."""
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    if not python.exists():
        print(f"Making a virtual environment in {folder} …", flush=True)
        _make_venv(folder, python)
    stamp = folder / "installed"
    present = set(stamp.read_text().splitlines()) if stamp.exists() else set()
    pinned = os.environ.get("PIP_CONSTRAINT")  # pip's own variable, see .ci/run
    files = [ROOT / "pyproject.toml", *([Path(pinned)] if pinned else [])]
    versions = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    state = f"{versions.hexdigest()} {' '.join(wanted)}"
    if state not in present:
        print("Installing what this needs …", flush=True)
        _require(python, "-m", "pip", "install", "--quiet", "--editable", *wanted)
        stamp.write_text("\n".join([*sorted(present), state]))
    return programs


def _make_venv(folder: Path, python: Path) -> None:
    """Make it without ensurepip where pip is there: Debian keeps ensurepip in a package of its own."""
    has_pip = importlib.util.find_spec("pip") is not None
    venv.EnvBuilder(with_pip=not has_pip, symlinks=os.name != "nt").create(folder)
    if has_pip:
        _require(Path(sys.executable), "-m", "pip", "--python", python, "install", "--quiet", "pip")
    _require(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")  # 25.1 knows groups


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
