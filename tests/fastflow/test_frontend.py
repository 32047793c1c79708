"""The front end's own checks: TypeScript, Vitest, and the package that is ready for npm."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from frontends import need_frontend, packing
from server.config import HERE, VERSION

pytestmark = pytest.mark.browser

FRONTEND = HERE / "frontend"
PACKAGE = FRONTEND / "consent"
STEP_TIMEOUT_S = 600


@pytest.fixture(scope="module", autouse=True)
def _frontend():
    """Build the front end once."""
    need_frontend()


def _npm(*arguments, folder=FRONTEND):
    ran = subprocess.run(
        ["npm", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_types_hold():
    """TypeScript finds nothing, at its strictest."""
    _npm("run", "check")


def test_units_hold():
    """Vitest runs the unit tests of wizard, switches and client, and all of them pass."""
    told = re.sub(r"\x1b\[[0-9;]*m", "", _npm("test"))

    passed = re.search(r"Tests\s+(\d+) passed \((\d+)\)", told)
    assert passed, told
    assert passed[1] == passed[2]


def _published(exports):
    """Return the files that the exports name to consumers; the example alone uses the sources."""
    for entry in exports.values():
        by_condition = entry if isinstance(entry, dict) else {"default": entry}
        yield from (path for name, path in by_condition.items() if name != "otel-posthog-source")


def test_package_is_ready_for_npm():
    """The package builds by itself, and what it would publish holds all that its exports name."""
    with packing():
        told = _npm("pack", "--dry-run", "--json", folder=PACKAGE)

    [packed] = json.loads(told[told.index("[\n") :])
    files = {file["path"] for file in packed["files"]}
    exports = json.loads((PACKAGE / "package.json").read_text())["exports"]
    assert {path.removeprefix("./") for path in _published(exports)} <= files
    assert "README.md" in files
    assert not any("test" in path or path.startswith("src/") for path in files)


def test_lock_names_no_address():
    """The lock file holds hashes, and no address from which something was downloaded."""
    lock = (FRONTEND / "package-lock.json").read_text()

    assert "integrity" in lock
    assert re.findall(r"https?://[^\"]*\.tgz", lock) == []


def test_front_end_has_the_version_of_the_server():
    """Reports of page and server carry the same version."""
    assert f'"{VERSION}"' in (FRONTEND / "src" / "version.ts").read_text()
