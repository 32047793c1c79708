"""Many processes that call one store at the same moment: `worker.py <how many> <URL> create|grant`.

Each waits on a pipe for the others, then calls, and prints the row's instance_id or the error.
"""

from __future__ import annotations

import os
import sys

from otel_posthog.store import SettingsStore


def call(url: str, what: str) -> str:
    """Return what this process got."""
    store = SettingsStore(url, timeout_s=30)
    if what == "create":
        store.create()
        settings = store.read()
    else:
        settings = store.update(enable_telemetry=True)
    store.close()
    return str(settings and settings.instance_id)


def main(count: int, url: str, what: str) -> None:
    """Start the processes, let them go at once, and wait for all."""
    barrier, go = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(barrier, 1)  # returns once the parent has closed `go`
            try:
                said = call(url, what)
            except Exception as error:  # noqa: BLE001 - the test wants to see it
                said = repr(error)
            os.write(sys.stdout.fileno(), f"{said}\n".encode())
            os._exit(0)
        children.append(child)
    os.close(go)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
