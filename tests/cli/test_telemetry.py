"""The commands that show what consent is about, as a product's maintainer calls them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pytest
from programs import bare_environment

from otel_posthog.registry import Kind
from otel_posthog.registry.documents import read_manifest_file

ROOT = Path(__file__).parents[2]
PRODUCT = """
    from typing import Literal
    from otel_posthog import Telemetry, event

    @event("sync_completed", why="to know", since="1.0")
    class SyncCompleted:
        '''A sync ended.'''
        trigger: Literal["manual", "webhook"]

    EVENTS = [SyncCompleted]
    NUMBER = 7
    telemetry = Telemetry(api_key="phc_planted_planted", database="sqlite:///app.db", registry=EVENTS)
"""


@pytest.fixture
def product(tmp_path):
    """Return a function that runs a command of otel-posthog in a product's folder."""
    (tmp_path / "product.py").write_text(dedent(PRODUCT))

    def run(*arguments, **environ):
        return subprocess.run(
            [sys.executable, "-m", "otel_posthog.cli", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=bare_environment(PATH="/usr/bin:/bin", **environ),
        )

    return run


def _python(folder, statement):
    subprocess.run([sys.executable, "-c", statement], cwd=folder, check=True, timeout=60)


def test_docs_writes_page_and_manifest(product, tmp_path):
    """`docs` writes both files, and `--check` then finds them fresh."""
    written = product("docs", "--app", "product:telemetry")
    checked = product("docs", "--app", "product:EVENTS", "--check")

    assert (written.returncode, checked.returncode) == (0, 0)
    assert "### `sync_completed`" in (tmp_path / "TELEMETRY.md").read_text()
    assert "bits" in json.loads((tmp_path / "telemetry-manifest.json").read_text())["kinds"]["telemetry"]


def test_check_fails_when_stale(product, tmp_path):
    """`--check` ends with code 1, writes nothing, and says what to run."""
    product("docs", "--app", "product:EVENTS")
    source = tmp_path / "product.py"
    source.write_text(source.read_text().replace('"webhook"', '"webhook", "timer"'))
    before = (tmp_path / "TELEMETRY.md").read_text()

    checked = product("docs", "--app", "product:EVENTS", "--check")

    assert checked.returncode == 1
    assert "TELEMETRY.md is stale. Run: otel-posthog docs --app product:EVENTS" in checked.stderr
    assert (tmp_path / "TELEMETRY.md").read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "told", "note"),
    [
        ('"webhook"', '"webhook", "timer"', "widening   sync_completed.trigger", "asks to send more"),
        (', "webhook"', "", "narrowing  sync_completed.trigger", "sends less than before"),
        ("A sync ended.", "A sync came to its end.", "wording    sync_completed", "has other words"),
        ("NUMBER", "OTHER", "", "nothing has changed"),
    ],
)
def test_diff_tells_what_a_release_changes(product, tmp_path, old, new, told, note):
    """`docs --diff` says widening, narrowing or wording, and prints the note for the release."""
    product("docs", "--app", "product:EVENTS")
    (tmp_path / "telemetry-manifest.json").rename(tmp_path / "old.json")
    source = tmp_path / "product.py"
    source.write_text(source.read_text().replace(old, new))
    product("docs", "--app", "product:EVENTS")

    compared = product("docs", "--diff", "old.json", "telemetry-manifest.json")

    assert compared.returncode == 0
    assert told in compared.stdout
    assert note in compared.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("docs",), "docs needs --app module:name, or --diff"),
        (("docs", "--app", "product"), "name it as module:name"),
        (("docs", "--app", "nowhere:telemetry"), "there is no module 'nowhere'"),
        (("docs", "--app", "product:nothing"), "product has no nothing"),
        (("docs", "--app", "product:NUMBER"), "is a int, not a Telemetry"),
        (("docs", "--diff", "product.py", "product.py"), "this is no manifest file"),
        (("docs", "--diff", "absent.json", "absent.json"), "absent.json cannot be read"),
        (("status", "--app", "product:EVENTS"), "is a list, not a Telemetry"),
    ],
)
def test_wrong_call_is_one_clear_line(product, arguments, told):
    """What cannot be done ends with code 2 and one line that says what is expected."""
    ran = product(*arguments)

    assert ran.returncode == 2
    assert told in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_status_uses_the_words_of_the_api(product, tmp_path):
    """`status` prints for each kind whether it is sent and the reason, in words and as JSON."""
    undecided, off = (
        product("status", "--app", "product:telemetry"),
        product("status", "--app", "product:telemetry", DO_NOT_TRACK="1"),
    )
    _python(tmp_path, "from product import telemetry; telemetry.update_settings(enable_telemetry=True)")

    granted = product("status", "--app", "product:telemetry", "--json")
    in_words = product("status", "--app", "product:telemetry")

    nothing = "0 accepted = 0 sent + 0 handed over + 0 waiting + 0 dropped"
    shown = f"errors off undecided {nothing} telemetry off undecided {nothing}"
    assert undecided.stdout.split() == shown.split()
    named = f"off env (DO_NOT_TRACK) {nothing}"
    assert off.stdout.split() == f"errors {named} telemetry {named}".split()
    assert json.loads(granted.stdout)["telemetry"]["reason"] == "not_started"
    assert f"telemetry allowed not_started {nothing}" in " ".join(in_words.stdout.split())


