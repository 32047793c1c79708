"""A product without a server: it does what it is told on its standard input, one command a line.

`tracker.py <sink URL> <database URL> <settings as JSON>`. Commands: `track FIRST COUNT [PER_SECOND]`,
`flush SECONDS`, `exit`; each is answered with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time

from otel_posthog import Telemetry, track


def main() -> None:
    """Serve commands until `exit` or the end of the input."""
    settings = json.loads(sys.argv[3])
    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2], **settings)
    telemetry.start()
    _say("started")
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "exit":
            break
        if command == "track":
            _track(*map(float, numbers))
            answer: object = numbers
        elif command == "flush":
            answer = telemetry.flush(*map(float, numbers))
        else:
            answer = telemetry.delivery()
        _say(answer)


def _say(answer: object) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _track(first: float, count: float, per_s: float = 0) -> None:
    begin_s = time.monotonic()
    for number in range(int(first), int(first + count)):
        if per_s:
            time.sleep(max(0.0, begin_s + (number - first) / per_s - time.monotonic()))
        track("numbered", {"number": number})


if __name__ == "__main__":
    main()
