"""What contributors and GitHub rely on: commands, checks, the workflow and the issue forms."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DEV = ROOT / "dev.py"
PROGRAMS = Path(sys.executable).parent
FORMS = sorted(
    set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"}
)
COMMANDS = re.findall(r"^\$ (.*?)\s+#", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)


def _yaml(path):
    return yaml.safe_load((ROOT / path).read_text())


def _succeeds(*command):
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_contributing_command_exists(command):
    """Each command of CONTRIBUTING.md starts a program, and names files that exist."""
    program, *arguments = command.split()

    if program == "python3":
        _succeeds(sys.executable, *arguments[:2], "--help")
    elif program.startswith(".venv/bin/"):
        assert (PROGRAMS / Path(program).name).exists()
    else:
        assert (ROOT / program).stat().st_mode & 0o111
    assert [path for path in arguments if "/" in path and not (ROOT / path).exists()] == []


def test_contributing_names_existing_sessions():
    """CONTRIBUTING.md names a session for a Python, the lowest versions and what needs old packages."""
    named = re.findall(r"--session (\S+)", "\n".join(COMMANDS))

    listed = re.findall(r"^\* (\S+)", _succeeds(sys.executable, "-m", "nox", "--list"), re.MULTILINE)

    assert len(named) == 3
    assert set(named) <= set(listed)


@pytest.mark.parametrize("file", ["noxfile.py", "pyproject.toml", ".ci/mutation"])
def test_named_tests_exist(file):
    """The tests that a session or a tool names are there, also after a file was renamed."""
    named = re.findall(r'"(tests/[\w/.]+)"', (ROOT / file).read_text())

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_workflow_calls_both_ci_scripts():
    """A change runs .ci/run, the weekly schedule .ci/full."""
    steps = {
        step.get("if"): step.get("run", "")
        for step in _yaml(".github/workflows/ci.yml")["jobs"]["ci"]["steps"]
    }

    assert steps["github.event_name != 'schedule'"].endswith(" .ci/run")
    assert steps["github.event_name == 'schedule'"].endswith(" .ci/full")


def test_pre_commit_runs_the_checks_of_dev():
    """The hooks are the commands of `dev.py check`, and pre-commit accepts their file."""
    hooks = [hook for repo in _yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]

    entries = [tuple(hook["entry"].removeprefix(".venv/bin/").split()) for hook in hooks]

    assert entries == list(runpy.run_path(str(DEV))["CHECKS"])
    assert [hook["id"] for hook in hooks if hook["pass_filenames"]] == []
    _succeeds(sys.executable, "-m", "pre_commit", "validate-config")


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_form_has_what_github_requires(form):
    """GitHub ignores a form without a name, a description, a field, or labels and ids of their own."""
    content = _yaml(form)
    fields = [element for element in content["body"] if element["type"] != "markdown"]

    assert all(isinstance(content[key], str) and content[key] for key in ("name", "description"))
    assert {field["type"] for field in fields} <= {"checkboxes", "dropdown", "input", "textarea"}
    assert fields
    assert len({field["id"] for field in fields}) == len(fields)
    assert len({field["attributes"]["label"] for field in fields}) == len(fields)
    assert all(element["attributes"]["value"] for element in content["body"] if element not in fields)
    assert all(
        field["attributes"]["options"] for field in fields if field["type"] in ("checkboxes", "dropdown")
    )


@pytest.mark.parametrize("name", ["bug", "privacy"])
def test_public_form_sends_leaks_elsewhere(name):
    """Forms in which a leak may be reported by mistake point to SECURITY.md first."""
    first, *_ = _yaml(f".github/ISSUE_TEMPLATE/{name}.yml")["body"]

    assert "SECURITY.md" in first["attributes"]["value"]


def test_each_issue_starts_with_a_form():
    """Nobody misses the warning about leaks: there are three forms, and no blank issue."""
    assert [form.stem for form in FORMS] == ["bug", "feature", "privacy"]
    assert _yaml(".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": False}
