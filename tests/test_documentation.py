"""README and docs: their Python blocks run, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "collector" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_ELSEWHERE = {"database.md"}  # tests/store/test_documentation.py gives its blocks the database they need


def _blocks():
    for page in PAGES:
        found = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(found, 1):
            if page.name not in RUN_ELSEWHERE:
                yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("block", list(_blocks()))
def test_code_blocks_run(block, tmp_path):
    """Each Python block runs by itself, in an empty folder."""
    run = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Each relative link and picture of a page is a file of the repository."""
    text = page.read_text()
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_pages_lead_to_a_heading(page):
    """Each link to a part of a page names a heading that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text())

    assert [
        link for link in links if link[1] not in _anchors(page.parent / link[0] if link[0] else page)
    ] == []


def _anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_has_exactly_two_commands():
    """A newcomer finds one command for the demo and one for the tests."""
    commands = re.findall(r"^\$ (.*?)\s+#", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert commands == ["python3 dev.py demo", "python3 dev.py test"]


def test_ci_runs_the_readmes_test_command():
    """CI calls the command that the README tells newcomers."""
    assert re.search(r"^ *python3 dev\.py test ", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
