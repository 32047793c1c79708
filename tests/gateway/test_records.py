"""Which records become events, and by whose consent."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Literal
from uuid import uuid4

import pytest
from gateways import config_of, consent, manifest_at, pairs, raised, rules_at, served_gateway, spans, tracked
from waiting import wait_until

from otel_posthog import Buckets, MaxChars, Registry, Telemetry, event
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.gateway.records import RecordMapper
from otel_posthog.mapping import BaseProperties
from otel_posthog.registry import Kind
from otel_posthog.span_rules import SpanRules
from otel_posthog.testing import Fault

RUN = {"exception.type": "ValueError", "exception.message": "no such run"}
WHOLE_MILLISECONDS_NS = time.time_ns() // 1_000_000 * 1_000_000  # as many clocks of JavaScript count
RULE = {"event": "request_served", "name": "GET /runs/*", "kind": "internal"}


@event("pipeline_run_started", why="which triggers are worth improving", since="1.0")
class PipelineRunStarted:
    """A pipeline run began."""

    triggered_by: Literal["manual", "webhook"]


@event("sync_completed", why="whether syncs work", since="2.0")
class SyncCompleted:
    """A sync ended well."""


def _post(client, request, path="/v1/logs"):
    answer = client.post(path, content=request.SerializeToString())
    assert answer.status_code == 200
    return answer


def _counts(client):
    counts = client.get("/counts").json()
    del counts["requests"]
    return counts


@pytest.mark.parametrize(
    "stamped",
    [
        {},
        consent(errors=False, telemetry=False),
        consent(telemetry=False),
        consent(telemetry="true"),
        consent(telemetry=1),
        consent("not-a-uuid"),
        consent(str(uuid4()).upper()),
        consent("00000000-0000-0000-0000-000000000000"),
        consent("system"),
        {"posthog.instance_id": str(uuid4())},
        {"posthog.consent.errors": True, "posthog.consent.telemetry": True},
    ],
)
def test_record_without_consent_is_refused_silently(gateway, sink, stamped):
    """Without a plain yes for its kind and a valid id a record is acknowledged, counted, and goes nowhere."""
    _post(gateway, tracked("some_event", stamped))

    assert sink.requests == []
    assert _counts(gateway) == {"no_consent": 1}


def test_consent_is_a_boolean_each_time(gateway, sink):
    """A number in place of the boolean is no consent, not even behind a record that had one."""
    stamped = consent()

    for telemetry in (True, 1, True):
        _post(gateway, tracked("some_event", {**stamped, "posthog.consent.telemetry": telemetry}))

    assert len(sink.events) == 2


def test_each_kind_needs_its_own_consent(gateway, sink):
    """With consent to errors alone the exception leaves, and the event does not."""
    stamped = consent(telemetry=False)

    _post(gateway, raised(stamped))
    _post(gateway, tracked("some_event", stamped))

    assert [event.name for event in sink.events] == ["$exception"]


def test_consent_of_one_installation_is_not_anothers(gateway, sink):
    """Records of a request are judged one by one."""
    request = tracked("some_event", {"number": 1, **consent()})
    request.MergeFrom(tracked("some_event", {"number": 2, **consent(telemetry=False)}))
    request.MergeFrom(tracked("some_event", {"number": 3, **consent()}))

    _post(gateway, request)

    assert [event.properties["number"] for event in sink.events] == [1, 3]
    assert len({event.distinct_id for event in sink.events}) == 2


def test_registry_is_the_manifests(sink, sink_url, tmp_path):
    """Only declared events leave, with declared properties and values, without any code of the product."""
    manifest_at(tmp_path, [PipelineRunStarted])
    with served_gateway(config_of(sink_url, tmp_path)) as client:
        for triggered_by in ("manual", "somebody@example.org"):
            _post(
                client,
                tracked("pipeline_run_started", {"triggered_by": triggered_by, "more": 1, **consent()}),
            )
        _post(client, tracked("undeclared", consent()))

    assert [(event.name, event.properties.get("triggered_by")) for event in sink.events] == [
        ("pipeline_run_started", "manual"),
        ("pipeline_run_started", None),
    ]
    assert [event for event in sink.events if "more" in event.properties] == []


def test_installation_that_agreed_to_less_sends_less(sink, sink_url, tmp_path):
    """What was added after an installation's agreement stays behind; what it agreed to leaves."""
    earlier = manifest_at(tmp_path, [PipelineRunStarted], "earlier.json")
    present = manifest_at(tmp_path, [PipelineRunStarted, SyncCompleted])
    manifests = os.pathsep.join([str(present), str(earlier)])
    agreed = {
        "posthog.consent.telemetry_manifest": Registry([PipelineRunStarted]).manifest(Kind.TELEMETRY).hash
    }
    with served_gateway(config_of(sink_url, tmp_path, gateway_manifests=manifests)) as client:
        for name in ("pipeline_run_started", "sync_completed"):
            _post(client, tracked(name, {"triggered_by": "manual", **consent(**agreed)}))

    assert [event.name for event in sink.events] == ["pipeline_run_started"]


