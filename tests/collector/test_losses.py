"""Gateway, Collectors and Kafka killed under load: what was acknowledged arrives, and counts once."""

from __future__ import annotations

import os
import random
import signal
import threading
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import httpx2
import pytest
from collectors import WAIT_S, collector
from gateways import finished, manifest_at, running_gateway
from ports import free_port
from thoroughness import IS_FULL
from trackers import spooled_numbers, tracking
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.testing import PostHogSink, serve

pytestmark = pytest.mark.collector
EVENTS = 100_000 if IS_FULL else 2_000
OUTAGE_S = 60 if IS_FULL else 1
ARRIVAL_S = 900 if IS_FULL else 240
LOOK_EVERY_S = 3 if IS_FULL else 0.2
A_REQUEST = 100
PHASES = 4
KILLS = 20 if IS_FULL else 3


class Load:
    """Finished events with a number each, from a client that repeats a request until it is acknowledged."""

    def __init__(self, url):
        self._url = url
        self._instance_id = str(uuid4())
        self._next = 0
        self.acknowledged = set()

    def send(self, count, *, meanwhile=None):
        """Send so many, and do something else once the first are on their way."""
        sending = threading.Thread(target=self._send, args=(count,))
        sending.start()
        if meanwhile is not None:
            meanwhile()
        sending.join(ARRIVAL_S)
        assert not sending.is_alive()

    def _send(self, count):
        for first in range(self._next, self._next + count, A_REQUEST):
            request = finished(A_REQUEST, self._instance_id, first)
            content = request.SerializeToString()
            wait_until(lambda content=content: self._is_taken(content), timeout_s=ARRIVAL_S)
            self.acknowledged |= set(range(first, first + A_REQUEST))
        self._next += count

    def _is_taken(self, content):
        headers = {"content-type": "application/x-protobuf"}
        try:
            answer = httpx2.post(f"{self._url}/v1/logs", content=content, headers=headers, timeout=WAIT_S)
        except httpx2.TransportError:
            return False
        return answer.status_code == 200


class Restartable:
    """Something on a fixed port that is killed and started again."""

    def __init__(self, start):
        self._start = start
        self._stack = ExitStack()
        self.process = None

    def start(self):
        self.process = self._stack.enter_context(self._start())

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def stop(self):
        self._stack.close()


@pytest.fixture
def sink():
    """Return a local PostHog that keeps all."""
    return PostHogSink(max_events=3 * EVENTS, max_requests=1_000)


@pytest.fixture
def gateway(sink, tmp_path):
    """Return a gateway of two workers, not started yet, and its address."""
    manifest_at(tmp_path)
    port = free_port()
    settings = {
        "OTEL_POSTHOG_BATCH_MAX_EVENTS": "1000",
        "OTEL_POSTHOG_HTTP_TIMEOUT_S": "60",  # the sink shares its process, and a loaded machine
        "OTEL_POSTHOG_RETRY_MAX_S": "2",
    }
    with serve(sink) as sink_url:

        @contextmanager
        def start():
            with running_gateway(sink_url, tmp_path, "--workers", "2", port=port, **settings) as (_, process):
                yield process

        made = Restartable(start)
        yield made, f"http://127.0.0.1:{port}"
        made.stop()


@pytest.fixture
def restartable(program, tmp_path):
    """Return a function that makes a Collector on a fixed port; it is stopped after the test."""
    made = []

    def make(config, **environment):
        port, folder = free_port(), tmp_path / f"{config}-{len(made)}"

        @contextmanager
        def start():
            with collector(program, config, folder, otlp_port=port, **environment) as running:
                yield running.process

        made.append(Restartable(start))
        return made[-1], f"http://127.0.0.1:{port}"

    yield make
    for each in made:
        each.stop()


def _has_arrived(load, sink):
    """Tell whether all that was acknowledged is there; looks seldom, since the sink runs in this process."""
    threading.Event().wait(LOOK_EVERY_S)
    return load.acknowledged <= {event.properties["number"] for event in sink.events}


