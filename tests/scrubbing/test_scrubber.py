"""Events without secrets, within bounds."""

from __future__ import annotations

import json
import math
from collections import deque
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.events import Event
from otel_posthog.scrubbing import Scrubber, scrub_text
from otel_posthog.scrubbing.scrubber import MAX_DEPTH, MAX_ITEMS, MAX_KEY_CHARS, MAX_TEXT_CHARS


def some_event(properties, name="something"):
    return Event(
        name=name,
        properties=properties,
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
        uuid=UUID(int=1),
        accepted_ns=1,
        distinct_id="someone",
    )


def _scrubbed(properties):
    return Scrubber().scrub(some_event(properties)).properties


class Hostile:
    """An object that must not be asked for its text."""

    def __repr__(self):
        raise AssertionError("The scrubber asked for a repr.")

    __str__ = __repr__


@pytest.mark.parametrize(
    "properties",
    [
        {"password": "planted"},
        {"outer": {"apiKey": "planted"}},
        {"outer": [{"inner": ({"access-token": "planted"},)}]},
        {"outer": {"$token": "planted"}},
        {"secrets": ["planted", {"a": "planted"}]},
        {"password": {"value": "planted"}},
        {"x" * MAX_KEY_CHARS + "_password": "planted"},
    ],
)
def test_value_under_a_sensitive_key_is_taken_out(properties):
    """A sensitive key hides its value at any depth, in lists too, whatever its shape (R21)."""
    text = json.dumps(_scrubbed(properties))

    assert "planted" not in text
    assert "[scrubbed:key]" in text


def test_number_under_a_sensitive_key_is_taken_out():
    """A number can be a secret as well."""
    assert _scrubbed({"pin": 1234}) == {"pin": "[scrubbed:key]"}


@pytest.mark.parametrize("value", [True, False, None])
def test_flag_under_a_sensitive_key_is_kept(value):
    """Whether there is a token is no secret."""
    assert _scrubbed({"has_token": value}) == {"has_token": value}


def test_properties_of_posthog_are_judged_by_their_value_alone():
    """A `$` at the top says that the name is ours or PostHog's; the value is scrubbed like any other."""
    assert _scrubbed({"$session_id": "a password=b"}) == {"$session_id": "a password=[scrubbed:value]"}


def test_secrets_in_keys_and_name_are_taken_out():
    """Names of properties and of the event itself are texts too."""
    scrubbed = Scrubber().scrub(some_event({"max@example.com": 1}, name="mail to max@example.com"))

    assert (scrubbed.name, scrubbed.properties) == ("mail to [scrubbed:email]", {"[scrubbed:email]": 1})


def test_identity_of_an_event_is_kept():
    """Uuid, time and distinct id are what PostHog compares, so they stay."""
    event = some_event({"a": 1})

    assert Scrubber().scrub(event) == event


def test_constant_address_is_kept():
    """The constant `$ip` leaves as it is: without it PostHog would add the sender's."""
    assert _scrubbed({"$ip": "0.0.0.0"}) == {"$ip": "0.0.0.0"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (1.5, 1.5),
        (10**30, 10**30),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        ((1, 2), [1, 2]),
        (deque([1, 2]), [1, 2]),
        (b"planted", "[scrubbed:type bytes]"),
        (bytearray(b"planted"), "[scrubbed:type bytearray]"),
        (memoryview(b"planted"), "[scrubbed:type memoryview]"),
        ({1, 2}, "[scrubbed:type set]"),
        (Hostile(), "[scrubbed:type Hostile]"),
        ({Hostile(): 1}, {"[scrubbed:key]": 1}),
        ({1: "a", None: "b", 0.5: "c"}, {"1": "a", "None": "b", "0.5": "c"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_shape_becomes_json(value, expected):
    """Every value becomes one that JSON can hold, and foreign objects are not asked for their text."""
    assert _scrubbed({"value": value}) == {"value": expected}


def test_depth_is_bounded():
    """A structure that holds itself comes to an end."""
    endless = {}
    endless["next"] = endless

    text = json.dumps(_scrubbed({"value": endless}))

    assert text.count("next") == MAX_DEPTH
    assert "[scrubbed:depth]" in text


@pytest.mark.parametrize(
    "value", [list(range(5000)), {str(number): 1 for number in range(5000)}], ids=["list", "dict"]
)
def test_width_is_bounded(value):
    """Of a long list or mapping the first items are kept."""
    assert len(_scrubbed({"value": value})["value"]) == MAX_ITEMS


def test_lengths_are_bounded():
    """Keys and texts are cut."""
    [(key, value)] = _scrubbed({"k" * 1000: {"t": "t" * 100_000}}).items()

    assert (len(key), value) == (MAX_KEY_CHARS, "[scrubbed:key]")
    assert len(_scrubbed({"t": "t" * 100_000})["t"]) == MAX_TEXT_CHARS


def test_lone_surrogates_can_be_sent():
    """Keys and values with lone surrogates can be encoded afterwards."""
    assert _scrubbed({"a\ud800": "b\udfff"}) == {"a?": "b?"}


_fragments = st.sampled_from(
    [
        "password",
        "token",
        "api",
        "key",
        "=",
        ":",
        "'",
        '"',
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        " ",
        "\n",
        "://",
        "@",
        "?",
        "/",
        "#",
        "\\",
        "-",
        "--",
        ",",
        "<",
        ">",
        "eyJabcdefghi",
        ".",
        "Bearer ",
        "Cookie",
        "scrubbed:",
        "[scrubbed:",
        "&",
        ";",
        "|",
        "%3D",
        "%40",
        "1.2.3.4",
        "::",
        "abc1",
        "/home/",
        "\\Users\\",
        "ghp_abcdefghijklm1",
        "é",
        "x@y.de",
        "\ud800",
    ]
)
_texts = st.text(st.characters()) | st.lists(_fragments, max_size=12).map("".join)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.binary(max_size=5) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=10,
)


@given(_texts)
def test_scrubbing_a_text_twice_changes_nothing(text):
    """A text that was scrubbed holds nothing that would be scrubbed again."""
    scrubbed = scrub_text(text)

    assert scrub_text(scrubbed) == scrubbed


@given(st.dictionaries(_texts, _values, max_size=4))
def test_any_event_becomes_json(properties):
    """Whatever an event holds, the scrubbed one is strict JSON in UTF-8."""
    scrubbed = _scrubbed(properties)

    assert json.dumps(scrubbed, allow_nan=False, ensure_ascii=False).encode()