def test_status_shows_the_balance_of_all_processes(product, tmp_path):
    """`status` reads what earlier processes of the installation have accepted and sent."""
    _python(
        tmp_path,
        "from product import telemetry; from otel_posthog import track; "
        "telemetry.update_settings(enable_telemetry=True); telemetry.start(); "
        "track('undeclared'); telemetry.shutdown()",
    )

    shown = product("status", "--app", "product:telemetry")
    data = json.loads(product("status", "--app", "product:telemetry", "--json").stdout)

    assert "1 accepted = 0 sent + 0 handed over + 0 waiting + 1 dropped (1 unregistered)" in shown.stdout
    assert data["telemetry"]["delivery"]["dropped"] == {"unregistered": 1}


def test_status_without_a_balance(product, tmp_path):
    """If the spool cannot be read `status` prints the consent all the same, and ends with code 1."""
    _python(
        tmp_path,
        "from product import telemetry; from otel_posthog import track; "
        "telemetry.update_settings(enable_telemetry=True); telemetry.start(); "
        "track('undeclared'); telemetry.shutdown()",
    )
    file = tmp_path / "app.db-spool" / "spool.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")

        in_words = product("status", "--app", "product:telemetry")
        as_json = product("status", "--app", "product:telemetry", "--json")

    assert in_words.stdout.split() == ["errors", "off", "undecided", "telemetry", "allowed", "not_started"]
    assert json.loads(as_json.stdout)["telemetry"]["delivery"] is None
    for ran in (in_words, as_json):
        assert ran.returncode == 1
        assert "spool_dir" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def test_status_tells_what_is_asked(product, tmp_path):
    """After an upgrade `status` lists what the new version asks for."""
    _python(tmp_path, "from product import telemetry; telemetry.update_settings(enable_telemetry=True)")
    source = tmp_path / "product.py"
    source.write_text(source.read_text().replace('"webhook"', '"webhook", "timer"'))

    asked = product("status", "--app", "product:telemetry")

    assert "asks for  sync_completed.trigger: was one of manual, webhook" in asked.stdout


def test_preview_prints_and_writes_nothing(product, tmp_path):
    """`preview` prints address, headers, bodies and what the receiver adds, and leaves no database behind."""
    ran = product("preview", "--app", "product:telemetry")

    assert ran.returncode == 0
    assert "POST https://eu.i.posthog.com/batch/" in ran.stdout
    assert '"event": "sync_completed"' in ran.stdout
    assert "added by receiver" in ran.stdout
    assert "planted" not in ran.stdout
    assert not (tmp_path / "app.db").exists()


def test_preview_as_json(product):
    """`preview --json` prints what the API answers."""
    ran = product("preview", "--app", "product:telemetry", "--json")

    assert {"waiting", "heartbeat", "samples"} <= set(json.loads(ran.stdout))


def test_audit_is_exported_as_json(product, tmp_path):
    """`audit` prints every change, oldest first."""
    _python(
        tmp_path,
        "from product import telemetry\n"
        "for number in range(3):\n"
        "    telemetry.update_settings(enable_telemetry=number % 2 == 0, who=f'user-{number}')",
    )

    ran = product("audit", "--app", "product:telemetry")

    assert [entry["who"] for entry in json.loads(ran.stdout)] == ["user-0", "user-1", "user-2"]


def test_documents_of_the_example_are_fresh():
    """TELEMETRY.md and manifest of the Fast-Flow example are those of its declarations."""
    ran = subprocess.run(
        [sys.executable, "-m", "otel_posthog.cli", "docs", "--app", "server.main:telemetry", "--check"],
        cwd=ROOT / "examples" / "fastflow",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")


def test_example_declares_the_events_of_the_product():
    """The Fast-Flow example declares the seven events of R17, and free text in none of them."""
    text = (ROOT / "examples" / "fastflow" / "telemetry-manifest.json").read_text()
    events = read_manifest_file(text)[Kind.TELEMETRY].events

    assert set(events) == {
        "user_registered",
        "user_logged_in",
        "pipeline_run_started",
        "pipeline_run_finished",
        "sync_completed",
        "sync_failed",
        "instance_heartbeat",
    }
    tracked = [spec for name, spec in events.items() if name != "instance_heartbeat"]
    assert all(declared.is_closed for spec in tracked for declared in spec.properties.values())
