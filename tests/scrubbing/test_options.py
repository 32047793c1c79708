"""Rules that a product adds or switches off, and its hook before each event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from otel_posthog import ConfigError, ScrubRule, ScrubRules, capture_exception, track
from otel_posthog.scrubbing import Machine, Scrubber
from otel_posthog.scrubbing.keys import Names
from otel_posthog.scrubbing.rules import RULE_NAMES, scrub_functions

NOBODY = Machine()


def _fail(_text):
    raise RuntimeError("planted-in-a-rule")


@pytest.mark.parametrize(
    "finds",
    [r"TCK-\d+", re.compile(r"TCK-\d+"), lambda text: text.replace("TCK-42", "[scrubbed:ticket]")],
    ids=["text", "pattern", "function"],
)
def test_added_rule_is_applied(finds):
    """A product's own kind of secret is taken out and named."""
    scrubber = Scrubber(ScrubRules(add=(ScrubRule("ticket", finds),)), machine=NOBODY)

    assert scrubber.text("see TCK-42 please") == "see [scrubbed:ticket] please"


def test_switched_off_rule_is_not_applied():
    """A rule that the product does not want is left out, the others stay."""
    scrubber = Scrubber(ScrubRules(switch_off=frozenset({"ip"})), machine=NOBODY)

    assert scrubber.text("10.0.0.5 max@example.com") == "10.0.0.5 [scrubbed:email]"


def test_names_can_be_added_and_exempted():
    """A product names its own sensitive and innocent properties."""
    rules = ScrubRules(sensitive_names=("patient",), innocent_names=("token_label",))
    scrubber = Scrubber(rules, machine=NOBODY)

    assert scrubber.text("patientId=7341 token_label=blue") == "patientId=[scrubbed:value] token_label=blue"


def test_rules_come_from_plain_data():
    """What a YAML file holds makes the same rules as code does."""
    rules = ScrubRules.from_mapping(
        {
            "add": {"ticket": r"TCK-\d+"},
            "switch_off": ["ip"],
            "sensitive_names": ["patient"],
            "innocent_names": ["token_label"],
        }
    )

    assert rules == ScrubRules(
        add=(ScrubRule("ticket", r"TCK-\d+"),),
        switch_off=frozenset({"ip"}),
        sensitive_names=("patient",),
        innocent_names=("token_label",),
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"switch_off": ["ipp"]}, "No scrub rule is called 'ipp'"),
        ({"switch_off": ["value"]}, "cannot be switched off"),
        ({"switch_off": "ip"}, "must be a list"),
        ({"add": ["x"]}, "must map a name"),
        ({"add": {"x": "("}}, "is invalid"),
        ({"add": {"Not A Name": "x"}}, "cannot name"),
        ({"adds": {}}, "is not a setting"),
    ],
)
def test_bad_rules_are_refused_at_the_start(given, message):
    """What cannot be meant raises with what would be right."""
    with pytest.raises(ConfigError, match=message):
        ScrubRules.from_mapping(given)


def test_names_of_rules_are_those_of_the_table():
    """The names that can be switched off are the names in the table."""
    machine = Machine(
        hosts=frozenset({"mercury-7"}), users=frozenset({"mmuster"}), homes=frozenset({"/srv/x"})
    )

    functions = scrub_functions(Names(), machine, switched_off=frozenset(), added=())

    names = {rule.name for run in functions for rule in run.keywords["rules"]}
    assert names - {"literal"} | {"key"} == RULE_NAMES


@pytest.mark.parametrize("name", sorted(RULE_NAMES - {"key", "value"}))
def test_every_other_rule_can_be_switched_off(name):
    """Each rule but the promised ones has a switch."""
    assert ScrubRules(switch_off=frozenset({name})).switch_off == {name}


@pytest.mark.parametrize("finds", [_fail, lambda _text: None], ids=["raises", "returns no text"])
def test_failing_rule_drops_the_event_with_a_count(make_telemetry, sink, finds):
    """An event on which a product's rule fails stays behind, whatever it held."""
    telemetry = make_telemetry(scrub_rules=ScrubRules(add=(ScrubRule("own", finds),)))
    with telemetry:
        telemetry.update_settings(enable_telemetry=True, enable_error_reporting=True)
        track("happened", {"text": "planted"})
        capture_exception(ValueError("planted"))
        telemetry.flush()

    assert sink.requests == []
    dropped = telemetry.delivery()
    assert dropped["unscrubbable"] + dropped["unmappable"] == 2


def _leaking(event):
    return replace(
        event, name="x max@example.com", properties={**event.properties, "note": "password=planted"}
    )


@pytest.fixture
def sending(make_telemetry):
    """Return a function that sends one event through a hook and returns the counts."""

    def send(hook, properties=None):
        telemetry = make_telemetry(before_send=hook)
        with telemetry:
            telemetry.update_settings(enable_telemetry=True, enable_error_reporting=True)
            track("happened", properties or {"text": "kept"})
            telemetry.flush()
        return telemetry.delivery()

    return send


def test_hook_changes_the_event(sending, sink):
    """What the hook returns is what leaves."""
    sending(lambda event: replace(event, properties={**event.properties, "added": 1}))

    assert sink.events[0].properties["added"] == 1


def test_hook_cannot_leak(sending, sink):
    """What the hook adds is scrubbed like everything else."""
    sending(_leaking)

    assert sink.events[0].name == "x [scrubbed:email]"
    assert sink.events[0].properties["note"] == "password=[scrubbed:value]"


def test_hook_sees_no_secret(sending):
    """The hook is given what would leave, not what came in."""
    seen = []

    sending(seen.append, {"text": "password=planted"})

    assert "planted" not in str(seen)


def test_hook_cannot_reach_what_is_remembered(sending, sink):
    """Changing the lists inside of the event in place changes this event only, and scrubbed."""

    def hook(event):
        event.properties["text"] = "password=planted"
        return event

    sending(hook)

    assert not sink.contains("planted")


class TwoFaced(Mapping):
    """A mapping that tells a secret to whoever does not ask for its items."""

    def __getitem__(self, name):
        return "password=planted"

    def __iter__(self):
        return iter(["text"])

    def __len__(self):
        return 1

    def items(self):
        return {"text": "innocent"}.items()

    def values(self):
        return ["innocent"]


def test_hook_is_asked_once(sending, sink):
    """What a mapping said when it was judged is what leaves, whatever it says later."""
    sending(lambda event: replace(event, properties=TwoFaced()))

    assert sink.events[0].properties["text"] == "innocent"


@pytest.mark.parametrize(
    ("hook", "count"),
    [
        (lambda _event: None, "before_send"),
        (_fail, "before_send_failed"),
        (lambda _event: {"event": "x"}, "before_send_failed"),
        (lambda event: replace(event, name="$exception"), "before_send_failed"),
    ],
    ids=["drops", "raises", "returns no event", "changes the kind"],
)
def test_hook_that_drops_or_fails_sends_nothing(sending, sink, hook, count):
    """An event that the hook drops, or on which it fails, stays behind with a count."""
    counts = sending(hook)

    assert sink.requests == []
    assert counts[count] == 1
