"""One failure is one issue, wherever and under whichever Python the product is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.otel import attributes

ROOT = Path(__file__).parents[2]
PLACES = ["one", "srv/deeper/acme-4.2", "home/x/venv/lib/python3.99/site-packages"]
BASE = BaseProperties(environment="production", roots=frozenset({"acme"}))
GATEWAY = BaseProperties(environment="production", roots=frozenset({"acme"}), reads_source=False)


def _interpreters():
    """Return every Python that can run the program: this one, and those of other versions beside it."""
    found = {Path(sys.executable)}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in (11, 12, 13, 14):
        named = shutil.which(f"python3.{minor}")
        found |= {Path(named)} if named else set()
        found |= set(pyenv.glob(f"3.{minor}.*/bin/python"))
    return sorted({real for path in found if (real := _program(path))})


def _program(python):
    """Return the program that really runs, which a shim only names; None if it runs none or one too old."""
    asked = "import sys; print(sys.executable); raise SystemExit(sys.version_info < (3, 11))"
    answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    return None if answer.returncode else Path(answer.stdout.strip())


def _told(python, folder):
    ran = subprocess.run(
        [python, ROOT / "tests" / "told.py", folder],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(ran.stdout)


def _grouping(recorded, base):
    """Return what PostHog's fingerprint is made from (rust/cymbal, `Exception::include_in_fingerprint`)."""
    properties = exception_properties(recorded, base, trace_id=0, span_id=0)
    parts = [properties.get("$exception_fingerprint")]
    for entry in properties["$exception_list"]:
        frames = entry.get("stacktrace", {"frames": []})["frames"]
        chosen = [frame for frame in frames if frame["in_app"]] or frames[:1]
        places = [(frame["filename"], frame["module"], frame["function"]) for frame in chosen]
        parts.append((entry["type"], places or entry["value"]))
    return parts


def _keys(told):
    """Return the grouping of each failure, as walked, and as a gateway elsewhere reads it off the text."""
    keys = {}
    for name, (chain, kind, message, text) in told.items():
        walked = {attributes.EXCEPTION_TYPE: kind, attributes.EXCEPTION_CHAIN: chain}
        written = {
            attributes.EXCEPTION_TYPE: kind,
            attributes.EXCEPTION_MESSAGE: message,
            attributes.EXCEPTION_STACKTRACE: text,
        }
        keys[name] = (_grouping(walked, BASE), _grouping(written, GATEWAY))
    return keys


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return folders in each of which the product is installed."""
    folders = [tmp_path_factory.mktemp("installed") / place for place in PLACES]
    for folder in folders:
        shutil.copytree(ROOT / "tests" / "golden" / "acme", folder / "acme")
    return folders


def test_grouping_is_equal_wherever_the_product_is_installed(installed):
    """Type and the product's files, modules and functions do not depend on folder or Python version."""
    interpreters = _interpreters()
    print("interpreters:", *interpreters)  # noqa: T201 - which of them a machine has differs
    first = _keys(_told(Path(sys.executable), installed[0]))

    for python in interpreters:
        for folder in installed:
            assert _keys(_told(python, folder)) == first, (python, folder)
    assert all("acme/runs/" in str(walked) for walked, _ in first.values())


def test_walked_and_written_group_alike(installed):
    """What is read off a text makes no issue of its own."""
    keys = _keys(_told(Path(sys.executable), installed[0]))

    alone = {name for name, (walked, written) in keys.items() if walked != written}
    assert alone == {"in_generated_code"}  # in which module code was generated, a text does not say
