"""Copies of what a caller gives, which every exporter can encode."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._internal import _encode_value

from otel_posthog.emit.values import MAX_DEPTH, MAX_ITEMS, carried, carried_properties, name_of


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


class Zone(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _time):
        """Fail."""
        raise OSError("no zone file")


class Wide(IntEnum):
    """A number with a name."""

    ONE = 1


class Colour(Enum):
    """A value of no plain type."""

    RED = object()


class Word(StrEnum):
    """A text with a name."""

    A = "a"


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        ("text", "text"),
        ("file \udcff", "file ?"),
        (Word.A, "a"),
        (Wide.ONE, 1),
        (2**63, "[scrubbed:type int]"),
        (-(2**63), -(2**63)),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (b"raw", "[scrubbed:type bytes]"),
        (Colour.RED, "[scrubbed:type Colour]"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), str(UUID(int=1))),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (datetime(2026, 1, 2, tzinfo=Zone()), None),
        ((1, "\ud800"), [1, "?"]),
        ({"a"}, ["a"]),
        (Point(1, 2), [1, 2]),
        (OrderedDict({1: "a", ("b",): {}}), {"1": "a", "[scrubbed:key]": {}}),
        (int, "[scrubbed:type type]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_becomes_plain(value, copy):
    """Plain values stay, subclasses become plain, and of other objects the name of the class is left."""
    made = carried(value)

    assert (made, type(made)) == (copy, type(copy))


def test_copy_is_bounded():
    """A structure that contains itself, or has many items, ends."""
    endless = []
    endless.append(endless)

    assert str(carried(endless)).count("[") == MAX_DEPTH + 1
    assert len(carried(list(range(MAX_ITEMS + 1)))) == MAX_ITEMS
    assert len(carried_properties({str(i): i for i in range(9)}, 5)) == 5


def test_class_without_a_name_has_an_empty_module():
    """A module that is no text is left out."""
    assert name_of(type("Odd", (), {"__module__": 17})) == ("Odd", "")


_any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.builds(object)
    | st.text(st.characters(categories=["L", "N", "Z", "Cc", "Cs"])),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.text(), inner),
)


@given(_any)
def test_every_copy_can_be_encoded(value):
    """Whatever is given, OTLP can encode the copy, so that nothing of the host is lost beside it."""
    _encode_value({"value": carried(value)}).SerializeToString()


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_plain_json_is_unchanged(properties):
    """Properties without surrogates or large numbers are copied as they are."""
    made = carried_properties(properties, 100)

    expected = {
        key: value for key, value in properties.items() if isinstance(value, str) or abs(value) < 2**63
    }
    assert json.dumps({key: made[key] for key in expected}) == json.dumps(expected)
