"""Finished events at the gateway: taken as they are, and only if they are events of their installation."""

from __future__ import annotations

import json
from typing import Literal
from uuid import uuid4

import pytest
from gateways import config_of, consent, manifest_at, pairs, served_gateway, tracked

from otel_posthog import Registry, Telemetry, event
from otel_posthog.registry import Kind

ID = str(uuid4())
UUID = str(uuid4())
EVENT = {
    "uuid": UUID,
    "event": "run_started",
    "distinct_id": ID,
    "timestamp": "2026-01-02T03:04:05.678+00:00",
    "properties": {"triggered_by": "manual", "number": 1},
}


@event("run_started", why="which triggers are worth improving", since="1.0")
class RunStarted:
    """A run began."""

    triggered_by: Literal["manual", "webhook"]


def _request(changes=None, *, text=None, name="run_started", stamped=None, **more):
    """Return a request with one finished event; `text` in place of its JSON."""
    request = tracked(name, {})
    [record] = request.resource_logs[0].scope_logs[0].log_records
    del record.attributes[:]
    text = json.dumps({**EVENT, **(changes or {})}) if text is None else text
    stamped = consent(ID) if stamped is None else stamped
    record.attributes.extend(pairs({"posthog.finished_event": text, **stamped, **more}))
    return request


def _post(client, request):
    answer = client.post("/v1/logs", content=request.SerializeToString())
    assert answer.status_code == 200
    return answer


def _counts(client):
    counts = client.get("/counts").json()
    del counts["requests"]
    return counts


def test_finished_event_is_sent_as_it_is(gateway, sink):
    """Name, uuid, time, installation and properties are those that the process has written."""
    _post(gateway, _request())

    [sent] = sink.events
    body = json.loads(sink.requests[0].decoded)["batch"]
    assert body == [EVENT]
    assert sent.uuid == UUID


def test_repeated_event_is_sent_once(gateway, sink):
    """A Collector that sends a batch again doubles nothing."""
    for _ in range(3):
        _post(gateway, _request())

    assert [event.uuid for event in sink.events] == [UUID]
    assert _counts(gateway) == {"sent": 1, "told_before": 2}


@pytest.mark.parametrize(
    "stamped",
    [
        {},
        consent(ID, telemetry=False),
        consent(ID, telemetry="true"),
        consent("not-a-uuid"),
        {"posthog.instance_id": ID},
    ],
    ids=["none", "other_kind", "text", "no_id", "id_alone"],
)
def test_event_without_consent_is_dropped(gateway, sink, stamped):
    """A finished event needs a plain yes for its own kind, like any record."""
    _post(gateway, _request(stamped=stamped))

    assert sink.requests == []
    assert _counts(gateway) == {"no_consent": 1}


@pytest.mark.parametrize("name", ["$exception", "exceptions_suppressed"])
def test_name_decides_which_consent_is_needed(gateway, sink, name):
    """An error event does not leave by the consent to product events."""
    _post(gateway, _request({"event": name}, name=name, stamped=consent(ID, errors=False)))

    assert sink.requests == []
    assert _counts(gateway) == {"no_consent": 1}


@pytest.mark.parametrize(
    "request_",
    [
        _request(text="["),
        _request(text="[1]"),
        _request(text=7),
        _request(text="[" * 10_000),
        _request(text=json.dumps({**EVENT, "event": "ü"}, ensure_ascii=False)),
        _request(text=json.dumps({**EVENT, "properties": {"number": float("nan")}})),
        _request(text=json.dumps({**EVENT, "more": 1})),
        _request(text=json.dumps({key: value for key, value in EVENT.items() if key != "uuid"})),
        _request({"properties": [1]}),
        _request({"event": "other"}),
        _request({"event": ""}, name=""),
        _request({"event": "x" * 201}, name="x" * 201),
        _request({"distinct_id": str(uuid4())}),
        _request({"distinct_id": None}),
        _request({"uuid": "none"}),
        _request({"uuid": UUID.replace("-", "")}),
        _request({"timestamp": "yesterday"}),
        _request({"timestamp": "2026-01-02T03:04:05"}),
        _request({"timestamp": 7}),
        _request({"properties": {"text": "x" * 900_001}}),
    ],
    ids=[
        *("half", "list", "number", "deep", "not_ascii", "nan", "more", "less", "no_properties"),
        *("other_name", "no_name", "long_name", "other_installation", "no_installation", "no_uuid"),
        *("other_form", "no_time", "no_zone", "number_for_time", "too_large"),
    ],
)
def test_what_is_no_event_is_rejected(gateway, sink, request_):
    """Anything but an event in the form in which this library writes it is rejected and counted."""
    answer = _post(gateway, request_)

    assert sink.requests == []
    assert _counts(gateway) == {"unmappable": 1}
    assert b"some records" in answer.content


