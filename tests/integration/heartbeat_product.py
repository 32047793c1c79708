"""A product with a heartbeat whose day passes as a file says, for servers that import it by name."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from asgi import some_app

from otel_posthog import Telemetry
from otel_posthog.delivery.transport import PostHogTransport

CLOCK = Path(os.environ["CLOCK_FILE"])
AHEAD_S = float(os.environ["CLOCK_AHEAD_S"])
DEADLY_GAUGE = Path(os.environ["DEADLY_GAUGE"])
DEADLY_ANSWER = Path(os.environ["DEADLY_ANSWER"])
LONGEST_READING_S = 0.1


def die_if(file):
    """Die as by kill -9 where the file is there, and take it away, so that one process does."""
    with suppress(FileNotFoundError):
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class DyingTransport:
    """The real transport in a process that can die once PostHog has answered, before anybody noted it."""

    def __init__(self):
        self._real = PostHogTransport(api_key="phc_test", host=os.environ["SINK_URL"], timeout_s=5)

    def send(self, batch, may_leave):
        delivery = self._real.send(batch, may_leave)
        die_if(DEADLY_ANSWER)
        return delivery

    def close(self):
        self._real.close()


telemetry = Telemetry(
    transport=DyingTransport(),
    database=os.environ["DATABASE_URL"],
    environment="production",
    clock=lambda: float(CLOCK.read_text()) + AHEAD_S,
    heartbeat_check_s=0.05,
    heartbeat_delay_s=0,
)


@telemetry.heartbeat.gauge("total_pipelines")
def total_pipelines():
    """Take a moment; die where the file is there, which is between claim and send."""
    die_if(DEADLY_GAUGE)
    time.sleep(random.uniform(0, LONGEST_READING_S))
    return 3


app = telemetry.wrap(some_app())