def test_agreement_to_an_unknown_manifest_sends_nothing(gateway, sink):
    """Where nobody can tell to what an installation agreed, nothing leaves."""
    _post(gateway, tracked("some_event", consent(**{"posthog.consent.telemetry_manifest": "0" * 64})))

    assert sink.requests == []
    assert _counts(gateway) == {"other_manifest": 1}


def test_secrets_are_scrubbed(gateway, sink):
    """The gateway scrubs by itself, whatever was done before it."""
    _post(gateway, tracked("some_event", {"note": "password=Planted7secret9", **consent()}))

    assert len(sink.events) == 1
    assert not sink.contains("Planted7secret9")


def test_files_of_this_machine_are_not_read(gateway, sink, tmp_path):
    """A record that names a file of the gateway's disk gets no line of it."""
    planted = tmp_path / "planted.py"
    planted.write_text("first\nplanted_line = 1\nthird\n")
    chain = [{"type": "E", "module": "m", "value": "v", "frames": [[str(planted), 2, "f", "m"]]}]

    _post(gateway, raised({"posthog.exception_chain": json.dumps(chain), **consent()}))

    [frame] = sink.events[0].properties["$exception_list"][0]["stacktrace"]["frames"]
    assert (frame["filename"], frame["lineno"], "context_line" in frame) == ("planted.py", 2, False)
    assert not sink.contains("planted_line")


@pytest.mark.parametrize(
    "chain", ["[", "{}", "[1]", '[{"frames": [[1]]}]', '[{"frames": {"a": 1}}]', "[" * 10_000]
)
def test_chain_that_is_none(gateway, sink, chain):
    """A chain of another shape costs the frames, not the event."""
    _post(gateway, raised({"posthog.exception_chain": chain, **consent()}))

    assert [event.name for event in sink.events] == ["$exception"]


def test_uuids_follow_from_the_record(config, sink):
    """Two gateways give the same record the same uuid, with a trace and without one."""
    requests = [
        (raised(consent(), trace_id=uuid4().bytes), "/v1/logs"),
        (tracked("some_event", consent()), "/v1/logs"),
        (spans(1, {"posthog.event": "span_event", **consent()}), "/v1/traces"),
    ]
    for _ in range(2):
        with served_gateway(config()) as client:
            for request, path in requests:
                _post(client, request, path)

    first, second = sink.events[:3], sink.events[3:]
    assert [(e.name, e.uuid, e.timestamp, e.distinct_id, e.properties) for e in first] == [
        (e.name, e.uuid, e.timestamp, e.distinct_id, e.properties) for e in second
    ]
    assert len({event.uuid for event in first}) == 3


def test_record_without_a_uuid_gets_one_that_lasts(config, sink):
    """A record of others, without a uuid or a trace, gets the same one from each gateway."""
    request = raised(consent())
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    kept = [pair for pair in record.attributes if pair.key != "posthog.event_uuid"]
    del record.attributes[:]
    record.attributes.extend(kept)
    for _ in range(2):
        with served_gateway(config()) as client:
            _post(client, request)
    record.time_unix_nano += 1
    with served_gateway(config()) as client:
        _post(client, request)

    first, second, other = (event.uuid for event in sink.events)
    assert first == second != other


def _of_one_millisecond(*attributes, scope="shop"):
    """Return a request whose records have no uuid, and the times of a clock of milliseconds."""
    request = tracked("report_generated", {}, scope=scope)
    records = request.resource_logs[0].scope_logs[0].log_records
    record = records.pop()
    record.time_unix_nano = record.observed_time_unix_nano = WHOLE_MILLISECONDS_NS
    for each in attributes:
        del record.attributes[:]
        record.attributes.extend(pairs(each))
        records.append(record)
    return request


def _uuids(sink):
    found = [event.uuid for event in sink.events]
    sink.clear()
    return found


