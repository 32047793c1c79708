"""A `posthog:` block that is right: where its values come from, and what it comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_posthog.config.block import BlockError, block_schema, read_block
from otel_posthog.config.settings import SETTINGS
from otel_posthog.registry import Kind
from otel_posthog.registry.documents import read_manifest_file

KEY = {"api_key": "phc_test"}
MANIFEST = str(Path(__file__).parents[2] / "examples" / "fastflow" / "telemetry-manifest.json")


def test_environment_wins_over_the_block():
    """A variable beats what the file says, and each source is named."""
    block = {**KEY, "environment": "staging", "service_version": "1.2"}

    config = read_block(block, {"ENVIRONMENT": "production"}).config

    assert (config.environment, config.service_version) == ("production", "1.2")
    assert [config.sources[name] for name in ("environment", "service_version", "host")] == [
        "ENVIRONMENT",
        "file",
        "default",
    ]


def test_block_may_leave_to_the_environment_what_it_says_nothing_of():
    """A value for a variable that is not set counts for nothing where the environment gives the setting."""
    config = read_block({"api_key": None}, {"OTEL_POSTHOG_API_KEY": "phc_test"}).config

    assert config.api_key == "phc_test"


def test_empty_block_goes_by_the_environment():
    """Without any block the variables are enough."""
    assert read_block({}, {"POSTHOG_API_KEY": "phc_test"}).config.api_key == "phc_test"


def test_switched_off_needs_no_key():
    """What sends nothing needs no project."""
    assert read_block({"disabled": True}, {}).config.disabled
    assert read_block({}, {"DO_NOT_TRACK": "1"}).config.disabled


def test_block_never_switches_on():
    """`disabled: false` does not bring back what the environment has switched off (R2)."""
    assert read_block({**KEY, "disabled": False}, {"DO_NOT_TRACK": "1"}).config.disabled


def test_bad_variable_is_named():
    """What is wrong in the environment is told by the variable's name."""
    with pytest.raises(BlockError) as caught:
        read_block(KEY, {"OTEL_POSTHOG_BATCH_DELAY_S": "soon"})

    assert str(caught.value) == "OTEL_POSTHOG_BATCH_DELAY_S='soon' is not a number of seconds."


def test_all_problems_are_collected():
    """One reading tells everything that is wrong."""
    with pytest.raises(BlockError) as caught:
        read_block({"spans": [{"event": "a"}, {"event": "b"}], "scrub": {"add": {"x": "("}}}, {})

    assert [mistake.path for mistake in caught.value.mistakes] == [
        ("api_key",),
        ("scrub",),
        ("spans", 0),
        ("spans", 1),
    ]
    assert str(caught.value).endswith("(and 3 more)")


def test_rules_keep_their_order_and_fields():
    """Each rule of the block is a span rule, in the same order."""
    spans = [
        {"name": "a", "event": "first", "buckets": {"duration_ms": [0, 10]}, "sample": 0.5},
        {"scope": "b", "kind": "server", "attributes": {"x": [1, 2]}, "event": "second"},
    ]

    assert len(read_block({**KEY, "spans": spans}, {}).span_rules) == 2


def test_scrub_rules_are_read():
    """Rules, names and switches of the block change what is taken out."""
    scrub = {"add": {"ticket": "T-[0-9]+"}, "switch_off": ["iban"], "sensitive_names": ["customer"]}

    rules = read_block({**KEY, "scrub": scrub}, {}).scrub_rules

    assert ([rule.name for rule in rules.add], rules.switch_off) == (["ticket"], {"iban"})
    assert rules.sensitive_names == ("customer",)


def test_manifest_is_the_registry():
    """What the manifest file declares may leave, and consent to it counts: the hashes are the same."""
    registry = read_block({**KEY, "manifest": MANIFEST}, {}).registry

    written = read_manifest_file(Path(MANIFEST).read_text())
    assert {kind: registry.manifest(kind).hash for kind in Kind} == {
        kind: manifest.hash for kind, manifest in written.items()
    }


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_each_setting_is_a_key(row):
    """The schema has every row of the table, with its help and bounds."""
    schema = block_schema()["properties"][row.name]

    assert schema["description"] == row.help
    assert schema.get("default") == row.default
    if row.type in (int, float):
        assert schema["minimum"] == row.minimum


def test_collector_needs_no_project_key():
    """A block that sends to a Collector is whole without the key, which its gateway has."""
    block = read_block({"send_to": "collector", "collector_headers": "x-tenant=acme"}, {})

    assert (block.config.send_to, block.config.api_key) == ("collector", None)
