"""Every file of `collector/` is one that its program takes."""

from __future__ import annotations

import os
import subprocess

import pytest
from collectors import FOLDER, WAIT_S

pytestmark = pytest.mark.collector
TOKENS = {
    "OTEL_POSTHOG_GATEWAY_TOKEN": "some",
    "AGENT_TOKEN": "other",
    "AGENT_CERTIFICATE": "/agent.pem",
    "AGENT_KEY": "/agent.key",
}
CONFIGS = [
    ["agent.yaml"],
    ["agent.yaml", "traces-agent.yaml"],
    ["agent.yaml", "secure-agent.yaml"],
    ["gateway.yaml"],
    ["gateway.yaml", "traces-gateway.yaml"],
    ["kafka-producer.yaml"],
    ["kafka-consumer.yaml"],
]


@pytest.mark.parametrize("configs", CONFIGS, ids="+".join)
def test_collector_takes_the_files(program, configs, tmp_path):
    """The Collector finds each component, and each setting of it, in our files."""
    given = {**os.environ, **TOKENS, "QUEUE_FOLDER": str(tmp_path)}
    command = [program, "validate", *(part for config in configs for part in ("--config", FOLDER / config))]

    run = subprocess.run(command, env=given, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert (run.returncode, run.stderr) == (0, "")


def test_collector_refuses_a_file_that_is_wrong(program, tmp_path):
    """A setting that does not exist is found: the check above can fail."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((FOLDER / "agent.yaml").read_text().replace("compression: gzip", "compresion: gzip"))
    command = [program, "validate", "--config", wrong]

    run = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert run.returncode != 0
    assert "compresion" in run.stderr
