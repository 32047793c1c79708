"""A real Redis for tests: started once on a free loopback port, emptied for each test.

Without its server the tests are skipped, and fail where the environment variable CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ports import free_port
from waiting import wait_until

_WAIT_S = 30


@pytest.fixture(scope="session")
def _redis_port():
    program = shutil.which("redis-server")
    if program is None and os.environ.get("CI"):
        pytest.fail("redis-server is not installed")
    if program is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/")
    try:
        wait_until(lambda: _answers(port), timeout_s=_WAIT_S)
        yield port
    finally:
        server.terminate()
        server.wait(_WAIT_S)


@pytest.fixture
def redis_url(_redis_port):
    """Return the URL of an empty database of a running Redis."""
    import redis  # noqa: PLC0415 - most tests need no Redis

    url = f"redis://127.0.0.1:{_redis_port}/0"
    with redis.Redis.from_url(url) as connection:
        connection.flushall()
    return url


def _answers(port):
    import redis  # noqa: PLC0415 - see above

    with redis.Redis(port=port) as connection:
        try:
            return connection.ping()
        except redis.ConnectionError:
            return False
