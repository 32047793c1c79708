"""Mistakes in configuration files, and their messages.

Each file in `tests/golden/config/` ends with the messages expected, as comments that begin with `#>`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from otel_posthog.cli import main
from otel_posthog.config.block import block_schema
from otel_posthog.config.file import ConfigFile, schema_for_editors
from otel_posthog.declarative import SharedTelemetry
from otel_posthog.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests" / "golden" / "config").glob("*.yaml"), key=lambda path: path.name)
WORDS_ONLY = {  # what a JSON Schema cannot say: it depends on other keys, files, or the meaning of a text
    "attribute_that_never_leaves",
    "blocks_that_differ",
    "key_that_stands_twice",
    "misspelt_exporter",
    "misspelt_processor",
    "misspelt_section",
    "missing_key",
    "no_exporter",
    "no_manifest_at_all",
    "no_manifest_there",
    "no_module_there",
    "no_propagator",
    "no_yaml",
    "ranges_that_fall",
    "rule_that_matches_all",
    "scrub_pattern_that_is_none",
    "unregistered_event",
    "unregistered_property",
    "unsupported_database",
    "unsupported_file_format",
    "value_out_of_reach",
}

BEFORE_US = {  # OpenTelemetry's business
    "key_that_stands_twice",
    "no_file_format",
    "no_propagator",
    "queue_below_one",
    "unsupported_file_format",
}
ELSEWHERE = {"blocks_that_differ", "misspelt_section", "unsupported_database"}  # tests of their own
WITHOUT_BLOCK = {
    "block_that_is_no_mapping",
    "misspelt_exporter",
    "misspelt_processor",
    "no_exporter",
    "no_yaml",
}
WITH_BLOCK = [path for path in FILES if path.stem not in ELSEWHERE | BEFORE_US | WITHOUT_BLOCK]


@pytest.fixture
def from_root(monkeypatch):
    """Look for files from the repository on."""
    monkeypatch.chdir(ROOT)


def _expected(path):
    lines = [line.removeprefix("#> ") for line in path.read_text().splitlines() if line.startswith("#> ")]
    return "".join(f"{line}\n" for line in lines).replace("{file}", str(path)).replace("{folder}", str(ROOT))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_check_tells_what_is_wrong(path, from_root, capsys):
    """Path, file and line, what was found, what is expected, and the nearest valid name."""
    code = main(["config", "check", str(path)], {})

    assert code != 0
    assert capsys.readouterr().err == _expected(path) != ""


@pytest.mark.parametrize("path", WITH_BLOCK, ids=lambda path: path.stem)
def test_exporter_sends_nothing_and_says_why(path, from_root, caplog):
    """An exporter made of such a block never raises; one line tells the first thing that is wrong."""
    block, shared = ConfigFile(path).block(), SharedTelemetry()

    with caplog.at_level(logging.WARNING):
        shared.join(block)
        shared.join(block)
        parts = shared.exporters()

    [record] = caplog.records
    first = next(line for line in _expected(path).splitlines() if ".posthog" in line)
    reason = first.partition(".exporter.posthog")[2].removeprefix(".")
    assert parts is None
    assert record.getMessage().startswith("Nothing is sent to PostHog. posthog: ")
    assert reason.partition("${")[0].removeprefix(": ").rstrip() in record.getMessage()


def test_unsupported_database_is_told_at_the_start(caplog):
    """The block itself is fine; who opens the database says in one line that nothing is sent, and why."""
    path = ROOT / "tests" / "golden" / "config" / "unsupported_database.yaml"
    shared = SharedTelemetry()

    with caplog.at_level(logging.WARNING):
        shared.join(ConfigFile(path).block())
        parts = shared.exporters()

    assert parts is None
    [told] = caplog.messages
    assert told == (
        "Nothing is sent to PostHog. posthog: database is of kind 'mysql'. "
        "Expected for example sqlite:///data/app.db or postgresql://user@host/name. "
        "Try: otel-posthog config check FILE"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_schema_refuses_what_it_can_express(path):
    """An editor that knows the schema marks the same files, but for what no schema can say."""
    if path.stem == "no_yaml":
        return
    content = yaml.safe_load(path.read_text())
    for name in ("${NO_SUCH_KEY}", "${NO_SUCH_VARIABLE}"):
        content = _without(content, name)

    is_valid = Draft202012Validator(schema_for_editors()).is_valid(content)

    assert is_valid is (path.stem in WORDS_ONLY)


def _without(content, text):
    """Put nothing in the place of a variable that is not set."""
    if isinstance(content, dict):
        return {key: _without(value, text) for key, value in content.items()}
    if isinstance(content, list):
        return [_without(value, text) for value in content]
    return None if content == text else content


def test_variables_may_stand_where_one_value_does():
    """An editor sees the file before variables are put in."""
    rule = {"event": "job_done", "kind": "${KIND:-server}", "sample": "${RATE:-0.5}"}
    block = {"api_key": "${KEY}", "batch_delay_s": "${DELAY:-1}", "spans": [rule]}
    exporter = {"simple": {"exporter": {"posthog": block}}}
    content = {"file_format": "1.0", "tracer_provider": {"processors": [exporter]}}

    Draft202012Validator(schema_for_editors()).validate(content)


def test_names_of_any_type_are_told_of(tmp_path):
    """A number, a date or nothing as a name ends no check."""
    path = tmp_path / "odd.yaml"
    path.write_text("1.5: 2\n2026-01-02: 3\n~: 4\ntracer_provider:\n  processors:\n    - {1.5: 2, x: 3}\n")

    assert ConfigFile(path).problems({})


@pytest.mark.parametrize("text", ["", "- 1\n", "a: " + "[" * 5_000])
def test_file_without_a_mapping_is_refused_in_a_line(text, tmp_path):
    """An empty file, a list, and what is nested too deeply end no check with a traceback."""
    path = tmp_path / "odd.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"^.*odd\.yaml: OpenTelemetry refuses the file: .*\.$"):
        ConfigFile(path)


def test_refusal_repeats_no_secret(tmp_path):
    """OpenTelemetry's reason holds no value of the file."""
    path = tmp_path / "odd.yaml"
    path.write_text("file_format: '1.0'\ntracer_provider:\n  processors: {api_key: planted, x: [planted]}\n")

    [line] = ConfigFile(path).refusal()

    assert (
        line
        == f"{path}:3: tracer_provider.processors: OpenTelemetry refuses this: it is not of type 'array'."
    )


def test_schemas_are_schemas():
    """Both are valid JSON Schemas themselves."""
    Draft202012Validator.check_schema(block_schema())
    Draft202012Validator.check_schema(schema_for_editors())


def test_our_own_file_is_fine(from_root, capsys):
    """The file of the repository passes the check, and the schema for editors."""
    code = main(["config", "check", str(ROOT / "otel-config.yaml")], {"POSTHOG_API_KEY": "phc_test"})

    assert (code, capsys.readouterr().err) == (0, "")
    content = yaml.safe_load((ROOT / "otel-config.yaml").read_text())
    assert Draft202012Validator(schema_for_editors()).is_valid(content)
