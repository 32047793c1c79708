"""What the suite promises: it runs from any directory, in any order, within bounds, and starts quickly."""

from __future__ import annotations

import json
import subprocess
import sys

from programs import ROOT, TESTS, run_python

SMALL = TESTS / "_runtime" / "test_reporting.py"
HEAVY = ("faker", "playwright", "psycopg", "schemathesis", "sqlalchemy", "opentelemetry.sdk")


def _pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_one_test_starts_quickly_anywhere(tmp_path, monkeypatch):
    """One small test runs from another directory, and waits for no library that it does not use."""
    program = """
        import json, pytest, sys

        code = pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1]])
        print(json.dumps([code, [name for name in sys.argv[2:] if name in sys.modules]]))
    """
    monkeypatch.chdir(tmp_path)

    run = run_python(program, SMALL, *HEAVY)

    assert json.loads(run.stdout.splitlines()[-1]) == [0, []], run.stdout


def test_seed_decides_the_order(tmp_path):
    """One seed gives one order, another seed another."""
    order = {}
    for attempt, seed in enumerate((1, 1, 2)):
        run = _pytest(tmp_path, "--collect-only", "--seed", seed, TESTS / "consent")
        order[attempt] = [line for line in run.stdout.splitlines() if "::" in line]

    assert len(order[0]) > 5
    assert order[0] == order[1]
    assert order[0] != order[2]
    assert sorted(order[0]) == sorted(order[2])


def test_stuck_test_fails_with_every_stack(tmp_path):
    """A test that hangs fails at its bound, and each thread's stack shows where it was."""
    (tmp_path / "test_stuck.py").write_text(
        "import threading\n\n\n"
        "def wait_in_a_thread(never):\n    never.wait()\n\n\n"
        "def test_stuck():\n    never = threading.Event()\n"
        "    threading.Thread(target=wait_in_a_thread, args=[never], daemon=True).start()\n    never.wait()\n"
    )

    run = _pytest(tmp_path, "-c", ROOT / "pyproject.toml", "--timeout=1", tmp_path / "test_stuck.py")

    assert run.returncode == 1
    assert "Timeout (>1.0s) from pytest-timeout" in run.stdout
    assert "in wait_in_a_thread" in run.stdout + run.stderr