def test_bad_event_costs_itself(gateway, sink):
    """Its neighbours in the request are sent."""
    request = _request({"uuid": "none"})
    request.MergeFrom(_request())

    _post(gateway, request)

    assert [event.uuid for event in sink.events] == [UUID]


def test_scope_and_neighbouring_attributes_count_for_nothing(gateway, sink):
    """What a Collector adds to the record changes nothing of the event."""
    _post(gateway, _request(**{"exception.type": "E", "host.name": "planted", "posthog.event_uuid": ID}))

    assert [(event.name, event.uuid) for event in sink.events] == [("run_started", UUID)]
    assert not sink.contains("planted")


def test_rules_run_once_more(gateway, sink):
    """What a forged or older process did not scrub is scrubbed here."""
    _post(gateway, _request({"properties": {"note": "password=Planted7secret9"}}))

    assert len(sink.events) == 1
    assert not sink.contains("Planted7secret9")


def test_registry_and_agreed_manifest_narrow_the_event(sink, sink_url, tmp_path):
    """Only what the manifest named by its hash declares is sent, and nothing for an unknown hash."""
    manifest_at(tmp_path, [RunStarted])
    agreed = {"posthog.consent.telemetry_manifest": Registry([RunStarted]).manifest(Kind.TELEMETRY).hash}
    unknown = {"posthog.consent.telemetry_manifest": "0" * 64}
    with served_gateway(config_of(sink_url, tmp_path)) as client:
        _post(client, _request(stamped=consent(ID, **agreed)))
        _post(client, _request({"uuid": str(uuid4())}, stamped=consent(ID, **unknown)))
        _post(client, _request({"event": "undeclared", "uuid": str(uuid4())}, name="undeclared"))
        counts = _counts(client)

    [sent] = sink.events
    assert (sent.uuid, sent.properties) == (UUID, {"triggered_by": "manual"})
    assert (counts["other_manifest"], counts["unregistered"]) == (1, 1)


@pytest.fixture
def installation(database_url):
    """Return a product with its database, in which product events are granted."""
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_telemetry=True)
    yield telemetry
    telemetry.shutdown()


def test_database_has_the_last_word(sink, config, installation, database_url):
    """With the installation's database an event of an earlier generation is dropped, whatever it claims."""
    installation.update_settings(enable_telemetry=False)
    row = installation.update_settings(enable_telemetry=True)
    ours = str(row.instance_id)

    def accepted_under(generation, number):
        stamped = consent(ours, errors=False, **{"posthog.consent.telemetry_generation": generation})
        changes = {"distinct_id": ours, "uuid": str(uuid4()), "properties": {"number": number}}
        return _request(changes, stamped=stamped)

    with served_gateway(config(gateway_databases=database_url)) as client:
        _post(client, accepted_under(row.telemetry_generation - 1, number=1))
        _post(client, accepted_under(row.telemetry_generation, number=2))
        _post(client, _request())
        counts = _counts(client)

    assert [event.properties["number"] for event in sink.events] == [2]
    assert (counts["withdrawn"], counts["unknown_installation"]) == (1, 1)


def test_gateway_has_rules_and_a_hook_of_its_own(sink, sink_url, tmp_path, monkeypatch):
    """A file adds scrub rules and a module a hook; both see every event, and may only take away."""
    manifest_at(tmp_path)
    (tmp_path / "rules.json").write_text(json.dumps({"add": {"badge": "B-[0-9]{4}"}}))
    module = "def decide(event):\n    return None if event.properties.get('number') == 1 else event\n"
    (tmp_path / "hook_of_the_gateway.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    settings = {
        "gateway_scrub_rules": str(tmp_path / "rules.json"),
        "gateway_before_send": "hook_of_the_gateway:decide",
    }
    with served_gateway(config_of(sink_url, tmp_path, **settings)) as client:
        _post(client, _request())
        _post(client, _request({"uuid": str(uuid4()), "properties": {"note": "badge B-1234"}}))
        _post(client, tracked("some_event", {"note": "badge B-5678", **consent()}))
        counts = _counts(client)

    assert (len(sink.events), counts["before_send"]) == (2, 1)
    assert not sink.contains("B-1234")
    assert not sink.contains("B-5678")
