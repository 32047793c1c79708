"""The real Collector and a real broker, once for all tests of this folder."""

from __future__ import annotations

import pytest
from collectors import Kafka, collector_program, kafka_jars

pytestmark = pytest.mark.collector


@pytest.fixture(scope="session")
def program():
    """Return the Collector."""
    return collector_program()


@pytest.fixture
def kafka(tmp_path):
    """Return a running broker with the topics of our files."""
    broker = Kafka(kafka_jars(), tmp_path / "kafka")
    broker.start()
    yield broker
    broker.stop()
