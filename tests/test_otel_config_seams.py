"""What we stand on of opentelemetry-configuration, which is experimental: these fail when it moves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_posthog import _otel_config
from otel_posthog._versions import unsupported
from otel_posthog.errors import ConfigError, UnsupportedVersionError

PATH = Path("file.yaml")


def test_variables_are_put_in_as_opentelemetry_does(monkeypatch):
    """Variables, defaults, and the types that they come to."""
    monkeypatch.setenv("SOME_NUMBER", "7")
    text = "a: ${SOME_NUMBER}\nb: ${NOT_SET_HERE:-x}\nc: ${NOT_SET_HERE}\nd: '${SOME_NUMBER}'\n"

    assert _otel_config.parsed(text, PATH) == {"a": 7, "b": "x", "c": None, "d": "7"}


def test_one_block_can_be_referred_to():
    """An anchor and its alias are the same block."""
    assert _otel_config.parsed("a: &x {b: 1}\nc: *x\n", PATH) == {"a": {"b": 1}, "c": {"b": 1}}


def test_text_that_is_no_yaml_is_told_by_line():
    """File and line of a mistake in the syntax, in one line."""
    with pytest.raises(ConfigError, match=r"^file\.yaml:2: this is no YAML, .*\.$"):
        _otel_config.parsed("a: 1\nb: ]\n", PATH)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("file.txt", "a: 1", r"file\.txt: OpenTelemetry takes files that end in \.yaml, \.yml, \.json\."),
        ("file.json", '{"a": 1,\n"b" 2}', r"file\.json:2: this is no JSON, .*\."),
        ("file.yaml", "a: !secret x", r"file\.yaml:1: this is no YAML, could not determine a constructor .*"),
        ("file.yaml", "a: 2026-13-45", r"file\.yaml cannot be read \(month must be in 1\.\.12\)\."),
        ("file.yaml", "a: \x07", r"file\.yaml cannot be read \(.*\)\."),
        ("file.yaml", "a: " + "[" * 5_000, r"file\.yaml is nested too deeply\."),
    ],
)
def test_text_that_cannot_be_read_is_told_in_a_line(name, text, told, caplog):
    """Whatever OpenTelemetry raises, or logs with a traceback, is one sentence of ours."""
    with pytest.raises(ConfigError) as raised:
        _otel_config.parsed(text, Path(name))

    assert re.fullmatch(told, str(raised.value)), raised.value
    assert caplog.records == []


def test_tabs_in_json_are_no_mistake():
    """What OpenTelemetry reads has its lines."""
    path, text = Path("file.json"), '{\n\t"a":\t{\n\t\t"b": 1}}'

    assert _otel_config.parsed(text, path) == {"a": {"b": 1}}
    assert _otel_config.line_of(_otel_config.composed(text, path), ("a", "b")) == 3


@pytest.mark.parametrize("version", ["2.0", "0.4", "one"])
def test_file_format_is_checked(version):
    """A version that OpenTelemetry refuses is refused by it."""
    with pytest.raises(ConfigError, match=version):
        _otel_config.check_file_format({"file_format": version})


@pytest.mark.parametrize("kind", _otel_config.EXPORTERS)
def test_schema_has_the_exporters(kind):
    """Each kind of exporter stands in OpenTelemetry's schema, and packages may bring their own."""
    assert {"console", "posthog"} <= set(_otel_config.known_names(kind))
    assert _otel_config.file_schema()["$defs"][kind]["additionalProperties"]


@pytest.mark.parametrize(
    ("path", "line", "raw"),
    [(("a", "b", 1), 4, "${X}"), (("a", "b"), 2, ""), (("a", "zzz"), 1, ""), ((), 1, "")],
)
def test_places_have_lines(path, line, raw):
    """A place has its line and what is written there; one that is not there has the line above it."""
    root = _otel_config.composed("a:\n  b:\n    - 1\n    - ${X}\n", PATH)

    assert (_otel_config.line_of(root, path), _otel_config.raw_at(root, path)) == (line, raw)


def test_unsupported_version_is_told():
    """Where a package lacks what we import, the message says which version would do."""
    error = unsupported("opentelemetry-sdk", ImportError("cannot import name 'LoggerProvider'"))

    assert isinstance(error, UnsupportedVersionError)
    assert "lacks what otel-posthog stands on (cannot import name 'LoggerProvider')" in str(error)
    assert "Supported is opentelemetry-sdk>=" in str(error)


@pytest.mark.parametrize(
    ("lost", "package", "module"),
    [
        ("opentelemetry._logs.get_logger", "opentelemetry-api", "otel_posthog.track"),
        ("opentelemetry.sdk._logs.LoggerProvider", "opentelemetry-sdk", "otel_posthog.Telemetry"),
        (
            "opentelemetry.configuration.file._loader._parse_config_content",
            "opentelemetry-configuration",
            "otel_posthog._otel_config.parsed",
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
