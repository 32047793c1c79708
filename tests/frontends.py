"""The example product's front end, built once; a printed skip without Node, a failure where CI is set."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from otel_posthog.demo.running import FRONTEND, build, obstacle


@contextmanager
def packing() -> Iterator[None]:
    """Let one process at a time build the package, which empties the folder of the build first."""
    with _locked():
        yield


def need_frontend() -> None:
    """Build the front end where that is possible, and give up the test where it is not."""
    missing = obstacle()
    if missing is not None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"The front end cannot be built: {missing}.")
    with _locked():  # processes that test at once build once
        build(print)


@contextmanager
def _locked() -> Iterator[None]:
    folder = os.open(FRONTEND, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
