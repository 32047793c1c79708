"""What a widened manifest lets out until somebody agrees, for any two manifests."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import pairwise
from math import inf

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_manifests import (
    TODAY,
    domains,
    error_manifests,
    manifests,
    names_given,
    properties_given,
    thoroughly,
    values,
)

from otel_posthog.registry import EXCEPTION, EventSpec, Kind, Property
from otel_posthog.registry.builtin import BASE
from otel_posthog.registry.diff import Effect, compare, narrowed, widenings
from otel_posthog.registry.documents import schema_of
from otel_posthog.registry.domains import (
    REFUSED,
    Bucketed,
    Flag,
    Number,
    Scalar,
    Text,
    VersionText,
    Words,
)
from otel_posthog.registry.manifest import Manifest, parse


def _today():
    return TODAY


def _leaves(manifest, name, properties):
    admission = manifest.examine(name, properties, _today)
    return None if admission is None else admission.properties


def _wire(name, properties):
    return {"event": name, "properties": properties}


def _buckets(domain):
    """Return the whole buckets' bounds, which is what one is told of a number."""
    return [*pairwise(domain.edges), (domain.edges[-1], inf)]


def _tells_no_more(granted, value):
    """Say by plain means whether a value lies in what was agreed to; of a bucket, that it is no finer."""
    if isinstance(granted, Bucketed):
        begin, end = granted._interval(value)
        bounds = {edge for pair in _buckets(granted) for edge in pair}
        return begin in bounds and end in bounds
    return granted.admit(value) is not REFUSED and granted.admit(value) == value


@thoroughly
@given(granted=manifests(), present=manifests(), name=names_given, properties=properties_given)
def test_nothing_leaves_that_was_not_agreed_to(granted, present, name, properties):
    """Whatever comes in, what leaves under consent to A in version B lies in what A allowed, and in B."""
    left = _leaves(narrowed(granted, present), name, properties)

    if left is None:
        return
    before, now = granted.spec(name), present.spec(name)
    assert before is not None
    assert now is not None
    assert min(spec.expires or TODAY for spec in (before, now)) >= TODAY
    for key, value in left.items():
        if key in BASE:
            assert key in granted.base or before.is_open
            assert key in present.base or now.is_open
            continue
        declared = before.properties.get(key)
        assert declared is not None or before.is_open
        assert _tells_no_more(declared.values if declared else Scalar(), value)
        assert declared is None or declared.expires is None or declared.expires >= TODAY


@thoroughly
@given(granted=manifests(), present=manifests(), name=names_given, properties=properties_given)
def test_what_leaves_is_valid_against_the_schema(granted, present, name, properties):
    """What leaves under consent to A in version B is valid against the schema generated for just that."""
    met = narrowed(granted, present)

    left = _leaves(met, name, {key: v for key, v in properties.items() if key not in BASE})

    if left is not None:
        jsonschema.validate(_wire(name, left), schema_of(met))


@thoroughly
@given(
    granted=error_manifests(),
    present=error_manifests(),
    properties=st.dictionaries(
        st.sampled_from(["$request_path", "$exception_level", "step", "$set", "$x_backend_test"]),
        st.booleans() | st.text(max_size=5),
    ),
)
def test_error_reports_follow_the_same_rule(granted, present, properties):
    """A property that error reports got later stays out of them until somebody agrees."""
    left = _leaves(narrowed(granted, present), EXCEPTION, properties) or {}

    both = granted.spec(EXCEPTION), present.spec(EXCEPTION)
    for key in left:
        is_marker = key == "$x_backend_test"
        assert all(key in spec.properties or (spec.is_open and (is_marker or key[0] != "$")) for spec in both)


@thoroughly
@given(manifest=manifests(), wider=manifests(), name=names_given, properties=properties_given)
def test_what_was_agreed_to_leaves_as_before(manifest, wider, name, properties):
    """Where version B only adds, what leaves under consent to A is what A let out, value for value."""
    assume(not manifest.is_open)  # to declare something is to narrow an open manifest
    events = {name: _joined(spec, manifest.events.get(name)) for name, spec in wider.events.items()}
    present = replace(
        manifest,
        events={**events, **{n: s for n, s in manifest.events.items() if n not in events}},
        is_open=wider.is_open,
    )

    left = _leaves(narrowed(manifest, present), name, properties)

    assert left == _leaves(manifest, name, properties)


def _joined(added, own):
    """Return the event with the properties of both; those it had before stay as they were."""
    if own is None:
        return added
    return replace(own, properties={**added.properties, **own.properties})


@thoroughly
@given(old=manifests(), new=manifests(), name=names_given, properties=properties_given)
def test_without_a_widening_nothing_new_can_leave(old, new, name, properties):
    """Where the comparison finds no widening, the narrowed manifest lets out all that the new one does."""
    if widenings(old, new):
        return

    assert _leaves(narrowed(old, new), name, properties) == _leaves(new, name, properties)


@thoroughly
@given(manifest=manifests())
def test_manifest_survives_its_text(manifest):
    """A manifest that was kept as text decides as it did, and has the same hash."""
    assert parse(manifest.text) == manifest
    assert parse(manifest.text).hash == manifest.hash


