"""The closed set of what a property may hold."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
from hypothesis import given
from random_manifests import domains, thoroughly, values

from otel_posthog.registry.domains import (
    NOTHING,
    REFUSED,
    Bucketed,
    Flag,
    Number,
    Scalar,
    Text,
    VersionText,
    Words,
    canonical_json,
)
from otel_posthog.registry.manifest import domain_from_json
from otel_posthog.registry.shapes import made

USERS = Bucketed((1, 2, 6, 11, 51), is_whole=True)
SECONDS = Bucketed((0, 0.5, 60), is_whole=False)


@pytest.mark.parametrize(
    ("domain", "value", "left"),
    [
        (USERS, 0, REFUSED),
        (USERS, 1, "1"),
        (USERS, 2, "2-5"),
        (USERS, 5, "2-5"),
        (USERS, 6, "6-10"),
        (USERS, 50, "11-50"),
        (USERS, 51, "51+"),
        (USERS, 10**12, "51+"),
        (USERS, True, REFUSED),
        (USERS, 2.5, REFUSED),
        (USERS, "2-5", "2-5"),
        (USERS, "3-4", "2-5"),
        (USERS, "4-7", REFUSED),
        (USERS, "51+", "51+"),
        (USERS, "2+", REFUSED),
        (SECONDS, 0, "0-0.5"),
        (SECONDS, 0.5, "0.5-60"),
        (SECONDS, 60.0, "60+"),
        (SECONDS, -0.1, REFUSED),
        (SECONDS, math.nan, REFUSED),
        (SECONDS, math.inf, REFUSED),
        (SECONDS, "7", REFUSED),
        (VersionText(), "3.11.4", "3.11"),
        (VersionText(), "3.13.0rc1", "3.13"),
        (VersionText(), "16.2 (Debian 16.2-1)", "16.2"),
        (VersionText(), "3", REFUSED),
        (VersionText(), "v3.11", REFUSED),
        (VersionText(), 3.11, REFUSED),
        (VersionText(), "12345.1", REFUSED),
        (Words(("a", "other")), "b", "other"),
        (Words(("a", "other")), 1, REFUSED),
        (Words(("a",)), "b", REFUSED),
        (Words(("a",)), "\u0430", REFUSED),
        (Words(("1",)), 1, REFUSED),
        (Flag(), 1, REFUSED),
        (Flag(), "true", REFUSED),
        (Number(0, 1, is_whole=True), True, REFUSED),
        (Number(0, 1, is_whole=True), 1.0, REFUSED),
        (Number(0, 1, is_whole=False), False, REFUSED),
        (Number(0, 1, is_whole=False), math.nan, REFUSED),
        (Number(0, 1, is_whole=False), math.inf, REFUSED),
        (Number(0, 1, is_whole=True), 10**400, REFUSED),
        (USERS, 10**400, "51+"),
        (USERS, -(10**400), REFUSED),
        (SECONDS, 10**400, "60+"),
        (SECONDS, True, REFUSED),
        (USERS, "\u0663", REFUSED),
        (VersionText(), "\uff13.\uff11\uff11", REFUSED),
        (Scalar(), 2**63 - 1, 2**63 - 1),
        (Scalar(), -(2**63), -(2**63)),
        (Scalar(), 2**63, REFUSED),
        (Scalar(), 10**400, REFUSED),
        (Scalar(), math.nan, REFUSED),
        (NOTHING, "b", REFUSED),
    ],
)
def test_value_leaves_in_its_form(domain, value, left):
    """Buckets take a number or a whole bucket, versions are cut, `other` stands for the rest."""
    assert domain.admit(value) == left


@thoroughly
@given(domain=domains)
def test_domain_survives_its_json(domain):
    """A domain that went through JSON is the same."""
    assert domain_from_json(json.loads(canonical_json(domain.to_json()))) == domain


@thoroughly
@given(domain=domains, value=values)
def test_what_leaves_is_valid_against_the_domains_schema(domain, value):
    """Whatever a domain admits is valid against its JSON Schema."""
    left = domain.admit(value)

    if left is not REFUSED:
        jsonschema.validate(left, domain.schema())


@thoroughly
@given(domain=domains)
def test_sample_leaves(domain):
    """A sample is something that the domain admits."""
    assert domain.admit(domain.sample()) is not REFUSED


@thoroughly
@given(one=domains, other=domains, value=values)
def test_covering_domain_admits_what_the_other_lets_out(one, other, value):
    """Where one domain covers another, it lets out all that the other does; buckets only coarser ones."""
    left = other.admit(value)

    if one.covers(other) and left is not REFUSED and not isinstance(one, Bucketed):
        assert one.admit(left) == left


def test_domain_of_another_version_is_not_guessed():
    """A type that only another version knows is no domain, so nothing of it leaves."""
    assert domain_from_json({"type": "location"}) is None


@pytest.mark.parametrize(
    ("domain", "size"),
    [
        (Flag(), 2),
        (Words(("a", "b", "c")), 3),
        (Number(0, 9, is_whole=True), 10),
        (Number(0.5, 2.5, is_whole=True), 2),
        (Number(0, 1, is_whole=False), 2**64 + 2),
        (USERS, 5),
        (VersionText(), 11_110**2),
        (Text(1), 1 + 1_114_112),
        (Text(2), 1 + 1_114_112 + 1_114_112**2),
        (Scalar(), None),
        (made("always 1", const=1), 1),
        (made("a text", type="string"), None),
    ],
)
def test_size_is_the_number_of_values(domain, size):
    """The size says how many values there are at most, or that there is no bound."""
    assert domain.size() == size


def test_equal_data_has_one_text():
    """Keys are sorted, there is no white space, text stays UTF-8, and what is no JSON is refused."""
    assert canonical_json({"b": [1, True, None], "a": "ü\n"}) == '{"a":"ü\\n","b":[1,true,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(math.nan)


def test_whole_number_has_one_form():
    """Bounds of 1 and 1.0 make the same manifest."""
    assert canonical_json(Number(0.0, 1.0, is_whole=False).to_json()) == canonical_json(
        Number(0, 1, is_whole=False).to_json()
    )