def _counted(sink):
    """Return how many events PostHog would count: it takes two for one where these four agree."""
    return len({(event.uuid, event.name, event.distinct_id, event.timestamp) for event in sink.events})


def _outage(*parts):
    """Return what kills the parts, and starts them again after a while."""

    def happen():
        for part in parts:
            part.kill()
        threading.Event().wait(OUTAGE_S)
        for part in parts:
            part.start()

    return happen


def test_nothing_acknowledged_is_lost_between_collectors(gateway, restartable, sink):
    """Gateway, gateway tier and agent are killed under load, one after the other and then two at once."""
    end, url = gateway
    tier, tier_url = restartable("gateway.yaml", OTEL_POSTHOG_GATEWAY_URL=url)
    agent, agent_url = restartable("agent.yaml", GATEWAY_TIER_URL=tier_url)
    for part in (end, tier, agent):
        part.start()
    load = Load(agent_url)

    for parts in ([end], [tier], [agent], [end, tier]):
        load.send(EVENTS // PHASES, meanwhile=_outage(*parts))

    wait_until(lambda: _has_arrived(load, sink), timeout_s=ARRIVAL_S)
    assert len(load.acknowledged) == EVENTS == _counted(sink)


def test_nothing_acknowledged_is_lost_with_kafka(gateway, restartable, kafka, sink):
    """Gateway, consumer, producer and Kafka itself are killed under load, one after the other."""
    end, url = gateway
    brokers = {"KAFKA_BROKERS": kafka.address}
    consumer, _ = restartable("kafka-consumer.yaml", OTEL_POSTHOG_GATEWAY_URL=url, **brokers)
    producer, producer_url = restartable("kafka-producer.yaml", **brokers)
    for part in (end, consumer, producer):
        part.start()
    load = Load(producer_url)

    for parts in ([end], [consumer], [producer], [kafka]):
        load.send(EVENTS // PHASES, meanwhile=_outage(*parts))

    wait_until(lambda: _has_arrived(load, sink), timeout_s=ARRIVAL_S)
    assert len(load.acknowledged) == EVENTS == _counted(sink)


@pytest.fixture
def granted_database(database_url):
    """Return the URL of a database in which product events have been granted."""
    telemetry = Telemetry(database=database_url, environ={})
    telemetry.update_settings(enable_telemetry=True)
    telemetry.shutdown()
    return database_url


def test_killed_products_lose_nothing_when_their_collector_goes_away(
    gateway, restartable, granted_database, sink, tmp_path
):
    """Killed at any moment, with and without a Collector, what was handed over or spooled counts once."""
    end, url = gateway
    agent, agent_url = restartable("gateway.yaml", OTEL_POSTHOG_GATEWAY_URL=url)
    end.start()
    chance, safe, first = random.Random(20261201), set(), 0
    settings = {"send_to": "collector", "collector_endpoint": f"{agent_url}/v1/logs"}
    spool_folder = tmp_path / "data" / "app.db-spool"
    for _ in range(KILLS):
        agent.start()
        with tracking("http://127.0.0.1:9", granted_database, **settings) as product:
            product.ask(f"track {first} 50")
            assert product.ask("flush 60") is True
            agent.kill()
            product.ask(f"track {first + 50} 50")
            assert product.ask("flush 10") is False
            safe |= set(range(first, first + 100))
            product.tell(f"track {first + 100} 100000 1000")
            threading.Event().wait(chance.uniform(0, 0.3))  # the moment of the kill is the point
            product.kill()
        safe |= set(spooled_numbers(spool_folder))
        first += 100_000

    agent.start()
    with tracking("http://127.0.0.1:9", granted_database, **settings):
        wait_until(lambda: safe <= {event.properties["number"] for event in sink.events}, timeout_s=ARRIVAL_S)
    numbers = [event.properties["number"] for event in sink.events]
    assert _counted(sink) == len(set(numbers))
    assert spooled_numbers(spool_folder) == []
