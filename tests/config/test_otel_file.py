"""What we stand on of opentelemetry-configuration, which is experimental: these fail when it moves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_posthog.config import file as otel_file
from otel_posthog.errors import UnsupportedVersionError
from otel_posthog.otel.api import unsupported


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file and loads it."""

    def load(text, name="file.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return otel_file.loaded(text, path)

    return load


def test_variables_are_put_in_as_opentelemetry_does(file, monkeypatch):
    """Variables, defaults, and the types that they come to."""
    monkeypatch.setenv("SOME_NUMBER", "7")

    content, _ = file("a: ${SOME_NUMBER}\nb: ${NOT_SET_HERE:-x}\nc: ${NOT_SET_HERE}\nd: '${SOME_NUMBER}'\n")

    assert content == {"a": 7, "b": "x", "c": None, "d": "7"}


def test_one_block_can_be_referred_to(file):
    """An anchor and its alias are the same block."""
    assert file("a: &x {b: 1}\nc: *x\n")[0] == {"a": {"b": 1}, "c": {"b": 1}}


def test_file_that_opentelemetry_accepts(file):
    """Exporters of ours are found by their entry points."""
    parts = "processors: [{simple: {exporter: {posthog: }}}]"
    readers = "readers: [{periodic: {exporter: {posthog: }}}]"
    text = f"tracer_provider: {{{parts}}}\nmeter_provider: {{{readers}}}\nlogger_provider: {{{parts}}}\n"

    content, refusal = file(f"file_format: '1.0'\n{text}")

    assert refusal is None
    assert content["meter_provider"] == {"readers": [{"periodic": {"exporter": {"posthog": None}}}]}


@pytest.mark.parametrize(
    ("name", "text", "where", "reason"),
    [
        ("file.yaml", "a: 1\nb: ]\n", ((), 2), r"this is no YAML, .*\."),
        ("file.yaml", "a: !secret x", ((), 1), r"this is no YAML, could not determine a constructor .*"),
        ("file.json", '{"a": 1,\n"b" 2}', ((), 2), r"this is no JSON, .*\."),
        (
            "file.yaml",
            "a: 2026-13-45",
            ((), 0),
            r"OpenTelemetry refuses the file: month must be in 1\.\.12\.",
        ),
        ("file.yaml", "a: \x07", ((), 0), r"OpenTelemetry refuses the file: .*\."),
        (
            "file.yaml",
            "a: " + "[" * 5_000,
            ((), 0),
            r"OpenTelemetry refuses the file: maximum recursion .*\.",
        ),
        ("file.yaml", "", ((), 0), r"OpenTelemetry refuses the file: Configuration file is empty\."),
        ("file.txt", "a: 1", ((), 0), r"OpenTelemetry refuses the file: Unsupported file format: \.txt.*"),
        ("file.yaml", "file_format: '2.0'", ((), 0), r"OpenTelemetry refuses the file: .*'2\.0'.*"),
        (
            "file.yaml",
            "file_format: '1.0'\ntracer_provider: {processors: planted}",
            (("tracer_provider", "processors"), 0),
            r"OpenTelemetry refuses this: it is not of type 'array'\.",
        ),
        (
            "file.yaml",
            "file_format: '1.0'\npropagator: {composite: [{unknown: }]}",
            ((), 0),
            r"OpenTelemetry refuses the file: Plugin 'unknown' not found in group .*",
        ),
    ],
)
def test_refusal_is_a_line(name, text, where, reason, file, caplog):
    """Whatever OpenTelemetry raises, or logs with a traceback, is one sentence without values of the file."""
    _, refusal = file(text, name)

    *found, told = otel_file.explained(refusal)
    assert tuple(found) == where
    assert re.fullmatch(reason, told), told
    assert caplog.records == []


def test_tabs_in_json_are_no_mistake(file):
    """What OpenTelemetry reads has its lines."""
    text = '{\n\t"a":\t{\n\t\t"b": 1}}'

    assert file(text, "file.json")[0] == {"a": {"b": 1}}
    assert otel_file.located(otel_file.composed(text, Path("file.json")), ("a", "b"))[0] == 3


@pytest.mark.parametrize("kind", otel_file.EXPORTERS)
def test_schema_has_the_exporters(kind):
    """Each kind of exporter is in OpenTelemetry's schema, and packages may bring their own."""
    assert otel_file.file_schema()["$defs"][kind]["additionalProperties"]


@pytest.mark.parametrize(
    ("path", "line", "raw"),
    [(("a", "b", 1), 4, "${X}"), (("a", "zzz"), 1, None), (("a", "b", 7), 2, None)],
)
def test_places_have_lines(path, line, raw):
    """A place has its line and what is written there; a missing one has the line above it."""
    root = otel_file.composed("a:\n  b:\n    - 1\n    - ${X}\n", Path("file.yaml"))

    found, node = otel_file.located(root, path)

    assert (found, node and node.value) == (line, raw)


def test_unsupported_version_is_told():
    """Where a package lacks what we import, the message says which version would do."""
    error = unsupported("opentelemetry-sdk", ImportError("cannot import name 'LoggerProvider'"))

    assert isinstance(error, UnsupportedVersionError)
    assert "lacks a name that otel-posthog needs (cannot import name 'LoggerProvider')" in str(error)
    assert "Supported is opentelemetry-sdk>=" in str(error)


@pytest.mark.parametrize(
    ("lost", "package", "module"),
    [
        ("opentelemetry._logs.NoOpLogger", "opentelemetry-api", "otel_posthog.track"),
        ("opentelemetry.sdk._logs.LoggerProvider", "opentelemetry-sdk", "otel_posthog.Telemetry"),
        (
            "opentelemetry.configuration.file._loader._parse_config_content",
            "opentelemetry-configuration",
            "otel_posthog.config.file.loaded",
        ),
    ],
)
def test_package_that_has_moved_is_named(lost, package, module):
    """A version without what we need ends in one clear error, and not in an AttributeError somewhere."""
    owner, _, name = lost.rpartition(".")
    home, _, wanted = module.rpartition(".")
    program = f"import {owner} as owner\ndel owner.{name}\nfrom {home} import {wanted}\n"

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert f"UnsupportedVersionError: {package} " in run.stderr
    assert f"Supported is {package}>=" in run.stderr
