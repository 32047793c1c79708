"""Start a real server with a product that it imports by name, and call it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import httpx2
from ports import free_port
from programs import TESTS, environment

WAIT_S = 60
_PYTHON_MODULE = (sys.executable, "-m")
_POLL_S = 0.05


@contextmanager
def serving(program, log, *, runner=_PYTHON_MODULE, **more):
    """Run the server with `{port}` filled in until it answers; yield its address and its process."""
    port = free_port()
    command = [*runner, *[part.format(port=port) for part in program]]
    variables = environment(TESTS / "integration", **more)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield url, process
    finally:
        try:
            stop(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def stop(process):
    """End a server by one SIGTERM to its main process; granian also by one to each, as systemd does.

    granian 2.8 waits for ever for a worker that was still starting at the first one.
    """
    process.terminate()
    if "granian" in process.args:
        with suppress(subprocess.TimeoutExpired):
            process.wait(WAIT_S / 3)
            return
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(WAIT_S)


def call(method, url, **options):
    """Send one request on a connection of its own, so that any worker may get it."""
    # Without certificates, which take longer to load than most answers.
    with httpx2.Client(timeout=WAIT_S, headers={"connection": "close"}, verify=False) as client:
        return client.request(method, url, **options)


class Load:
    """Requests at a steady rate from several threads; remembers which were answered, and when."""

    def __init__(self, url, *, per_s, threads=8, path="/track/{}", status=200):
        self._address = url.removeprefix("http://")
        self._path, self._status = path, status
        self._pause_s = threads / per_s
        self._lock = threading.Lock()
        self._next = 0
        self._is_over = threading.Event()
        self._answered = {}
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._is_over.set()
        for thread in self._threads:
            thread.join(WAIT_S)

    @property
    def answered(self):
        """Return when each answered request was answered, by its number."""
        with self._lock:
            return dict(self._answered)

    def answered_before(self, moment_ns):
        return {number for number, at_ns in self.answered.items() if at_ns < moment_ns}

    def _run(self):
        while not self._is_over.wait(self._pause_s):
            with self._lock:
                number, self._next = self._next, self._next + 1
            if self._is_answered(number):
                with self._lock:
                    self._answered[number] = time.monotonic_ns()

    def _is_answered(self, number):
        """Send one request by the cheapest client there is; a larger one would not keep the rate."""
        with closing(http.client.HTTPConnection(self._address, timeout=WAIT_S)) as connection:
            try:
                connection.request("GET", self._path.format(number), headers={"connection": "close"})
                return connection.getresponse().status == self._status
            except (OSError, http.client.HTTPException):
                return False


def _wait_for(url, process, log):
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            call("GET", f"{url}/")
        except httpx2.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(_POLL_S)  # between two attempts, bounded by the deadline
        else:
            return
