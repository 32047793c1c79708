"""Wait for a condition, with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_POLL_S = 0.005


def wait_until(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Return once the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition did not come true"
        pause.wait(_POLL_S)
