"""The examples that fit on a screen, run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from servers import call, serving

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SYSTEM = "/api/settings/system"
ADMIN = {"Authorization": "Bearer let-me-in"}
MAX_LINES = 59


@pytest.fixture
def example_url(tmp_path, sink_url):
    """Return the address of the settings API example, served as its docstring says."""
    program = ["uvicorn", "examples.settings_api:app", "--port", "{port}"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{tmp_path}/data/app.db",
        "POSTHOG_API_KEY": "phc_test_key_of_no_project",
        "POSTHOG_HOST": sink_url,
    }
    with serving(program, tmp_path / "log", **environment) as (url, _):
        yield url


@pytest.mark.parametrize("name", ["quickstart.py", "settings_api.py"])
def test_example_fits_on_a_screen(name):
    """Each example has fewer than 60 lines (R31)."""
    assert len((EXAMPLES / name).read_text().splitlines()) <= MAX_LINES


def test_quickstart_shows_consent(tmp_path):
    """The quick start prints that nothing arrived before consent, and what arrived after it."""
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "Before consent: 0 events\nAfter consent: $exception, report_generated\n"


def test_settings_api_obeys_its_hook(example_url):
    """The admin reads and changes the flags; everybody else is refused, and sees no key (R7 to R11, R31)."""
    url = f"{example_url}{SYSTEM}"
    refused = call("PUT", url, json={"enable_error_reporting": True}).status_code
    before = call("GET", f"{example_url}/api/settings/telemetry-status").json()

    changed = call("PUT", url, json={"enable_error_reporting": True}, headers=ADMIN).json()

    after = call("GET", f"{example_url}/api/settings/telemetry-status").json()
    assert refused == 401
    assert (before["enable_error_reporting"], before["posthog_api_key"]) == (False, None)
    assert changed["enable_error_reporting"] is True
    assert (after["enable_error_reporting"], after["posthog_api_key"]) == (True, "phc_test_key_of_no_project")
