"""`otel-posthog heartbeat`: print today's heartbeat, or send it if it is owed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from ._app import load_telemetry
from .heartbeat import Result
from .outgoing import Outgoing
from .transport import Delivery
from .transport import Result as Accepted

_THREAD_DELAY_S = 3600.0  # so that the object's own thread does not get ahead of the command
_SAID = {
    Result.SENT: "The heartbeat has been sent.",
    Result.HELD: "The heartbeat waits, and is sent once PostHog can be reached.",
    Result.NOT_DUE: "No heartbeat is owed now: this day is done, or consent was given after its time.",
    Result.TAKEN: "Another worker is sending the heartbeat at this moment.",
    Result.OFF: "Nothing is sent: telemetry is off, or no gauge is registered.",
    Result.FAILED: "The heartbeat could not be sent; the log says why.",
}


def print_heartbeat(app: str) -> int:
    """Print the heartbeat as it would leave, and on stderr whether it would."""
    telemetry = load_telemetry(app)
    is_on = telemetry.heartbeat.preview(_PrintingTransport())
    telemetry.shutdown()
    if not is_on:
        print("Telemetry is off here: this would not be sent.", file=sys.stderr)
    return 0


def send_heartbeat(app: str) -> int:
    """Send the heartbeat by the normal rules, and print what came of it."""
    found = load_telemetry(app)
    found.heartbeat.delay(_THREAD_DELAY_S)
    with found as telemetry:
        result = telemetry.heartbeat.send_if_due()
    print(_SAID[result])
    return 1 if result is Result.FAILED else 0


class _PrintingTransport:
    def send(self, batch: Outgoing, may_leave: Callable[[], bool]) -> Delivery:
        if may_leave():
            for event in batch:
                print(json.dumps(event, indent=2, sort_keys=True, ensure_ascii=False))
        return Delivery(result=Accepted.ACCEPTED)

    def close(self) -> None:
        """Do nothing."""
