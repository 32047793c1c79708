"""Run tests on each Python and on the lowest versions: `nox -s tests-3.13`, `portable-3.13` or `lowest`.

Which tests a session runs is decided here and nowhere else. pytest options follow `--`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import nox

nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False  # a machine tests the Pythons it has and names the others
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"  # uv installs in seconds what takes pip half a minute

PORTABLE = ("-m", "not browser and not collector and not example")
# What the language and its standard library decide; the oldest Python runs every test.
OF_PYTHON = (
    "tests/_runtime",  # threads, forks and process ends, of which 3.12 warns and which 3.14 changes
    "tests/conformance/test_conformance.py",  # asyncio: cancellation, task groups, context
    "tests/middleware",  # frames and context variables of a request
    "tests/emit",  # tracebacks, code positions and the hooks of sys and threading
    "tests/mapping",  # the text of tracebacks, parsed
    "tests/end_to_end/test_exception_trees.py",  # exception groups and notes
    "tests/end_to_end/test_errors.py",
    "tests/registry/test_registry.py",  # annotations, which 3.14 evaluates late
    "tests/registry/test_domains.py",
    "tests/registry/test_manifest.py",
    "tests/config/test_block.py",  # dataclasses and unions
    "tests/config/test_settings.py",
    "tests/otel",  # private interfaces of OpenTelemetry
    "tests/pipeline",
    "tests/delivery",  # sqlite3, ssl and http.client
    "tests/store/test_files.py",  # sqlite3, whose transactions 3.12 changes
    "tests/heartbeat/test_heartbeat.py",  # periodic threads and event loops
    "tests/frameworks/test_lifespans.py",  # a smoke test: each framework starts, answers and stops
    "tests/frameworks/test_modes.py",
    "tests/integrations",  # calls of frameworks and servers, as coroutine functions
    "tests/integration/test_processes.py",  # forks under load
    "tests/integration/test_imports.py",
    "tests/test_declarative.py",
    "tests/test_package.py",
)
# Of a Python between two on which all of that passes: it imports, declares, sends and stores.
OF_ONE_BETWEEN = (
    "tests/_runtime",
    "tests/registry/test_registry.py",
    "tests/otel",
    "tests/delivery/test_gate.py",
    "tests/store/test_files.py",
    "tests/frameworks/test_lifespans.py",
    "tests/end_to_end/test_errors.py",
    "tests/integration/test_imports.py",
    "tests/test_declarative.py",
    "tests/test_package.py",
)
TESTS = {"3.11": (), "3.12": OF_ONE_BETWEEN, **dict.fromkeys(("3.13", "3.14"), OF_PYTHON)}
# The tests that touch a dependency; the other sessions install the newest versions.
LOWEST_TESTS = (
    "tests/otel/test_seams.py",
    "tests/test_declarative.py",
    "tests/config/test_block.py",
    "tests/config/test_otel_file.py",
    "tests/config/test_file.py::test_exporter_sends_nothing_and_says_why",
    "tests/delivery/test_transport.py",
    "tests/store/test_settings_store.py",
    "tests/store/test_consent_history.py",
    "tests/settings_api/test_routes.py",
    "tests/end_to_end/test_errors.py",
    "tests/end_to_end/test_spans.py",
    "tests/integration/test_zero_code.py::test_two_workers_follow_the_switches_in_the_database",
    "tests/integration/test_zero_code.py::test_classic_variables_make_the_same_exporters",
    "tests/integration/test_zero_code.py::test_settings_are_options_of_the_instrument_command",
)
VENDORS = ("opentelemetry-instrumentation-flask", "logfire>=5.0", "ddtrace>=4.0")
LOWEST_VERSIONS = Path(".ci/lowest.txt")


@nox.session(python=list(TESTS))
def tests(session: nox.Session) -> None:
    """Run the tests that depend on the Python version; of one between two others, a few."""
    _install(session)
    session.run("pytest", *TESTS[str(session.python)], *session.posargs)


@nox.session(python=["3.12", "3.13", "3.14"])
def portable(session: nox.Session) -> None:
    """Run every test that needs no browser, no Collector and no example product."""
    _install(session)
    session.run("pytest", *PORTABLE, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests that depend on dependencies, with the lowest versions allowed."""
    _install(session, "--constraint", str(LOWEST_VERSIONS))
    session.run("pytest", *LOWEST_TESTS, *session.posargs)


@nox.session(python="3.11")
def vendors(session: nox.Session) -> None:
    """Run the tests of packages that hold back OpenTelemetry's version, or change other tests."""
    _install(session, *VENDORS)
    session.run("pytest", "tests/end_to_end/test_vendors.py", *session.posargs)


def _install(session: nox.Session, *options: str) -> None:
    """Install the project with every extra, unless nothing changed since the last time."""
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    wanted = hashlib.sha256(Path("pyproject.toml").read_bytes() + LOWEST_VERSIONS.read_bytes()).hexdigest()
    stamp = Path(session.virtualenv.location, "installed")
    if stamp.exists() and stamp.read_text() == wanted:
        return  # pip would take ten seconds to find that out
    session.install("--editable", f".[{','.join(extras)}]", "--group", "dev", *options)
    stamp.write_text(wanted)