@event("report_generated", why="which formats are used", since="1.0")
class ReportGenerated:
    """A report was generated."""

    format: Literal["pdf", "html"] | None = None
    pages: Annotated[int, Buckets(0, 10, 100)] | None = None
    title: Annotated[str, MaxChars(100)] | None = None


def test_distinct_records_of_one_time_stay_distinct(sink, sink_url, tmp_path):
    """Records of the same millisecond, also with equal content, get uuids that a resend repeats."""
    manifest_at(tmp_path, [ReportGenerated])
    stamped = consent()
    rows = [{**stamped, "format": each, "posthog.event_uuid": "no uuid"} for each in ("pdf", "html", "pdf")]
    rows += [{**stamped, "pages": 5}, {**stamped, "pages": 50}, {**stamped, "pages": 60}]
    for _ in range(2):
        with served_gateway(config_of(sink_url, tmp_path)) as client:
            _post(client, _of_one_millisecond(*rows))

    uuids = _uuids(sink)
    assert len(set(uuids[:6])) == 6
    assert uuids[:6] == uuids[6:]


def test_records_of_one_time_stay_distinct_in_any_grouping(sink, sink_url, tmp_path):
    """A sender's batch may end within a millisecond: what the records hold counts, not their position."""
    manifest_at(tmp_path, [ReportGenerated])
    stamped = consent()
    rows = [{**stamped, **each} for each in ({"format": "pdf"}, {"pages": 5}, {"title": "July"}, {})]
    with served_gateway(config_of(sink_url, tmp_path)) as client:
        for row in rows:
            _post(client, _of_one_millisecond(row))
        alone = _uuids(sink)
    with served_gateway(config_of(sink_url, tmp_path)) as client:
        _post(client, _of_one_millisecond(*rows))

    assert len(set(alone)) == 4
    assert _uuids(sink) == alone


def test_uuid_depends_on_nothing_that_is_not_sent(sink, sink_url, tmp_path):
    """Neither a secret, nor an undeclared property, nor a number within its bucket changes the uuid."""
    manifest_at(tmp_path, [ReportGenerated])
    stamped = consent()
    for hidden in (
        {"pages": 5, "title": "password=Planted7secret9"},
        {"pages": 6, "title": "password=Another8secret0", "customer": "alice@example.org"},
    ):
        with served_gateway(config_of(sink_url, tmp_path)) as client:
            _post(client, _of_one_millisecond({**hidden, **stamped}))

    assert [event.properties["pages"] for event in sink.events] == ["0-9"] * 2
    assert len(set(_uuids(sink))) == 1


def test_span_rules_are_read_from_a_file(config, sink, tmp_path):
    """Spans that match a rule of the file become events; all others become nothing."""
    rules = rules_at(tmp_path, [{**RULE, "properties": {"run.kind": "run_kind"}}])
    with served_gateway(config(gateway_span_rules=str(rules))) as client:
        _post(client, spans(2, {"run.kind": "daily", **consent()}, name="GET /runs/7"), "/v1/traces")
        _post(client, spans(2, consent(), name="GET /other"), "/v1/traces")

    assert [(event.name, event.properties["run_kind"]) for event in sink.events] == [
        ("request_served", "daily")
    ] * 2


def test_failed_root_span_tells_its_exception(gateway, sink):
    """The exception of a failed root span is reported."""
    _post(gateway, spans(1, consent(), is_error=True, events=[RUN]), "/v1/traces")

    [event] = sink.events
    assert event.properties["$exception_list"][0]["value"] == "no such run"


@pytest.mark.parametrize(("flags", "count"), [(0x000, 0), (0x100, 0), (0x300, 1)])
def test_only_a_remote_parent_leaves_a_span_a_root(gateway, sink, flags, count):
    """A span with a parent is a local root where that parent is known to be in another process."""
    request = spans(1, consent(), is_error=True, events=[RUN])
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.parent_span_id, span.flags = b"12345678", flags

    _post(gateway, request, "/v1/traces")

    assert len(sink.events) == count


def test_record_that_cannot_be_mapped_costs_itself():
    """Of two records one that makes the mapping fail is counted, and the other one becomes an event."""

    class Failing:
        def text(self, _text):
            raise RuntimeError

    counts, registry = Counts(), Registry()
    mapper = RecordMapper(
        registry=registry,
        rules=SpanRules(),
        base=BaseProperties(environment="production", scrubber=Failing(), reads_source=False),
        counts=counts,
        log_limiter=LogLimiter(),
        config=Config.resolve({}, {}),
    )
    request = raised(consent())
    request.MergeFrom(tracked("some_event", consent()))

    taken = mapper.logs(request)

    assert (taken.rejected, [event.name for event in taken.events]) == (1, ["some_event"])
    assert counts.as_dict() == {"unmappable": 1}


