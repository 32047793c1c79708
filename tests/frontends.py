"""The example product's front end, built once; a printed skip without Node, a failure where CI is set."""

from __future__ import annotations

import fcntl
import os

import pytest

from otel_posthog.demo.running import FRONTEND, build, obstacle


def need_frontend() -> None:
    """Build the front end where that is possible, and give up the test where it is not."""
    missing = obstacle()
    if missing is not None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"The front end cannot be built: {missing}.")
    folder = os.open(FRONTEND, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # processes that test at once build once
        build(print)
    finally:
        os.close(folder)
