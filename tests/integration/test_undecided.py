"""What an installation does in which nobody ever decides."""

from __future__ import annotations

import json
import re
import socket

from programs import run_python

UUID = re.compile(rb"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
PROGRAM = """
    import json, sys, threading, time

    reached = []

    def notice(event, arguments):
        if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
            reached.append(f"{event} {arguments!r}")

    sys.addaudithook(notice)
    passed_s = 0
    real = time.time_ns, time.monotonic
    time.time_ns = lambda: real[0]() + int(passed_s * 1e9)
    time.time = lambda: time.time_ns() / 1e9
    time.monotonic = lambda: real[1]() + passed_s

    from asgi import client_of, some_app
    from otel_posthog import Telemetry, track

    # On loopback, so that a fault that this test is there to find reaches nobody either.
    telemetry = Telemetry(api_key="phc_test", host="http://127.0.0.1:9", database=sys.argv[1], environ={})
    before = {thread.name for thread in threading.enumerate()}
    failed = 0
    with client_of(telemetry.wrap(some_app())) as client:
        for day in range(400):
            passed_s += 86_400
            for number in range(3 if day % 2 else 2):
                failed += client.get(f"/fail/{number}").status_code == 500
            track("day_began", {"day": day})
        telemetry.flush()
        threads = [thread.name for thread in threading.enumerate() if thread.name not in before]
    print(json.dumps({
        "failed": failed,
        "reached": reached,
        "days": round((time.time_ns() - real[0]()) / 86_400e9),
        "threads": [name for name in threads if name.startswith(("otel-posthog", "Otel"))],
        "delivery": telemetry.delivery(),
        "reasons": sorted({state.reason for state in telemetry.status().values()}),
    }))
"""


def test_undecided_reaches_nobody(tmp_path):
    """1,000 errors and 400 days undecided: no connection, no look-up, no identifier on disk (R2, R3)."""
    run = run_python(PROGRAM, f"sqlite:///{tmp_path}/data/app.db", timeout_s=300, check=False)

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "failed": 1000,
        "reached": [],
        "days": 400,
        "threads": [],
        "delivery": {},
        "reasons": ["undecided"],
    }
    assert _identifiers_in(tmp_path) == []


def _identifiers_in(folder):
    """Return what could tell this installation from another: UUIDs, and names of the machine."""
    found = []
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        found += UUID.findall(content)
        found += [socket.gethostname()] if socket.gethostname().encode() in content else []
    return found