@pytest.fixture
def installation(database_url):
    """Return a product with its database, in which both kinds are granted."""
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    yield telemetry
    telemetry.shutdown()


def _stamped(row):
    return consent(
        str(row.instance_id),
        **{
            "posthog.consent.errors_generation": row.errors_generation,
            "posthog.consent.telemetry_generation": row.telemetry_generation,
        },
    )


def test_withdrawal_stops_what_collectors_still_hold(config, sink, installation, database_url):
    """With the installation's database, records stamped before a withdrawal do not leave after it."""
    held = [tracked("some_event", _stamped(installation.settings())) for _ in range(3)]
    with served_gateway(config(gateway_databases=database_url, consent_max_age_s=0.1)) as client:
        _post(client, held[0])
        installation.update_settings(enable_telemetry=False)
        _post(client, held[1])
        installation.update_settings(enable_telemetry=True)
        _post(client, held[2])
        _post(client, tracked("some_event", _stamped(installation.settings())))

    assert len(sink.events) == 2
    assert sink.events[0].uuid != sink.events[1].uuid


def test_uuid_shows_nothing_that_a_database_may_withhold(config, sink, installation, database_url):
    """Without a manifest on the records, their content decides nothing; their order in the request does."""
    stamped = _stamped(installation.settings())
    numbers, uuids = [(1, 2), (3,)], []
    for rows in numbers:
        each = _of_one_millisecond(*({"number": number, **stamped} for number in rows), scope="otel_posthog")
        with served_gateway(config(gateway_databases=database_url)) as client:
            _post(client, each)
            uuids.append(_uuids(sink))

    assert uuids[0][0] != uuids[0][1]
    assert uuids[1] == uuids[0][:1]


def test_installation_of_no_database_counts_as_unknown(config, sink, installation, database_url):
    """Where consent is looked up, an installation that is not found there sends nothing."""
    with served_gateway(config(gateway_databases=database_url)) as client:
        _post(client, tracked("some_event", consent()))

        assert _counts(client) == {"unknown_installation": 1}
    assert sink.requests == []


def test_unreadable_database_turns_back(config, sink, installation, database_url, tmp_path):
    """While consent cannot be looked up nothing is acknowledged, and once it can, all arrives."""
    stamped = _stamped(installation.settings())
    request, other = tracked("some_event", stamped), tracked("some_event", stamped)
    place, aside = tmp_path / "data" / "app.db", tmp_path / "aside.db"
    with served_gateway(config(gateway_databases=database_url, consent_max_age_s=0.1)) as client:
        _post(client, request)
        installation.shutdown()
        place.rename(aside)

        wait_until(lambda: client.get("/ready").status_code == 503)
        refused = client.post("/v1/logs", content=other.SerializeToString())
        aside.rename(place)
        wait_until(lambda: client.post("/v1/logs", content=other.SerializeToString()).status_code == 200)

    assert refused.status_code == 503
    assert len(sink.events) == 2


def test_spooled_events_go_with_a_withdrawal(config, sink, installation, database_url, tmp_path):
    """What the gateway has spooled is deleted once consent is withdrawn."""
    sink.script([Fault(status=503, times=None)])
    settings = config(
        gateway_databases=database_url, spool_dir=str(tmp_path / "spool"), consent_max_age_s=0.1
    )
    with served_gateway(settings) as client:
        _post(client, tracked("some_event", _stamped(installation.settings())))
        installation.update_settings(enable_telemetry=False)
        wait_until(lambda: _counts(client).get("withdrawn") == 1)
        installation.update_settings(enable_telemetry=True)
        sink.script([])
        _post(client, tracked("some_event", _stamped(installation.settings())))
        sink.wait_for(count=1, timeout_s=30)

    assert len(sink.events) == 1


def test_event_that_knows_of_a_later_grant_is_not_lost(config, sink, installation, database_url):
    """Off and on again between two looks of the gateway: what was accepted under the new grant arrives."""
    with served_gateway(config(gateway_databases=database_url, consent_max_age_s=1)) as client:
        _post(client, tracked("some_event", _stamped(installation.settings())))
        installation.update_settings(enable_telemetry=False)
        installation.update_settings(enable_telemetry=True)
        _post(client, tracked("some_event", _stamped(installation.settings())))

    assert len(sink.events) == 2
