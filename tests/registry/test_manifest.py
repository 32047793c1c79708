"""The registry as data, and what it says of itself."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

import jsonschema
import pytest

from otel_posthog import (
    Buckets,
    Expires,
    MaxChars,
    Range,
    Sensitivity,
    Version,
    capture_exception,
    event,
)
from otel_posthog.errors import RegistryError
from otel_posthog.registry import (
    EXCEPTION,
    FAILED_GAUGES,
    HEARTBEAT,
    Kind,
    Property,
    Registry,
    spec_of,
)
from otel_posthog.registry.documents import bits_of, schema_of
from otel_posthog.registry.domains import Scalar, Words
from otel_posthog.registry.manifest import parse


@event("run_finished", why="to know", since="1.0", owner="maintainers", expires="2028-01-01")
class RunFinished:
    """A run ended."""

    success: Annotated[bool, "Whether it worked.", Sensitivity.MEDIUM, Expires("2027-06-30")]
    trigger: Literal["manual", "webhook"]
    seconds: Annotated[float, Buckets(0, 1, 60)]
    python: Version
    note: Annotated[str, MaxChars(40), "What the admin calls it."] | None = None
    steps: Annotated[int, Range(0, 9)] = 0


def _gauge(name, values=None):
    return Property(name=name, values=values or Scalar())


def test_declaration_holds_what_the_admin_reads():
    """Description, sensitivity and last day stand with the property, the usual ones by its type."""
    spec = spec_of(RunFinished)
    success, note = spec.properties["success"], spec.properties["note"]

    assert (spec.owner, spec.expires) == ("maintainers", date(2028, 1, 1))
    assert (success.description, success.sensitivity) == ("Whether it worked.", Sensitivity.MEDIUM)
    assert success.expires == date(2027, 6, 30)
    assert (note.description, note.is_required) == ("What the admin calls it.", False)
    assert note.sensitivity is Sensitivity.HIGH
    assert spec.properties["steps"].sensitivity is Sensitivity.MEDIUM
    assert spec.properties["seconds"].domain == "one of the buckets 0-1, 1-60, 60+"


@pytest.mark.parametrize("edges", [(), (1, 1), (5, 1), (-1, 2), (0, float("inf"))])
def test_bad_buckets_are_refused(edges):
    """Edges rise from 0 on, or the message says so."""
    with pytest.raises(RegistryError, match="needs rising edges from 0 on"):
        Buckets(*edges)


@pytest.mark.parametrize("day", ["soon", "2027-13-01", ""])
def test_bad_day_is_refused(day):
    """A last day that is none is refused with an example."""
    with pytest.raises(RegistryError, match="Write it as 2027-06-30"):
        event("something", why="to know", since="1.0", expires=day)(
            type("Declared", (), {"__doc__": "Something happened."})
        )


def test_hash_is_that_of_the_canonical_text():
    """Anybody can compute the hash from the manifest as JSON."""
    manifest = Registry([RunFinished]).manifest(Kind.TELEMETRY)
    text = json.dumps(manifest.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert manifest.text == text
    assert manifest.hash == hashlib.sha256(text.encode()).hexdigest()


def test_order_of_declarations_does_not_matter():
    """The same events in another order are the same manifest."""

    @event("other", why="to know", since="1.0")
    class Other:
        """Something else."""

    one, two = Registry([RunFinished, Other]), Registry([Other, RunFinished])

    assert one.manifest(Kind.TELEMETRY).hash == two.manifest(Kind.TELEMETRY).hash


def test_each_kind_has_its_own_hash():
    """Declaring an event changes what telemetry asks for, and not what error reports do."""
    before, after = Registry(), Registry([RunFinished])

    assert before.manifest(Kind.ERRORS).hash == after.manifest(Kind.ERRORS).hash
    assert before.manifest(Kind.TELEMETRY).hash != after.manifest(Kind.TELEMETRY).hash


def test_manifest_of_another_format_is_refused():
    """A text that is no manifest, or one of a later format, is refused."""
    text = Registry().manifest(Kind.ERRORS).text

    for other in (text.replace('"format":1', '"format":2'), "{}", "[]", "banana"):
        with pytest.raises(RegistryError):
            parse(other)


def test_remembered_manifest_has_to_be_the_one():
    """A text that does not have the hash under which it was kept is refused."""
    registry = Registry([RunFinished])

    with pytest.raises(RegistryError, match="was changed after consent"):
        registry.remember("0" * 64, lambda _name: Registry().manifest(Kind.TELEMETRY).text)


def test_nothing_leaves_under_a_manifest_that_nobody_has():
    """Where the manifest that was agreed to is not at hand, nothing of the event leaves."""
    assert Registry([RunFinished]).examine("run_finished", {"steps": 1}, "0" * 64) is None


def test_gauge_is_part_of_the_manifest():
    """A gauge widens what telemetry asks for; one of the known ones is held to what its name says."""
    plain, measured = Registry([RunFinished]), Registry([RunFinished])
    measured.declare_gauge(_gauge("total_widgets"))
    measured.declare_gauge(_gauge("total_users_bucket"))
    measured.declare_gauge(_gauge("db_kind", Words(("sqlite",))))

    given = {"total_widgets": 3, "total_users_bucket": "2-5", "db_kind": "sqlite", "undeclared": 1}
    assert measured.admit(HEARTBEAT, given) == {k: v for k, v in given.items() if k != "undeclared"}
    assert measured.admit(HEARTBEAT, {"total_users_bucket": "3"}) == {"total_users_bucket": "2-5"}
    assert plain.admit(HEARTBEAT, given) is None
    assert measured.manifest(Kind.TELEMETRY).hash != plain.manifest(Kind.TELEMETRY).hash


def test_late_gauge_waits_for_an_answer():
    """A gauge that is declared after consent was given stays behind, and what was agreed to goes on."""
    registry = Registry()
    registry.declare_gauge(_gauge("total_widgets"))
    granted = registry.manifest(Kind.TELEMETRY).hash

    registry.declare_gauge(_gauge("total_gadgets"))

    both = {"total_widgets": 1, "total_gadgets": 2}
    assert registry.examine(HEARTBEAT, both, granted).properties == {"total_widgets": 1}
    assert [change.property for change in registry.added(Kind.TELEMETRY, granted)] == ["total_gadgets"]


def test_heartbeat_counts_what_was_dropped():
    """Counts of failed gauges and of dropped events leave with it, one property for each reason."""
    registry = Registry()
    registry.declare_gauge(_gauge("total_widgets"))
    counts = {FAILED_GAUGES: 1, "telemetry_dropped_queue_full": 2}

    assert (
        registry.admit(HEARTBEAT, {**counts, "telemetry_dropped_X": 1, "telemetry_dropped_a": "x"}) == counts
    )


def test_heartbeat_is_not_declared_as_a_class():
    """The heartbeat is made from gauges, so that no class can say otherwise."""
    with pytest.raises(RegistryError, match="made from gauges"):
        event(HEARTBEAT, why="to know", since="1.0")


def test_what_was_left_out_is_named():
    """An examination names what is not declared, and what left as `other`."""
    examined = Registry([RunFinished]).examine("run_finished", {"steps": 99, "success": True, "x": 1})

    assert (examined.properties, examined.outside) == ({"success": True}, ("steps", "x"))


def test_closed_properties_are_those_that_hold_no_free_text():
    """Only what is listed or bounded by its declaration counts as closed."""
    registry = Registry([RunFinished])

    assert registry.closed_properties("run_finished") == {"success", "trigger", "seconds", "python", "steps"}
    assert registry.closed_properties("other") is None


def test_bits_are_an_upper_bound():
    """One event tells no more than the product of its values, counting a missing one as a value."""
    properties = spec_of(RunFinished).properties

    assert bits_of([properties["success"]]) == pytest.approx(1.585, abs=0.001)
    assert bits_of([properties["success"], properties["seconds"]]) == pytest.approx(3.585, abs=0.001)
    assert bits_of([_gauge("anything")]) is None


@pytest.mark.parametrize(
    ("wire", "is_valid"),
    [
        ({"event": "run_finished", "properties": {"steps": 9, "source": "backend"}}, True),
        ({"event": "run_finished", "properties": {"steps": 10}}, False),
        ({"event": "run_finished", "properties": {"undeclared": 1}}, False),
        ({"event": "other", "properties": {}}, False),
    ],
)
def test_schema_tells_what_may_leave(wire, is_valid):
    """The JSON Schema accepts declared events and nothing else."""
    validator = jsonschema.Draft202012Validator(schema_of(Registry([RunFinished]).manifest(Kind.TELEMETRY)))

    assert validator.is_valid(wire) == is_valid


def _fail():
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def test_schema_of_errors_accepts_a_report(granted, sink):
    """A real error report, as the local PostHog receives it, is valid against the schema."""
    try:
        _fail()
    except ExceptionGroup as error:
        capture_exception(error, properties={"step": "sync", "number": 3})

    assert granted.flush()
    [received] = sink.events
    assert received.name == EXCEPTION
    jsonschema.validate(received.raw, schema_of(granted.registry.manifest(Kind.ERRORS)))
