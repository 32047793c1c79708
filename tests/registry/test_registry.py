"""What an event may hold."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Annotated, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.errors import RegistryError
from otel_posthog.registry import (
    BASE_PROPERTIES,
    EXCEPTION,
    EXCEPTION_PROPERTIES,
    TRIMMED,
    Kind,
    MaxChars,
    Range,
    Registry,
    event,
    kind_of,
    spec_of,
    values_of,
)


@event("run_finished", why="see what fails", since="1.0")
class RunFinished:
    """A run ended."""

    success: bool
    trigger: Literal["manual", "webhook"]
    steps: Annotated[int, Range(0, 100)]
    share: Annotated[float, Range(0, 1)] = 0.0
    label: Annotated[str, MaxChars(5)] | None = None


FINE = {"success": True, "trigger": "manual", "steps": 3, "share": 0.5, "label": "abc"}


def _declare(hint):
    cls = type("Declared", (), {"__doc__": "Something happened.", "__annotations__": {"value": hint}})
    return event("something", why="to know", since="1.0")(cls)


@pytest.mark.parametrize(
    "hint",
    [
        str,
        int,
        float,
        list,
        object,
        dict,
        bytes,
        list[bool],
        Literal[1, 2],
        Literal["a", 1],
        bool | str,
        str | None,
        int | None,
        Annotated[int, "positive"],
        Annotated[str, Range(0, 1)],
        Annotated[int, MaxChars(3)],
        Annotated[bool, Range(0, 1)],
    ],
    ids=str,
)
def test_open_type_is_refused(hint):
    """A type that lets arbitrary values through cannot be declared; the message names the way out."""
    with pytest.raises(RegistryError, match=r"Declared\.value has the type .* Use bool, Literal of texts"):
        _declare(hint)


@pytest.mark.parametrize(
    "hint",
    [
        bool,
        Literal["a", "b"],
        Annotated[int, Range(0, 1)],
        Annotated[float, Range(0, 1)],
        Annotated[str, MaxChars(3)],
        bool | None,
        Optional[bool],  # noqa: UP045 - the old spelling has to work too
        Literal["a"] | None,
        Annotated[int, Range(0, 1)] | None,
    ],
    ids=str,
)
def test_closed_type_is_accepted(hint):
    """Booleans, words, bounded numbers and short texts can be declared, also as optional."""
    declared = _declare(hint)

    assert list(spec_of(declared).properties) == ["value"]


def test_optional_property_is_known_as_such():
    """A property that may be None is not required."""
    properties = spec_of(RunFinished).properties

    assert [name for name, column in properties.items() if not column.is_required] == ["label"]


def test_missing_docstring_is_refused():
    """An event without a sentence for the admin cannot be declared."""
    cls = type("Silent", (), {"__annotations__": {"value": bool}})

    with pytest.raises(RegistryError, match="Silent needs a docstring"):
        event("silent", why="to know", since="1.0")(cls)


@pytest.mark.parametrize("reasons", [{"why": "", "since": "1.0"}, {"why": "to know", "since": ""}])
def test_empty_reason_is_refused(reasons):
    """An event says why it is collected and since when."""
    with pytest.raises(RegistryError, match="needs both why= and since="):
        event("something", **reasons)(type("Declared", (), {"__doc__": "Something happened."}))


@pytest.mark.parametrize("name", ["", "$exception", "$set", "two words", "a-b", "1st", "a" * 201, "a.b"])
def test_bad_name_is_refused(name):
    """A name is a word, not one of PostHog's own, and within its limit."""
    with pytest.raises(RegistryError, match="cannot name an event"):
        event(name, why="to know", since="1.0")


def test_declaration_is_kept():
    """What was declared can be read back: words for the admin, consent needed, domains."""
    spec = spec_of(RunFinished)

    assert (spec.name, spec.description, spec.why, spec.since) == (
        "run_finished",
        "A run ended.",
        "see what fails",
        "1.0",
    )
    assert spec.kind is Kind.TELEMETRY
    assert spec.properties["steps"].domain == "whole number from 0 to 100"


def test_undeclared_class_has_no_declaration():
    """Any other object has no declaration."""
    assert spec_of(object()) is None


