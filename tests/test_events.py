"""The value that flows to PostHog, and its one text."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from samples import some_event

from otel_posthog.delivery.transport import WireBatch
from otel_posthog.events import Event

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2)))


class Fickle(dict):
    """A mapping that says another thing whenever it is asked."""

    def items(self):
        return {"count": 1}.items()

    def __iter__(self):
        return iter(["count"])

    def values(self):
        return [1]


def test_event_is_written_as_posthogs_wire_object():
    """The text says uuid, name, identity, time in UTC and properties."""
    event = some_event({"count": 3, "text": 'a "quoted" word, ä'}, distinct_id='an "id"', timestamp=MOMENT)

    assert json.loads(event.written()) == {
        "uuid": "00000000-0000-0000-0000-000000000001",
        "event": "something",
        "distinct_id": 'an "id"',
        "timestamp": "2026-01-02T01:04:05.678+00:00",
        "properties": {"count": 3, "text": 'a "quoted" word, ä'},
    }


def test_what_was_written_stays():
    """What leaves is what was measured, whatever becomes of the properties meanwhile."""
    properties = {"count": 3}
    event = some_event(properties)
    text, size_bytes = event.written(), event.size_bytes()

    properties["text"] = "later"

    assert (event.written(), event.size_bytes()) == (text, size_bytes)


def test_event_with_other_properties_is_written_anew():
    """A text belongs to the event that it was made of."""
    event = some_event({"count": 3})
    event.written()

    assert json.loads(event.with_properties({"count": 4}).written())["properties"] == {"count": 4}


def test_size_counts_the_text_as_text_in_json():
    """PostHog counts quotes and backslashes with the backslash that they need inside of another text."""
    event = some_event({"text": 'a "quoted" \\'})

    assert event.size_bytes() == len(json.dumps(event.written())) - 2


def test_own_properties_make_no_new_event():
    """Where nothing changed, the event is the same."""
    event = some_event({"count": 3})

    assert event.with_properties({**event.properties}) is event


def test_mapping_that_may_change_its_mind_is_not_kept():
    """Of a mapping that is no plain dict only what was judged stays."""
    event = some_event(Fickle(count=1, text="another"))

    judged = event.with_properties({"count": 1})

    assert type(judged.properties) is dict
    assert json.loads(judged.written())["properties"] == {"count": 1}


@pytest.mark.parametrize(
    ("own", "given", "known"), [(None, "i", "i"), ("own", "i", "own"), ("", "i", "i"), (None, None, None)]
)
def test_identity_is_given_once(own, given, known):
    """An event that has an identity keeps it, and the text says which."""
    event = some_event({}, distinct_id=own)
    event.written()

    event.address(given)
    event.address("another" if known else None)

    assert json.loads(event.written())["distinct_id"] == event.distinct_id == known


def test_identity_finds_its_place_in_any_text():
    """A name that looks like an identity is none."""
    name = '"distinct_id": null'
    event = Event(name=name, properties={name: name}, timestamp=MOMENT, uuid=UUID(int=1), accepted_ns=1)
    size_bytes = event.size_bytes()

    event.address("instance")

    read = json.loads(event.written())
    assert (read["event"], read["distinct_id"], read["properties"]) == (name, "instance", {name: name})
    assert event.size_bytes() == size_bytes - len("null") + len('\\"instance\\"')


def test_properties_written_before_are_the_texts():
    """The JSON of the properties is used if the caller has it."""
    event = some_event({"count": 3})

    event.write(None, '{"count": 3.0}')

    assert '"properties": {"count": 3.0}' in event.written()


def test_batch_is_one_array_of_the_very_texts():
    """Nothing is written a second time on the way out."""
    texts = [some_event({"count": number}).written() for number in range(100)]

    batch = WireBatch(texts)

    assert "".join(batch.as_json()) == f"[{', '.join(texts)}]"
    assert [event["properties"] for event in batch] == [{"count": number} for number in range(100)]
    assert "".join(WireBatch(texts[98:]).as_json()) == f"[{texts[98]}, {texts[99]}]"
