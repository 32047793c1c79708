"""The demonstration as a process of its own, for tests that talk to it over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import requests

_T = TypeVar("_T")

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
WAIT_TIMEOUT_S = 60.0

_PROGRAM = """
import json, sys, threading
from pathlib import Path
from otel_posthog.demo import run

options = json.loads(sys.argv[1])
folder = options.pop("folder", None)
code = run(folder=Path(folder) if folder else None, **options)
print("threads:", *sorted(thread.name for thread in threading.enumerate()))
sys.exit(code)
"""


def eventually(look: Callable[[], _T], timeout_s: float = WAIT_TIMEOUT_S) -> _T:
    """Return the first truthy answer; fail with the last one after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"Waited {timeout_s} s, last answer: {found!r}"
        time.sleep(0.02)
    return found


def start(temporary: Path, **options: object) -> subprocess.Popen[str]:
    """Start the demo; a proxy that does not exist stands in the environment, to show that none is used."""
    environ = os.environ | {
        "TMPDIR": str(temporary),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "DO_NOT_TRACK": "1",  # meant for real products: the demo reaches nobody
        "PYTHONUNBUFFERED": "",  # as a newcomer's shell has it
    }
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )


class Demo:
    """A demo that answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.greeting = _read_greeting(process)
        self.url = _address(self.greeting, "Example app")
        self.sink_url = _address(self.greeting, "Local PostHog")
        self.http = requests.Session()
        self.http.trust_env = False

    def decide(self, **flags: bool) -> None:
        """Change settings as the page does."""
        answer = self.http.put(f"{self.url}/api/settings/system", json=flags, timeout=10)
        answer.raise_for_status()

    def act(self, name: str) -> int:
        """Press one of the page's buttons and return the status."""
        return self.http.post(f"{self.url}/api/{name}?coupon=WINTER-4711", timeout=10).status_code

    def state(self) -> dict[str, object]:
        """Return what the app knows: actions and requests to the sink."""
        return self.http.get(f"{self.url}/api/demo", timeout=10).json()

    def received(self) -> list[dict[str, object]]:
        """Return what the sink has, newest first."""
        return self.http.get(f"{self.sink_url}/api/events", timeout=10).json()["events"]

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal; return exit code, the rest of stdout, and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return self.process.returncode, out, err


@contextlib.contextmanager
def running(temporary: Path, **options: object) -> Iterator[Demo]:
    """Yield a demo that answers, and end it whatever happens."""
    process = start(temporary, **options)
    try:
        demo = Demo(process)
        with demo.http:
            yield demo
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _read_greeting(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_TIMEOUT_S
    text = ""
    while "Stop with Ctrl-C." not in text:
        poll = select.poll()  # unlike select, takes any number of a file
        poll.register(process.stdout, select.POLLIN | select.POLLHUP)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        chunk = os.read(process.stdout.fileno(), 4096).decode() if ready else ""
        if not chunk:
            process.kill()
            raise RuntimeError(f"The demo did not start: {text}{process.communicate()[1]}")
        text += chunk
    return text


def _address(greeting: str, name: str) -> str:
    found = re.search(rf"{name}\s+(http://127\.0\.0\.1:\d+)$", greeting, re.MULTILINE)
    assert found, greeting
    return found[1]