@thoroughly
@given(manifest=manifests())
def test_same_manifest_has_no_change(manifest):
    """A manifest compared with itself has no change, and narrows to itself."""
    assert compare(manifest, manifest) == ()
    assert narrowed(manifest, manifest).text == manifest.text


@thoroughly
@given(domain=domains, value=values)
def test_what_was_admitted_is_admitted_again(domain, value):
    """Admitting twice gives what admitting once gave: spooled events pass the registry anew."""
    once = domain.admit(value)

    assert once is REFUSED or domain.admit(once) == once


@thoroughly
@given(agreed=domains, present=domains, value=values)
def test_meeting_domain_is_covered_by_what_was_agreed_to(agreed, present, value):
    """What two domains have in common tells no more than the one that was agreed to."""
    met = agreed.meet(present)

    left = met.admit(value)

    assert left is REFUSED or _tells_no_more(agreed, left)


@thoroughly
@given(agreed=domains, wider=domains, value=values)
def test_wider_domain_leaves_what_was_agreed_to_as_before(agreed, wider, value):
    """Where a domain became wider, what was agreed to still decides, value for value."""
    if wider.covers(agreed):
        assert agreed.meet(wider).admit(value) == agreed.admit(value)


@thoroughly
@given(manifest=manifests() | error_manifests())
def test_schema_is_a_schema(manifest):
    """What is generated of a manifest is valid JSON Schema."""
    jsonschema.Draft202012Validator.check_schema(schema_of(manifest))


def _manifest(values=None, *, is_open=False, **changes):
    if is_open:
        return Manifest(kind=Kind.TELEMETRY, base=BASE, is_open=True)
    properties = {"p": Property(name="p", values=values)} if values else {}
    spec = EventSpec(
        name="one", description="It happened.", why="to know", since="1.0", properties=properties
    )
    return Manifest(kind=Kind.TELEMETRY, base=BASE, events={"one": replace(spec, **changes)})


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        (_manifest(), _manifest(Flag()), Effect.WIDENING),
        (_manifest(Flag()), _manifest(), Effect.NARROWING),
        (_manifest(Flag()), Manifest(kind=Kind.TELEMETRY, base=BASE), Effect.NARROWING),
        (Manifest(kind=Kind.TELEMETRY, base=BASE), _manifest(Flag()), Effect.WIDENING),
        (_manifest(Words(("a",))), _manifest(Words(("a", "b"))), Effect.WIDENING),
        (_manifest(Words(("a", "b"))), _manifest(Words(("a",))), Effect.NARROWING),
        (_manifest(Words(("a", "b"))), _manifest(Words(("b", "c"))), Effect.WIDENING),
        (_manifest(Text(200)), _manifest(Words(("a",))), Effect.NARROWING),
        (_manifest(Text(5)), _manifest(Text(6)), Effect.WIDENING),
        (_manifest(Number(0, 9, True)), _manifest(Number(0, 10, True)), Effect.WIDENING),
        (_manifest(Number(0, 9, False)), _manifest(Number(0, 9, True)), Effect.NARROWING),
        (_manifest(Bucketed((0, 10), False)), _manifest(Bucketed((0, 5, 10), False)), Effect.WIDENING),
        (_manifest(Bucketed((0, 5, 10), False)), _manifest(Bucketed((0, 10), False)), Effect.NARROWING),
        (_manifest(VersionText()), _manifest(Text(20)), Effect.WIDENING),
        (_manifest(Flag(), expires=date(2027, 1, 1)), _manifest(Flag()), Effect.WIDENING),
        (_manifest(Flag()), _manifest(Flag(), expires=date(2027, 1, 1)), Effect.NARROWING),
        (_manifest(Flag()), _manifest(Flag(), why="to know better"), Effect.WORDING),
        (_manifest(Flag()), _manifest(Flag(), owner="somebody"), Effect.WORDING),
        (_manifest(is_open=True), _manifest(Flag()), Effect.NARROWING),
        (_manifest(Flag()), _manifest(is_open=True), Effect.WIDENING),
        (_manifest(is_open=True), _manifest(Text(500)), Effect.WIDENING),
    ],
)
def test_change_has_its_effect(old, new, effect):
    """A change is a widening if anything more could leave, a narrowing if less, else other words."""
    effects = {change.effect for change in compare(old, new)}

    assert effect in effects
    assert (Effect.WIDENING in effects) == (effect is Effect.WIDENING)


def test_word_that_stands_for_the_rest_stays():
    """A value that was `other` under the old manifest is `other` still, though the new one names it."""
    granted, present = _manifest(Words(("a", "other"))), _manifest(Words(("a", "b", "other")))

    assert _leaves(narrowed(granted, present), "one", {"p": "b"}) == {"p": "other"}


def test_finer_bucket_leaves_as_the_coarser_one():
    """A number whose buckets became finer leaves in the bucket that was agreed to, named or not."""
    met = narrowed(_manifest(Bucketed((0, 10), True)), _manifest(Bucketed((0, 5, 10), True)))

    assert [_leaves(met, "one", {"p": value}) for value in (7, "5-9", "10+", 12)] == [
        {"p": "0-9"},
        {"p": "0-9"},
        {"p": "10+"},
        {"p": "10+"},
    ]
