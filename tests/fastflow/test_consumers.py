"""The package `otel-posthog-react` as others get it: packed, installed and used in five small products."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from frontends import need_frontend, packing
from programs import TESTS
from server.config import HERE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1_200)]

PACKAGE = HERE / "frontend" / "consent"
STEP_TIMEOUT_S = 600
QUIET = ["--no-audit", "--no-fund", "--no-save", "--no-package-lock"]


def _npm(*arguments, folder):
    ran = subprocess.run(
        ["npm", *arguments],
        cwd=folder,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", "CI": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Return the archive that `npm publish` would send."""
    need_frontend()
    folder = tmp_path_factory.mktemp("packed")
    with packing():
        _npm("pack", "--pack-destination", str(folder), folder=PACKAGE)
    [archive] = folder.glob("*.tgz")
    return archive


@pytest.mark.parametrize("consumer", ["node", "react18", "react19", "vue", "next"])
def test_consumer_uses_the_package(packed, tmp_path, consumer):
    """Types, build and tests hold in plain Node, React 18 and 19, Vue and Next, away from here."""
    folder = tmp_path / consumer
    shutil.copytree(TESTS / "consumers" / consumer, folder)

    _npm("install", *QUIET, str(packed), folder=folder)

    assert "check" in _npm("run", "check", folder=folder)
