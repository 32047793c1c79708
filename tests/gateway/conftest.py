"""A gateway for the tests of this folder."""

from __future__ import annotations

import pytest
from gateways import config_of, manifest_at, served_gateway


@pytest.fixture
def config(sink_url, tmp_path):
    """Return a function that makes the settings of a gateway; its product has no manifest of its own yet."""
    manifest_at(tmp_path)
    return lambda **settings: config_of(sink_url, tmp_path, **settings)


@pytest.fixture
def gateway(config):
    """Return a client of a running gateway."""
    with served_gateway(config()) as client:
        yield client
