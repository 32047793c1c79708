"""Start Python programs that import this checkout and its test helpers, from any working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
WAIT_S = 60


def environment(*folders, **variables):
    """Return this process's environment with the test helpers, and these folders, importable."""
    paths = [*map(str, folders), str(TESTS), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def bare_environment(**variables):
    """Return these variables alone, with those by which coverage measures a child."""
    measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {**measuring, **variables}


def python(program, *arguments):
    """Return the command that runs this program text."""
    return [sys.executable, "-c", dedent(program), *map(str, arguments)]


def run_python(program, *arguments, timeout_s=WAIT_S, check=True, **variables):
    """Run the program text to its end and return the finished process, with its output as text."""
    return subprocess.run(
        python(program, *arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=check,
    )
