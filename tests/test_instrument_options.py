"""Our settings as options of `opentelemetry-instrument`."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import os
before = dict(os.environ)
from otel_posthog import instrument_options
print(dict(os.environ) == before, flush=True)
print(*dir(instrument_options))
"""


def _run(**variables):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_options_are_the_settings_without_secrets():
    """`dir()` of the module, which the command reads, names the variables, and no secret."""
    _, names = _run().stdout.splitlines()

    assert "OTEL_POSTHOG_ENVIRONMENT" in names.split()
    assert not [name for name in names.split() if not name.startswith("OTEL_")]
    assert "OTEL_POSTHOG_API_KEY" not in names.split()


def test_import_changes_nothing(tmp_path):
    """A file is checked when the command asks for the options, not when the module is imported."""
    ran = _run(OTEL_CONFIG_FILE=str(tmp_path / "absent.yaml"))

    assert ran.stdout.splitlines()[0] == "True"
    [line] = ran.stderr.splitlines()
    assert line.startswith("Nothing is sent to PostHog by OTEL_CONFIG_FILE.")
