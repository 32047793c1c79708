"""Events without secrets, within bounds."""

import gc
import json
import math
from collections import deque
from datetime import UTC, date, datetime
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import some_event

from otel_posthog import MaxChars, Range, Registry, event
from otel_posthog.scrubbing import Scrubber, scrub_text
from otel_posthog.scrubbing.scrubber import MAX_DEPTH, MAX_ITEMS, MAX_KEY_CHARS, MAX_TEXT_CHARS


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
        ({1, 2}, [1, 2]),
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


@given(_texts)
def test_nothing_before_a_secret_hides_it(text):
    """Whatever a text begins with, a password on a line of its own is taken out."""
    assert "Planted7secret9" not in scrub_text(f"{text}\n\npassword=Planted7secret9")


@given(st.dictionaries(_texts, _values, max_size=4))
def test_any_event_becomes_json(properties):
    """Whatever an event holds, the scrubbed one is strict JSON in UTF-8."""
    scrubbed = _scrubbed(properties)

    assert json.dumps(scrubbed, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"name": "token", "value": "planted"}},
        {"a": [{"key": "api_key", "value": "planted"}]},
        {"a": ["password", "planted"]},
        {"a": [("Authorization", "planted"), ("b", "c")]},
        {"a": ["run", "--password", "planted", "--verbose"]},
    ],
)
def test_value_beside_its_name_is_taken_out(properties):
    """A name and its value as items of a mapping or list are a pair, also when both were seen before."""
    scrubber = Scrubber()
    for text in ("token", "api_key", "password", "Authorization", "planted", "name", "value", "key"):
        scrubber.text(text)
        scrubber.scrub(some_event({"x": {text: text}, "y": [text]}))

    assert "planted" not in json.dumps(scrubber.scrub(some_event(properties)).properties)


@pytest.mark.parametrize("number", [4111111111111111, 5105105105105100])
def test_number_of_a_card_is_taken_out(number):
    """A number can be a card's, whatever it is called."""
    assert _scrubbed({"order": number}) == {"order": "[scrubbed:card]"}


@pytest.mark.parametrize("number", [1732412645123, 4006381333931, 10**18])
def test_other_long_numbers_are_kept(number):
    """Times and article numbers are no cards."""
    assert _scrubbed({"order": number}) == {"order": number}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"token_type": "bearer"}, {"token_type": "bearer"}),
        ({"token_type": "aB3dE5fG7h"}, {"token_type": "[scrubbed:key]"}),
        ({"password_length": 12}, {"password_length": 12}),
        ({"session_timeout_s": 30}, {"session_timeout_s": "[scrubbed:key]"}),
        ({"tokens": 128}, {"tokens": 128}),
        ({"tokens": ["a"]}, {"tokens": "[scrubbed:key]"}),
    ],
)
def test_names_that_speak_about_a_secret_keep_harmless_values(properties, expected):
    """`token_type` tells of a token and is none, as long as its value is a plain word or a small number."""
    assert _scrubbed(properties) == expected


def test_registered_closed_property_leaves_as_it_is():
    """What a declaration lists or bounds is no secret, whatever it is called; free text still is judged."""

    @event("signed_in", why="which tokens are in use", since="1.0")
    class SignedIn:
        """Somebody signed in."""

        token_kind: Literal["jwt", "opaque"]
        password_age: Annotated[int, Range(0, 1_000_000)]
        token_hint: Annotated[str, MaxChars(20)]

    given = {"token_kind": "jwt", "password_age": 400_000, "token_hint": "planted"}

    scrubbed = Scrubber(registry=Registry([SignedIn])).scrub(some_event(given, name="signed_in"))

    assert scrubbed.properties == {**given, "token_hint": "[scrubbed:key]"}


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_TEXT_CHARS - 10) + " ghp_planted0123456789abcdef0123456789",
        "x" * (MAX_TEXT_CHARS - 40) + " password=planted0123456789",
        "x " * ((MAX_TEXT_CHARS + 900) // 2) + "planted@example.com" + " y" * 1000,
        "password=" + "planted" * MAX_TEXT_CHARS,
    ],
)
def test_secret_across_the_cut_leaves_no_half(text):
    """A secret that the cut divides does not leave by half."""
    assert "planted" not in scrub_text(text)


def test_hot_path_keeps_what_it_was_given():
    """Scrubbing an innocent event a second time gives the same event."""
    scrubber = Scrubber()
    frame = {"filename": "a.py", "context_line": "token = get_token()", "pre_context": ["x = 1"], "lineno": 3}
    given = some_event({"$exception_list": [{"type": "E", "stacktrace": {"frames": [frame, dict(frame)]}}]})

    assert [scrubber.scrub(given) == given for _ in range(2)] == [True, True]


def test_source_line_innocent_as_source_is_judged_as_text_elsewhere():
    """A bare word behind a name is a reference in a program, and a value in a message."""
    scrubber = Scrubber()
    line = "password = hunter"

    assert scrubber.scrub(some_event({"a": {"context_line": line}})).properties == {
        "a": {"context_line": line}
    }
    assert scrubber.scrub(some_event({"a": {"text": line}})).properties == {
        "a": {"text": "password = [scrubbed:value]"}
    }


def test_unknown_list_of_source_lines_is_scrubbed():
    """Lists of source lines may hold anything."""
    odd = [{"a": "password=planted"}, "secret = 'planted'", 3, None]

    assert "planted" not in json.dumps(_scrubbed({"a": {"pre_context": odd}}))


def test_number_longer_than_python_reads_is_taken_out():
    """A number of 5,000 digits beside a sensitive name is replaced like any other value."""
    assert scrub_text("password=" + "7" * 5000) == "password=[scrubbed:value]"


def test_no_value_is_kept_in_memory():
    """Answers about names are cached, and no value beside one, which may be a secret, is among them."""
    scrubber = Scrubber()

    for text in ("password=Planted7value9", "token: (Planted7value8, 1)", "token is 'Planted7value7'"):
        scrubber.text(text)
    scrubber.scrub(some_event({"a": {"name": "Planted7value6", "value": ["Planted7value5", "x"]}}))

    names = scrubber._names
    cached = repr([gc.get_referents(cache) for cache in (names.is_secret, names.is_personal)])
    assert "password" in cached
    assert "Planted" not in cached
