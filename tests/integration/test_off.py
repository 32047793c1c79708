"""What the library costs a process in which nothing has been granted."""

from __future__ import annotations

import json

from programs import run_python

PROGRAM = """
    import json, sys, threading
    from pathlib import Path
    from asgi import client_of, some_app
    from otel_posthog import Telemetry, track

    before = {thread.name for thread in threading.enumerate()}
    telemetry = Telemetry(api_key="phc_test", host=sys.argv[1], database=sys.argv[2])
    with client_of(telemetry.wrap(some_app())) as client:
        for number in range(1000):
            client.get(f"/fail/{number}" if number % 10 == 0 else "/fine")
        for _ in range(50):
            track("tracked")
        telemetry.flush()
        threads = [thread.name for thread in threading.enumerate() if thread.name not in before]
    print(json.dumps({
        "threads": [name for name in threads if "asyncio" not in name and "AnyIO" not in name],
        "modules": sorted({"posthog", "requests"} & set(sys.modules)),
        "delivery": telemetry.delivery(),
        "files": sorted(path.name for path in Path(sys.argv[3]).rglob("*") if path.is_file()),
    }))
"""


def test_off_sends_nothing_and_costs_nothing(sink, sink_url, database_url, tmp_path):
    """1,000 requests, 100 of them failing, 50 events: no request, thread, file, nor posthog (R2)."""
    run = run_python(PROGRAM, sink_url, database_url, tmp_path, timeout_s=120)

    nothing = {"threads": [], "modules": [], "delivery": {}, "files": ["app.db"]}
    assert json.loads(run.stdout) == nothing
    assert sink.requests == []
