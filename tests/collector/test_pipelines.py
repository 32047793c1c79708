"""From a product through real Collectors, and Kafka, to the gateway: what a process sends itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial

import pytest
import trustme
from collectors import WAIT_S, collector
from gateways import client_of, config_of, consent, manifest_at, rules_at, served_gateway, tracked
from ports import free_port
from product_both_ways import EVENTS, RULES, SECRET, Product
from waiting import wait_until

from otel_posthog import Telemetry, track
from otel_posthog.testing import PostHogSink, serve

pytestmark = pytest.mark.collector
HELD = 20


@pytest.fixture
def ends():
    """Return a local PostHog behind the process itself and one behind the gateway, with their addresses."""
    direct, through = PostHogSink(), PostHogSink()
    with serve(direct) as direct_url, serve(through) as through_url:
        yield direct, direct_url, through, through_url


@pytest.fixture
def granted(database_url):
    """Return the URL of a database in which both kinds are granted, for the manifest of the product."""
    telemetry = Telemetry(database=database_url, registry=EVENTS, environ={})
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    telemetry.shutdown()
    return database_url


@pytest.fixture
def config(ends, tmp_path):
    """Return a function that makes the settings of a gateway that knows manifest and rules of the product."""
    manifest_at(tmp_path, EVENTS)
    rules = str(rules_at(tmp_path, RULES))
    return lambda **settings: config_of(ends[3], tmp_path, gateway_span_rules=rules, **settings)


# They differ from run to run; that a record keeps its uuid on its way is held by counting copies.
IDS = {"$trace_id", "$span_id", "duration_ms", "$exception_steps"}


def _told(events):
    """Return what makes an event, once for each uuid, in an order that does not depend on the way."""
    different = {event.uuid: event for event in events}.values()
    told = [[event.name, event.distinct_id, _own(event), _steps(event)] for event in different]
    return sorted(told, key=partial(json.dumps, sort_keys=True))


def _own(event):
    return {name: value for name, value in event.properties.items() if name not in IDS}


def _steps(event):
    """Return the steps without their times."""
    steps = event.properties.get("$exception_steps", ())
    return [(step["type"], step["$message"]) for step in steps]


def _do_everything_by_both(database_url, ends, collector_url):
    """Let the product do everything through a Collector, then by itself; return how many events those are."""
    for way in ({"collector": collector_url}, {"sink_url": ends[1]}):  # one line calls it, in each stack
        with Product(database_url, **way) as product:
            count = product.do_everything()
            assert product.telemetry.flush(WAIT_S)  # or the other way would find the rest in the spool
    return count


@contextmanager
def _tier(program, folder, gateway, *, files="agent.yaml", **secured):
    """Run a gateway tier before that gateway, and an agent before the tier; yield the agent."""
    url = {"OTEL_POSTHOG_GATEWAY_URL": str(gateway.base_url)}
    with (
        collector(program, "gateway.yaml", folder / "tier", **url) as tier,
        collector(program, files, folder / "agent", GATEWAY_TIER_URL=tier.otlp, **secured) as agent,
    ):
        yield agent


def test_through_collectors_the_same_events_arrive(program, ends, granted, config, tmp_path):
    """Agent, gateway tier and gateway give event for event what the process sends."""
    direct, _, through, _ = ends
    with served_gateway(config()) as gateway, _tier(program, tmp_path, gateway) as agent:
        count = _do_everything_by_both(granted, ends, agent.otlp)
        through.wait_for(count=count, timeout_s=WAIT_S)

    assert _told(through.events) == _told(direct.events)
    assert len(_told(direct.events)) == count == len(direct.events) == len(through.events)
    assert not through.contains(SECRET)


def test_through_kafka_the_same_events_arrive(program, kafka, ends, granted, config, tmp_path):
    """With Kafka between gateway tier and gateway, event for event is the same."""
    direct, _, through, _ = ends
    with served_gateway(config()) as gateway, _kafka_tier(program, kafka, tmp_path, gateway) as producer:
        count = _do_everything_by_both(granted, ends, producer.otlp)
        through.wait_for(count=count, timeout_s=WAIT_S)

    assert _told(through.events) == _told(direct.events)
    assert len(through.events) == count


@contextmanager
def _kafka_tier(program, kafka, folder, gateway):
    brokers = {"KAFKA_BROKERS": kafka.address}
    url = {"OTEL_POSTHOG_GATEWAY_URL": str(gateway.base_url)}
    with (
        collector(program, "kafka-consumer.yaml", folder / "consumer", **brokers, **url),
        collector(program, "kafka-producer.yaml", folder / "producer", **brokers) as producer,
    ):
        yield producer


def test_without_consent_nothing_arrives(program, ends, database_url, config, tmp_path):
    """An installation that has granted nothing sends nothing, on either way, not even to the agent."""
    direct, direct_url, through, _ = ends
    with served_gateway(config()) as gateway, _tier(program, tmp_path, gateway) as agent:
        for way in ({"collector": agent.otlp}, {"sink_url": direct_url}):
            with Product(database_url, **way) as product:
                product.do_everything()
        accepted = agent.metric("otelcol_receiver_accepted_log_records")

    assert [direct.requests, through.requests, accepted] == [[], [], 0]


def test_agent_drops_what_carries_no_consent(program, ends, config, tmp_path):
    """Of records that others send to the agent, only those with consent leave the machine."""
    through = ends[2]
    request = tracked("pipeline_run_started", {"triggered_by": "manual", "note": SECRET})
    request.MergeFrom(tracked("pipeline_run_started", consent(errors=False, telemetry=False)))
    request.MergeFrom(tracked("pipeline_run_started", {"triggered_by": "webhook", **consent()}))
    with served_gateway(config()) as gateway, _tier(program, tmp_path, gateway) as agent:
        with client_of(agent.otlp) as client:
            assert client.post("/v1/logs", content=request.SerializeToString()).status_code == 200
        through.wait_for(count=1, timeout_s=WAIT_S)
        wait_until(lambda: agent.metric("otelcol_exporter_sent_log_records") >= 1, timeout_s=WAIT_S)
        passed = agent.metric("otelcol_exporter_sent_log_records")

    assert passed == 1
    assert [event.properties["triggered_by"] for event in through.events] == ["webhook"]


def test_secured_agent_takes_events_of_those_with_token_and_certificate(
    program, ends, granted, config, tmp_path
):
    """With TLS, a token and client certificates by file, a product that has all three is let in."""
    direct, _, through, _ = ends
    authority, files = trustme.CA(), {}
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, host in (("agent", "localhost"), ("product", "product.example")):
        issued = authority.issue_cert(host)
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        files[name] = (str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key"))
    secured = {
        "AGENT_TOKEN": "let-me-in",
        "AGENT_CERTIFICATE": files["agent"][0],
        "AGENT_KEY": files["agent"][1],
        "AGENT_CLIENT_CA": str(tmp_path / "ca.pem"),
    }
    shown = {
        "collector_certificate": str(tmp_path / "ca.pem"),
        "collector_client_certificate": files["product"][0],
        "collector_client_key": files["product"][1],
        "collector_headers": "authorization=Bearer%20let-me-in",
    }
    with (
        served_gateway(config()) as gateway,
        _tier(program, tmp_path, gateway, files="agent.yaml+secure-agent.yaml", **secured) as agent,
    ):
        where = f"https://localhost:{agent.otlp.rpartition(':')[2]}/v1/logs"
        for lacking in ("collector_headers", "collector_client_certificate", None):
            settings = {name: value for name, value in shown.items() if name != lacking}
            with Telemetry(
                database=granted,
                registry=EVENTS,
                environ={},
                send_to="collector",
                collector_endpoint=where,
                spool_dir=":memory:",
                **settings,
            ) as telemetry:
                track("pipeline_run_started", {"triggered_by": "manual", "note": str(lacking)})
                assert telemetry.flush(5) is (lacking is None)
        through.wait_for(count=1, timeout_s=WAIT_S)

    assert [event.properties["note"] for event in through.events] == ["None"]
    assert direct.requests == []


def test_withdrawal_stops_what_collectors_hold(program, ends, granted, config, tmp_path):
    """With the shared database nothing leaves that a Collector held at a withdrawal; later events do."""
    through = ends[2]
    port, looking_up = free_port(), config(gateway_databases=granted)
    url = {"OTEL_POSTHOG_GATEWAY_URL": f"http://127.0.0.1:{port}"}
    with (
        collector(program, "gateway.yaml", tmp_path / "tier", **url) as tier,
        Product(granted, collector=tier.otlp) as product,
    ):
        for _ in range(HELD):
            track("pipeline_run_started", {"triggered_by": "manual"})
        wait_until(lambda: tier.metric("otelcol_receiver_accepted_log_records") >= HELD, timeout_s=WAIT_S)
        product.telemetry.update_settings(enable_telemetry=False)
        with served_gateway(looking_up, port=port) as gateway:
            wait_until(lambda: _withdrawn(gateway) == HELD, timeout_s=WAIT_S)
            assert through.requests == []

            product.telemetry.update_settings(enable_telemetry=True)
            track("pipeline_run_started", {"triggered_by": "webhook"})
            through.wait_for(count=1, timeout_s=WAIT_S)

    assert [event.properties["triggered_by"] for event in through.events] == ["webhook"]


def _withdrawn(gateway):
    return gateway.get("/counts").json().get("withdrawn", 0)