def test_instance_gives_its_values():
    """The properties of an instance leave out what is None."""
    values = values_of(RunFinished(success=True, trigger="manual", steps=3))

    assert values == {"success": True, "trigger": "manual", "steps": 3, "share": 0.0}


def test_instance_is_frozen():
    """What was recorded cannot be changed later."""
    finished = RunFinished(success=True, trigger="manual", steps=3)

    with pytest.raises(AttributeError):
        finished.steps = 4


def test_registry_refuses_what_is_no_event():
    """A class without a declaration cannot be registered."""
    with pytest.raises(RegistryError, match="is not an event"):
        Registry([int])


def test_registry_refuses_a_second_event_of_that_name():
    """Two declarations of one name would contradict each other."""
    with pytest.raises(RegistryError, match="'run_finished' is declared twice"):
        Registry([RunFinished, RunFinished])


def test_registry_knows_its_events():
    """A registry tells which names are declared."""
    registry = Registry([RunFinished])

    assert (len(registry), registry.knows("run_finished"), registry.knows("other")) == (1, True, False)


@pytest.mark.parametrize(("name", "kind"), [(EXCEPTION, Kind.ERRORS), ("anything", Kind.TELEMETRY)])
def test_kind_follows_from_the_name(name, kind):
    """Exceptions need consent to error reports, everything else to telemetry."""
    assert kind_of(name) is kind


@pytest.mark.parametrize("value", ["x" * 200, "", 0, -5, 10**18, 1.5, True, False])
def test_quick_start_admits_short_scalars(value):
    """While nothing is declared, numbers, booleans and short texts pass."""
    assert Registry().admit("anything", {"value": value}) == {"value": value}


@pytest.mark.parametrize(
    "value",
    ["x" * 201, math.nan, math.inf, -math.inf, None, b"x", [1], {"a": 1}, (1,), object()],
    ids=lambda value: type(value).__name__,
)
def test_quick_start_drops_other_values(value):
    """While nothing is declared, long texts, NaN, infinities and nested values stay behind."""
    assert Registry().admit("anything", {"value": value, "kept": 1}) == {"kept": 1}


@pytest.mark.parametrize("key", ["$set", "$set_once", "$groups", "$anything"])
def test_quick_start_drops_names_that_steer_posthog(key):
    """A property that begins with `$` passes only if it is one of ours."""
    assert Registry().admit("anything", {key: "x"}) == {}


@pytest.mark.parametrize("name", ["", "$set", "$identify", "$pageview", "a" * 201, "é" * 101])
def test_quick_start_refuses_names_that_steer_posthog(name):
    """An event with a name of PostHog's, none, or a long one never leaves."""
    assert Registry().admit(name, {"value": 1}) is None


def test_declared_event_passes():
    """A declared event passes with all values that lie in their domains."""
    assert Registry([RunFinished]).admit("run_finished", FINE) == FINE


def test_unknown_event_is_refused_once_one_is_declared():
    """After the first declaration no other name leaves."""
    assert Registry([RunFinished]).admit("anything", {"value": 1}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unknown", 1),
        ("$set", {"a": 1}),
        ("success", 1),
        ("success", "true"),
        ("success", None),
        ("trigger", "cron"),
        ("trigger", ["manual"]),
        ("steps", True),
        ("steps", 101),
        ("steps", -1),
        ("steps", 1.0),
        ("steps", "3"),
        ("share", math.nan),
        ("share", 1.01),
        ("share", False),
        ("label", "abcdef"),
        ("label", b"abc"),
    ],
)
def test_value_outside_its_domain_stays_behind(key, value):
    """Unknown properties and values that were not declared are dropped, the rest leaves."""
    expected = {name: kept for name, kept in FINE.items() if name != key}

    assert Registry([RunFinished]).admit("run_finished", FINE | {key: value}) == expected


@pytest.mark.parametrize("value", [0, 100, 1, 0.0])
def test_bounds_are_included(value):
    """A number at its bound lies in its domain."""
    key = "share" if isinstance(value, float) else "steps"

    assert Registry([RunFinished]).admit("run_finished", {key: value}) == {key: value}


SAMPLES = {
    "source": "backend",
    "$ip": "0.0.0.0",
    "$lib": "otel-posthog",
    "$process_person_profile": False,
    "$geoip_disable": True,
    TRIMMED: True,
    "$exception_list": [{"type": "ValueError", "value": "v", "mechanism": {}}],
    "$exception_steps": [{"$message": "m", "$timestamp": "t", "type": "log"}],
}


@pytest.mark.parametrize("registry", [Registry(), Registry([RunFinished])], ids=["open", "declared"])
def test_base_properties_pass(registry):
    """What each event of the backend carries passes in either mode (R18)."""
    base = {name: SAMPLES.get(name, "x") for name in BASE_PROPERTIES}

    assert registry.admit("run_finished", base) == base


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", "frontend"),
        ("$ip", "192.0.2.7"),
        ("$process_person_profile", True),
        ("$process_person_profile", 0),
        ("$geoip_disable", 1),
        (TRIMMED, "a text that a product wanted to send"),
        ("service_version", ["1.0"]),
        ("service_version", {"email": "x"}),
        ("environment", 1),
    ],
)
@pytest.mark.parametrize("registry", [Registry(), Registry([RunFinished])], ids=["open", "declared"])
def test_base_property_is_what_it_is_declared_to_be(registry, key, value):
    """What every event carries is held to its declaration like all else."""
    assert registry.admit("run_finished", {key: value}) == {}


@pytest.mark.parametrize("registry", [Registry(), Registry([RunFinished])], ids=["open", "declared"])
@pytest.mark.parametrize(
    "key", [*sorted(EXCEPTION_PROPERTIES), "$fastflow_startup_test", "$x_backend_test", "step"]
)
def test_exception_holds_its_properties(registry, key):
    """An exception passes in either mode with its own properties, test markers and short scalars."""
    value = SAMPLES.get(key, key.startswith("$") and not key.endswith("_test") and "x")

    assert registry.admit(EXCEPTION, {key: value}) == {key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("$set", {"email": "x"}),
        ("$set", "x"),
        ("$groups", {"company": "x"}),
        ("$x_other_test", True),
        ("$X_backend_test", True),
        ("$_backend_test\n", True),
        ("nested", {"a": 1}),
        ("nested", [1]),
        ("long", "x" * 201),
        ("nan", math.nan),
    ],
)
def test_exception_holds_nothing_else(key, value):
    """An exception carries nothing that steers PostHog, and nothing nested from a caller."""
    assert Registry().admit(EXCEPTION, {key: value}) == {}


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=250),
    st.lists(st.integers(), max_size=2),
)
_names = st.sampled_from([EXCEPTION, "run_finished", "anything", "$set", ""]) | st.text()
_keys = (
    st.sampled_from([*FINE, *BASE_PROPERTIES, *EXCEPTION_PROPERTIES, "$set", "$x_backend_test"]) | st.text()
)


@given(
    name=_names, properties=st.dictionaries(_keys, _values), declared=st.sampled_from([(), (RunFinished,)])
)
def test_admission_only_takes_away(name, properties, declared):
    """Whatever is admitted was in the event: the very value, or some items of a list."""
    admitted = Registry(declared).admit(name, properties) or {}

    others = {key: left for key, left in admitted.items() if left is not properties[key]}
    assert all(set(left) <= set(properties[key]) for key, left in others.items())


WITHOUT_DOCSTRINGS = """
from typing import Literal
from otel_posthog import Registry, Telemetry, event
from otel_posthog.registry import Kind
@event("report_generated", why="to know", since="1.0")
class Report:
    "A report was generated."
    format: Literal["pdf", "html"]
@event("report_sent", why="to know", since="1.0", description="A report was sent.")
class Sent:
    "Overruled."
telemetry = Telemetry(registry=[Report, Sent], database="sqlite:///:memory:")
print([spec.description for name, spec in sorted(telemetry.registry.manifest(Kind.TELEMETRY).events.items())])
"""


@pytest.mark.parametrize(("flag", "first"), [("-O", "A report was generated."), ("-OO", "to know")])
def test_product_without_docstrings_starts(flag, first):
    """`python -OO` has no docstrings: the description of an event is the argument, or else its purpose."""
    ran = subprocess.run(
        [sys.executable, flag, "-c", WITHOUT_DOCSTRINGS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.stdout == f"{[first, 'A report was sent.']}\n", ran.stderr
